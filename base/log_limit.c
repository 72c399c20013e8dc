/* A bound for log lines: a token bucket, and a count of the lines that found it empty. */
#include "base/log_limit.h"

#include "base/clock.h"

static const struct token_rate rate = {
    .tokens = LOG_LIMIT_LINES_PER_SECOND, .per_ms = 1000, .burst = LOG_LIMIT_LINES_PER_SECOND};

bool log_limit_take(struct log_limit *limit, uint64_t *ret_unwritten) {
    if (!token_bucket_take(&limit->lines, &rate, clock_mono_ms())) {
        limit->unwritten++;
        return false;
    }
    *ret_unwritten = limit->unwritten;
    limit->unwritten = 0;
    return true;
}
