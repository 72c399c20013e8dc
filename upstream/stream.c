/* Streams: a run is posted, its session created if need be, and its events told. See client.h.
 *
 *     CREATE (if the session is not known to exist) -> RUN -> its end
 *                                          RUN answered 404 -> CREATE -> RUN, once
 */
#include "upstream/adapter_body.h"
#include "upstream/client_internal.h"
#include "upstream/error_text.h"
#include "upstream/retry.h"

#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/metrics.h"

#include <errno.h>
#include <stdio.h>
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
    struct adapter_rules rules; /* copies */
    struct adapter_reading reading;
    struct buffer answer;  /* what a refusal says */
    struct buffer message; /* what the stream or a refusal says went wrong */
    int64_t first_byte_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t event_timeout_ms; /* 0: no limit */
    uint64_t event_due_ms;    /* the next event, on the loop's clock, if there is a limit */
    enum stream_phase phase;
    enum upstream_end fault; /* why we stopped reading; UPSTREAM_COMPLETED: we did not */
    const char *fault_message;
    bool told_request;
    bool told_sent;
    bool has_retried;  /* the run was posted again after a 404 */
    bool has_failed;   /* an event said that the run failed */
    bool has_last;     /* an event said that the run is complete */
    bool is_open;      /* an event stream has begun */
    bool awaits_event; /* its deadline is that of the next event, not that of the next byte */
    bool is_foreign;   /* the answer is no event stream: what it says is read like a refusal */
    bool has_ended;    /* nothing more is told */
};

