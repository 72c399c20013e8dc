/* A bound for log lines that somebody outside can cause: not more a second than a person can read, so that it
 * is no way to fill a disk. On one thread.
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

/** As many may come at once after a pause. */
#define LOG_LIMIT_LINES_PER_SECOND 20

/** All zeros at the beginning. */
struct log_limit {
    struct token_bucket lines;
    uint64_t unwritten; /* since the last line */
};

/** Whether one more line may be written, which then says how many were not since the last one. */
bool log_limit_take(struct log_limit *limit, uint64_t *ret_unwritten) MUST_CHECK;

#endif
