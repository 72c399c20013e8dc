/* Streams: a run is posted, its session created if need be, and its events told. See client.h.
 *
 *     CREATE (if the session is not known to exist) -> RUN -> its end
 *                                          RUN answered 404 -> CREATE -> RUN, once
 */
#include "upstream/client_internal.h"
#include "upstream/error_text.h"
#include "upstream/retry.h"

#include "base/clock.h"
#include "base/memory_budget.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES_MAX 1024 /* of a refusal, that are read */
#define MESSAGE_BYTES_MAX 2048
#define ANSWER_TIMEOUT_MS 1000 /* for the body of a refusal */
#define DRAIN_TIMEOUT_MS 1000  /* for the connection's own end after the stream's */
#define STOP 1                 /* what on_event() returns to the parser */

enum stream_phase { STREAM_CREATE, STREAM_RUN };

struct upstream_stream {
    struct transfer transfer;
    struct upstream_stream_callbacks callbacks;
    void *context;
    struct upstream_run run;
    struct sse_parser *parser;
    struct buffer answer;  /* what a refusal says */
    struct buffer message; /* what the stream or a refusal says went wrong */
    int64_t first_byte_timeout_ms;
    int64_t idle_timeout_ms;
    enum stream_phase phase;
    enum upstream_end fault; /* why we stopped reading; UPSTREAM_COMPLETED: we did not */
    const char *fault_message;
    bool told_sent;
    bool has_retried; /* the run was posted again after a 404 */
    bool has_failed;  /* an event said that the run failed */
    bool has_ended;   /* nothing more is told */
};

