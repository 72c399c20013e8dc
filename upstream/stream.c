/* Streams: a run is posted, its session created if need be, and its events told. See client.h; stream_end.c
 * has how it ended.
 *
 *     CREATE (if the session is not known to exist) -> RUN -> its end
 *                                          RUN answered 404 -> CREATE -> RUN, once
 */
#include "upstream/stream_internal.h"

#include "base/memory_budget.h"
#include "base/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES_MAX 2048
#define ANSWER_TIMEOUT_MS 1000 /* for the body of a refusal */
#define STOP 1                 /* what stream_on_event() returns to the parser */

static struct upstream_stream *stream_of(struct transfer *transfer) {
    return CONTAINER_OF(transfer, struct upstream_stream, transfer);
}

/* ---- time ------------------------------------------------------------------------------------------- */

static void expect_event(struct upstream_stream *stream) {
    if (stream->event_timeout_ms > 0)
        stream->event_due_ms = uv_now(stream->transfer.client->loop) + (uint64_t)stream->event_timeout_ms;
}

/** Bytes have come, or the stream may go on: how long nothing more, or no event, may come from now on. */
static void expect_more(struct upstream_stream *stream) {
    int64_t left_ms = stream->transfer.idle_timeout_ms;
    stream->awaits_event = false;
    if (stream->event_timeout_ms > 0) {
        uint64_t now_ms = uv_now(stream->transfer.client->loop), due_ms = stream->event_due_ms;
        int64_t event_left_ms = due_ms > now_ms ? (int64_t)(due_ms - now_ms) : 0;
        stream->awaits_event = event_left_ms < left_ms;
        left_ms = stream->awaits_event ? event_left_ms : left_ms;
    }
    transfer_set_deadline(&stream->transfer, left_ms);
}

/* ---- events ----------------------------------------------------------------------------------------- */

static int stream_on_event(void *context, const struct sse_event *event) {
    struct upstream_stream *stream = context;
    expect_event(stream);
    enum adapter_verdict verdict = stream->request->adapter->judge(&stream->reading, event);
    if (!stream->callbacks.on_event(stream->context, event, verdict))
        upstream_stream_cancel(stream);
    if (stream->has_ended || stream->transfer.is_released)
        return STOP;
    switch (verdict) {
    case ADAPTER_FAILED:
        stream_note_failure(stream, event);
        stream->told_failure = true;
        return 0;
    case ADAPTER_DONE:
        stream_conclude_early(stream);
        return STOP;
    case ADAPTER_LAST:
        stream->has_last = true;
        break;
    case ADAPTER_CONTINUE:
        break;
    }
    if (stream->has_last)
        transfer_set_deadline(&stream->transfer, STREAM_DRAIN_TIMEOUT_MS);
    return 0;
}

/** Remembers why reading stops here. Always false, "do not go on". */
static bool set_fault(struct upstream_stream *stream, enum upstream_end end, enum upstream_cause cause,
                      const char *message) {
    stream->fault = end;
    stream->fault_cause = cause;
    stream->fault_message = message;
    return false;
}

/** The same, for a limit of so many bytes. */
static void set_fault_of_limit(struct upstream_stream *stream, enum upstream_cause cause, const char *what,
                               uint64_t bytes_max) {
    buffer_clear(&stream->message);
    bool done = buffer_printf(&stream->message, "%s: %s (%" PRIu64 " bytes).", what,
                              upstream_cause_word(cause), bytes_max);
    set_fault(stream, UPSTREAM_LIMIT, cause, done ? stream->message.bytes : what);
}

/** There is no memory: the machine's, or by the limit. */
static void set_fault_of_memory(struct upstream_stream *stream) {
    char message[MEMORY_MESSAGE_SIZE];
    bool is_limit = memory_level() == MEMORY_OVER;
    metrics_add(METRIC_MEMORY_RUNS_ENDED, is_limit);
    buffer_clear(&stream->message);
    if (is_limit && buffer_append_text(&stream->message, memory_full_message(message)))
        set_fault(stream, UPSTREAM_LIMIT, CAUSE_MEMORY_LIMIT, stream->message.bytes);
    else if (is_limit)
        set_fault(stream, UPSTREAM_LIMIT, CAUSE_MEMORY_LIMIT, "The gateway's memory limit has been reached.");
    else
        set_fault(stream, UPSTREAM_INTERNAL, CAUSE_MEMORY, "Memory ran out.");
}

