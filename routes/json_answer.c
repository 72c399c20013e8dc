/* A JSON answer that is made while it is sent.
 *
 *     the library asks for bytes --> read_piece() --> there are some: they are copied
 *                                        '----------> there are none: the answer waits for its turn
 *     its turn of the loop --------> answer_on_turn() --> make() writes the next piece
 *
 * One answer gets each turn of the loop, so a thousand long answers hold the loop no longer than one does. */
#include "routes/json_answer.h"

#include "base/utf8.h"

#include <string.h>

#define PIECE_BYTES (32 * 1024)
#define PIECE_WORK (64 * 1024)
#define PART_BYTES (8 * 1024) /* of a text, written at once: six times as much at most */
/* Far more than any piece: an event's type is written at once, 1 MiB at most (event_type_bytes_max), and six
 * times as much with its escapes. */
#define PIECE_BYTES_MAX (8 * 1024 * 1024)

static ssize_t read_piece(void *context, char *bytes, size_t size) {
    struct json_answer *answer = context;
    const struct buffer *piece = &answer->json.text;
    size_t left = piece->length - answer->sent;
    size_t count = left < size ? left : size;
    if (answer->json.failed)
        return -2; /* out of memory: the client must not take it for whole */
    if (left == 0 && answer->ended)
        return -1;
    if (left == 0)
        turns_wait(&answer->request->context->turns, &answer->turn);
    if (count > 0)
        memcpy(bytes, piece->bytes + answer->sent, count);
    answer->sent += count;
    return (ssize_t)count;
}

static void answer_on_turn(struct turn *turn) {
    struct json_answer *answer = CONTAINER_OF(turn, struct json_answer, turn);
    buffer_clear(&answer->json.text);
    answer->sent = answer->work = 0;
    answer->ended = !answer->operations->make(answer);
    answer->request->operations->source_ready(answer->request);
}

static void answer_on_finished(void *context) {
    struct json_answer *answer = context;
    turns_leave(&answer->request->context->turns, &answer->turn);
    json_writer_finish(&answer->json);
    answer->operations->destroy(answer);
}

void json_answer_start(struct json_answer *answer, struct request *request,
                       const struct json_answer_operations *operations) {
    const struct reply_source source = {
        .read = read_piece, .finished = answer_on_finished, .context = answer, .content_length = -1};
    answer->operations = operations;
    answer->request = request;
    answer->turn.take = answer_on_turn;
    json_writer_init(&answer->json, PIECE_BYTES_MAX);
    reply_header(request, "Content-Type", "application/json");
    reply_header(request, "Cache-Control", "no-store");
    reply_header(request, "X-Content-Type-Options", "nosniff");
    reply_from_source(request, 200, &source);
}

bool json_answer_has_room(const struct json_answer *answer) {
    return answer->json.text.length < PIECE_BYTES && answer->work < PIECE_WORK && !answer->json.failed;
}

void json_answer_worked(struct json_answer *answer, size_t bytes) {
    answer->work += bytes;
}

bool json_answer_write_text(struct json_answer *answer, const struct buffer *text, size_t *at) {
    while (*at < text->length && json_answer_has_room(answer)) {
        size_t part = utf8_beginning(text->bytes + *at, text->length - *at, PART_BYTES);
        json_add_part(&answer->json, text->bytes + *at, part);
        json_answer_worked(answer, part);
        *at += part;
    }
    return *at == text->length;
}