static struct upstream_stream *stream_of(struct transfer *transfer) {
    return CONTAINER_OF(transfer, struct upstream_stream, transfer);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

/** For how long we are asked to stay away: by a refusal's header, or by the stream's `retry:` field. */
static int64_t asked_for_ms(const struct upstream_stream *stream) {
    const struct transfer *transfer = &stream->transfer;
    if (stream->phase != STREAM_RUN || transfer->status == 0)
        return 0;
    if (transfer->status != 200)
        return retry_after_parse(transfer_header(transfer, "Retry-After"), clock_unix_ms());
    int64_t retry_ms = sse_parser_retry_ms(stream->parser);
    return retry_ms > 0 ? retry_ms : 0;
}

/** Tells the end. The transfer may go on. */
static void tell_end(struct upstream_stream *stream, enum upstream_end end, const char *message) {
    stream->has_ended = true;
    stream->transfer.client->active--;
    struct upstream_result result = {
        .end = end,
        .http_status = stream->phase == STREAM_RUN ? stream->transfer.status : 0,
        .message = message,
        .retry_after_ms = asked_for_ms(stream),
    };
    stream->callbacks.on_end(stream->context, &result);
}

static void finish(struct upstream_stream *stream, enum upstream_end end, const char *message) {
    tell_end(stream, end, message);
    transfer_release(&stream->transfer);
}

static void finish_failed(struct upstream_stream *stream) {
    bool said_why = stream->message.length > 0;
    finish(stream, UPSTREAM_ERROR, said_why ? stream->message.bytes : "The upstream reported an error.");
}

static void finish_refused(struct upstream_stream *stream) {
    struct buffer *message = &stream->message;
    bool readable = transfer_header(&stream->transfer, "Content-Encoding") == NULL;
    bool done = buffer_printf(message, "The upstream answered %d", stream->transfer.status);
    size_t plain = message->length;
    if (done && readable && stream->answer.length > 0)
        done = buffer_append_text(message, ": ") &&
               error_text_append(message, stream->answer.bytes, stream->answer.length);
    bool says_more = done && message->length > plain + strlen(": ");
    if (done && !says_more) {
        message->length = plain;
        done = buffer_append_text(message, ".");
    }
    finish(stream, UPSTREAM_STATUS, done ? message->bytes : "The upstream refused the run.");
}

/** The run's request has ended: says how. */
static void conclude(struct upstream_stream *stream, CURLcode code) {
    const struct transfer *transfer = &stream->transfer;
    const char *message;
    enum upstream_end end = transfer_judge(transfer, code, &message);
    if (stream->fault != UPSTREAM_COMPLETED) {
        finish(stream, stream->fault, stream->fault_message);
    } else if (stream->has_failed) {
        finish_failed(stream);
    } else if (transfer->status != 0 && transfer->status != 200) {
        finish_refused(stream);
    } else if (end == UPSTREAM_COMPLETED &&
               (stream->run.adapter->done_data != NULL || !transfer_is_framed(transfer))) {
        finish(stream, UPSTREAM_TRUNCATED, "The upstream's stream ended without its end marker.");
    } else {
        finish(stream, end, message);
    }
}

/** The stream has said that it is complete: tells it, and lets the connection come to its own end, so that it
 *  can be used again. */
static void conclude_early(struct upstream_stream *stream) {
    if (stream->has_failed) {
        finish_failed(stream);
        return;
    }
    tell_end(stream, UPSTREAM_COMPLETED, "");
    transfer_set_deadline(&stream->transfer, DRAIN_TIMEOUT_MS);
}

/* ---- events ----------------------------------------------------------------------------------------- */

/** Keeps what the first failed event says. Without memory for it the end has a message of its own. */
static void note_failure(struct upstream_stream *stream, const struct sse_event *event) {
    if (!stream->has_failed && !error_text_append(&stream->message, event->data, event->data_length))
        buffer_clear(&stream->message);
    stream->has_failed = true;
}

static int on_event(void *context, const struct sse_event *event) {
    struct upstream_stream *stream = context;
    transfer_set_deadline(&stream->transfer, stream->idle_timeout_ms);
    if (!stream->callbacks.on_event(stream->context, event))
        upstream_stream_cancel(stream);
    if (stream->has_ended || stream->transfer.is_released)
        return STOP;
    switch (stream->run.adapter->judge(event)) {
    case ADAPTER_FAILED:
        note_failure(stream, event);
        return 0;
    case ADAPTER_DONE:
        conclude_early(stream);
        return STOP;
    case ADAPTER_CONTINUE:
        break;
    }
    return 0;
}

/** Remembers why reading stops here. Always false, "do not go on". */
static bool set_fault(struct upstream_stream *stream, enum upstream_end end, const char *message) {
    stream->fault = end;
    stream->fault_message = message;
    return false;
}

static enum transfer_taken parse(struct upstream_stream *stream, const char *bytes, size_t length) {
    int result = sse_parser_feed(stream->parser, bytes, length);
    if (result == -EMSGSIZE)
        set_fault(stream, UPSTREAM_LIMIT, "An event of the upstream is larger than the limit.");
    else if (result == -ENAMETOOLONG)
        set_fault(stream, UPSTREAM_LIMIT,
                  "The type of an event of the upstream is longer than event_type_bytes_max.");
    else if (result == -E2BIG)
        set_fault(stream, UPSTREAM_LIMIT, "An event of the upstream has too many lines for its data.");
    else if (result == -ENOMEM)
        set_fault(stream, UPSTREAM_INTERNAL, "Memory ran out.");
    return result < 0 ? TRANSFER_ABORT : TRANSFER_TAKEN;
}

/** Keeps the beginning of a refusal; the rest is not worth waiting for. */
static enum transfer_taken keep_answer(struct upstream_stream *stream, const char *bytes, size_t length) {
    size_t room = stream->answer.bytes_max - stream->answer.length;
    size_t kept = length < room ? length : room;
    /* cppcheck-suppress knownConditionTrueFalse ; they are equal whenever there was room */
    return buffer_append(&stream->answer, bytes, kept) && kept == length ? TRANSFER_TAKEN : TRANSFER_ABORT;
}

/* ---- the transfer's role ---------------------------------------------------------------------------- */

static bool send_request(struct upstream_stream *stream, enum stream_phase phase) {
    static const char empty[] = "{}";
    const struct upstream_run *run = &stream->run;
    stream->phase = phase;
    struct transfer_request create = {"POST", run->session_url, empty, strlen(empty)};
    struct transfer_request post = {"POST", run->url, run->body, run->body_length};
    return transfer_send(&stream->transfer, phase == STREAM_CREATE ? &create : &post);
}

static void on_sent(struct transfer *transfer) {
    struct upstream_stream *stream = stream_of(transfer);
    transfer_set_deadline(transfer, stream->first_byte_timeout_ms);
    if (stream->phase == STREAM_CREATE || stream->told_sent)
        return;
    stream->told_sent = true;
    stream->callbacks.on_sent(stream->context);
}

static bool is_event_stream(const char *type) {
    static const char expected[] = "text/event-stream";
    if (type == NULL || strncasecmp(type, expected, strlen(expected)) != 0)
        return false;
    type += strlen(expected);
    type += strspn(type, " \t");
    return *type == '\0' || *type == ';';
}

static bool on_head(struct transfer *transfer) {
    struct upstream_stream *stream = stream_of(transfer);
    if (stream->phase == STREAM_CREATE)
        return true; /* its body has what is left of the time for the first byte */
    if (transfer->status != 200) {
        transfer_set_deadline(transfer, ANSWER_TIMEOUT_MS);
        return true;
    }
    if (!is_event_stream(transfer_header(transfer, "Content-Type")))
        return set_fault(stream, UPSTREAM_PROTOCOL, "The upstream's answer is not an event stream.");
    const char *coding = transfer_header(transfer, "Content-Encoding");
    if (coding != NULL && strcasecmp(coding, "identity") != 0)
        return set_fault(stream, UPSTREAM_PROTOCOL,
                         "The upstream compressed its answer without being asked.");
    transfer_set_deadline(transfer, stream->idle_timeout_ms);
    if (stream->callbacks.on_open != NULL)
        stream->callbacks.on_open(stream->context);
    return true;
}

static enum transfer_taken on_body(struct transfer *transfer, const char *bytes, size_t length) {
    struct upstream_stream *stream = stream_of(transfer);
    if (stream->has_ended || stream->phase == STREAM_CREATE)
        return TRANSFER_TAKEN;
    if (transfer->status != 200)
        return keep_answer(stream, bytes, length);
    if (stream->callbacks.may_read != NULL && !stream->callbacks.may_read(stream->context)) {
        transfer_clear_deadline(transfer); /* it is we who hold it */
        return TRANSFER_PAUSE;
    }
    return parse(stream, bytes, length);
}

/** The session's creation has ended. Whatever was answered, the run's own answer will tell. */
static void on_created(struct upstream_stream *stream, CURLcode code) {
    const char *message;
    enum upstream_end end = transfer_judge(&stream->transfer, code, &message);
    if (end == UPSTREAM_CONNECT || end == UPSTREAM_IDLE || end == UPSTREAM_INTERNAL)
        finish(stream, end, message);
    else if (!send_request(stream, STREAM_RUN))
        finish(stream, UPSTREAM_INTERNAL, "Memory ran out.");
}

static void on_done(struct transfer *transfer, CURLcode code) {
    struct upstream_stream *stream = stream_of(transfer);
    bool can_create = stream->run.session_url != NULL && stream->run.session_exists && !stream->has_retried;
    if (stream->has_ended) {
        transfer_release(transfer);
    } else if (stream->phase == STREAM_CREATE) {
        on_created(stream, code);
    } else if (transfer->status == 404 && can_create) {
        stream->has_retried = true;
        buffer_clear(&stream->answer);
        if (!send_request(stream, STREAM_CREATE))
            finish(stream, UPSTREAM_INTERNAL, "Memory ran out.");
    } else {
        conclude(stream, code);
    }
}

static void destroy(struct transfer *transfer) {
    struct upstream_stream *stream = stream_of(transfer);
    upstream_run_finish(&stream->run);
    sse_parser_destroy(stream->parser);
    buffer_finish(&stream->answer);
    buffer_finish(&stream->message);
    memory_release(MEMORY_STREAMS, sizeof *stream);
    free(stream);
}

static const struct transfer_role stream_role = {
    .on_sent = on_sent,
    .on_head = on_head,
    .on_body = on_body,
    .on_done = on_done,
    .destroy = destroy,
};

/* ---- the public half -------------------------------------------------------------------------------- */

static size_t text_memory(const char *text) {
    return text != NULL ? strlen(text) + 1 : 0;
}

void upstream_run_charge(struct upstream_run *run) {
    run->memory = text_memory(run->url) + text_memory(run->session_url) + run->body_length + 1;
    memory_charge(MEMORY_REQUESTS, run->memory);
}

void upstream_run_finish(struct upstream_run *run) {
    if (run->memory > 0)
        memory_release(MEMORY_REQUESTS, run->memory);
    free(run->url);
    free(run->body);
    free(run->session_url);
    free(run->last_event_id);
    free(run->traceparent);
    free(run->tracestate);
    *run = (struct upstream_run){.adapter = run->adapter};
}

static bool add_header_if(struct transfer *transfer, const char *name, const char *value) {
    return value == NULL || transfer_add_header(transfer, name, value);
}

static bool add_headers(struct upstream_stream *stream, const char *authorization) {
    struct transfer *transfer = &stream->transfer;
    const struct upstream_run *run = &stream->run;
    return transfer_add_header(transfer, "Accept", "text/event-stream") &&
           transfer_add_header(transfer, "Content-Type", "application/json") &&
           transfer_omit_header(transfer, "Expect") &&
           add_header_if(transfer, "Authorization", authorization) &&
           add_header_if(transfer, "Last-Event-ID", run->last_event_id) &&
           add_header_if(transfer, "traceparent", run->traceparent) &&
           add_header_if(transfer, "tracestate", run->tracestate);
}

static bool stream_begin(struct upstream_stream *stream, const struct upstream_settings *settings) {
    bool create = stream->run.session_url != NULL && !stream->run.session_exists;
    stream->parser = sse_parser_create((size_t)settings->event_bytes_max,
                                       (size_t)settings->event_type_bytes_max, on_event, stream);
    return stream->parser != NULL && add_headers(stream, settings->authorization) &&
           send_request(stream, create ? STREAM_CREATE : STREAM_RUN);
}

struct upstream_stream *upstream_stream_start(struct upstream_client *client,
                                              const struct upstream_settings *settings,
                                              struct upstream_run *run,
                                              const struct upstream_stream_callbacks *callbacks,
                                              void *context) {
    struct upstream_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL || !transfer_init(&stream->transfer, client, settings, &stream_role)) {
        free(stream);
        upstream_run_finish(run);
        return NULL;
    }
    memory_charge(MEMORY_STREAMS, sizeof *stream);
    stream->run = *run;
    *run = (struct upstream_run){.adapter = run->adapter};
    stream->callbacks = *callbacks;
    stream->context = context;
    stream->first_byte_timeout_ms = settings->first_byte_timeout_ms;
    stream->idle_timeout_ms = settings->idle_timeout_ms;
    stream->fault = UPSTREAM_COMPLETED;
    buffer_init(&stream->answer, ANSWER_BYTES_MAX);
    buffer_init(&stream->message, MESSAGE_BYTES_MAX);
    if (!stream_begin(stream, settings)) {
        transfer_release(&stream->transfer);
        return NULL;
    }
    client->active++;
    return stream;
}

void upstream_stream_resume(struct upstream_stream *stream) {
    transfer_set_deadline(&stream->transfer, stream->idle_timeout_ms);
    transfer_resume(&stream->transfer);
}

void upstream_stream_cancel(struct upstream_stream *stream) {
    if (stream->has_ended || stream->transfer.is_released)
        return;
    stream->has_ended = true;
    stream->transfer.client->active--;
    transfer_release(&stream->transfer);
}