static enum transfer_taken parse_bytes(struct upstream_stream *stream, const char *bytes, size_t length) {
    int result = sse_parser_feed(stream->parser, bytes, length);
    if (result == -EMSGSIZE)
        set_fault_of_limit(stream, CAUSE_EVENT_BYTES, "An event of the upstream is larger than the limit",
                           stream->event_bytes_max);
    else if (result == -ENAMETOOLONG)
        set_fault_of_limit(stream, CAUSE_EVENT_TYPE_BYTES,
                           "The type of an event of the upstream is longer than the limit",
                           stream->event_type_bytes_max);
    else if (result == -E2BIG)
        set_fault(stream, UPSTREAM_LIMIT, CAUSE_EVENT_LINES,
                  "An event of the upstream has too many lines for its data.");
    else if (result == -ENOMEM)
        set_fault_of_memory(stream);
    else if (result == 0 && !stream->has_last)
        expect_more(stream);
    return result < 0 ? TRANSFER_ABORT : TRANSFER_TAKEN;
}

/* ---- the transfer's role ---------------------------------------------------------------------------- */

static bool stream_send_request(struct upstream_stream *stream, enum stream_phase phase) {
    static const char empty[] = "{}";
    const struct upstream_request *run = stream->request;
    stream->phase = phase;
    struct transfer_request create = {"POST", run->session_url, empty, strlen(empty), true, false};
    struct transfer_request post = {"POST", run->url, run->body, run->body_length, false, false};
    struct transfer_request resume = {"GET", stream->resume_url, NULL, 0, true, false};
    const struct transfer_request *request = phase == STREAM_CREATE       ? &create
                                             : stream->resume_url != NULL ? &resume
                                                                          : &post;
    return transfer_send(&stream->transfer, request);
}

static void stream_on_sent(struct transfer *transfer) {
    struct upstream_stream *stream = stream_of(transfer);
    transfer_set_deadline(transfer, transfer->first_byte_timeout_ms);
    if (!stream->told_request && stream->callbacks.on_request != NULL)
        stream->callbacks.on_request(stream->context);
    stream->told_request = true;
    if (stream->phase == STREAM_CREATE || stream->told_sent)
        return;
    stream->told_sent = true;
    stream->callbacks.on_sent(stream->context);
}

static bool stream_on_head(struct transfer *transfer) {
    struct upstream_stream *stream = stream_of(transfer);
    struct transfer_fault fault;
    bool has_fault = answer_find_fault(&transfer->length, &fault);
    if (stream->phase == STREAM_CREATE && !stream_is_creation_refused(stream))
        return !has_fault; /* its body has what is left of the time for the first byte */
    bool is_good = transfer->status / 100 == 2;
    bool is_stream = is_good && answer_is_event_stream(transfer);
    if (is_good && has_fault)
        return set_fault(stream, UPSTREAM_PROTOCOL, fault.cause, fault.message);
    if (!is_stream) {
        stream->is_foreign = transfer->status == 200;
        transfer_set_deadline(transfer, ANSWER_TIMEOUT_MS);
        return !has_fault;
    }
    if (answer_is_compressed(transfer))
        return set_fault(stream, UPSTREAM_PROTOCOL, CAUSE_COMPRESSED, ANSWER_IS_COMPRESSED);
    stream->is_open = true;
    expect_event(stream);
    expect_more(stream);
    if (stream->callbacks.on_open != NULL)
        stream->callbacks.on_open(stream->context);
    return true;
}

