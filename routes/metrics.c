/* GET /metrics: Prometheus text format 0.0.4.
 *
 * The counters are read from base/metrics.h; all else is asked of the parts at this moment, so a scrape costs
 * nothing between two scrapes. What there is of each upstream is a table of members of struct upstream_view,
 * and a family for each row. The label `upstream` is a name of the configuration, which bounds their number.
 */
#include "base/metrics.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "routes/exposition.h"
#include "routes/handlers.h"
#include "routes/process_info.h"
#include "routes/tunnels.h"
#include "routes/upstream_view.h"
#include "upstream/cache.h"

#include <stdlib.h>

/* ---- of the upstreams ---------------------------------------------------------------------------- */

/* What an upstream must have for a family to hold a sample of it. */
enum need { NEED_NOTHING, NEED_BREAKER, NEED_LIMITER };

/* Families with one sample an upstream, a uint64_t of its view. */
static const struct family {
    const char *name, *type, *help;
    enum need need;
    size_t offset;
} families[] = {
#define COUNTER(member, what, help)                                                                          \
    {                                                                                                        \
        "sluice_upstream_" what "_total", "counter", help, NEED_NOTHING,                                     \
            offsetof(struct upstream_view, member)                                                           \
    }
    COUNTER(calls, "calls", "Calls made to an upstream; each attempt counts"),
    COUNTER(failures, "failures", "Calls that failed"),
    COUNTER(retries, "retries", "Calls repeated after a failure that may pass"),
    COUNTER(resumptions, "resumptions", "Streams that broke off and were resumed by Last-Event-ID"),
    COUNTER(fallbacks, "fallbacks", "Runs that another upstream took over from this one"),
    COUNTER(canned, "canned_answers", "Runs that got the canned answer because all upstreams had failed"),
    COUNTER(queries, "requests",
            "Requests sent to an upstream that are not runs: for sessions, and passed through"),
    COUNTER(query_failures, "request_failures",
            "Requests other than runs that failed, or were answered 429 or 5xx"),
    COUNTER(queries_refused, "requests_refused",
            "Requests other than runs that the circuit breaker or the limiter refused"),
#undef COUNTER
#define GAUGE(member, what, help)                                                                            \
    { "sluice_upstream_" what, "gauge", help, NEED_NOTHING, offsetof(struct upstream_view, member) }
    GAUGE(queries_active, "requests_active", "Requests under way that are not runs"),
    GAUGE(queries_waiting, "requests_waiting", "Requests other than runs that wait for the limiter"),
#undef GAUGE
#define BREAKER(member, type, what, help)                                                                    \
    {                                                                                                        \
        "sluice_upstream_breaker_" what, type, help, NEED_BREAKER,                                           \
            offsetof(struct upstream_view, breaker.member)                                                   \
    }
    BREAKER(opened, "counter", "opened_total", "Number of times the circuit breaker opened"),
    BREAKER(refused, "counter", "refused_total", "Calls that the circuit breaker refused"),
#undef BREAKER
#define LIMITER(member, type, what, help)                                                                    \
    {                                                                                                        \
        "sluice_upstream_limiter_" what, type, help, NEED_LIMITER,                                           \
            offsetof(struct upstream_view, limiter.member)                                                   \
    }
    LIMITER(slots, "gauge", "slots", "Calls allowed at once now; 0 stands for no limit"),
    LIMITER(slots_used, "gauge", "slots_used", "Calls that hold a slot"),
    LIMITER(tokens, "gauge", "tokens", "Calls that the rate limit allows now; 0 also without a rate limit"),
    LIMITER(waiting, "gauge", "waiting", "Calls that wait for a slot or a token"),
    LIMITER(waited, "counter", "waited_total", "Calls that had to wait for a slot or a token"),
    LIMITER(refused, "counter", "refused_total", "Calls refused because the limiter's queue was full"),
    LIMITER(throttled, "counter", "throttled_total", "Number of times an overload cut the slots"),
#undef LIMITER
};

/* A look at all upstreams. */
struct views {
    struct upstream_view *items;
    size_t count;
};

