/* The table of all routes: which handler answers which method and path. */
#ifndef SLUICE_ROUTES_ROUTER_H
#define SLUICE_ROUTES_ROUTER_H

#include "routes/request.h"

/** Called when the headers are there: finds the route, decodes the path's parts, checks method, length and
 *  content type, adds CORS headers. May decide the reply already (an error, a preflight); otherwise the
 *  body (at most settings->request_body_bytes_max, and only if the route takes one) is to be read, and then
 *  router_handle() to be called. */
void router_begin(struct request *request);

/** Calls the handler, now or, if it may take long, in a later turn of the loop: in each, some of those
 * requests are handled. The reply is decided or deferred when this returns. */
void router_handle(struct request *request);

/** Whether the path is that of the agent's own pages which ends in a slash, and these are served: "/", which
 * leads there, or "/dev-ui/". */
bool router_is_ui_root(const struct request *request);

/** Whether the gateway passes requests of this method for a path, without a query, on to some upstream. */
bool router_passes_on(const struct request *request, enum request_method method, const char *path);

/** Whether the route of a POST may answer with bytes as they come (reply_from_source()). After
 * router_begin(), which has found a route. */
bool router_streams_answer(const struct request *request);

/** The table, for tests and tools: what the route at `index` is. False: there are not so many. */
struct route_description {
    enum request_method method;
    const char *pattern; /* "/tasks/{id}" */
    enum access_right right;
    bool takes_body;
};
bool router_describe(size_t index, struct route_description *ret_description) MUST_CHECK;

/** The client sent more than the body may have: decides the reply (413). */
void router_refuse_body(struct request *request);

#endif
