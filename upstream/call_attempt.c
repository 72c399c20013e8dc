/* One attempt of a call: it passes the upstream's guards, makes a stream, holds its first events back as long
 * as they show nothing, and releases all that it holds by one function, attempt_end().
 */
#include "upstream/call_internal.h"

#include "base/clock.h"
#include "base/memory_budget.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NOT_RESUMED_MESSAGE                                                                                  \
    "The upstream broke off, and its resumed answer did not continue where the first one ended."

static struct upstream_call *call_of_guard(struct guard *guard) {
    return CONTAINER_OF(guard, struct upstream_call, attempt.guard);
}

void attempt_end(struct upstream_call *call, const struct upstream_result *result) {
    struct attempt *attempt = &call->attempt;
    const struct guard_report report = {
        .result = result, .was_sent = attempt->was_used, .latency_ms = attempt->first_event_ms};
    if (attempt->stream != NULL)
        upstream_stream_cancel(attempt->stream);
    attempt->stream = NULL;
    guard_leave(&attempt->guard, &report);
    if (attempt->was_made && result != NULL && result->end != UPSTREAM_COMPLETED)
        call_count(&call_upstream(call)->failures);
    attempt->was_made = false;
}

static void fail_call(struct upstream_call *call, enum upstream_end end, enum upstream_cause cause,
                      const char *message) {
    const struct upstream_result result = {.end = end, .cause = cause, .message = message};
    call_attempt_failed(call, &result);
}

/** No attempt was made: a guard has refused it. */
static void fail_refused(struct upstream_call *call, enum guard_result refusal) {
    char message[GUARD_MESSAGE_SIZE];
    const struct upstream_result result = guard_refusal(&call->attempt.guard, refusal, message);
    call_attempt_failed(call, &result);
}

/* ---- events that are held back ------------------------------------------------------------------------
 *
 * A stream may fail right after it began: its first event is an error, or one that only opens the answer and
 * shows nothing to a person comes before the error. As long as nothing visible was delivered, such a run may
 * be tried again or go to the fallback, as if the upstream had answered 503. So these first events wait here:
 * they are delivered before the next visible event or before the end, and dropped if another attempt is made.
 */

/** Whether the event may still be taken back: nobody has seen anything of the run, and of this event nothing
 * is to be seen but that the run has failed. */
static bool may_be_held(const struct upstream_call *call, const struct sse_event *event,
                        enum adapter_verdict verdict) {
    const struct adapter *adapter = call_settings(call)->adapter;
    if (call->has_event || call->held_count == CALL_HELD_MAX)
        return false;
    return verdict == ADAPTER_FAILED || (adapter->is_visible != NULL && !adapter->is_visible(event));
}

static void free_held(struct held_event *held) {
    memory_release(MEMORY_STREAMS, held->size);
    free(held->bytes);
}

bool call_hold(struct upstream_call *call, const struct sse_event *event, enum adapter_verdict verdict) {
    if (!may_be_held(call, event, verdict))
        return false;
    size_t id_length = event->last_event_id_length;
    size_t size = event->type_length + event->data_length + id_length + 1;
    char *bytes = memory_may_grow(size) ? malloc(size) : NULL;
    if (bytes == NULL)
        return false; /* then it is delivered at once */
    memory_charge(MEMORY_STREAMS, size);
    char *data = bytes + event->type_length, *id = data + event->data_length;
    memcpy(bytes, event->type, event->type_length);
    memcpy(data, event->data, event->data_length);
    memcpy(id, event->last_event_id, id_length);
    struct held_event *held = &call->held[call->held_count++];
    *held = (struct held_event){.bytes = bytes, .size = size, .event = *event};
    held->event.type = bytes;
    held->event.data = data;
    held->event.last_event_id = id;
    return true;
}

bool call_release_held(struct upstream_call *call) {
    struct held_event held[CALL_HELD_MAX];
    size_t count = call->held_count;
    memcpy(held, call->held, count * sizeof(*held));
    call->held_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!call->has_ended)
            attempt_deliver(call, &held[i].event);
        free_held(&held[i]);
    }
    return !call->has_ended;
}

void call_drop_held(struct upstream_call *call) {
    for (size_t i = 0; i < call->held_count; i++)
        free_held(&call->held[i]);
    call->held_count = 0;
}

