/* Which upstream a request is for. */
#ifndef SLUICE_ROUTES_UPSTREAM_CHOICE_H
#define SLUICE_ROUTES_UPSTREAM_CHOICE_H

#include "routes/request.h"
#include "upstream/prospect.h"

/** The settings of the upstream of that index. */
const struct upstream_settings *upstream_at(const struct request *request, size_t index);

/** Chooses the upstream for a run of this app in this session (upstream/prospect.h). If there is none, the
 * reply says so. */
struct upstream_choice upstream_choose_for_run(struct request *request, const char *app,
                                               const char *session_key);

/** Answers that an upstream gave no whole answer to a query (upstream/query.h): `result` says why. */
void upstream_refuse_query(struct request *request, const struct upstream_result *result);

/** Answers that the upstream that was chosen takes no run now, nor does another in its place. */
void upstream_refuse_run(struct request *request, const struct upstream_choice *choice);

/** The upstream that keeps this app's sessions and answers other questions about it; "": the first that
 * answers ADK's own API. Whether it takes runs now does not matter. UPSTREAM_NONE: there is none; nothing is
 * replied. */
size_t upstream_choose_for_app(const struct request *request, const char *app, const char *session_key);

/** Whether one of the upstreams answers ADK's own API. */
bool upstream_has_adk_api(const struct request *request);

#endif
