/* Which upstream a request is for. */
#ifndef SLUICE_ROUTES_UPSTREAM_CHOICE_H
#define SLUICE_ROUTES_UPSTREAM_CHOICE_H

#include "routes/request.h"

/** The settings of the upstream of that index. */
const struct upstream_settings *upstream_at(const struct request *request, size_t index);

/** The upstream for a run of this app in this session, which stays with it as long as it can.
 * UPSTREAM_NONE: there is none, says the reply. *ret_retry_after_ms: 0; else none takes a run now, but may
 * then. */
size_t upstream_choose_for_run(struct request *request, const char *app, const char *session_key,
                               int64_t *ret_retry_after_ms);

/** Answers that an upstream gave no whole answer to a query (upstream/query.h): `result` says why. */
void upstream_refuse_query(struct request *request, const struct upstream_result *result);

/** Answers that this upstream takes no run now, nor does another in its place. */
void upstream_refuse_run(struct request *request, size_t index, int64_t retry_after_ms);

/** The upstream that keeps this app's sessions and answers other questions about it; "": the first that
 * answers ADK's own API. Whether it takes runs now does not matter. UPSTREAM_NONE: there is none; nothing is
 * replied. */
size_t upstream_choose_for_app(const struct request *request, const char *app, const char *session_key);

/** Whether a run that begins at this upstream would get the canned answer just now: none in its chain takes
 * calls. */
bool upstream_is_canned_now(const struct request *request, size_t index);

/** Whether one of the upstreams answers ADK's own API. */
bool upstream_has_adk_api(const struct request *request);

#endif
