/* Would this upstream take a call now? One rule and one walk along the chain of fallbacks, for all that ask:
 * the choice for a run, its 503, /health, and whether an answer will be canned.
 *
 * Nothing is counted or taken by a look. What is true now may be otherwise when the call is made: the guards
 * (guard.h) decide then. Any thread, also with a session's lock held.
 */
#ifndef SLUICE_UPSTREAM_PROSPECT_H
#define SLUICE_UPSTREAM_PROSPECT_H

#include "upstream/upstreams.h"

/** What a call can expect of an upstream; a greater one is better. */
enum prospect {
    PROSPECT_REFUSED,  /* its breaker or its limiter refuses it now */
    PROSPECT_DOUBTFUL, /* it is let through, but the last health check failed; the check may be wrong */
    PROSPECT_FALLBACK, /* of a chain: not from the first, but another one is good or there is a canned answer */
    PROSPECT_GOOD,
};

struct upstream_prospect {
    enum prospect prospect;
    bool by_breaker;        /* the breaker refuses; otherwise the limiter does, in a pause that is too long */
    int64_t retry_after_ms; /* refused: the time until it will not be; otherwise 0 */
};

/** The upstream of that index alone. A half-open breaker whose probes are all under way refuses, as an open
 * one does. */
struct upstream_prospect upstream_prospect(const struct upstreams *upstreams,
                                           const struct upstreams_settings *settings, size_t index);

/** The upstream that was chosen for a run. */
struct upstream_choice {
    size_t index;           /* UPSTREAM_NONE: none is for this app */
    bool can_take;          /* the chain takes the run, or has a canned answer */
    bool is_canned;         /* every upstream of the chain refuses, and the answer will be the canned one */
    bool by_breaker;        /* the first of the chain refuses, and its breaker is why */
    int64_t retry_after_ms; /* no chain takes the run: the time until the first one does; otherwise 0 */
};

/** Chooses the upstream for a run of `app`, among those that have a weight and a pattern that fits.
 *
 * The best ones are those that are good. Then come those whose chain of fallbacks has a good one or a canned
 * answer, then those whose chain has a doubtful one at best: the run has nothing to lose. Last are those whose
 * chains all refuse.
 *
 * Among the best, weight and `affinity` decide: the same affinity gives the same choice while the same ones
 * are the best, and if that changes only those move that must (weighted rendezvous hashing). So a session
 * stays with the upstream that keeps it. */
struct upstream_choice upstreams_choose(const struct upstreams *upstreams,
                                        const struct upstreams_settings *settings, const char *app,
                                        uint64_t affinity);

#endif