static bool view_has(const struct upstream_view *view, enum need need) {
    return need == NEED_NOTHING || (need == NEED_BREAKER ? view->has_breaker : view->has_limiter);
}

static void add_family(struct exposition *exposition, const struct views *views,
                       const struct family *family) {
    exposition_family(exposition, family->name, family->type, family->help);
    for (size_t i = 0; i < views->count; i++) {
        const struct upstream_view *view = &views->items[i];
        const uint64_t *value = (const void *)((const char *)view + family->offset);
        if (view_has(view, family->need))
            exposition_sample(exposition,
                              (const struct exposition_label[]){{"upstream", view->settings->name}, {0}},
                              *value);
    }
}

/* ---- families with further labels ---------------------------------------------------------------- */

static void add_labelled(struct exposition *exposition, const struct upstream_view *view, const char *label,
                         const char *value, uint64_t number) {
    exposition_sample(
        exposition,
        (const struct exposition_label[]){{"upstream", view->settings->name}, {label, value}, {0}}, number);
}

static void add_info(struct exposition *exposition, const struct views *views) {
    exposition_family(exposition, "sluice_upstream_info", "gauge",
                      "Always 1; the label holds the upstream's kind");
    for (size_t i = 0; i < views->count; i++)
        add_labelled(exposition, &views->items[i], "kind", views->items[i].settings->adapter->name, 1);
}

static void add_phases(struct exposition *exposition, const struct views *views) {
    exposition_family(exposition, "sluice_upstream_calls_in_phase", "gauge",
                      "Calls under way, by their phase");
    for (size_t i = 0; i < views->count; i++) {
        for (size_t k = 0; k < UPSTREAM_PHASE_COUNT; k++)
            add_labelled(exposition, &views->items[i], "phase", upstream_phase_name((enum upstream_phase)k),
                         views->items[i].in_phase[k]);
    }
}

static void add_breaker_states(struct exposition *exposition, const struct views *views) {
    exposition_family(exposition, "sluice_upstream_breaker_state", "gauge",
                      "1 for the current state of the circuit breaker, 0 for other states");
    for (size_t i = 0; i < views->count; i++) {
        const struct upstream_view *view = &views->items[i];
        for (size_t k = 0; view->has_breaker && k < BREAKER_STATE_COUNT; k++)
            add_labelled(exposition, view, "state", breaker_state_name((enum breaker_state)k),
                         view->breaker.state == (enum breaker_state)k);
    }
}

static void add_scores(struct exposition *exposition, const struct views *views) {
    exposition_family(exposition, "sluice_upstream_score", "gauge",
                      "Health score of an upstream, from 0 to 100");
    for (size_t i = 0; i < views->count; i++)
        exposition_sample(
            exposition, (const struct exposition_label[]){{"upstream", views->items[i].settings->name}, {0}},
            (uint64_t)views->items[i].score);
}

static void add_checks(struct exposition *exposition, const struct views *views) {
    exposition_family(exposition, "sluice_upstream_healthy", "gauge",
                      "1 if the last health check succeeded, else 0");
    for (size_t i = 0; i < views->count; i++) {
        if (views->items[i].is_checked)
            exposition_sample(
                exposition,
                (const struct exposition_label[]){{"upstream", views->items[i].settings->name}, {0}},
                views->items[i].is_healthy);
    }
}

static void add_pauses(struct exposition *exposition, const struct views *views) {
    exposition_family(exposition, "sluice_upstream_limiter_paused_seconds", "gauge",
                      "Remaining pause that the upstream asked for");
    for (size_t i = 0; i < views->count; i++) {
        const struct upstream_view *view = &views->items[i];
        if (view->has_limiter)
            exposition_sample_ms(exposition,
                                 (const struct exposition_label[]){{"upstream", view->settings->name}, {0}},
                                 (uint64_t)view->limiter.paused_ms);
    }
}

