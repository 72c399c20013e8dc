/* What the end of an attempt means: one table for the breaker, the limiter, what is tried next, and the reason
 * that clients read. docs/internals/call.md shows the table; test_outcome.c compares the two. Any thread.
 */
#ifndef SLUICE_UPSTREAM_OUTCOME_H
#define SLUICE_UPSTREAM_OUTCOME_H

#include "upstream/breaker.h"
#include "upstream/client.h"

#include <stdbool.h>

/** Whether the same upstream may be asked again, as long as no event was delivered. */
enum outcome_retry {
    OUTCOME_NO_RETRY,
    OUTCOME_RETRY,               /* the failure may pass */
    OUTCOME_RETRY_STREAM_ERRORS, /* if retry_stream_errors allows it */
    OUTCOME_RETRY_RESEND,        /* if not a byte of an answer came and upstream_resend allows it */
};

/** One row. */
struct outcome {
    enum upstream_end end;
    int status_min, status_max; /* of the answer; rows of the same end stand from the narrow to the wide */
    /** A failure is what the upstream could not do. An answer of 4xx is a success: the upstream works, and the
     * request was wrong. 429 does not count, for the limiter handles it, nor does what failed on our side. */
    enum breaker_outcome breaker;
    bool is_overload; /* for the limiter */
    enum outcome_retry retry;
    bool falls_back; /* another upstream may do better */
    bool resumes;    /* a stream that had begun, or a resumption of it, may be resumed */
};

/** The rows in the order in which they are looked at. */
extern const struct outcome outcomes[];
extern const size_t outcomes_count;

/** The first row that fits a result. */
const struct outcome *outcome_of(const struct upstream_result *result);

/** What the breaker counts: the row's, but an agent that has not settled after a cut is not counted. */
enum breaker_outcome outcome_for_breaker(const struct upstream_result *result);

#endif
