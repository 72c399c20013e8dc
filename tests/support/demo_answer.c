/* The demo agent's made-up answer: a word an event, and at the end one event with the whole text.
 *
 * An answer is a plain loop that may wait, on a thread of its own. It waits on its client's socket, and so a
 * client's disconnect ends it at once; it waits on `stopping` too, and so does the end of the program.
 */
#include "tests/support/demo_answer.h"

#include <cjson/cJSON.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char answer_text[] =
    "A gateway for event streams stands between an agent and everybody who wants to read its answer. It "
    "keeps "
    "a bounded log of what was said, so a reader who lost the line comes back and finds every word once, in "
    "order, with no seam. Open a second window on this link, reload either of them, or press stop: both stay "
    "true.";

/* One answer under way. Positions:  frame [ sent ... position | to send ... frame_length ]  */
struct demo_answer {
    int socket, stopping;
    unsigned number;
    long steps, delay_ms, first_ms, fail, size, hang;
    long step; /* of the next event; steps + 1 is the whole answer, after that the stream ends */
    char question[256];
    const char *next_word; /* in `answer_text` */
    FILE *whole;           /* into whole_text */
    char *whole_text;
    size_t whole_length;
    char *frame;
    size_t frame_length, position;
};

static atomic_uint answers_started;
static atomic_uint answers_running;

void *must(void *memory) {
    if (!memory)
        abort();
    return memory;
}

double demo_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

/* Takes one word of the message: a control word, or a part of the question. */
static void answer_take_word(struct demo_answer *answer, const char *word) {
    const struct {
        const char *format;
        long *value;
    } controls[] = {{"steps=%6ld%n", &answer->steps},    {"delay=%6ld%n", &answer->delay_ms},
                    {"first=%6ld%n", &answer->first_ms}, {"fail=%6ld%n", &answer->fail},
                    {"size=%8ld%n", &answer->size},      {"hang=%1ld%n", &answer->hang}};
    for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++) {
        long value = 0;
        int length = 0;
        if (sscanf(word, controls[i].format, &value, &length) == 1 && value >= 0 && !word[length]) {
            *controls[i].value = value;
            return;
        }
    }
    size_t used = strlen(answer->question);
    if (used + strlen(word) + 2 <= sizeof answer->question)
        sprintf(answer->question + used, "%s%s", used ? " " : "", word);
}

struct demo_answer *demo_answer_create(int socket, int stopping, const char *message) {
    struct demo_answer *answer = must(calloc(1, sizeof *answer));
    *answer = (struct demo_answer){.socket = socket,
                                   .stopping = stopping,
                                   .delay_ms = 80,
                                   .first_ms = -1,
                                   .step = 1,
                                   .next_word = answer_text};
    for (const char *c = answer_text; c; c = strchr(c + 1, ' '))
        answer->steps++;
    char *words = must(strdup(message)), *rest = NULL;
    for (char *word = strtok_r(words, " \t\r\n", &rest); word; word = strtok_r(NULL, " \t\r\n", &rest))
        answer_take_word(answer, word);
    free(words);
    answer->whole = must(open_memstream(&answer->whole_text, &answer->whole_length));
    answer->number = atomic_fetch_add(&answers_started, 1) + 1;
    atomic_fetch_add(&answers_running, 1);
    return answer;
}

void demo_answer_destroy(void *context) {
    struct demo_answer *answer = context;
    atomic_fetch_sub(&answers_running, 1);
    fclose(answer->whole);
    free(answer->whole_text);
    free(answer->frame);
    free(answer);
}

/* The text of the next partial event: a word of the answer, the first with the question before it. */
static char *answer_next_word(struct demo_answer *answer) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = must(open_memstream(&text, &length));
    int word_length = (int)strcspn(answer->next_word, " ");
    if (answer->step == 1 && *answer->question)
        fprintf(out, "\u201c%s\u201d: ", answer->question);
    fprintf(out, "%.*s", word_length, answer->next_word);
    while (ftell(out) < answer->size - 1)
        fputc('x', out);
    fputc(' ', out);
    fclose(out);
    answer->next_word += word_length;
    answer->next_word = *answer->next_word ? answer->next_word + 1 : answer_text;
    return text;
}

static cJSON *answer_event(const struct demo_answer *answer, const char *text, bool partial) {
    char id[32], invocation[32];
    snprintf(id, sizeof id, "%08x", answer->number * 2654435761U + (unsigned)answer->step);
    snprintf(invocation, sizeof invocation, "e-%08x", answer->number);
    cJSON *event = cJSON_CreateObject();
    cJSON *content = cJSON_AddObjectToObject(event, "content");
    cJSON_AddStringToObject(content, "role", "model");
    cJSON *part = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_AddArrayToObject(content, "parts"), part);
    cJSON_AddStringToObject(part, "text", text);
    cJSON_AddBoolToObject(event, "partial", partial);
    cJSON_AddStringToObject(event, "author", "demo_agent");
    cJSON_AddStringToObject(event, "invocationId", invocation);
    cJSON_AddStringToObject(event, "id", id);
    cJSON_AddNumberToObject(event, "timestamp", demo_now_ms());
    return event;
}

static cJSON *answer_next_event(struct demo_answer *answer) {
    if (answer->step == answer->fail) {
        cJSON *error = cJSON_CreateObject();
        cJSON_AddStringToObject(error, "error", "made-up failure");
        answer->step = answer->steps + 1; /* nothing after it */
        return error;
    }
    if (answer->step > answer->steps) {
        fflush(answer->whole);
        return answer_event(answer, answer->whole_text, false);
    }
    char *word = answer_next_word(answer);
    fputs(word, answer->whole);
    cJSON *event = answer_event(answer, word, true);
    free(word);
    return event;
}

/* Waits for the next event's time and makes its frame. False: the client has gone, or the program ends. */
static bool answer_advance(struct demo_answer *answer) {
    long wait_ms = answer->step == 1 && answer->first_ms >= 0 ? answer->first_ms : answer->delay_ms;
    if (answer->step > answer->steps)
        wait_ms = answer->hang ? -1 : 0; /* the whole answer comes right behind its last word */
    struct pollfd descriptors[] = {{.fd = answer->socket, .events = POLLRDHUP},
                                   {.fd = answer->stopping, .events = POLLIN}};
    if (poll(descriptors, 2, (int)wait_ms) != 0)
        return false;
    cJSON *event = answer_next_event(answer);
    char *json = must(cJSON_PrintUnformatted(event));
    cJSON_Delete(event);
    free(answer->frame);
    answer->frame_length = strlen(json) + strlen("data: \n\n");
    answer->frame = must(malloc(answer->frame_length + 1));
    sprintf(answer->frame, "data: %s\n\n", json);
    free(json);
    answer->position = 0;
    answer->step++;
    return true;
}

ssize_t demo_answer_read(void *context, uint64_t position, char *buffer, size_t size) {
    struct demo_answer *answer = context;
    (void)position;
    if (answer->position == answer->frame_length) {
        if (answer->step > answer->steps + 1)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (!answer_advance(answer))
            return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    size_t left = answer->frame_length - answer->position;
    size_t length = left < size ? left : size;
    memcpy(buffer, answer->frame + answer->position, length);
    answer->position += length;
    return (ssize_t)length;
}

unsigned demo_answers_started(void) {
    return atomic_load(&answers_started);
}

unsigned demo_answers_running(void) {
    return atomic_load(&answers_running);
}