static void add_upstreams(struct exposition *exposition, const struct upstream_worker *upstream_worker) {
    struct views views = {.count = upstream_worker->upstreams->count};
    views.items = calloc(views.count, sizeof(*views.items));
    if (views.items == NULL) {
        exposition->failed = true;
        return;
    }
    for (size_t i = 0; i < views.count; i++)
        upstream_view_get(upstream_worker, i, &views.items[i]);
    add_info(exposition, &views);
    add_phases(exposition, &views);
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        add_family(exposition, &views, &families[i]);
    add_breaker_states(exposition, &views);
    add_scores(exposition, &views);
    add_checks(exposition, &views);
    add_pauses(exposition, &views);
    free(views.items);
}

/* ---- of the gateway ------------------------------------------------------------------------------ */

/* Far more than what 64 upstreams take. */
#define TEXT_BYTES_MAX (1u << 20)

static void add_counters(struct exposition *exposition) {
    for (int i = 0; i < METRIC_COUNT; i++) {
        enum metric metric = (enum metric)i;
        exposition_add(exposition, metrics_name(metric), "counter", metrics_help(metric),
                       metrics_get(metric));
    }
    exposition_add(exposition, "sluice_log_lines_dropped_total", "counter",
                   "Log lines dropped because standard error accepted no more", log_dropped());
}

static void add_histograms(struct exposition *exposition) {
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        enum histogram histogram = (enum histogram)i;
        struct histogram_reading reading;
        metrics_read_histogram(histogram, &reading);
        exposition_add_histogram(exposition, histogram_name(histogram), histogram_help(histogram), &reading);
    }
}

/* ---- gauges ------------------------------------------------------------------------------------- */

static void add_gauge(struct exposition *exposition, const char *name, const char *help, uint64_t value) {
    exposition_add(exposition, name, "gauge", help, value);
}

static void add_queue(struct exposition *exposition, struct broadcaster *broadcaster) {
    struct scheduler_info info;
    scheduler_get_info(broadcaster_scheduler(broadcaster), &info);
    add_gauge(exposition, "sluice_runs", "Runs under way", info.running);
    add_gauge(exposition, "sluice_runs_passed", "POST /run requests under way; each takes the slot of a run",
              info.guests);
    add_gauge(exposition, "sluice_runs_queued", "Runs that wait in the queue for their session or a slot",
              info.queued);
    add_gauge(exposition, "sluice_runs_delayed", "Delayed runs that have not started", info.delayed);
    add_gauge(exposition, "sluice_runs_waiting", "Queued or delayed runs that wait for a slot only",
              info.waiting);
    exposition_family(exposition, "sluice_runs_oldest_wait_seconds", "gauge",
                      "Age of the oldest run waiting for a slot");
    exposition_sample_ms(exposition, NULL, (uint64_t)info.oldest_wait_ms);
}

static void add_gauges(struct exposition *exposition, const struct routes_context *context) {
    struct broadcaster_stats stats;
    broadcaster_get_stats(context->broadcaster, &stats);
    add_gauge(exposition, "sluice_sessions", "Open sessions", stats.sessions);
    add_gauge(exposition, "sluice_subscribers", "Connected subscribers", stats.subscribers);
    add_gauge(exposition, "sluice_subscribers_waiting",
              "Subscribers that wait for a session which is not open yet", stats.subscribers_waiting);
    add_gauge(exposition, "sluice_subscriber_lag_events",
              "Events by which the slowest blocked subscriber lags", fanout_lag_events());
    add_gauge(exposition, "sluice_tasks", "Runs tracked, ended runs included", stats.tasks);
    add_gauge(exposition, "sluice_log_events", "Events retained in all logs", stats.log_events);
    add_gauge(exposition, "sluice_log_bytes", "Bytes of memory of the events retained in all logs",
              stats.log_bytes);
    add_gauge(exposition, "sluice_connections", "HTTP connections other than subscribers",
              context->connections());
    add_gauge(exposition, "sluice_tunnels", "WebSockets open or requested from their upstream", live_count());
    add_gauge(exposition, "sluice_draining", "1 while the gateway is shutting down",
              broadcaster_is_draining(context->broadcaster));
}

