/* A bound for log lines: see log_limit.h. */
#include "base/log_limit.h"

#include "base/clock.h"

bool log_limit_take(struct log_limit *limit, uint64_t *ret_unwritten) {
    int64_t second = clock_mono_ms() / 1000;
    if (second != limit->second) {
        limit->second = second;
        limit->lines = 0;
    }
    if (limit->lines == LOG_LIMIT_LINES_PER_SECOND) {
        limit->unwritten++;
        return false;
    }
    limit->lines++;
    *ret_unwritten = limit->unwritten;
    limit->unwritten = 0;
    return true;
}
