/* Cross-origin requests (Fetch standard, "HTTP CORS protocol"): who may read the answers from a page
 * elsewhere. */
#ifndef SLUICE_ROUTES_CORS_H
#define SLUICE_ROUTES_CORS_H

#include "routes/request.h"

/** Whether pages of every origin are allowed. */
bool cors_allows_all(const struct routes_settings *settings);

/** Whether the request has the Origin of a page that is allowed. */
bool cors_allows(const struct request *request);

/** Adds the headers that let the page of an allowed origin read the answer. For every request: the router
 * does it before anything is decided, and who refuses one before the router does it for his refusal. */
void cors_add_headers(struct request *request);

/** Whether an OPTIONS request is a preflight. */
bool cors_is_preflight(const struct request *request);

/** Adds what a preflight wants to know, if its origin is allowed. `methods` is a list as for Allow. */
void cors_add_preflight_headers(struct request *request, const char *methods);

/** Logs the Origin of a request that is no page of the gateway's own and is not listed, once a minute for
 * each origin: an operator sees which one is missing in `cors_origins`. */
void cors_log_refused(const struct request *request);

#endif
