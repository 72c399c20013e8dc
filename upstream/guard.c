/* Passing an upstream's breaker and limiter: see guard.h.
 *
 * The pass is taken first, so that a call which the breaker refuses does not wait in the limiter's line. A
 * call that waits gives its pass back, for it may be the only probe, and takes another one when its turn has
 * come.
 */
#include "upstream/guard.h"

#include "base/clock.h"
#include "upstream/call.h"
#include "upstream/outcome.h"

#include <inttypes.h>
#include <stdio.h>

static struct upstream *guard_upstream(const struct guard *guard) {
    return &guard->upstream_worker->upstreams->items[guard->index];
}

void guard_init(struct guard *guard, struct upstream_worker *upstream_worker, uv_timer_t *timer,
                void (*on_settled)(struct guard *guard, enum guard_result result),
                void (*on_unused)(struct guard *guard)) {
    *guard = (struct guard){
        .upstream_worker = upstream_worker, .timer = timer, .on_settled = on_settled, .on_unused = on_unused};
}

bool guard_is_unused(const struct guard *guard) {
    return !guard->ticket_is_due;
}

/* ---- the pass ---------------------------------------------------------------------------------------- */

static bool take_pass(struct guard *guard) {
    struct breaker *breaker = guard_upstream(guard)->breaker;
    if (breaker == NULL)
        return true;
    guard->has_pass = breaker_enter(breaker, &guard->pass, &guard->retry_after_ms);
    return guard->has_pass;
}

static void tell_change(const struct guard *guard, enum breaker_change change) {
    struct breaker_info info;
    if (change == BREAKER_UNCHANGED || guard->upstream_worker->notify == NULL)
        return;
    breaker_get_info(guard_upstream(guard)->breaker, &info);
    const struct upstream_notice notice = {
        .kind = change == BREAKER_HAS_OPENED ? NOTICE_BREAKER_OPENED : NOTICE_BREAKER_CLOSED,
        .upstream = guard->upstream_worker->settings.items[guard->index].name,
        .calls = info.calls,
        .failures = info.failures,
        .retry_after_ms = info.retry_after_ms,
    };
    guard->upstream_worker->notify(&notice);
}

static void give_pass(struct guard *guard, enum breaker_outcome outcome) {
    if (!guard->has_pass)
        return;
    guard->has_pass = false;
    tell_change(guard, breaker_leave(guard_upstream(guard)->breaker, &guard->pass, outcome));
}

void guard_succeed_early(struct guard *guard) {
    if (guard->has_pass && guard->pass.is_probe)
        give_pass(guard, BREAKER_SUCCESS);
}

/* ---- the ticket -------------------------------------------------------------------------------------- */

static void guard_on_granted(struct inbox_item *item);

static enum limiter_result take_ticket(struct guard *guard) {
    struct limiter *limiter = guard_upstream(guard)->limiter;
    if (limiter == NULL)
        return LIMITER_GRANTED;
    guard->ticket.inbox = guard->upstream_worker->inbox;
    guard->ticket.item.handle = guard_on_granted;
    enum limiter_result result = limiter_enter(limiter, &guard->ticket);
    guard->has_ticket = result != LIMITER_FULL;
    guard->ticket_is_due = result == LIMITER_WAITS;
    return result;
}

static void give_ticket(struct guard *guard, const struct limiter_report *report) {
    if (!guard->has_ticket)
        return;
    guard->has_ticket = false;
    guard->ticket_is_due = !limiter_leave(guard_upstream(guard)->limiter, &guard->ticket, report);
}

static void give_ticket_unused(struct guard *guard) {
    static const struct limiter_report unused = {.unused = true, .latency_ms = -1};
    give_ticket(guard, &unused);
}

/* ---- waiting in the line ----------------------------------------------------------------------------- */

static void guard_on_poll(uv_timer_t *timer);

static bool is_late(const struct guard *guard) {
    return clock_mono_ms() > guard->wait_until_mono_ms;
}

static void guard_wait_in_line(struct guard *guard) {
    int64_t in_ms = limiter_poll_in_ms(guard_upstream(guard)->limiter);
    int64_t left_ms = guard->wait_until_mono_ms - clock_mono_ms();
    if (in_ms < 0)
        in_ms = LIMITER_POLL_MAX_MS; /* granted or refused in this moment: the item is on its way */
    if (left_ms < in_ms)
        in_ms = left_ms < 0 ? 0 : left_ms + 1;
    guard->timer->data = guard;
    uv_timer_start(guard->timer, guard_on_poll, (uint64_t)in_ms, 0);
}

/** The call has waited for as long as it may. Should its ticket have been granted in this moment, it is told
 * once that was received: before, the ticket could not enter again. */
static void leave_late(struct guard *guard) {
    guard->retry_after_ms = limiter_retry_after_ms(guard_upstream(guard)->limiter);
    give_ticket_unused(guard);
    guard->is_late = guard->ticket_is_due;
    if (!guard->is_late)
        guard->on_settled(guard, GUARD_LATE);
}

static void guard_on_poll(uv_timer_t *timer) {
    struct guard *guard = timer->data;
    if (is_late(guard)) {
        leave_late(guard);
        return;
    }
    limiter_poll(guard_upstream(guard)->limiter);
    guard_wait_in_line(guard);
}