static void add_memory(struct exposition *exposition) {
    add_gauge(exposition, "sluice_accounted_bytes", "Bytes of memory taken for clients and upstreams",
              memory_total());
    exposition_family(exposition, "sluice_memory_bytes", "gauge",
                      "Bytes of memory taken for clients and upstreams, by kind");
    for (int kind = MEMORY_UNCOUNTED + 1; kind < MEMORY_KIND_COUNT; kind++) {
        const char *name = memory_kind_name((enum memory_kind)kind);
        exposition_sample(exposition, (const struct exposition_label[]){{"kind", name}, {0}},
                          memory_used((enum memory_kind)kind));
    }
}

static void add_memory_level(struct exposition *exposition) {
    enum memory_level now = memory_look();
    exposition_family(exposition, "sluice_memory_level", "gauge",
                      "1 for the current memory level, 0 for other levels");
    for (int i = MEMORY_EASY; i <= MEMORY_OVER; i++) {
        const char *name = memory_level_name((enum memory_level)i);
        exposition_sample(exposition, (const struct exposition_label[]){{"level", name}, {0}}, i == (int)now);
    }
}

static void add_limits(struct exposition *exposition, const struct routes_settings *settings) {
    exposition_family(exposition, "sluice_limit", "gauge", "Limits in force, by configuration key");
    for (size_t i = 0; i < settings->limits_count; i++) {
        const struct limit_in_force *limit = &settings->limits[i];
        exposition_sample(exposition, (const struct exposition_label[]){{"limit", limit->key}, {0}},
                          limit->value);
    }
}

/* ---- ends of runs -------------------------------------------------------------------------------- */

/* The reasons that a status can have. A pair is shown even while it is 0, so that the first end shows as a
 * change. */
static bool is_possible(enum task_status status, enum task_reason reason) {
    switch (status) {
    case TASK_COMPLETED:
    case TASK_REPLACED:
        return reason == REASON_NONE;
    case TASK_FAILED:
        return reason > REASON_NONE && reason < REASON_REQUESTED;
    case TASK_CANCELLED:
        return reason >= REASON_REQUESTED && reason < REASON_RUN_TIME;
    case TASK_TIMEOUT:
        return reason >= REASON_RUN_TIME;
    case TASK_PENDING:
    case TASK_RUNNING:
    case TASK_STATUS_COUNT:
        break;
    }
    return false;
}

static void add_ends(struct exposition *exposition, struct broadcaster *broadcaster) {
    exposition_family(exposition, "sluice_runs_ended_total", "counter",
                      "Runs that ended, by status and reason");
    for (int i = 0; i < TASK_STATUS_COUNT; i++) {
        for (int k = 0; k < REASON_COUNT; k++) {
            enum task_status status = (enum task_status)i;
            enum task_reason reason = (enum task_reason)k;
            if (!is_possible(status, reason))
                continue;
            const char *name = task_reason_name(reason);
            exposition_sample(exposition,
                              (const struct exposition_label[]){{"status", task_status_name(status)},
                                                                {"reason", name != NULL ? name : ""},
                                                                {0}},
                              broadcaster_ended_count(broadcaster, status, reason));
        }
    }
}

/* ---- the cache ----------------------------------------------------------------------------------- */

static void add_counter(struct exposition *exposition, const char *name, const char *help, uint64_t value) {
    exposition_add(exposition, name, "counter", help, value);
}

static void add_redis(struct exposition *exposition, const struct cache_info *info) {
    exposition_family(exposition, "sluice_redis_state", "gauge",
                      "1 for the current state of Redis, 0 for other states");
    for (int i = REDIS_OFF; i <= REDIS_AWAY; i++) {
        enum redis_state state = (enum redis_state)i;
        exposition_sample(exposition,
                          (const struct exposition_label[]){{"state", redis_state_name(state)}, {0}},
                          info->redis_state == state);
    }
    add_gauge(exposition, "sluice_redis_connections", "Connections to Redis", info->redis_connections);
    add_counter(exposition, "sluice_redis_hits_total", "Runs found in Redis", info->redis_hits);
    add_counter(exposition, "sluice_redis_misses_total", "Runs not found in Redis", info->redis_misses);
    add_counter(exposition, "sluice_redis_stored_total", "Runs stored in Redis", info->redis_stored);
    add_counter(exposition, "sluice_redis_errors_total", "Redis requests that failed or got an invalid reply",
                info->redis_errors);
}

