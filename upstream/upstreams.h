/* The upstreams of the process: what all workers share of them, and which one a run gets.
 *
 * Made once at start, as many as are configured, and alike for all workers; a reload brings other settings,
 * by the same index. Breakers and limiters keep the settings of the start. Any thread, also with a lock held.
 */
#ifndef SLUICE_UPSTREAM_UPSTREAMS_H
#define SLUICE_UPSTREAM_UPSTREAMS_H

#include "upstream/client.h"

#include <stdatomic.h>

enum upstream_phase {
    UPSTREAM_PHASE_LIMITER,    /* waits for a slot or a token */
    UPSTREAM_PHASE_CONNECT,    /* connects, or creates the session */
    UPSTREAM_PHASE_FIRST_BYTE, /* sent, nothing came yet */
    UPSTREAM_PHASE_STREAMING,
    UPSTREAM_PHASE_RETRY, /* waits to be tried again */
    UPSTREAM_PHASE_COUNT
};

/** One upstream as all workers see it. */
struct upstream {
    size_t index;
    struct breaker *breaker;                                /* NULL: none */
    struct limiter *limiter;                                /* NULL: none */
    atomic_bool is_unhealthy;                               /* its health check failed last */
    _Atomic uint64_t in_phase[UPSTREAM_PHASE_COUNT];        /* calls */
    _Atomic uint64_t calls, failures, retries, resumptions; /* ever, as the next two */
    _Atomic uint64_t fallbacks;                             /* taken over from it */
    _Atomic uint64_t canned;
    _Atomic uint64_t queries_waiting, queries_active;          /* now */
    _Atomic uint64_t queries, query_failures, queries_refused; /* ever */
};

struct upstreams {
    size_t count; /* at least 1 */
    struct upstream *items;
};

/** Their settings, in the same order; one for the whole process at a time, until a reload. */
struct upstreams_settings {
    size_t count;
    const struct upstream_settings *items;
};

/** Makes the breakers and limiters that are configured. False: out of memory; nothing is left to free. */
bool upstreams_init(struct upstreams *upstreams, const struct upstreams_settings *settings) MUST_CHECK;

/** No call is under way any more. */
void upstreams_finish(struct upstreams *upstreams);

/** Whether one of the comma-separated patterns, * for any text, fits the name. */
bool upstreams_app_fits(const char *patterns, const char *app);

#define UPSTREAM_NONE SIZE_MAX

/** Which upstream a run of `app` gets, among those that have a weight and a pattern that fits. The best ones
 * are those that are healthy and whose breaker would let it pass, and that have not asked for a pause which
 * is longer than a call may wait (retry.total_ms); then those that are not, but one of their
 * chain of fallbacks is, or has a canned answer; then those for which only an unhealthy one would be asked
 * (its check may be wrong, and the run has nothing to lose); and last those whose chains all refuse.
 *
 *  Among the best it goes by weight and `affinity`: the same affinity gives the same choice as long as the
 * same ones are the best, and if that changes only those move that must (weighted rendezvous hashing), so
 * that a session that an upstream keeps stays with it.
 *
 *  *ret_can_take is false if all refuse; *ret_retry_after_ms says when one will not, and is 0 else.
 *  UPSTREAM_NONE: none is for this app, *ret_can_take is false. */
size_t upstreams_choose(const struct upstreams *upstreams, const struct upstreams_settings *settings,
                        const char *app, uint64_t affinity, bool *ret_can_take, int64_t *ret_retry_after_ms);

/** The next in the chain of fallbacks behind `index`, or UPSTREAM_NONE. Neither weight nor patterns matter. A
 *  chain may go in a circle: whoever follows it takes fewer steps than there are upstreams. */
size_t upstreams_fallback(const struct upstreams_settings *settings, size_t index);

/** The name's index, or UPSTREAM_NONE. */
size_t upstreams_find(const struct upstreams_settings *settings, const char *name);

/** "limiter", "connect", "first_byte", "streaming", "retry" */
const char *upstream_phase_name(enum upstream_phase phase);

#endif
