/* Cross-origin requests (Fetch standard, "HTTP CORS protocol"): which pages of other origins may read
 * answers. */
#ifndef SLUICE_ROUTES_CORS_H
#define SLUICE_ROUTES_CORS_H

#include "routes/request.h"

/** Whether pages of every origin are allowed. */
bool cors_allows_all(const struct routes_settings *settings);

/** Whether the request has the Origin of a page that is allowed. */
bool cors_allows(const struct request *request);

/** Adds the headers that let the page of an allowed origin read the answer. Called once for every request: by
 * the router before anything is decided, or by code that refuses a request before the router sees it. */
void cors_add_headers(struct request *request);

/** Whether an OPTIONS request is a preflight. */
bool cors_is_preflight(const struct request *request);

/** Adds the headers of a preflight's answer, if its origin is allowed. `methods` is a list as for Allow. */
void cors_add_preflight_headers(struct request *request, const char *methods);

/** Logs a foreign Origin that no setting lists, once a minute for each origin. So an operator sees which
 * origin is missing in `cors_origins`. */
void cors_log_refused(const struct request *request);

#endif
