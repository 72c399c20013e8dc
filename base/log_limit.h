/* A bound for log lines that clients can cause. The lines stay readable for a person, and cannot fill a
 * disk. On one thread.
 *
 *     uint64_t unwritten;
 *     if (log_limit_take(&limit, &unwritten))
 *         log_info("refused", ..., LOG_INT("unwritten", unwritten));
 */
#ifndef SLUICE_BASE_LOG_LIMIT_H
#define SLUICE_BASE_LOG_LIMIT_H

#include "base/token_bucket.h"

#include <stdbool.h>
#include <stdint.h>

/** The same number may come at once after a pause. */
#define LOG_LIMIT_LINES_PER_SECOND 20

/** All zeros at the beginning. */
struct log_limit {
    struct token_bucket lines;
    uint64_t unwritten; /* lines not written since the last one */
};

/** Returns whether one more line may be written. *ret_unwritten is the number of lines left out since the
 * last one. */
bool log_limit_take(struct log_limit *limit, uint64_t *ret_unwritten) MUST_CHECK;

#endif
