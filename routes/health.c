/* How well the gateway does, and what is wrong with it: GET /health, /healthz and /readyz.
 *
 * A report is a list of reasons, each with what it makes of the whole; the worst one counts. It is made anew
 * for each request from what the parts say of themselves, and keeps nothing.
 */
#include "routes/health.h"

#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory_budget.h"
#include "routes/handlers.h"
#include "routes/upstream_view.h"
#include "upstream/cache.h"
#include "upstream/prospect.h"

const char *health_status_name(enum health_status status) {
    static const char *const names[] = {"healthy", "degraded", "critical"};
    return names[status];
}

static void add_reason(struct health_report *report, enum health_status status, struct health_reason reason) {
    if (status > report->status)
        report->status = status;
    if (report->count < HEALTH_REASONS_MAX)
        report->reasons[report->count++] = reason;
}

/* ---- upstreams ----------------------------------------------------------------------------------- */

static void judge_upstream(struct health_report *report, const struct upstream_view *view) {
    const char *name = view->settings->name;
    if (!view->is_healthy)
        add_reason(report, HEALTH_DEGRADED,
                   (struct health_reason){"upstream_unhealthy",
                                          "The last health check of the upstream failed.", name, 0, 0});
    if (view->has_limiter && view->limiter.paused_ms > 0)
        add_reason(report, HEALTH_DEGRADED,
                   (struct health_reason){
                       "upstream_paused",
                       "The upstream asked for a pause, and the gateway does not call it meanwhile.", name, 0,
                       0});
    if (view->has_breaker && view->breaker.state == BREAKER_OPEN)
        add_reason(report, HEALTH_DEGRADED,
                   (struct health_reason){"breaker_open",
                                          "The circuit breaker of the upstream is open and refuses calls.",
                                          name, 0, 0});
    if (view->has_breaker && view->breaker.state == BREAKER_HALF_OPEN)
        add_reason(
            report, HEALTH_DEGRADED,
            (struct health_reason){
                "breaker_half_open",
                "The circuit breaker is half-open: a few calls test whether the upstream has recovered.",
                name, 0, 0});
}

static void judge_upstreams(struct health_report *report, const struct upstream_worker *upstream_worker) {
    struct upstream_view view;
    bool one_can_take = false;
    for (size_t i = 0; i < upstream_worker->upstreams->count && !one_can_take; i++)
        one_can_take =
            upstream_prospect(upstream_worker->upstreams, &upstream_worker->settings, i).prospect ==
            PROSPECT_GOOD;
    if (!one_can_take)
        add_reason(report, HEALTH_CRITICAL,
                   (struct health_reason){"no_upstream", "No upstream can take a run.", NULL, 0, 0});
    for (size_t i = 0; i < upstream_worker->upstreams->count; i++) {
        upstream_view_get(upstream_worker, i, &view);
        judge_upstream(report, &view);
    }
}

/* ---- the gateway --------------------------------------------------------------------------------- */

static void judge_share(struct health_report *report, const char *code, const char *message, uint64_t value,
                        uint64_t maximum, uint64_t percent) {
    uint64_t limit = maximum * percent / 100;
    if (value > limit)
        add_reason(report, HEALTH_DEGRADED, (struct health_reason){code, message, NULL, value, limit});
}

static void judge_memory(struct health_report *report, uint64_t warn_bytes) {
    uint64_t bytes = memory_total();
    if (!memory_has_room(MEMORY_RUN_BYTES))
        add_reason(report, HEALTH_CRITICAL,
                   (struct health_reason){
                       "memory_full", "The memory limit has been reached: new runs and sessions are refused.",
                       NULL, bytes, memory_limit()});
    else if (bytes > warn_bytes)
        add_reason(
            report, HEALTH_DEGRADED,
            (struct health_reason){"memory_high",
                                   "The memory taken for clients and upstreams is above memory_warn_bytes.",
                                   NULL, bytes, warn_bytes});
}