static void add_cache(struct exposition *exposition, struct cache *cache) {
    struct cache_info info = {0};
    if (cache != NULL)
        cache_get_info(cache, &info);
    add_gauge(exposition, "sluice_cache_entries", "Runs kept in memory", info.entries);
    add_gauge(exposition, "sluice_cache_bytes", "Bytes of memory of the runs kept", info.bytes);
    add_gauge(exposition, "sluice_cache_flights", "Calls under way whose runs may be kept", info.flights);
    add_counter(exposition, "sluice_cache_hits_total", "Runs found in memory", info.hits);
    add_counter(exposition, "sluice_cache_joined_total", "Runs that joined a call under way", info.joined);
    add_counter(exposition, "sluice_cache_misses_total", "Runs that began a call", info.misses);
    add_counter(exposition, "sluice_cache_stored_total", "Runs added to the cache", info.stored);
    add_counter(exposition, "sluice_cache_evicted_total", "Runs dropped from the cache to make room",
                info.evicted);
    add_counter(exposition, "sluice_cache_expired_total", "Runs dropped from the cache after cache_ttl_ms",
                info.expired);
    add_counter(exposition, "sluice_cache_too_large_total", "Completed runs too large to be kept",
                info.too_large);
    add_redis(exposition, &info);
}

/* ---- the process --------------------------------------------------------------------------------- */

static void add_process(struct exposition *exposition, const struct routes_context *context) {
    struct process_info info;
    process_info_get(&info);
    exposition_family(exposition, "process_cpu_seconds_total", "counter",
                      "Processor time used, in user and kernel mode");
    exposition_sample_ms(exposition, NULL, info.cpu_ms);
    add_gauge(exposition, "process_resident_memory_bytes", "Resident memory", info.resident_bytes);
    add_gauge(exposition, "process_virtual_memory_bytes", "Virtual memory", info.virtual_bytes);
    exposition_family(exposition, "process_open_fds", "gauge", "Open descriptors");
    if (info.descriptors > 0)
        exposition_sample(exposition, NULL, info.descriptors);
    add_gauge(exposition, "process_max_fds", "Maximum number of open descriptors", info.descriptors_max);
    add_gauge(exposition, "process_threads", "Threads", info.threads);
    exposition_family(exposition, "process_start_time_seconds", "gauge",
                      "When the process started, since the Unix epoch");
    exposition_sample_ms(exposition, NULL, (uint64_t)context->started_unix_ms);
    exposition_family(exposition, "sluice_build_info", "gauge", "Always 1; the label holds the version");
    exposition_sample(exposition, (const struct exposition_label[]){{"version", context->version}, {0}}, 1);
}

void handle_metrics(struct request *request) {
    const struct routes_context *context = request->context;
    struct exposition exposition;
    exposition_init(&exposition, TEXT_BYTES_MAX);
    add_counters(&exposition);
    add_histograms(&exposition);
    add_queue(&exposition, context->broadcaster);
    add_gauges(&exposition, context);
    add_memory(&exposition);
    add_memory_level(&exposition);
    add_limits(&exposition, context->settings);
    add_ends(&exposition, context->broadcaster);
    add_upstreams(&exposition, context->relay.upstream_worker);
    add_cache(&exposition, context->cache);
    add_process(&exposition, context);
    size_t length = exposition.text.length;
    char *text = exposition.failed ? NULL : buffer_detach(&exposition.text);
    exposition_finish(&exposition);
    if (text != NULL)
        reply_body(request, 200, "text/plain; version=0.0.4; charset=utf-8", text, length);
    else
        reply_no_memory(request);
}