/* ---- the stream -------------------------------------------------------------------------------------- */

static void call_on_request(void *context) {
    struct upstream_call *call = context;
    call->attempt.was_used = true;
}

static void call_on_sent(void *context) {
    struct upstream_call *call = context;
    call->attempt.sent_mono_ms = clock_mono_ms();
    call_set_phase(call, call->index, UPSTREAM_PHASE_FIRST_BYTE);
    if (call->told_sent)
        return;
    call->told_sent = true;
    call->callbacks.on_sent(call->context);
}

/** The URL that `location` means: a path of the upstream, or the whole with its origin. Another server is
 * never asked, for it would get the upstream's credentials. NULL: it means none, or memory ran out. */
static char *resolve_location(const char *base_url, const char *location) {
    const char *scheme_end = strstr(base_url, "://");
    const char *authority = scheme_end != NULL ? scheme_end + strlen("://") : base_url;
    size_t origin = (size_t)(authority - base_url) + strcspn(authority, "/?#");
    bool is_path = location[0] == '/' && location[1] != '/';
    bool is_whole = strncasecmp(location, base_url, origin) == 0 && location[origin] == '/';
    for (const char *at = location; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f)
            return NULL;
    }
    struct buffer url;
    buffer_init(&url, 16 * 1024);
    bool done = (is_path || is_whole) && (is_whole || buffer_append(&url, base_url, origin)) &&
                buffer_append_text(&url, location);
    char *result = done ? buffer_detach(&url) : NULL;
    buffer_finish(&url);
    return result;
}

/** The attempt goes on, but the run is posted a second time: that is reported like another attempt. */
static void call_on_again(void *context, const struct upstream_result *refusal) {
    struct upstream_call *call = context;
    const struct upstream_retry retry = {
        .attempt = ++call->attempts, .upstream = call_settings(call)->name, .failure = *refusal};
    if (call->callbacks.on_retry(call->context, &retry))
        call_count(&call_upstream(call)->retries);
    else
        upstream_call_cancel(call);
}

static void call_on_open(void *context) {
    struct upstream_call *call = context;
    const struct upstream_settings *settings = call_settings(call);
    const char *location = call->resume_url == NULL && settings->resume_by == RESUME_BY_LOCATION
                               ? upstream_stream_location(call->attempt.stream)
                               : NULL;
    if (location != NULL)
        call->resume_url = resolve_location(settings->base_url, location);
    call_set_phase(call, call->index, UPSTREAM_PHASE_STREAMING);
}

/** An upstream that streams is back: what probes it need not last until the end. */
static void note_first_event(struct upstream_call *call, enum adapter_verdict verdict) {
    struct attempt *attempt = &call->attempt;
    attempt->first_event_ms = clock_mono_ms() - attempt->sent_mono_ms;
    bool is_probe = attempt->guard.has_pass && attempt->guard.pass.is_probe;
    if (is_probe && verdict != ADAPTER_FAILED)
        guard_succeed_early(&attempt->guard);
}

void attempt_deliver(struct upstream_call *call, const struct sse_event *event) {
    switch (resume_point_take(&call->point, event)) {
    case RESUME_NEW:
        call->has_event = true;
        call->tries = 0;
        if (!call->callbacks.on_event(call->context, event))
            upstream_call_cancel(call);
        break;
    case RESUME_REPEATED:
        break;
    case RESUME_LOST:
        fail_call(call, UPSTREAM_TRUNCATED, CAUSE_NOT_RESUMED, NOT_RESUMED_MESSAGE);
        break;
    }
}

static bool call_on_event(void *context, const struct sse_event *event, enum adapter_verdict verdict) {
    struct upstream_call *call = context;
    if (call->attempt.first_event_ms < 0)
        note_first_event(call, verdict);
    if (call_hold(call, event, verdict))
        return true;
    if (call_release_held(call))
        attempt_deliver(call, event);
    return !call->has_ended;
}

static bool call_may_read(void *context) {
    struct upstream_call *call = context;
    return call->callbacks.may_read(call->context);
}