static enum transfer_taken stream_on_body(struct transfer *transfer, const char *bytes, size_t length) {
    struct upstream_stream *stream = stream_of(transfer);
    bool is_creation = stream->phase == STREAM_CREATE && !stream_is_creation_refused(stream);
    if (stream->has_ended || (is_creation && transfer->status / 100 == 2))
        return TRANSFER_TAKEN;
    if (!stream->is_open) { /* of a creation all is read, so that the connection can be used for the run */
        bool has_room = stream_keep_answer(stream, bytes, length);
        return has_room || is_creation ? TRANSFER_TAKEN : TRANSFER_ABORT;
    }
    if (stream->callbacks.may_read != NULL && !stream->callbacks.may_read(stream->context)) {
        transfer_clear_deadline(transfer); /* it is we who hold it */
        return TRANSFER_PAUSE;
    }
    return parse_bytes(stream, bytes, length);
}

/** The session's creation has ended. Whatever else was answered, the run's own answer will tell. */
static void stream_on_created(struct upstream_stream *stream, CURLcode code) {
    struct transfer_fault fault;
    enum upstream_end end = transfer_judge(&stream->transfer, code, &fault);
    bool is_silent = end == UPSTREAM_IDLE && stream->transfer.status != 0;
    if (stream_is_creation_refused(stream)) {
        stream_finish_refused(stream);
        return;
    }
    if (is_silent) /* its body had what was left of the time for the first byte */
        fault = (struct transfer_fault){CAUSE_FIRST_BYTE_TIMEOUT,
                                        "The upstream did not create the session in time "
                                        "(upstream_first_byte_timeout_ms)."};
    bool was_asked = end != UPSTREAM_CONNECT && end != UPSTREAM_IDLE && end != UPSTREAM_NO_DESCRIPTOR &&
                     end != UPSTREAM_INTERNAL;
    if (!was_asked) {
        stream_finish(stream, end, fault.cause, fault.message);
        return;
    }
    stream_note_creation(stream, end, fault.message);
    if (!stream_send_request(stream, STREAM_RUN))
        stream_finish(stream, UPSTREAM_INTERNAL, CAUSE_MEMORY, "Memory ran out.");
}

/** The session was said to exist, and does not: creates it and posts the run once more. */
static void post_again(struct upstream_stream *stream) {
    const struct upstream_result refusal = {.end = UPSTREAM_STATUS,
                                            .cause = CAUSE_STATUS,
                                            .http_status = stream->transfer.status,
                                            .message = stream_refusal(stream)};
    stream->has_retried = true;
    if (stream->callbacks.on_again != NULL)
        stream->callbacks.on_again(stream->context, &refusal);
    if (stream->has_ended)
        return;
    buffer_clear(&stream->answer);
    buffer_clear(&stream->message);
    if (!stream_send_request(stream, STREAM_CREATE))
        stream_finish(stream, UPSTREAM_INTERNAL, CAUSE_MEMORY, "Memory ran out.");
}

static void stream_on_done(struct transfer *transfer, CURLcode code) {
    struct upstream_stream *stream = stream_of(transfer);
    bool can_create = stream->request->session_url != NULL && stream->session_exists && !stream->has_retried;
    if (stream->has_ended) {
        transfer_release(transfer);
    } else if (stream->phase == STREAM_CREATE) {
        stream_on_created(stream, code);
    } else if (transfer->status == 404 && can_create) {
        post_again(stream);
    } else {
        stream_conclude(stream, code);
    }
}

static void destroy(struct transfer *transfer) {
    struct upstream_stream *stream = stream_of(transfer);
    upstream_request_unref(stream->request);
    sse_parser_destroy(stream->parser);
    buffer_finish(&stream->answer);
    buffer_finish(&stream->message);
    buffer_finish(&stream->creation);
    free(stream->rules.error_events);
    free(stream->rules.end_events);
    memory_release(MEMORY_STREAMS, sizeof *stream);
    free(stream);
}

static const struct transfer_role stream_role = {
    .on_sent = stream_on_sent,
    .on_head = stream_on_head,
    .on_body = stream_on_body,
    .on_done = stream_on_done,
    .destroy = destroy,
    .takes_rest = true,
};

/* ---- the public half -------------------------------------------------------------------------------- */

