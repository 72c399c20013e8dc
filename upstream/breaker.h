/* A circuit breaker: keeps calls away from an upstream that fails, and lets a few through to see whether it
 * is back.
 *
 *     closed     All calls pass. Those that ended within the last window_ms are counted; it opens when at
 *                least calls_min have, and failure_percent of them failed.
 *     open       None passes for the recovery time. That is recovery_ms at first, doubles each time that it
 *                opens again without having closed, and is at most recovery_max_ms. A random part of it, at
 *                most a fifth, is left out, so that several gateways do not come back at once.
 *     half-open  probes_max calls at once pass. As many successes close it and empty the window, one failure
 *                opens it again. A probe without an outcome after the recovery time is given up: others may
 *                pass in its place, and what it tells later still counts.
 *
 * The window slides by tenths of its length. There is no timer: what time brings is done when somebody asks.
 *
 * One is shared by all workers; every function may be called on any thread, also with a lock held: the
 * breaker's own lock is taken after all others and held for a few additions.
 *
 *     struct breaker_pass pass;
 *     if (!breaker_enter(breaker, &pass, &retry_after_ms))
 *         ...;  // refused
 *     ...
 *     breaker_leave(breaker, &pass, BREAKER_SUCCESS);  // exactly once for each pass
 */
#ifndef SLUICE_UPSTREAM_BREAKER_H
#define SLUICE_UPSTREAM_BREAKER_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stdint.h>

struct breaker_settings {
    uint64_t failure_percent; /* of the calls of a window that opens it; 0: there is no breaker */
    uint64_t calls_min;       /* in a window, before it may open */
    int64_t window_ms;
    int64_t recovery_ms; /* the first recovery time */
    int64_t recovery_max_ms;
    uint64_t probes_max;
};

enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN, BREAKER_STATE_COUNT };

enum breaker_outcome {
    BREAKER_SUCCESS,
    BREAKER_FAILURE,
    BREAKER_NEITHER, /* cancelled, or failed for a reason that says nothing of the upstream: not counted */
};

/** What the end of a call has done to the breaker. */
enum breaker_change { BREAKER_UNCHANGED, BREAKER_HAS_OPENED, BREAKER_HAS_CLOSED };

/** The permission of one call. */
struct breaker_pass {
    uint64_t epoch; /* of the state that it was given in: what belongs to an earlier one is not counted */
    uint64_t round; /* of the probes: those of an earlier one were given up */
    bool is_probe;
};

/** What it stands at. The score is 0..100: the share of the window's calls that did not fail, rounded down,
 * 100 if there are none; half of it while half-open, 0 while open. */
struct breaker_info {
    enum breaker_state state;
    int score;
    uint64_t calls, failures; /* of the window; while open it is not emptied, but goes on sliding */
    uint64_t opened;          /* times, ever */
    uint64_t refused;         /* calls, ever */
    int64_t retry_after_ms;   /* until calls may pass again; 0: now */
};

struct breaker;

/** NULL: out of memory. `settings` are copied; none of them but calls_min is 0. */
struct breaker *breaker_create(const struct breaker_settings *settings) MUST_CHECK;
void breaker_destroy(struct breaker *breaker); /* takes NULL */

/** Asks for one call. False: refused; *ret_retry_after_ms (may be NULL) says for how long, at least 1. */
bool breaker_enter(struct breaker *breaker, struct breaker_pass *ret_pass,
                   int64_t *ret_retry_after_ms) MUST_CHECK;

/** Whether a call would pass now, without making one, or counting one that is refused. */
bool breaker_would_pass(struct breaker *breaker, int64_t *ret_retry_after_ms);

/** A call was not even asked for, since it would not pass: it counts as refused. */
void breaker_note_refused(struct breaker *breaker);

/** The end of a call that was let through, or the moment from which its outcome is certain. */
enum breaker_change breaker_leave(struct breaker *breaker, const struct breaker_pass *pass,
                                  enum breaker_outcome outcome);

void breaker_get_info(struct breaker *breaker, struct breaker_info *ret_info);

/** "closed", "half_open", "open" */
const char *breaker_state_name(enum breaker_state state);

#endif
