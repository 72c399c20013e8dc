/* What there is: GET /health; with how much of it may be and what has been counted: GET /stats. */
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "routes/handlers.h"
#include "routes/json_writer.h"
#include "routes/process_memory.h"

#define ANSWER_BYTES_MAX (32 * 1024)

static void write_memory(struct json_writer *json, const struct routes_context *context,
                         const struct broadcaster_stats *stats) {
    json_begin_object(json, "memory");
    json_add_count(json, "rss_bytes", process_memory_resident_bytes());
    json_add_count(json, "accounted_bytes", broadcaster_memory(stats));
    json_add_count(json, "log_bytes", stats->log_bytes);
    json_add_count(json, "warn_bytes", context->memory_warn_bytes);
    json_end_object(json);
}

static void write_limits(struct json_writer *json, const struct routes_context *context) {
    const struct broadcaster_limits *limits = broadcaster_limits(context->broadcaster);
    json_begin_object(json, "limits");
    json_add_count(json, "runs_max", limits->runs_max);
    json_add_count(json, "runs_queued_max", limits->runs_queued_max);
    json_add_count(json, "runs_queued_per_session_max", limits->runs_queued_per_session_max);
    json_add_count(json, "subscribers_max", limits->subscribers_max);
    json_add_count(json, "subscribers_per_session_max", limits->subscribers_per_session_max);
    json_add_count(json, "sessions_max", limits->sessions_max);
    json_add_count(json, "log_events_max", limits->log_events_max);
    json_add_count(json, "log_bytes_max", limits->log_bytes_max);
    json_add_count(json, "tasks_kept", limits->tasks_kept);
    json_add_count(json, "idempotency_keys_per_session_max", limits->idempotency_keys_per_session_max);
    json_add_number(json, "idempotency_ttl_ms", limits->idempotency_ttl_ms);
    json_add_number(json, "session_ttl_ms", limits->session_ttl_ms);
    json_add_count(json, "request_body_bytes_max", context->settings->request_body_bytes_max);
    json_add_count(json, "event_bytes_max", context->upstream->event_bytes_max);
    json_add_number(json, "run_timeout_ms", context->settings->run_timeout_ms);
    json_end_object(json);
}

static void write_counters(struct json_writer *json) {
    json_begin_object(json, "counters");
    for (int metric = 0; metric < METRIC_COUNT; metric++)
        json_add_count(json, metrics_name((enum metric)metric), metrics_get((enum metric)metric));
    json_add_count(json, "sluice_log_lines_dropped_total", log_dropped());
    json_end_object(json);
}

/* What there is, in a few numbers. */
static void write_summary(struct json_writer *json, const struct routes_context *context,
                          const struct broadcaster_stats *stats) {
    json_add_string(json, "version", context->version);
    json_add_number(json, "uptime_ms", clock_unix_ms() - context->started_unix_ms);
    json_add_count(json, "workers", context->workers);
    json_add_count(json, "sessions", stats->sessions);
    json_add_count(json, "subscribers", stats->subscribers);
    json_add_count(json, "runs", stats->runs);
    json_add_count(json, "runs_queued", stats->runs_queued);
}

void handle_health(struct request *request) {
    const struct routes_context *context = request->context;
    struct broadcaster_stats stats;
    broadcaster_get_stats(context->broadcaster, &stats);
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_string(&json, "status", broadcaster_is_draining(context->broadcaster) ? "draining" : "ok");
    json_add_time(&json, "started_at", context->started_unix_ms);
    write_summary(&json, context, &stats);
    json_begin_object(&json, "upstream");
    json_add_string(&json, "kind", context->upstream->adapter->name);
    json_end_object(&json);
    json_end_object(&json);
    reply_json(request, 200, &json);
}

void handle_stats(struct request *request) {
    const struct routes_context *context = request->context;
    struct broadcaster_stats stats;
    broadcaster_get_stats(context->broadcaster, &stats);
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    write_summary(&json, context, &stats);
    json_add_bool(&json, "draining", broadcaster_is_draining(context->broadcaster));
    json_add_count(&json, "connections", context->connections());
    json_add_count(&json, "tasks", stats.tasks);
    json_add_count(&json, "log_events", stats.log_events);
    json_add_count(&json, "log_bytes", stats.log_bytes);
    write_memory(&json, context, &stats);
    write_limits(&json, context);
    write_counters(&json);
    json_end_object(&json);
    reply_json(request, 200, &json);
}
