/* The upstreams of the process: what all workers share of them.
 *
 * Made once at start, as many as are configured, and alike for all workers; a reload brings other settings,
 * by the same index. Breakers and limiters keep the settings of the start. Any thread, also with a lock held.
 */
#ifndef SLUICE_UPSTREAM_UPSTREAMS_H
#define SLUICE_UPSTREAM_UPSTREAMS_H

#include "upstream/settings.h"

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

/** The fallback of `index`, or UPSTREAM_NONE. Neither weight nor patterns matter. */
size_t upstreams_fallback(const struct upstreams_settings *settings, size_t index);

/** A walk along a chain of fallbacks. It ends after as many upstreams as there are, even in a circle. */
struct upstream_chain {
    size_t index; /* UPSTREAM_NONE: the chain has ended */
    size_t steps;
};

struct upstream_chain upstream_chain_begin(size_t first);
void upstream_chain_advance(struct upstream_chain *chain, const struct upstreams_settings *settings);

/** The upstream whose canned answer a call gets in the end: the first in the chain that has one, or
 * UPSTREAM_NONE. */
size_t upstream_chain_canned(const struct upstreams_settings *settings, size_t first);

/** The name's index, or UPSTREAM_NONE. */
size_t upstreams_find(const struct upstreams_settings *settings, const char *name);

/** "limiter", "connect", "first_byte", "streaming", "retry" */
const char *upstream_phase_name(enum upstream_phase phase);

#endif
