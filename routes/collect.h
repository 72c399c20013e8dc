/* A request to the upstream whose whole answer is collected before the client gets its own. */
#ifndef SLUICE_ROUTES_COLLECT_H
#define SLUICE_ROUTES_COLLECT_H

#include "routes/request.h"

#define COLLECT_BYTES_MAX (1024u * 1024u)

/** What the upstream said; valid in the callback. */
struct collected {
    size_t upstream; /* that was asked */
    bool complete;   /* there was an answer, whole and no longer than COLLECT_BYTES_MAX */
    int status;
    bool is_json;
    const char *body; /* NUL-terminated */
    size_t length;
    struct upstream_result result; /* why it is not complete, if it is not */
};

/** Sends `method` and `body` (NULL: none) to `path` behind the base URL of the upstream of that index, past
 * its guards, and defers the request. `done` must decide the reply. Out of memory: the reply is decided here.
 */
void collect_start(struct request *request, size_t upstream, const char *method, const char *path,
                   const char *body, size_t length,
                   void (*done)(struct request *request, const struct collected *answer));

/** Answers with what was collected, which is complete and has a status of 200 to 299; what is no JSON is told
 * in the gateway's own words. */
void collect_pass_on(struct request *request, const struct collected *answer);

/** Answers with that status and sentence (without a full stop), and with what the upstream said, if clients
 * may see it.
 */
void collect_refuse_as(struct request *request, const struct collected *answer, int status, const char *what);

/** Answers that the upstream gave no usable answer. */
void collect_refuse(struct request *request, const struct collected *answer);

#endif
