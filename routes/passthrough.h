/* Passing a request on to an upstream of kind adk. Its breaker and its limiter are passed like those of a
 * run. */
#ifndef SLUICE_ROUTES_PASSTHROUGH_H
#define SLUICE_ROUTES_PASSTHROUGH_H

#include "routes/passed_headers.h"
#include "routes/passed_path.h"
#include "routes/request.h"

struct passing {
    size_t upstream;
    const char *body; /* NULL: none */
    size_t body_length;
    int64_t first_byte_timeout_ms; /* 0: the upstream's own */
    enum passed_trust trust;
    bool is_tunnel; /* it asks for a WebSocket, and is a run, too */
    bool is_run;    /* it takes a slot */
};

/** Asks the upstream for the request's own path and query, by its method, and answers what it answers. A path
 * or a query that may not be passed on is answered 400, a run without a free slot 429. */
void passthrough_to(struct request *request, const struct passing *passing);

/** The upstream for the app, user and session that the request is about; UPSTREAM_NONE: none of kind adk
 * serves the app, and the reply says so. */
size_t passthrough_choose(struct request *request) MUST_CHECK;

#endif
