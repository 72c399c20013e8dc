/* How a stream has ended: judged by its answer's head, by what its events said, and by how its connection
 * ended. */
#include "upstream/adapter_body.h"
#include "upstream/error_text.h"
#include "upstream/retry.h"
#include "upstream/stream_internal.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- the end ---------------------------------------------------------------------------------------- */

/** The upstream has no room for the session that the run needs, so the run is not posted. */
bool stream_is_creation_refused(const struct upstream_stream *stream) {
    int status = stream->transfer.status;
    return stream->phase == STREAM_CREATE && (status == 429 || status == 503);
}

/** Whether the answer is none that a run can be read from, by its status. */
bool stream_is_refusal(const struct upstream_stream *stream) {
    return !stream->is_open && stream->transfer.status != 200;
}

/** For how long we are asked to stay away: by a refusal's header, or by the stream's `retry:` field. */
static int64_t asked_for_ms(const struct upstream_stream *stream) {
    const struct transfer *transfer = &stream->transfer;
    if ((stream->phase != STREAM_RUN && !stream_is_creation_refused(stream)) || transfer->status == 0)
        return 0;
    if (stream_is_refusal(stream))
        return retry_after_parse(transfer_header(transfer, "Retry-After"), clock_unix_ms());
    int64_t retry_ms = sse_parser_retry_ms(stream->parser);
    return retry_ms > 0 ? retry_ms : 0;
}

static bool is_unanswered(const struct upstream_stream *stream, enum upstream_end end) {
    bool broke = end == UPSTREAM_TRUNCATED || end == UPSTREAM_IDLE;
    return broke && stream->phase == STREAM_RUN && transfer_is_unanswered(&stream->transfer);
}

#define MESSAGE_SIZE 1024

/** Reports the end. The transfer may go on. */
static void tell_end(struct upstream_stream *stream, enum upstream_end end, enum upstream_cause cause,
                     const char *message, const char *warning) {
    char both[MESSAGE_SIZE];
    if (stream_is_creation_to_blame(stream, end)) {
        snprintf(both, sizeof(both), "The session could not be created (%s). %s", stream->creation.bytes,
                 message);
        message = both;
        cause = CAUSE_SESSION;
    }
    stream->has_ended = true;
    stream->transfer.client->active--;
    struct upstream_outcome outcome = {.is_told = stream->told_failure, .usage = stream->reading.usage};
    snprintf(outcome.warning, sizeof(outcome.warning), "%s", warning);
    memcpy(outcome.finish_reason, stream->reading.finish_reason, sizeof(outcome.finish_reason));
    struct upstream_result result = {
        .end = end,
        .cause = cause,
        .http_status =
            stream->phase == STREAM_RUN || stream_is_creation_refused(stream) ? stream->transfer.status : 0,
        .message = message,
        .is_unanswered = is_unanswered(stream, end),
        .retry_after_ms = asked_for_ms(stream),
        .bare_id = sse_parser_bare_id(stream->parser),
        .is_unsettled = stream->reading.is_unsettled,
        .outcome = &outcome,
    };
    stream->callbacks.on_end(stream->context, &result);
}

void stream_finish(struct upstream_stream *stream, enum upstream_end end, enum upstream_cause cause,
                   const char *message) {
    tell_end(stream, end, cause, message, "");
    transfer_release(&stream->transfer);
}

static void finish_completed(struct upstream_stream *stream, const char *warning) {
    tell_end(stream, UPSTREAM_COMPLETED, CAUSE_NONE, "", stream->reading.has_events ? warning : "empty");
    transfer_release(&stream->transfer);
}

static void finish_failed(struct upstream_stream *stream) {
    bool said_why = stream->message.length > 0;
    stream_finish(stream, UPSTREAM_ERROR, CAUSE_ERROR_EVENT,
                  said_why ? stream->message.bytes : "The upstream reported an error.");
}

const char *stream_refusal(struct upstream_stream *stream) {
    struct buffer *message = &stream->message;
    const char *when = stream->phase == STREAM_CREATE ? " to the request that creates the session" : "";
    bool done = buffer_printf(message, "The upstream answered %d%s", stream->transfer.status, when) &&
                stream_append_refusal(stream, message);
    return done ? message->bytes : "The upstream refused the run.";
}

void stream_finish_refused(struct upstream_stream *stream) {
    enum upstream_cause cause = stream->phase == STREAM_CREATE ? CAUSE_SESSION : CAUSE_STATUS;
    stream_finish(stream, UPSTREAM_STATUS, cause, stream_refusal(stream));
}