static bool add_header_if(struct transfer *transfer, const char *name, const char *value) {
    return value == NULL || transfer_add_header(transfer, name, value);
}

static bool add_stream_headers(struct upstream_stream *stream, const struct upstream_settings *settings,
                               const struct upstream_post *post) {
    struct transfer *transfer = &stream->transfer;
    const char *traceparent = post->traceparent[0] != '\0' ? post->traceparent : NULL;
    return transfer_add_header(transfer, "Accept", "text/event-stream") &&
           transfer_add_header(transfer, "Content-Type", "application/json") &&
           transfer_omit_header(transfer, "Expect") &&
           add_header_if(transfer, "Authorization", settings->authorization) &&
           transfer_add_lines(transfer, settings->headers) &&
           add_header_if(transfer, "Last-Event-ID", post->last_event_id) &&
           add_header_if(transfer, "traceparent", traceparent) &&
           add_header_if(transfer, "tracestate", traceparent != NULL ? post->tracestate : NULL);
}

static bool copy_stream_text(const char *text, char **ret_copy) {
    *ret_copy = text != NULL ? strdup(text) : NULL;
    return text == NULL || *ret_copy != NULL;
}

static bool copy_rules(struct upstream_stream *stream, const struct adapter_rules *rules) {
    stream->rules.doubt_fails = rules->doubt_fails;
    stream->reading.rules = &stream->rules;
    return copy_stream_text(rules->error_events, &stream->rules.error_events) &&
           copy_stream_text(rules->end_events, &stream->rules.end_events);
}

static bool stream_begin(struct upstream_stream *stream, const struct upstream_settings *settings,
                         const struct upstream_post *post) {
    bool create = stream->request->session_url != NULL && !stream->session_exists;
    stream->parser = sse_parser_create((size_t)settings->event_bytes_max,
                                       (size_t)settings->event_type_bytes_max, stream_on_event, stream);
    return stream->parser != NULL && copy_rules(stream, &settings->rules) &&
           add_stream_headers(stream, settings, post) &&
           stream_send_request(stream, create ? STREAM_CREATE : STREAM_RUN);
}

struct upstream_stream *upstream_stream_start(struct upstream_client *client,
                                              const struct upstream_settings *settings,
                                              const struct upstream_post *post,
                                              const struct upstream_stream_callbacks *callbacks,
                                              void *context) {
    struct upstream_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL || !transfer_init(&stream->transfer, client, settings, &stream_role)) {
        free(stream);
        upstream_request_unref(post->request);
        return NULL;
    }
    memory_charge(MEMORY_STREAMS, sizeof *stream);
    stream->request = post->request;
    stream->session_exists = post->session_exists;
    stream->resume_url = post->resume_url;
    stream->callbacks = *callbacks;
    stream->context = context;
    stream->event_bytes_max = settings->event_bytes_max;
    stream->event_type_bytes_max = settings->event_type_bytes_max;
    stream->event_timeout_ms = settings->event_timeout_ms;
    stream->fault = UPSTREAM_COMPLETED;
    buffer_init(&stream->answer, ANSWER_BYTES_MAX);
    buffer_init(&stream->message, MESSAGE_BYTES_MAX);
    buffer_init(&stream->creation, MESSAGE_BYTES_MAX);
    if (!stream_begin(stream, settings, post)) {
        transfer_release(&stream->transfer);
        return NULL;
    }
    client->active++;
    return stream;
}

const char *upstream_stream_location(const struct upstream_stream *stream) {
    const char *location = transfer_header(&stream->transfer, "Location");
    return location != NULL ? location : transfer_header(&stream->transfer, "Content-Location");
}

void upstream_stream_resume(struct upstream_stream *stream) {
    expect_event(stream);
    expect_more(stream);
    transfer_resume(&stream->transfer);
}

void upstream_stream_cancel(struct upstream_stream *stream) {
    if (stream->has_ended || stream->transfer.is_released)
        return;
    stream->has_ended = true;
    stream->transfer.client->active--;
    transfer_release(&stream->transfer);
}