/** The ticket has come back: whether the call may be made now. */
static enum guard_result settle_ticket(struct guard *guard, bool is_granted) {
    bool late = is_late(guard);
    if (is_granted && !late && take_pass(guard))
        return GUARD_PASSED;
    int64_t open_ms = guard->retry_after_ms;
    give_ticket_unused(guard);
    guard->retry_after_ms = limiter_retry_after_ms(guard_upstream(guard)->limiter);
    if (!is_granted)
        return GUARD_PAUSED;
    if (late)
        return GUARD_LATE;
    guard->retry_after_ms = open_ms;
    return GUARD_OPEN;
}

static void guard_on_granted(struct inbox_item *item) {
    struct limiter_ticket *ticket = CONTAINER_OF(item, struct limiter_ticket, item);
    struct guard *guard = CONTAINER_OF(ticket, struct guard, ticket);
    guard->ticket_is_due = false;
    bool is_granted = limiter_receive(guard_upstream(guard)->limiter, ticket);
    if (guard->has_ticket) {
        uv_timer_stop(guard->timer);
        guard->on_settled(guard, settle_ticket(guard, is_granted));
    } else if (guard->is_late) {
        guard->is_late = false;
        guard->on_settled(guard, GUARD_LATE);
    } else {
        guard->on_unused(guard);
    }
}

/* ---- in and out -------------------------------------------------------------------------------------- */

enum guard_result guard_enter(struct guard *guard, size_t index, int64_t wait_until_mono_ms) {
    guard->index = index;
    guard->wait_until_mono_ms = wait_until_mono_ms;
    guard->retry_after_ms = 0;
    if (!take_pass(guard))
        return GUARD_OPEN;
    switch (take_ticket(guard)) {
    case LIMITER_GRANTED:
        return GUARD_PASSED;
    case LIMITER_WAITS:
        give_pass(guard, BREAKER_NEITHER);
        guard_wait_in_line(guard);
        return GUARD_WAITS;
    case LIMITER_FULL:
        break;
    }
    give_pass(guard, BREAKER_NEITHER);
    guard->retry_after_ms = limiter_retry_after_ms(guard_upstream(guard)->limiter);
    return GUARD_FULL;
}

void guard_leave(struct guard *guard, const struct guard_report *report) {
    const struct upstream_result *result = report->result;
    struct limiter_report to_limiter = {.unused = !report->was_sent, .latency_ms = report->latency_ms};
    enum breaker_outcome outcome = BREAKER_NEITHER;
    if (result != NULL) {
        outcome = outcome_for_breaker(result);
        to_limiter.overloaded = outcome_of(result)->is_overload;
        to_limiter.completed = result->end == UPSTREAM_COMPLETED;
        to_limiter.retry_after_ms = to_limiter.overloaded ? result->retry_after_ms : 0;
    }
    guard->is_late = false;
    give_pass(guard, outcome);
    give_ticket(guard, &to_limiter);
}

/* ---- what a refusal means ---------------------------------------------------------------------------- */

static enum upstream_cause explain_refusal(const struct upstream_settings *settings,
                                           enum guard_result refusal, char message[GUARD_MESSAGE_SIZE]) {
    switch (refusal) {
    case GUARD_OPEN:
        snprintf(message, GUARD_MESSAGE_SIZE,
                 "The circuit breaker refuses calls because the upstream failed too often: "
                 "breaker_failure_percent "
                 "(%" PRIu64 ").",
                 settings->breaker.failure_percent);
        return CAUSE_BREAKER;
    case GUARD_PAUSED:
        snprintf(message, GUARD_MESSAGE_SIZE,
                 "The upstream asked for a pause that is longer than a run may wait: retry_total_ms (%" PRId64
                 " ms).",
                 settings->retry.total_ms);
        return CAUSE_RETRY_AFTER;
    case GUARD_LATE:
        snprintf(
            message, GUARD_MESSAGE_SIZE,
            "The time limit for attempts passed before another attempt could begin: retry_total_ms (%" PRId64
            " ms).",
            settings->retry.total_ms);
        return CAUSE_RETRY_TOTAL;
    default:
        snprintf(message, GUARD_MESSAGE_SIZE,
                 "The queue of the upstream's limiter is full: limiter_waiting_max (%" PRIu64
                 "); or the upstream asked for a longer pause than retry_total_ms (%" PRId64 " ms).",
                 settings->limiter.waiting_max, settings->retry.total_ms);
        return CAUSE_LIMITER_FULL;
    }
}

struct upstream_result guard_refusal(const struct guard *guard, enum guard_result refusal,
                                     char message[GUARD_MESSAGE_SIZE]) {
    enum upstream_cause cause =
        explain_refusal(&guard->upstream_worker->settings.items[guard->index], refusal, message);
    return (struct upstream_result){.end = refusal == GUARD_OPEN ? UPSTREAM_REFUSED : UPSTREAM_CROWDED,
                                    .cause = cause,
                                    .message = message,
                                    .retry_after_ms = guard->retry_after_ms};
}
