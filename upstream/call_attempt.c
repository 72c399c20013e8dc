/* One attempt of a call: it passes the breaker and the limiter, makes a stream, and gives back all that it
 * holds. */
#include "upstream/call_internal.h"

#include "base/clock.h"
#include "upstream/call_rules.h"

#include <stdlib.h>
#include <string.h>

static struct upstream_call *call_of_ticket(struct inbox_item *item) {
    struct limiter_ticket *ticket = CONTAINER_OF(item, struct limiter_ticket, item);
    return CONTAINER_OF(ticket, struct upstream_call, attempt.ticket);
}

/* ---- what it holds ----------------------------------------------------------------------------------- */

static bool take_pass(struct upstream_call *call, int64_t *ret_retry_after_ms) {
    struct breaker *breaker = call_upstream(call)->breaker;
    if (breaker == NULL)
        return true;
    call->attempt.has_pass = breaker_enter(breaker, &call->attempt.pass, ret_retry_after_ms);
    return call->attempt.has_pass;
}

static void tell_change(struct upstream_call *call, enum breaker_change change) {
    struct breaker_info info;
    if (change == BREAKER_UNCHANGED || call->caller->notify == NULL)
        return;
    breaker_get_info(call_upstream(call)->breaker, &info);
    const struct upstream_notice notice = {
        .kind = change == BREAKER_HAS_OPENED ? NOTICE_BREAKER_OPENED : NOTICE_BREAKER_CLOSED,
        .upstream = call_settings(call)->name,
        .calls = info.calls,
        .failures = info.failures,
        .retry_after_ms = info.retry_after_ms,
    };
    call->caller->notify(&notice);
}

static void give_pass(struct upstream_call *call, enum breaker_outcome outcome) {
    if (!call->attempt.has_pass)
        return;
    call->attempt.has_pass = false;
    tell_change(call, breaker_leave(call_upstream(call)->breaker, &call->attempt.pass, outcome));
}

static void on_granted(struct inbox_item *item);

static enum limiter_result take_ticket(struct upstream_call *call) {
    struct attempt *attempt = &call->attempt;
    struct limiter *limiter = call_upstream(call)->limiter;
    if (limiter == NULL)
        return LIMITER_GRANTED;
    attempt->ticket.inbox = call->caller->inbox;
    attempt->ticket.item.handle = on_granted;
    enum limiter_result result = limiter_enter(limiter, &attempt->ticket);
    attempt->has_ticket = result != LIMITER_FULL;
    attempt->ticket_is_due = result == LIMITER_WAITS;
    return result;
}

static void give_ticket(struct upstream_call *call, const struct upstream_result *result) {
    struct attempt *attempt = &call->attempt;
    if (!attempt->has_ticket)
        return;
    bool overloaded = result != NULL && call_is_overloaded(result);
    const struct limiter_report report = {
        .unused = attempt->sent_mono_ms < 0,
        .overloaded = overloaded,
        .completed = result != NULL && result->end == UPSTREAM_COMPLETED,
        .latency_ms = attempt->first_event_ms,
        .retry_after_ms = overloaded ? result->retry_after_ms : 0,
    };
    attempt->has_ticket = false;
    attempt->ticket_is_due = !limiter_leave(call_upstream(call)->limiter, &attempt->ticket, &report);
}

void attempt_end(struct upstream_call *call, const struct upstream_result *result) {
    struct attempt *attempt = &call->attempt;
    if (attempt->stream != NULL)
        upstream_stream_cancel(attempt->stream);
    attempt->stream = NULL;
    give_pass(call, result != NULL ? call_breaker_outcome(result) : BREAKER_NEITHER);
    give_ticket(call, result);
    if (attempt->was_made && result != NULL && result->end != UPSTREAM_COMPLETED)
        call_count(&call_upstream(call)->failures);
    attempt->was_made = false;
}

static void fail(struct upstream_call *call, enum upstream_end end, const char *message,
                 int64_t retry_after_ms) {
    const struct upstream_result result = {.end = end, .message = message, .retry_after_ms = retry_after_ms};
    call_attempt_failed(call, &result);
}

/* ---- the stream -------------------------------------------------------------------------------------- */

static void on_sent(void *context) {
    struct upstream_call *call = context;
    call->attempt.sent_mono_ms = clock_mono_ms();
    call_set_phase(call, call->index, UPSTREAM_PHASE_FIRST_BYTE);
    if (call->told_sent)
        return;
    call->told_sent = true;
    call->callbacks.on_sent(call->context);
}

static void on_open(void *context) {
    struct upstream_call *call = context;
    call_set_phase(call, call->index, UPSTREAM_PHASE_STREAMING);
}

/** An upstream that streams is back: what probes it need not last until the end. */
static void note_first_event(struct upstream_call *call, const struct sse_event *event) {
    struct attempt *attempt = &call->attempt;
    attempt->first_event_ms = clock_mono_ms() - attempt->sent_mono_ms;
    bool is_probe = attempt->has_pass && attempt->pass.is_probe;
    if (is_probe && call_settings(call)->adapter->judge(event) != ADAPTER_FAILED)
        give_pass(call, BREAKER_SUCCESS);
}

static bool on_event(void *context, const struct sse_event *event) {
    struct upstream_call *call = context;
    if (call->attempt.first_event_ms < 0)
        note_first_event(call, event);
    switch (resume_point_take(&call->point, event)) {
    case RESUME_NEW:
        call->has_event = true;
        call->tries = 0;
        if (!call->callbacks.on_event(call->context, event))
            upstream_call_cancel(call);
        break;
    case RESUME_REPEATED:
        break;
    case RESUME_ANEW:
        fail(call, UPSTREAM_TRUNCATED, "The upstream broke off, and began anew when it was asked to go on.",
             0);
        break;
    }
    return !call->has_ended;
}

