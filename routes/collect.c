/* A request to the upstream whose whole answer is collected.
 *
 * The client's request is deferred until the answer has ended. An answer that is too long is still read to
 * its end, and its rest is thrown away: so the connection can be used again. If the client leaves first,
 * the query is cancelled, and no callback of it comes any more. */
#include "routes/collect.h"

#include "base/buffer.h"
#include "base/plain_text.h"
#include "routes/header_value.h"
#include "routes/refusal.h"
#include "routes/upstream_choice.h"
#include "upstream/error_text.h"
#include "upstream/query.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct collect {
    struct request *request;
    struct upstream_query *query;
    void (*done)(struct request *request, const struct collected *answer);
    struct buffer body;
    size_t upstream;
    int status; /* 0: there was no answer yet */
    bool is_json;
    bool overflowed;
    bool no_memory;
};

static void collect_destroy(struct collect *collect) {
    buffer_finish(&collect->body);
    free(collect);
}

static void collect_on_head(void *context, int status, const struct upstream_header *headers, size_t count,
                            int64_t content_length) {
    (void)content_length;
    struct collect *collect = context;
    collect->status = status;
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(headers[i].name, "Content-Type") == 0)
            collect->is_json = header_is_json(headers[i].value);
    }
}

/* What is too much is thrown away: the answer's end tells, and the connection can be used again. */
static bool collect_on_body(void *context, const char *bytes, size_t length) {
    struct collect *collect = context;
    if (collect->overflowed || collect->no_memory || buffer_append(&collect->body, bytes, length))
        return true;
    collect->overflowed = collect->body.length + length > collect->body.bytes_max;
    collect->no_memory = !collect->overflowed;
    return true;
}

static void collect_on_end(void *context, const struct upstream_result *result) {
    struct collect *collect = context;
    struct request *request = collect->request;
    struct collected answer = {
        .upstream = collect->upstream,
        .complete = result->end == UPSTREAM_COMPLETED && collect->status != 0 && !collect->overflowed &&
                    !collect->no_memory,
        .status = collect->status,
        .is_json = collect->is_json,
        .body = collect->body.bytes != NULL ? collect->body.bytes : "",
        .length = collect->body.length,
        .result = *result,
    };
    answer.result.message = collect->overflowed  ? "The upstream's answer is too large."
                            : collect->no_memory ? "Memory ran out."
                                                 : result->message;
    collect->done(request, &answer);
    collect_destroy(collect);
    request_answer(request);
}

static void collect_on_abandoned(void *context) {
    struct collect *collect = context;
    upstream_query_cancel(collect->query);
    collect_destroy(collect);
}

void collect_start(struct request *request, size_t upstream, const char *method, const char *path,
                   const char *body, size_t length,
                   void (*done)(struct request *request, const struct collected *answer)) {
    static const struct upstream_passage_callbacks callbacks = {
        .on_head = collect_on_head, .on_body = collect_on_body, .on_end = collect_on_end};
    static const struct upstream_header accept = {"Accept", "application/json"};
    struct collect *collect = calloc(1, sizeof(*collect));
    if (collect == NULL) {
        reply_no_memory(request);
        return;
    }
    buffer_init_counted(&collect->body, COLLECT_BYTES_MAX, MEMORY_PASSED);
    collect->request = request;
    collect->done = done;
    collect->upstream = upstream;
    const struct upstream_query_request query = {.index = upstream,
                                                 .method = method,
                                                 .path = path,
                                                 .headers = &accept,
                                                 .header_count = 1,
                                                 .body = body,
                                                 .body_length = length,
                                                 .timeout_ms =
                                                     request->context->relay.settings->run_timeout_ms};
    collect->query =
        upstream_query_start(request->context->relay.upstream_worker, &query, &callbacks, collect);
    if (collect->query == NULL) {
        collect_destroy(collect);
        reply_no_memory(request);
        return;
    }
    request_defer(request, collect_on_abandoned, collect);
}

#define WORDS_SIZE 256

/* The words for people in an answer; "": there are none. */
static void find_words(const struct collected *answer, char out[WORDS_SIZE]) {
    struct buffer words;
    buffer_init(&words, 1024);
    bool found = error_text_append(&words, answer->body, answer->length) && words.length > 0;
    plain_text_copy(out, WORDS_SIZE, found ? words.bytes : "");
    buffer_finish(&words);
}

void collect_refuse_as(struct request *request, const struct collected *answer, int status,
                       const char *what) {
    char words[WORDS_SIZE] = "";
    if (request->context->settings->errors_to_viewers == ERRORS_TO_VIEWERS_FULL)
        find_words(answer, words);
    reply_error(request, status, "upstream_error", "%s%s%s", what, words[0] != '\0' ? ": " : ".", words);
}

void collect_refuse(struct request *request, const struct collected *answer) {
    char words[WORDS_SIZE], what[64];
    if (!answer->complete) {
        upstream_refuse_query(request, &answer->result);
        return;
    }
    find_words(answer, words);
    refusal_log(request, LOG_LEVEL_WARN, "upstream_unavailable", LOG_STR("path", request->path),
                LOG_INT("upstream_status", answer->status),
                LOG_STR("cause", upstream_cause_word(CAUSE_STATUS)), LOG_STR("message", words));
    snprintf(what, sizeof(what), "The upstream answered with status %d", answer->status);
    collect_refuse_as(request, answer, 503, what);
}

void collect_pass_on(struct request *request, const struct collected *answer) {
    assert(answer->complete && answer->status >= 200 && answer->status < 300);
    if (answer->length == 0) {
        reply_empty(request, answer->status);
        return;
    }
    if (!answer->is_json) {
        reply_error(request, 503, "upstream_error",
                    "The upstream answered with status %d, but not with JSON.", answer->status);
        return;
    }
    char *copy = malloc(answer->length + 1);
    if (copy == NULL) {
        reply_no_memory(request);
        return;
    }
    memcpy(copy, answer->body, answer->length + 1);
    reply_body(request, answer->status, "application/json", copy, answer->length);
}
