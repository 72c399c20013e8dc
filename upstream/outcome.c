/* What the end of an attempt means. The table is the whole of it: whoever needs to know what an end brings
 * about looks up its row and reads a column, and a new end is a word in UPSTREAM_ENDS and a row here. Rows are
 * few and an end is rare, so that they are searched one after the other.
 */
#include "upstream/outcome.h"

#define ANY 0, 999
#define FAILED BREAKER_FAILURE
#define WORKED BREAKER_SUCCESS
#define UNCOUNTED BREAKER_NEITHER

/* clang-format off */
const struct outcome outcomes[] = {
    /* end                   status    breaker    overload retry                        falls_back resumes */
    {UPSTREAM_COMPLETED,     ANY,      WORKED,    false,   OUTCOME_NO_RETRY,            false,     false},
    {UPSTREAM_CONNECT,       ANY,      FAILED,    false,   OUTCOME_RETRY,               true,      true},
    {UPSTREAM_STATUS,        429, 429, UNCOUNTED, true,    OUTCOME_RETRY,               true,      true},
    {UPSTREAM_STATUS,        503, 503, FAILED,    true,    OUTCOME_RETRY,               true,      true},
    {UPSTREAM_STATUS,        502, 504, FAILED,    false,   OUTCOME_RETRY,               true,      true},
    {UPSTREAM_STATUS,        500, 999, FAILED,    false,   OUTCOME_NO_RETRY,            true,      false},
    {UPSTREAM_STATUS,        ANY,      WORKED,    false,   OUTCOME_NO_RETRY,            false,     false},
    {UPSTREAM_ERROR,         ANY,      FAILED,    false,   OUTCOME_RETRY_STREAM_ERRORS, true,      false},
    {UPSTREAM_TRUNCATED,     ANY,      FAILED,    false,   OUTCOME_RETRY_RESEND,        true,      true},
    {UPSTREAM_PROTOCOL,      ANY,      FAILED,    false,   OUTCOME_NO_RETRY,            true,      false},
    {UPSTREAM_IDLE,          ANY,      FAILED,    false,   OUTCOME_RETRY_RESEND,        true,      true},
    {UPSTREAM_LIMIT,         ANY,      UNCOUNTED, false,   OUTCOME_NO_RETRY,            false,     false},
    {UPSTREAM_REFUSED,       ANY,      UNCOUNTED, false,   OUTCOME_NO_RETRY,            true,      true},
    {UPSTREAM_CROWDED,       ANY,      UNCOUNTED, false,   OUTCOME_NO_RETRY,            true,      true},
    /* Another upstream may have a connection that is kept. */
    {UPSTREAM_NO_DESCRIPTOR, ANY,      UNCOUNTED, false,   OUTCOME_RETRY,               true,      true},
    {UPSTREAM_INTERNAL,      ANY,      UNCOUNTED, false,   OUTCOME_NO_RETRY,            false,     false},
};
/* clang-format on */

const size_t outcomes_count = sizeof(outcomes) / sizeof(outcomes[0]);

static bool row_fits(const struct outcome *row, const struct upstream_result *result) {
    return row->end == result->end && result->http_status >= row->status_min &&
           result->http_status <= row->status_max;
}

const struct outcome *outcome_of(const struct upstream_result *result) {
    const struct outcome *last = &outcomes[outcomes_count - 1];
    const struct outcome *row = outcomes;
    while (row < last && !row_fits(row, result))
        row++;
    return row;
}

enum breaker_outcome outcome_for_breaker(const struct upstream_result *result) {
    return result->is_unsettled ? BREAKER_NEITHER : outcome_of(result)->breaker;
}
