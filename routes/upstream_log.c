/* Log lines about upstreams and the Redis server: one for each kind of notice.
 *
 * The rooms that find these things out do not log; a worker gives this function to them. */
#include "routes/upstream_log.h"

#include "base/log.h"

void upstream_log(const struct upstream_notice *notice) {
    switch (notice->kind) {
    case NOTICE_BREAKER_OPENED:
        log_warn("breaker_opened", LOG_STR("upstream", notice->upstream), LOG_INT("calls", notice->calls),
                 LOG_INT("failures", notice->failures), LOG_INT("retry_after_ms", notice->retry_after_ms));
        return;
    case NOTICE_BREAKER_CLOSED:
        log_info("breaker_closed", LOG_STR("upstream", notice->upstream));
        return;
    case NOTICE_UNHEALTHY:
        log_warn("upstream_unhealthy", LOG_STR("upstream", notice->upstream),
                 LOG_INT("status", notice->status), LOG_STR("message", notice->message));
        return;
    case NOTICE_HEALTHY:
        log_info("upstream_healthy", LOG_STR("upstream", notice->upstream));
        return;
    case NOTICE_REDIS_AWAY:
        log_warn("redis_away", LOG_STR("message", notice->message));
        return;
    case NOTICE_REDIS_BACK:
        log_info("redis_back", {0});
        return;
    }
}
