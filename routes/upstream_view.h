/* The state and the counters of one upstream, for /metrics, /stats and /health. */
#ifndef SLUICE_ROUTES_UPSTREAM_VIEW_H
#define SLUICE_ROUTES_UPSTREAM_VIEW_H

#include "upstream/call.h"

struct json_writer;

struct upstream_view {
    const struct upstream_settings *settings;
    uint64_t in_phase[UPSTREAM_PHASE_COUNT];
    uint64_t calls, failures, retries, resumptions, fallbacks, canned;
    uint64_t queries_waiting, queries_active, queries, query_failures, queries_refused;
    struct breaker_info breaker;
    struct limiter_info limiter;
    bool has_breaker, has_limiter;
    bool is_checked, is_healthy; /* one that is not checked is healthy */
    int score;                   /* 0..100; without a breaker all or nothing */
};

/** Looks at the upstream of that index. */
void upstream_view_get(const struct upstream_worker *upstream_worker, size_t index,
                       struct upstream_view *ret_view);

/** Writes all upstreams as the member "upstreams", an array: their states alone, or everything. */
void upstream_view_write_states(struct json_writer *json, const struct upstream_worker *upstream_worker);
void upstream_view_write_all(struct json_writer *json, const struct upstream_worker *upstream_worker);

#endif