static bool may_read(void *context) {
    struct upstream_call *call = context;
    return call->callbacks.may_read(call->context);
}

static void on_end(void *context, const struct upstream_result *result) {
    struct upstream_call *call = context;
    call->attempt.stream = NULL;
    if (result->end == UPSTREAM_COMPLETED)
        call_attempt_completed(call, result);
    else
        call_attempt_failed(call, result);
}

static bool start_stream(struct upstream_call *call, struct upstream_run *run) {
    struct upstream_stream_callbacks callbacks = {
        .on_sent = on_sent, .on_open = on_open, .on_event = on_event, .on_end = on_end};
    if (call->callbacks.may_read != NULL)
        callbacks.may_read = may_read;
    call->attempt.stream =
        upstream_stream_start(call->caller->client, call_settings(call), run, &callbacks, call);
    call->attempt.was_made = call->attempt.stream != NULL;
    return call->attempt.was_made;
}

/* ---- its beginning ----------------------------------------------------------------------------------- */

/** Asks for what broke off behind the last event, if one was delivered. */
static bool ask_to_resume(struct upstream_call *call, struct upstream_run *run) {
    if (!call->has_event)
        return true;
    free(run->last_event_id);
    run->last_event_id = strdup(resume_point_id(&call->point));
    resume_point_begin(&call->point);
    return run->last_event_id != NULL;
}

static void send_request(struct upstream_call *call) {
    struct upstream_run run = {0};
    const char *message = "";
    call_set_phase(call, call->index, UPSTREAM_PHASE_CONNECT);
    bool built = call->callbacks.build(call->context, call_settings(call), &run, &message);
    if (call->has_ended) {
        upstream_run_finish(&run);
        return;
    }
    if (!built) {
        fail(call, UPSTREAM_INTERNAL, message, 0);
        return;
    }
    call->is_last = run.is_last;
    if (!ask_to_resume(call, &run)) {
        upstream_run_finish(&run);
        fail(call, UPSTREAM_INTERNAL, "Memory ran out.", 0);
        return;
    }
    if (call->tries == 1 && !call->has_event)
        call->tries_mono_ms = clock_mono_ms();
    if (start_stream(call, &run))
        call_count(&call_upstream(call)->calls);
    else
        fail(call, UPSTREAM_INTERNAL, "Memory ran out.", 0);
}

static void fail_refused(struct upstream_call *call, int64_t retry_after_ms) {
    fail(call, UPSTREAM_REFUSED, "The upstream has failed too often and is given time to recover.",
         retry_after_ms);
}

static void fail_crowded(struct upstream_call *call, const char *message) {
    fail(call, UPSTREAM_CROWDED, message, limiter_retry_after_ms(call_upstream(call)->limiter));
}

/* ---- waiting for the limiter ------------------------------------------------------------------------- */

static void on_poll(uv_timer_t *timer);

static void wait_for_limiter(struct upstream_call *call) {
    int64_t in_ms = limiter_poll_in_ms(call_upstream(call)->limiter);
    if (in_ms < 0)
        in_ms = LIMITER_POLL_MAX_MS; /* granted or refused in this moment: the item is on its way */
    uv_timer_start(&call->timer, on_poll, (uint64_t)in_ms, 0);
}

static void on_poll(uv_timer_t *timer) {
    struct upstream_call *call = CONTAINER_OF(timer, struct upstream_call, timer);
    limiter_poll(call_upstream(call)->limiter);
    wait_for_limiter(call);
}

/** A retry whose time was over while it waited in the line. */
static bool is_too_late(const struct upstream_call *call) {
    bool is_again = call->tries > 1 || call->has_event;
    return is_again && clock_mono_ms() - call->tries_mono_ms > call_settings(call)->retry.total_ms;
}

/** The breaker's pass was given back while the call waited, so that it was no other's loss. */
static void on_granted(struct inbox_item *item) {
    struct upstream_call *call = call_of_ticket(item);
    int64_t retry_after_ms = 0;
    call->attempt.ticket_is_due = false;
    bool is_granted = limiter_receive(call_upstream(call)->limiter, &call->attempt.ticket);
    if (!call->attempt.has_ticket) {
        call_free_if_unused(call);
        return;
    }
    uv_timer_stop(&call->timer);
    if (!is_granted)
        fail_crowded(call, "The upstream asked for a pause that is longer than a run may wait.");
    else if (is_too_late(call))
        fail_crowded(call, "The time for another attempt was over before its turn came.");
    else if (take_pass(call, &retry_after_ms))
        send_request(call);
    else
        fail_refused(call, retry_after_ms);
}

void attempt_begin(struct upstream_call *call) {
    int64_t retry_after_ms = 0;
    call->attempts++;
    call->tries++;
    call->attempt.sent_mono_ms = call->attempt.first_event_ms = -1;
    call_set_phase(call, call->index, UPSTREAM_PHASE_LIMITER);
    if (!take_pass(call, &retry_after_ms)) {
        fail_refused(call, retry_after_ms);
        return;
    }
    switch (take_ticket(call)) {
    case LIMITER_GRANTED:
        send_request(call);
        break;
    case LIMITER_WAITS:
        give_pass(call, BREAKER_NEITHER);
        wait_for_limiter(call);
        break;
    case LIMITER_FULL:
        give_pass(call, BREAKER_NEITHER);
        fail_crowded(call, "As many runs as may wait for the upstream, or it asked for a long pause.");
        break;
    }
}
