/* One log line for each request that is no proper one: see offence.h. */
#include "http/offence.h"

#include "base/log.h"
#include "base/metrics.h"

void offence_note(struct log_limit *offences, const struct peer *peer, int status, const char *reason) {
    char address[INET6_ADDRSTRLEN];
    uint64_t unwritten;
    metrics_add(METRIC_REQUESTS_OFFENDING, 1);
    if (!log_limit_take(offences, &unwritten))
        return;
    peer_format(peer, address);
    log_warn("request_refused", LOG_STR("peer", address), LOG_STR("reason", reason),
             LOG_INT("status", status), LOG_INT("unwritten", unwritten));
}
