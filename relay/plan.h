/* What a run asks of the upstreams: of the one that was chosen for it, and of those that it falls back to. It
 * may outlive its run: what others wait for as well goes on (upstream/follower.h). Made on any worker; then
 * on the thread of the run's own. */
#ifndef SLUICE_RELAY_PLAN_H
#define SLUICE_RELAY_PLAN_H

#include "base/traceparent.h"
#include "broadcaster/broadcaster.h"
#include "upstream/cache_key.h"
#include "upstream/feed.h"

#include <netinet/in.h>

/** What is asked of one upstream. */
struct plan_step {
    size_t upstream;
    struct upstream_request *request; /* a reference; NULL: there is nothing to ask */
};

struct plan {
    struct upstream_preparer preparer; /* the call for the run, or for all that share its answer, asks it */
    const struct upstream_worker *upstream_worker; /* of the worker where the run is */
    struct session *session;                       /* a reference */
    char trace_id[TRACE_ID_SIZE];
    bool is_sampled;
    char peer[INET6_ADDRSTRLEN]; /* the client that asks; "": not known */
    char *tracestate;            /* NULL: none */
    char *cache_key;             /* what its answer is kept under; NULL: it is not */
    struct recording *found;     /* a reference: its answer is at hand; NULL: it is not */
    size_t memory;               /* charged for it, but for its steps' requests */
    size_t count;                /* of the steps, at least 1 */
    struct plan_step steps[];    /* in the order in which they are asked */
};

/** A plan without steps, with room for `steps_max`. The session is referenced. NULL: out of memory. */
struct plan *plan_create(const struct upstream_worker *upstream_worker, struct session *session,
                         const struct trace *trace, size_t steps_max) MUST_CHECK;
void plan_destroy(struct plan *plan); /* takes NULL */

#endif