static void call_on_end(void *context, const struct upstream_result *result) {
    struct upstream_call *call = context;
    call->attempt.stream = NULL;
    bool is_whole = result->end == UPSTREAM_COMPLETED;
    if (is_whole && resume_point_owes(&call->point))
        fail_call(call, UPSTREAM_TRUNCATED, CAUSE_NOT_RESUMED, NOT_RESUMED_MESSAGE);
    else if (is_whole)
        call_attempt_completed(call, result);
    else
        call_attempt_failed(call, result);
}

static bool start_stream(struct upstream_call *call, const struct upstream_post *post) {
    struct upstream_stream_callbacks callbacks = {.on_request = call_on_request,
                                                  .on_sent = call_on_sent,
                                                  .on_again = call_on_again,
                                                  .on_open = call_on_open,
                                                  .on_event = call_on_event,
                                                  .on_end = call_on_end};
    if (call->callbacks.may_read != NULL)
        callbacks.may_read = call_may_read;
    call->attempt.stream =
        upstream_stream_start(call->upstream_worker->client, call_settings(call), post, &callbacks, call);
    call->attempt.was_made = call->attempt.stream != NULL;
    return call->attempt.was_made;
}

/* ---- its beginning ----------------------------------------------------------------------------------- */

static void call_send_post(struct upstream_call *call, struct upstream_post *post) {
    bool resumes = call->has_event;
    if (resumes) { /* what broke off after the last event */
        post->last_event_id = resume_point_id(&call->point);
        post->resume_url = call->resume_url;
    }
    if (call->tries == 1 && !resumes)
        call->tries_mono_ms = clock_mono_ms();
    if (!start_stream(call, post)) {
        fail_call(call, UPSTREAM_INTERNAL, CAUSE_MEMORY, "Memory ran out.");
        return;
    }
    if (resumes)
        resume_point_begin(&call->point);
    call_count(&call_upstream(call)->calls);
}

static void call_on_wait_over(uv_timer_t *timer) {
    struct upstream_call *call = CONTAINER_OF(timer, struct upstream_call, timer);
    struct upstream_post post = call->waiting;
    call->waiting.request = NULL;
    call_send_post(call, &post);
}

static void call_send_request(struct upstream_call *call) {
    struct upstream_post post = {0};
    const char *message = "";
    call_set_phase(call, call->index, UPSTREAM_PHASE_CONNECT);
    bool is_prepared = call->preparer->prepare(call->preparer, call->index, &post, &message);
    if (call->has_ended) {
        upstream_request_unref(post.request);
    } else if (!is_prepared) {
        fail_call(call, UPSTREAM_INTERNAL, CAUSE_REQUEST, message);
    } else if (post.wait_ms > 0) {
        call->waiting = post;
        uv_timer_start(&call->timer, call_on_wait_over, (uint64_t)post.wait_ms, 0);
    } else {
        call_send_post(call, &post);
    }
}

/* ---- the guards -------------------------------------------------------------------------------------- */

static void call_go_on(struct upstream_call *call, enum guard_result result) {
    switch (result) {
    case GUARD_PASSED:
        call_send_request(call);
        break;
    case GUARD_WAITS:
        break;
    case GUARD_OPEN:
    case GUARD_FULL:
    case GUARD_PAUSED:
    case GUARD_LATE:
        fail_refused(call, result);
        break;
    }
}

void attempt_on_settled(struct guard *guard, enum guard_result result) {
    call_go_on(call_of_guard(guard), result);
}

void attempt_on_unused(struct guard *guard) {
    call_free_if_unused(call_of_guard(guard));
}

/** A first attempt waits in the limiter's line for as long as its run may, another one while retries may
 * begin. */
static int64_t wait_until_mono_ms(const struct upstream_call *call) {
    bool is_again = call->tries > 1 || call->has_event;
    return is_again ? call->tries_mono_ms + call_settings(call)->retry.total_ms : INT64_MAX;
}

void attempt_begin(struct upstream_call *call) {
    call->attempts++;
    call->tries++;
    call->attempt.sent_mono_ms = call->attempt.first_event_ms = -1;
    if (!call->has_event) {
        call->point.is_on = call_is_resumable(call);
        call->point.overlaps = call_settings(call)->resume_by == RESUME_BY_LOCATION;
    }
    call->attempt.was_used = false;
    call_set_phase(call, call->index, UPSTREAM_PHASE_LIMITER);
    call_go_on(call, guard_enter(&call->attempt.guard, call->index, wait_until_mono_ms(call)));
}