static struct upstream_stream *stream_of(struct transfer *transfer) {
    return CONTAINER_OF(transfer, struct upstream_stream, transfer);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

/** The upstream has no room for the session that the run needs, so the run is not posted. */
static bool is_creation_refused(const struct upstream_stream *stream) {
    int status = stream->transfer.status;
    return stream->phase == STREAM_CREATE && (status == 429 || status == 503);
}

/** Whether the answer is none that a run can be read from, by its status. */
static bool is_refusal(const struct upstream_stream *stream) {
    return !stream->is_open && stream->transfer.status != 200;
}

/** For how long we are asked to stay away: by a refusal's header, or by the stream's `retry:` field. */
static int64_t asked_for_ms(const struct upstream_stream *stream) {
    const struct transfer *transfer = &stream->transfer;
    if ((stream->phase != STREAM_RUN && !is_creation_refused(stream)) || transfer->status == 0)
        return 0;
    if (is_refusal(stream))
        return retry_after_parse(transfer_header(transfer, "Retry-After"), clock_unix_ms());
    int64_t retry_ms = sse_parser_retry_ms(stream->parser);
    return retry_ms > 0 ? retry_ms : 0;
}

static bool is_unanswered(const struct upstream_stream *stream, enum upstream_end end) {
    bool broke = end == UPSTREAM_TRUNCATED || end == UPSTREAM_IDLE;
    return broke && stream->phase == STREAM_RUN && transfer_is_unanswered(&stream->transfer);
}

/** Reports the end. The transfer may go on. */
static void tell_end(struct upstream_stream *stream, enum upstream_end end, const char *message,
                     const char *warning) {
    stream->has_ended = true;
    stream->transfer.client->active--;
    struct upstream_outcome outcome = {.usage = stream->reading.usage};
    snprintf(outcome.warning, sizeof(outcome.warning), "%s", warning);
    memcpy(outcome.finish_reason, stream->reading.finish_reason, sizeof(outcome.finish_reason));
    struct upstream_result result = {
        .end = end,
        .http_status =
            stream->phase == STREAM_RUN || is_creation_refused(stream) ? stream->transfer.status : 0,
        .message = message,
        .is_unanswered = is_unanswered(stream, end),
        .retry_after_ms = asked_for_ms(stream),
        .bare_id = sse_parser_bare_id(stream->parser),
        .is_unsettled = stream->reading.is_unsettled,
        .outcome = &outcome,
    };
    stream->callbacks.on_end(stream->context, &result);
}

static void finish(struct upstream_stream *stream, enum upstream_end end, const char *message) {
    tell_end(stream, end, message, "");
    transfer_release(&stream->transfer);
}

static void finish_completed(struct upstream_stream *stream, const char *warning) {
    tell_end(stream, UPSTREAM_COMPLETED, "", stream->reading.has_events ? warning : "empty");
    transfer_release(&stream->transfer);
}

static void finish_failed(struct upstream_stream *stream) {
    bool said_why = stream->message.length > 0;
    finish(stream, UPSTREAM_ERROR, said_why ? stream->message.bytes : "The upstream reported an error.");
}

/** Whether the answer can be read as it is. */
static bool is_readable(const struct upstream_stream *stream) {
    return !answer_is_compressed(&stream->transfer);
}

/** Appends ": " and what an answer says, or "." if it says nothing that can be read. */
static bool append_answer(struct buffer *message, const char *text, size_t length) {
    size_t plain = message->length;
    bool done = buffer_append_text(message, ": ") && error_text_append(message, text, length);
    if (done && message->length > plain + strlen(": "))
        return true;
    message->length = plain;
    return done && buffer_append_text(message, ".");
}

static void finish_refused(struct upstream_stream *stream) {
    struct buffer *message = &stream->message;
    const char *when = stream->phase == STREAM_CREATE ? " when the session was to be created" : "";
    size_t length = is_readable(stream) ? stream->answer.length : 0;
    bool done = buffer_printf(message, "The upstream answered %d%s", stream->transfer.status, when) &&
                append_answer(message, stream->answer.bytes, length);
    finish(stream, UPSTREAM_STATUS, done ? message->bytes : "The upstream refused the run.");
}

/** The answer was good, but is of another type. */
static void finish_foreign(struct upstream_stream *stream) {
    struct buffer *message = &stream->message;
    size_t length = is_readable(stream) ? stream->answer.length : 0;
    bool done = buffer_append_text(message, "The upstream's answer is not an event stream") &&
                append_answer(message, stream->answer.bytes, length);
    finish(stream, UPSTREAM_PROTOCOL,
           done ? message->bytes : "The upstream's answer is not an event stream.");
}

/** Something between the events is an error that was not framed as one, or there was nothing else. */
static bool is_astray(const struct upstream_stream *stream, const struct sse_stray *stray) {
    return stray->looks_wrong || (stray->length > 0 && !stream->reading.has_events);
}

static void finish_astray(struct upstream_stream *stream, const struct sse_stray *stray) {
    static const char field[] = "error:";
    struct buffer *message = &stream->message;
    bool is_field = stray->length >= strlen(field) && strncasecmp(stray->text, field, strlen(field)) == 0;
    size_t skipped = is_field ? strlen(field) : 0;
    bool is_error = is_field || adapter_data_is_error(stray->text, stray->length);
    bool done =
        buffer_append_text(message, "The upstream wrote something that is no event into the stream: ") &&
        error_text_append_any(message, stray->text + skipped, stray->length - skipped);
    finish(stream, is_error ? UPSTREAM_ERROR : UPSTREAM_PROTOCOL,
           done ? message->bytes : "The upstream wrote something that is no event into the stream.");
}

static bool note_rest(struct upstream_stream *stream, const struct sse_event *rest);

/** A clean end, without an end marker. */
static void conclude_clean(struct upstream_stream *stream) {
    const char *warning = "";
    switch (stream->run.adapter->judge_end(&stream->reading, &warning)) {
    case ADAPTER_WHOLE:
        finish_completed(stream, "");
        break;
    case ADAPTER_CUT:
        finish(stream, UPSTREAM_TRUNCATED, "The upstream's stream ended without its end marker.");
        break;
    case ADAPTER_DOUBTFUL:
        if (!stream->rules.doubt_fails) {
            finish_completed(stream, warning);
            break;
        }
        bool done =
            buffer_printf(&stream->message, "The upstream's last word was not a whole answer: %s.", warning);
        finish(stream, UPSTREAM_ERROR, done ? stream->message.bytes : "The upstream's answer was not whole.");
        break;
    }
}

/** The event stream has ended: reports how. `end` is how its connection did. */
static void conclude_stream(struct upstream_stream *stream, enum upstream_end end, const char *message) {
    struct sse_event rest;
    bool is_clean = end == UPSTREAM_COMPLETED && transfer_is_framed(&stream->transfer);
    bool has_rest = sse_parser_finish(stream->parser, &rest);
    if (has_rest && !note_rest(stream, &rest))
        return;
    struct sse_stray stray = sse_parser_stray(stream->parser);
    if (stream->has_failed)
        finish_failed(stream);
    else if (is_astray(stream, &stray))
        finish_astray(stream, &stray);
    else if (stream->has_last)
        finish_completed(stream, "");
    else if (end != UPSTREAM_COMPLETED)
        finish(stream, end, message);
    else if (!is_clean)
        finish(stream, UPSTREAM_TRUNCATED, "The upstream's stream ended without its end marker.");
    else if (has_rest)
        finish(stream, UPSTREAM_TRUNCATED, "The upstream's stream ended within an event.");
    else
        conclude_clean(stream);
}

/** What ended a stream that was open, in the words of the limit that was over. */
static const char *message_of_end(const struct upstream_stream *stream, enum upstream_end end,
                                  const char *message) {
    bool is_late = end == UPSTREAM_IDLE && stream->awaits_event;
    return is_late ? "The upstream sent no event in time." : message;
}

/** The run's request has ended: reports how. */
static void conclude(struct upstream_stream *stream, CURLcode code) {
    struct transfer *transfer = &stream->transfer;
    const char *message;
    enum upstream_end end = transfer_judge(transfer, code, &message);
    if (stream->fault != UPSTREAM_COMPLETED)
        finish(stream, stream->fault, stream->fault_message);
    else if (transfer->status == 0)
        finish(stream, end, message);
    else if (is_refusal(stream))
        finish_refused(stream);
    else if (stream->is_foreign)
        finish_foreign(stream);
    else
        conclude_stream(stream, end, message_of_end(stream, end, message));
}

/** The stream has said that it is complete: reports it, and lets the connection come to its own end, so that
 * it can be used again. */
static void conclude_early(struct upstream_stream *stream) {
    struct sse_stray stray = sse_parser_stray(stream->parser);
    if (stream->has_failed) {
        finish_failed(stream);
    } else if (is_astray(stream, &stray)) {
        finish_astray(stream, &stray);
    } else {
        tell_end(stream, UPSTREAM_COMPLETED, "", stream->reading.has_events ? "" : "empty");
        transfer_set_deadline(&stream->transfer, DRAIN_TIMEOUT_MS);
    }
}

/* ---- time ------------------------------------------------------------------------------------------- */

static void expect_event(struct upstream_stream *stream) {
    if (stream->event_timeout_ms > 0)
        stream->event_due_ms = uv_now(stream->transfer.client->loop) + (uint64_t)stream->event_timeout_ms;
}

/** Bytes have come, or the stream may go on: how long nothing more, or no event, may come from now on. */
static void expect_more(struct upstream_stream *stream) {
    int64_t left_ms = stream->idle_timeout_ms;
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

/** Keeps what the first failed event says. Without memory for it the end has a message of its own. */
static void note_failure(struct upstream_stream *stream, const struct sse_event *event) {
    if (!stream->has_failed && !error_text_append_any(&stream->message, event->data, event->data_length))
        buffer_clear(&stream->message);
    stream->has_failed = true;
}

/** A last block without its blank line is no event, except for the end marker; but an error in it says why
 * the stream ended. False: the stream has ended in here. */
static bool note_rest(struct upstream_stream *stream, const struct sse_event *rest) {
    struct adapter_reading reading = stream->reading;
    enum adapter_verdict verdict = stream->run.adapter->judge(&reading, rest);
    if (verdict == ADAPTER_FAILED)
        note_failure(stream, rest);
    if (verdict != ADAPTER_DONE || stream->has_failed)
        return true;
    if (!stream->callbacks.on_event(stream->context, rest, verdict))
        upstream_stream_cancel(stream);
    if (!stream->has_ended)
        finish_completed(stream, "");
    return false;
}

static int on_event(void *context, const struct sse_event *event) {
    struct upstream_stream *stream = context;
    expect_event(stream);
    enum adapter_verdict verdict = stream->run.adapter->judge(&stream->reading, event);
    if (!stream->callbacks.on_event(stream->context, event, verdict))
        upstream_stream_cancel(stream);
    if (stream->has_ended || stream->transfer.is_released)
        return STOP;
    switch (verdict) {
    case ADAPTER_FAILED:
        note_failure(stream, event);
        return 0;
    case ADAPTER_DONE:
        conclude_early(stream);
        return STOP;
    case ADAPTER_LAST:
        stream->has_last = true;
        break;
    case ADAPTER_CONTINUE:
        break;
    }
    if (stream->has_last)
        transfer_set_deadline(&stream->transfer, DRAIN_TIMEOUT_MS);
    return 0;
}

/** Remembers why reading stops here. Always false, "do not go on". */
static bool set_fault(struct upstream_stream *stream, enum upstream_end end, const char *message) {
    stream->fault = end;
    stream->fault_message = message;
    return false;
}

/** There is no memory: the machine's, or by the limit. */
static void set_fault_of_memory(struct upstream_stream *stream) {
    bool is_limit = memory_level() == MEMORY_OVER;
    metrics_add(METRIC_MEMORY_RUNS_ENDED, is_limit);
    if (is_limit)
        set_fault(stream, UPSTREAM_LIMIT, MEMORY_FULL_MESSAGE);
    else
        set_fault(stream, UPSTREAM_INTERNAL, "Memory ran out.");
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
        set_fault_of_memory(stream);
    else if (result == 0 && !stream->has_last)
        expect_more(stream);
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
    struct transfer_request create = {"POST", run->session_url, empty, strlen(empty), true};
    struct transfer_request post = {"POST", run->url, run->body, run->body_length, false};
    struct transfer_request resume = {"GET", run->resume_url, NULL, 0, true};
    const struct transfer_request *request = phase == STREAM_CREATE    ? &create
                                             : run->resume_url != NULL ? &resume
                                                                       : &post;
    return transfer_send(&stream->transfer, request);
}

static void on_sent(struct transfer *transfer) {
    struct upstream_stream *stream = stream_of(transfer);
    transfer_set_deadline(transfer, stream->first_byte_timeout_ms);
    if (!stream->told_request && stream->callbacks.on_request != NULL)
        stream->callbacks.on_request(stream->context);
    stream->told_request = true;
    if (stream->phase == STREAM_CREATE || stream->told_sent)
        return;
    stream->told_sent = true;
    stream->callbacks.on_sent(stream->context);
}

static bool on_head(struct transfer *transfer) {
    struct upstream_stream *stream = stream_of(transfer);
    if (stream->phase == STREAM_CREATE && !is_creation_refused(stream))
        return !transfer->length.is_bad; /* its body has what is left of the time for the first byte */
    bool is_good = transfer->status / 100 == 2;
    bool is_stream = is_good && answer_is_event_stream(transfer);
    if (is_good && transfer->length.is_bad)
        return set_fault(stream, UPSTREAM_PROTOCOL, ANSWER_LENGTH_IS_BAD);
    if (!is_stream) {
        stream->is_foreign = transfer->status == 200;
        transfer_set_deadline(transfer, ANSWER_TIMEOUT_MS);
        return !transfer->length.is_bad;
    }
    if (answer_is_compressed(transfer))
        return set_fault(stream, UPSTREAM_PROTOCOL,
                         "The upstream compressed its answer without being asked.");
    stream->is_open = true;
    expect_event(stream);
    expect_more(stream);
    if (stream->callbacks.on_open != NULL)
        stream->callbacks.on_open(stream->context);
    return true;
}

static enum transfer_taken on_body(struct transfer *transfer, const char *bytes, size_t length) {
    struct upstream_stream *stream = stream_of(transfer);
    if (stream->has_ended || (stream->phase == STREAM_CREATE && !is_creation_refused(stream)))
        return TRANSFER_TAKEN;
    if (!stream->is_open)
        return keep_answer(stream, bytes, length);
    if (stream->callbacks.may_read != NULL && !stream->callbacks.may_read(stream->context)) {
        transfer_clear_deadline(transfer); /* it is we who hold it */
        return TRANSFER_PAUSE;
    }
    return parse(stream, bytes, length);
}

/** The session's creation has ended. Whatever else was answered, the run's own answer will tell. */
static void on_created(struct upstream_stream *stream, CURLcode code) {
    const char *message;
    enum upstream_end end = transfer_judge(&stream->transfer, code, &message);
    if (is_creation_refused(stream))
        finish_refused(stream);
    else if (end == UPSTREAM_CONNECT || end == UPSTREAM_IDLE || end == UPSTREAM_INTERNAL)
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
    free(stream->rules.error_events);
    free(stream->rules.end_events);
    memory_release(MEMORY_STREAMS, sizeof *stream);
    free(stream);
}

static const struct transfer_role stream_role = {
    .on_sent = on_sent,
    .on_head = on_head,
    .on_body = on_body,
    .on_done = on_done,
    .destroy = destroy,
    .takes_rest = true,
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
    free(run->resume_url);
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

static bool copy_text(const char *text, char **ret_copy) {
    *ret_copy = text != NULL ? strdup(text) : NULL;
    return text == NULL || *ret_copy != NULL;
}

static bool copy_rules(struct upstream_stream *stream, const struct adapter_rules *rules) {
    stream->rules.doubt_fails = rules->doubt_fails;
    stream->reading.rules = &stream->rules;
    return copy_text(rules->error_events, &stream->rules.error_events) &&
           copy_text(rules->end_events, &stream->rules.end_events);
}

static bool stream_begin(struct upstream_stream *stream, const struct upstream_settings *settings) {
    bool create = stream->run.session_url != NULL && !stream->run.session_exists;
    stream->parser = sse_parser_create((size_t)settings->event_bytes_max,
                                       (size_t)settings->event_type_bytes_max, on_event, stream);
    return stream->parser != NULL && copy_rules(stream, &settings->rules) &&
           add_headers(stream, settings->authorization) &&
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
    stream->event_timeout_ms = settings->event_timeout_ms;
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
