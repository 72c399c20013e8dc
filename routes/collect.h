/* A request to the upstream whose whole answer is collected before the client gets its own. */
#ifndef SLUICE_ROUTES_COLLECT_H
#define SLUICE_ROUTES_COLLECT_H

#include "routes/request.h"

#define COLLECT_BYTES_MAX (1024u * 1024u)

/** The upstream's answer. It is valid in the callback only. */
struct collected {
    size_t upstream; /* the index of the upstream */
    bool complete;   /* there was an answer, whole and no longer than COLLECT_BYTES_MAX */
    int status;
    bool is_json;
    const char *body; /* NUL-terminated */
    size_t length;
    struct upstream_result result; /* why it is not complete, if it is not */
};

/** Sends `method` and `body` (NULL: none) to `path` below the base URL of the upstream, through its breaker and
 * its limiter, and defers the request. `done` must decide the reply. Without memory this function
 * decides it. */
void collect_start(struct request *request, size_t upstream, const char *method, const char *path,
                   const char *body, size_t length,
                   void (*done)(struct request *request, const struct collected *answer));

/** Passes on a complete answer with a status of 200 to 299. An answer that is not JSON becomes an error of
 * the gateway. */
void collect_pass_on(struct request *request, const struct collected *answer);

/** Answers with this status and sentence (without a full stop). The upstream's own words follow, if clients
 * may see them. */
void collect_refuse_as(struct request *request, const struct collected *answer, int status, const char *what);

/** Answers that the upstream gave no usable answer. */
void collect_refuse(struct request *request, const struct collected *answer);

#endif