static void judge_redis(struct health_report *report, struct cache *cache) {
    struct cache_info info = {.redis_state = REDIS_OFF};
    if (cache != NULL)
        cache_get_info(cache, &info);
    if (info.redis_state == REDIS_AWAY)
        add_reason(report, HEALTH_DEGRADED,
                   (struct health_reason){
                       "redis_away", "Redis does not answer; each gateway keeps runs in its own memory only.",
                       NULL, 0, 0});
}

void health_report_make(const struct routes_context *context, struct health_report *ret_report) {
    const struct routes_settings *settings = context->settings;
    const struct broadcaster_limits *limits = broadcaster_limits(context->broadcaster);
    struct broadcaster_stats stats;
    broadcaster_get_stats(context->broadcaster, &stats);
    *ret_report = (struct health_report){.status = HEALTH_HEALTHY};
    if (broadcaster_is_draining(context->broadcaster))
        add_reason(ret_report, HEALTH_DEGRADED,
                   (struct health_reason){"draining", "The gateway is shutting down and accepts no new runs.",
                                          NULL, 0, 0});
    judge_upstreams(ret_report, context->relay.upstream_worker);
    judge_share(ret_report, "queue_high", "The queue of runs is nearly full.", stats.runs_queued,
                limits->runs_queued_max, settings->health_queue_percent);
    judge_share(ret_report, "sessions_high", "The session limit has nearly been reached.", stats.sessions,
                limits->sessions_max, settings->health_sessions_percent);
    judge_memory(ret_report, settings->memory_warn_bytes);
    judge_redis(ret_report, context->cache);
}

/* ---- GET /health --------------------------------------------------------------------------------- */

/* Far more than what 64 upstreams take. */
#define HEALTH_BYTES_MAX (256 * 1024)

void health_write_summary(struct json_writer *json, const struct routes_context *context,
                          const struct broadcaster_stats *stats) {
    json_add_string(json, "version", context->version);
    json_add_number(json, "uptime_ms", clock_unix_ms() - context->started_unix_ms);
    json_add_count(json, "workers", context->workers);
    json_add_count(json, "sessions", stats->sessions);
    json_add_count(json, "subscribers", stats->subscribers);
    json_add_count(json, "runs", stats->runs);
    json_add_count(json, "runs_queued", stats->runs_queued);
    json_add_count(json, "runs_delayed", stats->runs_delayed);
}

static void write_reason(struct json_writer *json, const struct health_reason *reason) {
    json_begin_object(json, NULL);
    json_add_string(json, "code", reason->code);
    json_add_string(json, "message", reason->message);
    if (reason->upstream != NULL)
        json_add_string(json, "upstream", reason->upstream);
    if (reason->value > 0) {
        json_add_count(json, "value", reason->value);
        json_add_count(json, "limit", reason->limit);
    }
    json_end_object(json);
}

void handle_health(struct request *request) {
    const struct routes_context *context = request->context;
    struct broadcaster_stats stats;
    struct health_report report;
    struct json_writer json;
    broadcaster_get_stats(context->broadcaster, &stats);
    health_report_make(context, &report);
    json_writer_init(&json, HEALTH_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_string(&json, "status", health_status_name(report.status));
    json_begin_array(&json, "reasons");
    for (size_t i = 0; i < report.count; i++)
        write_reason(&json, &report.reasons[i]);
    json_end_array(&json);
    json_add_time(&json, "started_at", context->started_unix_ms);
    health_write_summary(&json, context, &stats);
    upstream_view_write_states(&json, context->relay.upstream_worker);
    json_end_object(&json);
    reply_json(request, report.status == HEALTH_CRITICAL ? 503 : 200, &json);
}

/* ---- GET /healthz, GET /readyz ------------------------------------------------------------------- */

#define ANSWER_BYTES_MAX 4096

static void reply_status(struct request *request, const char *status) {
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_string(&json, "status", status);
    json_end_object(&json);
    reply_json(request, 200, &json);
}

void handle_healthz(struct request *request) {
    reply_status(request, "ok");
}

void handle_readyz(struct request *request) {
    if (broadcaster_is_draining(request->context->broadcaster))
        reply_error(request, 503, "draining", "The gateway is shutting down.");
    else
        reply_status(request, "ready");
}