/** The answer was good, but is of another type. */
static void finish_foreign(struct upstream_stream *stream) {
    struct buffer *message = &stream->message;
    bool done = buffer_append_text(message, "The upstream's answer is not an event stream") &&
                stream_append_foreign_answer(stream, message);
    stream_finish(stream, UPSTREAM_PROTOCOL, CAUSE_NOT_A_STREAM,
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
    bool done = buffer_append_text(message, "The upstream's stream contains text that is not an event: ") &&
                error_text_append_any(message, stray->text + skipped, stray->length - skipped);
    stream_finish(stream, is_error ? UPSTREAM_ERROR : UPSTREAM_PROTOCOL, CAUSE_STRAY_TEXT,
                  done ? message->bytes : "The upstream's stream contains text that is not an event.");
}

/** Keeps what the first failed event says. Without memory for it the end has a message of its own. */
void stream_note_failure(struct upstream_stream *stream, const struct sse_event *event) {
    if (!stream->has_failed && !error_text_append_any(&stream->message, event->data, event->data_length))
        buffer_clear(&stream->message);
    stream->has_failed = true;
}

/** Whether data that no line end follows is whole all the same: an object of JSON, or a word in brackets. */
static bool is_whole(const struct sse_event *rest) {
    const char *data = rest->data;
    size_t length = rest->data_length;
    if (length > 0 && data[0] == '[')
        return data[length - 1] == ']';
    cJSON *json = length > 0 && data[0] == '{' ? adapter_parse(data, length) : NULL;
    cJSON_Delete(json);
    return json != NULL;
}

/** A last block without its blank line is no event, except for the end marker; but an error in it says why
 * the stream ended. False: the stream has ended in here. */
static bool note_rest(struct upstream_stream *stream, const struct sse_event *rest) {
    struct adapter_reading reading = stream->reading;
    enum adapter_verdict verdict = stream->request->adapter->judge(&reading, rest);
    bool is_end = verdict == ADAPTER_DONE || (verdict == ADAPTER_LAST && is_whole(rest));
    if (verdict == ADAPTER_FAILED)
        stream_note_failure(stream, rest);
    if (!is_end || stream->has_failed)
        return true;
    stream->reading = reading;
    if (!stream->callbacks.on_event(stream->context, rest, verdict))
        upstream_stream_cancel(stream);
    if (!stream->has_ended)
        finish_completed(stream, "");
    return false;
}

static void finish_without_end(struct upstream_stream *stream) {
    stream_finish(stream, UPSTREAM_TRUNCATED, CAUSE_NO_END,
                  "The upstream's stream ended without its end marker.");
}

/** A clean end, without an end marker. */
static void conclude_clean(struct upstream_stream *stream) {
    const char *warning = "";
    switch (stream->request->adapter->judge_end(&stream->reading, &warning)) {
    case ADAPTER_WHOLE:
        finish_completed(stream, "");
        break;
    case ADAPTER_CUT:
        finish_without_end(stream);
        break;
    case ADAPTER_DOUBTFUL:
        if (!stream->rules.doubt_fails) {
            finish_completed(stream, warning);
            break;
        }
        bool done = buffer_printf(&stream->message,
                                  "The upstream's last event was not a complete answer: %s.", warning);
        stream_finish(stream, UPSTREAM_ERROR, CAUSE_DOUBT,
                      done ? stream->message.bytes : "The upstream's answer was incomplete.");
        break;
    }
}

/** The event stream has ended: reports how. `end` is how its connection did. */
static void conclude_stream(struct upstream_stream *stream, enum upstream_end end,
                            const struct transfer_fault *fault) {
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
        stream_finish(stream, end, fault->cause, fault->message);
    else if (!is_clean)
        finish_without_end(stream);
    else if (has_rest)
        stream_finish(stream, UPSTREAM_TRUNCATED, CAUSE_WITHIN_EVENT,
                      "The upstream's stream ended in the middle of an event.");
    else
        conclude_clean(stream);
}

/** No event came in time, however alive the connection was. */
static void set_fault_of_events(struct upstream_stream *stream, struct transfer_fault *fault) {
    static const char what[] = "The upstream sent no event in time";
    struct transfer *transfer = &stream->transfer;
    snprintf(transfer->error, sizeof(transfer->error), "%s: upstream_event_timeout_ms (%" PRId64 " ms).",
             what, stream->event_timeout_ms);
    *fault = (struct transfer_fault){CAUSE_EVENT_TIMEOUT, transfer->error};
}

/** The run's request has ended: reports how. */
void stream_conclude(struct upstream_stream *stream, CURLcode code) {
    struct transfer *transfer = &stream->transfer;
    struct transfer_fault fault;
    enum upstream_end end = transfer_judge(transfer, code, &fault);
    if (end == UPSTREAM_IDLE && stream->is_open && stream->awaits_event)
        set_fault_of_events(stream, &fault);
    if (stream->fault != UPSTREAM_COMPLETED)
        stream_finish(stream, stream->fault, stream->fault_cause, stream->fault_message);
    else if (transfer->status == 0)
        stream_finish(stream, end, fault.cause, fault.message);
    else if (stream_is_refusal(stream))
        stream_finish_refused(stream);
    else if (stream->is_foreign)
        finish_foreign(stream);
    else
        conclude_stream(stream, end, &fault);
}

/** The stream has said that it is complete: reports it, and lets the connection come to its own end, so that
 * it can be used again. */
void stream_conclude_early(struct upstream_stream *stream) {
    struct sse_stray stray = sse_parser_stray(stream->parser);
    if (stream->has_failed) {
        finish_failed(stream);
    } else if (is_astray(stream, &stray)) {
        finish_astray(stream, &stray);
    } else {
        tell_end(stream, UPSTREAM_COMPLETED, CAUSE_NONE, "", stream->reading.has_events ? "" : "empty");
        transfer_set_deadline(&stream->transfer, STREAM_DRAIN_TIMEOUT_MS);
    }
}
