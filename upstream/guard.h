/* What one call holds of an upstream's guards: a pass of its breaker and a ticket of its limiter, if it has
 * them. Embedded in the call, on the loop's thread.
 *
 *     guard_init(&call->guard, upstream_worker, &call->timer, on_settled, on_unused);
 *     switch (guard_enter(&call->guard, index, wait_until_mono_ms)) {
 *     case GUARD_PASSED: break;  // call now
 *     case GUARD_WAITS: return;  // on_settled() will say how it went on, unless guard_leave() comes first
 *     default: return;           // refused, and nothing is held
 *     }
 *     ...
 *     guard_leave(&call->guard, &result, ...);  // harmless if nothing is held
 *
 * The ticket of a call that leaves may still be on its way to the worker's inbox: the call's memory stays
 * until guard_is_unused(). When that becomes true after guard_leave(), on_unused() is called.
 */
#ifndef SLUICE_UPSTREAM_GUARD_H
#define SLUICE_UPSTREAM_GUARD_H

#include "upstream/breaker.h"
#include "upstream/client.h"
#include "upstream/limiter.h"

#include <uv.h>

struct upstream_worker;

enum guard_result {
    GUARD_PASSED,
    GUARD_WAITS,  /* in the limiter's line */
    GUARD_OPEN,   /* the breaker lets nothing pass */
    GUARD_FULL,   /* too many wait for the limiter, or it pauses for too long */
    GUARD_PAUSED, /* it waited, and a pause began that is too long */
    GUARD_LATE    /* it waited for as long as it may */
};

struct guard {
    struct upstream_worker *upstream_worker;
    uv_timer_t *timer; /* the owner's; the guard's while the call waits */
    /** The call that waits need not any more: it has passed, or is refused and holds nothing. */
    void (*on_settled)(struct guard *guard, enum guard_result result);
    void (*on_unused)(struct guard *guard);
    size_t index; /* of the upstream */
    int64_t wait_until_mono_ms;
    int64_t retry_after_ms; /* of a refusal; 0: unknown */
    struct breaker_pass pass;
    struct limiter_ticket ticket;
    bool has_pass;
    bool has_ticket;    /* it waits, or was granted or refused, and has not left */
    bool ticket_is_due; /* its item will still be received */
    bool is_late;       /* it has left for want of time, and its item was on its way */
};

void guard_init(struct guard *guard, struct upstream_worker *upstream_worker, uv_timer_t *timer,
                void (*on_settled)(struct guard *guard, enum guard_result result),
                void (*on_unused)(struct guard *guard));

/** Asks breaker and limiter of the upstream of that index for one call. One that must wait does so until
 * then, on the monotonic clock; INT64_MAX: for as long as it takes. */
enum guard_result guard_enter(struct guard *guard, size_t index, int64_t wait_until_mono_ms) MUST_CHECK;

#define GUARD_MESSAGE_SIZE 256

/** What a refusal means for the call, with the limit that was met. The result's message is `message`. */
struct upstream_result guard_refusal(const struct guard *guard, enum guard_result refusal,
                                     char message[GUARD_MESSAGE_SIZE]);

/** How a call went. */
struct guard_report {
    const struct upstream_result *result; /* NULL: it was cancelled */
    bool was_sent;                        /* else its token comes back */
    int64_t latency_ms;                   /* to the first event; -1: there was none */
};

/** Gives back all that the call holds. */
void guard_leave(struct guard *guard, const struct guard_report *report);

/** The upstream works, which is certain before the call ends: that is enough for a probe. */
void guard_succeed_early(struct guard *guard);

/** Whether nothing of the guard is on its way. */
bool guard_is_unused(const struct guard *guard);

#endif
