/* A query: any request to an upstream but a run's call, say for a session or a path that is passed through.
 * It passes the upstream's breaker and limiter like an attempt of a call (guard.h), and is never made again.
 *
 * In the limiter's line queries have a bound of their own, settings.queries_waiting_max, so that they leave
 * room for runs, and settings.queries_wait_ms to wait. All of it takes `timeout_ms` at most once it was let
 * through, whoever is slow: it holds a slot meanwhile.
 *
 * How it ends counts as the table in docs/internals/call.md says: an answer by its status, whole or not.
 *
 * On the loop's thread, as all of the client (client.h).
 */
#ifndef SLUICE_UPSTREAM_QUERY_H
#define SLUICE_UPSTREAM_QUERY_H

#include "upstream/call.h"

struct upstream_query;

/** What is asked. Everything is copied. */
struct upstream_query_request {
    size_t index; /* of the upstream */
    const char *method;
    const char *path; /* raw path and query */
    const struct upstream_header *headers;
    size_t header_count;
    const char *body; /* NULL: none */
    size_t body_length;
    int64_t timeout_ms;
    const char *timeout_key;       /* of `timeout_ms`; NULL: run_timeout_ms */
    int64_t first_byte_timeout_ms; /* 0: that of the upstream's settings */
    const char *upgrade;           /* to the protocol of a tunnel; NULL: it asks for none */
};

/** Starts one. The callbacks are those of a passage (client.h; on_sent() may be NULL), and the end may be
 * UPSTREAM_REFUSED by the breaker, UPSTREAM_CROWDED at the limiter, each with a retry_after_ms, and
 * UPSTREAM_LIMIT when `timeout_ms` is over. No callback before it returns. NULL: out of memory. */
struct upstream_query *upstream_query_start(struct upstream_worker *upstream_worker,
                                            const struct upstream_query_request *request,
                                            const struct upstream_passage_callbacks *callbacks,
                                            void *context) MUST_CHECK;

/** There is room for the body again. */
void upstream_query_resume(struct upstream_query *query);

/** There is something for the tunnel, or no more. */
void upstream_query_resume_upload(struct upstream_query *query);

/** Ends it without a callback; `query` may not be used again. Also from within its own callbacks. */
void upstream_query_cancel(struct upstream_query *query);

/** The gateway is about to stop: ends all queries of a worker, and tells them. */
void upstream_queries_abort(struct upstream_worker *upstream_worker);

#endif
