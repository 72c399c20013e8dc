/* One log line for each request that is no proper one: see offence.h. */
#include "server/offence.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

void offence_note(struct offence_log *offences, const struct peer *peer, int status, const char *reason) {
    int64_t second = clock_mono_ms() / 1000;
    char address[INET6_ADDRSTRLEN];
    metrics_add(METRIC_REQUESTS_OFFENDING, 1);
    if (second != offences->second) {
        offences->second = second;
        offences->lines = 0;
    }
    if (offences->lines == OFFENCE_LINES_PER_SECOND) {
        offences->unwritten++;
        return;
    }
    offences->lines++;
    peer_format(peer, address);
    log_warn("request_refused", LOG_STR("peer", address), LOG_STR("reason", reason),
             LOG_INT("status", status), LOG_INT("unwritten", offences->unwritten));
    offences->unwritten = 0;
}
