/* What an answer says that is no event stream: of a refusal, of an answer of another type, and of the
 * creation of a session. The words that are meant for people are looked for; without any, the type and the
 * first bytes of the answer say what it is: a sign-in page, a proxy's error page, an answer that was not
 * asked to stream. */
#include "upstream/error_text.h"
#include "upstream/stream_internal.h"

#include <string.h>

#define TYPE_BYTES_MAX 100
#define CREATION_BYTES_MAX 240 /* the run's own failure follows in the same message */

bool stream_keep_answer(struct upstream_stream *stream, const char *bytes, size_t length) {
    size_t room = stream->answer.bytes_max - stream->answer.length;
    size_t kept = length < room ? length : room;
    /* cppcheck-suppress knownConditionTrueFalse ; they are equal whenever there was room */
    return buffer_append(&stream->answer, bytes, kept) && kept == length;
}

static bool append_type(const struct upstream_stream *stream, struct buffer *message) {
    const char *type = transfer_header(&stream->transfer, "Content-Type");
    if (type == NULL)
        return buffer_append_text(message, " (without a Content-Type)");
    return buffer_append_text(message, " (") &&
           error_text_append_bytes(message, type, strnlen(type, TYPE_BYTES_MAX)) &&
           buffer_append_text(message, ")");
}

/** Whether the answer can be read as it is, and there is something to read. */
static bool is_readable(const struct upstream_stream *stream) {
    return stream->answer.length > 0 && !answer_is_compressed(&stream->transfer);
}

/** Appends the first bytes of a page without its markup: of an error page, which viewers see in a message,
 * only the words are of use. */
static bool append_page(const struct buffer *page, struct buffer *message) {
    char words[ANSWER_BYTES_MAX];
    size_t length = 0;
    bool in_tag = false;
    for (size_t i = 0; i < page->length; i++) {
        char byte = page->bytes[i];
        if (byte == '<' || byte == '>') {
            in_tag = byte == '<';
            words[length++] = ' ';
        } else if (!in_tag) {
            words[length++] = byte;
        }
    }
    return error_text_append_bytes(message, words, length);
}

/** Appends the words for people, if there are any. */
static bool append_words(const struct upstream_stream *stream, struct buffer *message, bool *ret_found) {
    size_t before = message->length;
    *ret_found = false;
    if (!buffer_append_text(message, ": ") ||
        !error_text_append(message, stream->answer.bytes, stream->answer.length))
        return false;
    *ret_found = message->length > before + strlen(": ");
    if (!*ret_found)
        message->length = before;
    return true;
}

bool stream_append_refusal(const struct upstream_stream *stream, struct buffer *message) {
    const struct buffer *answer = &stream->answer;
    bool found = false;
    if (!is_readable(stream))
        return buffer_append_text(message, ".");
    if (!append_words(stream, message, &found) || found)
        return found;
    if (!append_type(stream, message) || !buffer_append_text(message, ": "))
        return false;
    size_t before = message->length;
    bool done = answer->bytes[0] == '<' ? append_page(answer, message)
                                        : error_text_append_bytes(message, answer->bytes, answer->length);
    if (!done || message->length > before)
        return done;
    message->length = before - strlen(": ");
    return buffer_append_text(message, ".");
}

bool stream_append_foreign_answer(const struct upstream_stream *stream, struct buffer *message) {
    const struct buffer *answer = &stream->answer;
    bool found = false;
    if (!append_type(stream, message))
        return false;
    if (!is_readable(stream))
        return buffer_append_text(message, ".");
    if (!append_words(stream, message, &found) || found)
        return found;
    return buffer_append_text(message, ": ") &&
           error_text_append_bytes(message, answer->bytes, answer->length);
}

/* ---- the creation of a session ----------------------------------------------------------------------- */

void stream_note_creation(struct upstream_stream *stream, enum upstream_end end, const char *message) {
    struct buffer *creation = &stream->creation;
    int status = stream->transfer.status;
    bool is_good = end == UPSTREAM_COMPLETED && status / 100 == 2, done = true;
    buffer_clear(creation);
    stream->creation_status = status;
    if (!is_good && status / 100 != 2 && status != 0)
        done = buffer_printf(creation, "the upstream answered %d", status) &&
               stream_append_refusal(stream, creation);
    else if (!is_good)
        done = buffer_append_text(creation, message);
    if (!done)
        buffer_clear(creation);
    while (creation->length > CREATION_BYTES_MAX ||
           (creation->length > 0 && creation->bytes[creation->length - 1] == '.'))
        creation->bytes[--creation->length] = '\0';
    buffer_clear(&stream->answer);
}

bool stream_is_creation_to_blame(const struct upstream_stream *stream, enum upstream_end end) {
    bool may_exist = stream->creation_status == 400 || stream->creation_status == 409; /* as ADK says it */
    bool is_refused = end == UPSTREAM_STATUS && stream->transfer.status == 404;
    return stream->creation.length > 0 &&
           (is_refused || (!may_exist && (end == UPSTREAM_STATUS || end == UPSTREAM_ERROR)));
}
