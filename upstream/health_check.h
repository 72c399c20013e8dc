/* Active health checks: each upstream with a health_path is asked by GET every health_interval_ms, give or
 * take a tenth, and is healthy if the answer is 2xx, whole, and there before the next check is due. What was
 * found last is upstream->is_unhealthy; upstream_prospect() looks there. An upstream without a health_path is
 * healthy.
 *
 * The path is that of the upstream's host, not of what its base_url has behind it: http://agent/v1 and
 * /healthz give http://agent/healthz.
 *
 * One worker of the process has them, by its upstream_worker: all functions on its thread.
 */
#ifndef SLUICE_UPSTREAM_HEALTH_CHECK_H
#define SLUICE_UPSTREAM_HEALTH_CHECK_H

#include "upstream/call.h"

struct health_checks;

/** Begins to check at once. `upstream_worker` outlives them. NULL: out of memory. */
struct health_checks *health_checks_create(struct upstream_worker *upstream_worker) MUST_CHECK;

/** The caller has other settings: checks by those, at once. */
void health_checks_reload(struct health_checks *checks);

/** Before the client is closed. They are freed when the loop has closed their timers. Takes NULL. */
void health_checks_close(struct health_checks *checks);

#endif
