/* GET /stats: how much there is of everything, how much there may be, and what has been counted.
 *
 * All numbers are asked of the parts at this moment. Each part has its own lock, so the numbers of one answer
 * may be a moment apart. Limits and metrics come from their tables, so that no list of them stands here. */
#include "base/json_writer.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "routes/handlers.h"
#include "routes/health.h"
#include "routes/process_info.h"
#include "routes/tunnels.h"
#include "routes/upstream_view.h"
#include "upstream/cache.h"

/* Far more than what 64 upstreams take. */
#define ANSWER_BYTES_MAX (256 * 1024)

/* ---- GET /stats ---------------------------------------------------------------------------------- */

static void write_memory(struct json_writer *json, const struct routes_context *context,
                         const struct broadcaster_stats *stats) {
    struct process_info info;
    process_info_get(&info);
    json_begin_object(json, "memory");
    json_add_count(json, "rss_bytes", info.resident_bytes);
    json_add_count(json, "accounted_bytes", memory_total());
    json_add_count(json, "log_bytes", stats->log_bytes);
    json_add_count(json, "warn_bytes", context->settings->memory_warn_bytes);
    json_add_count(json, "max_bytes", memory_limit());
    json_add_string(json, "level", memory_level_name(memory_look()));
    json_begin_object(json, "kinds");
    for (int kind = MEMORY_UNCOUNTED + 1; kind < MEMORY_KIND_COUNT; kind++)
        json_add_count(json, memory_kind_name((enum memory_kind)kind), memory_used((enum memory_kind)kind));
    json_end_object(json);
    json_end_object(json);
}

static void write_queue(struct json_writer *json, struct broadcaster *broadcaster) {
    struct scheduler_info info;
    scheduler_get_info(broadcaster_scheduler(broadcaster), &info);
    json_begin_object(json, "queue");
    json_add_count(json, "running", info.running);
    json_add_count(json, "passed", info.guests);
    json_add_count(json, "queued", info.queued);
    json_add_count(json, "delayed", info.delayed);
    json_add_count(json, "waiting", info.waiting);
    json_add_count(json, "queued_max", broadcaster_limits(broadcaster)->runs_queued_max);
    json_add_count(json, "delayed_max", broadcaster_limits(broadcaster)->runs_delayed_max);
    json_add_number(json, "oldest_wait_ms", info.oldest_wait_ms);
    json_add_number(json, "held_mean_ms", info.held_mean_ms);
    json_add_number(json, "retry_after_ms", info.retry_after_ms);
    json_end_object(json);
}

/* How runs ended, of all since the start. */
static void write_ended(struct json_writer *json, struct broadcaster *broadcaster) {
    json_begin_object(json, "runs_ended");
    for (int status = TASK_COMPLETED; status < TASK_STATUS_COUNT; status++) {
        uint64_t count = 0;
        for (int reason = 0; reason < REASON_COUNT; reason++)
            count += broadcaster_ended_count(broadcaster, (enum task_status)status, (enum task_reason)reason);
        json_add_count(json, task_status_name((enum task_status)status), count);
    }
    json_end_object(json);
}

static void write_cache(struct json_writer *json, struct cache *cache) {
    struct cache_info info = {0};
    if (cache != NULL)
        cache_get_info(cache, &info);
    json_begin_object(json, "cache");
    json_add_count(json, "entries", info.entries);
    json_add_count(json, "bytes", info.bytes);
    json_add_count(json, "flights", info.flights);
    json_add_count(json, "hits", info.hits);
    json_add_count(json, "joined", info.joined);
    json_add_count(json, "misses", info.misses);
    json_add_count(json, "stored", info.stored);
    json_add_count(json, "evicted", info.evicted);
    json_add_count(json, "expired", info.expired);
    json_add_count(json, "too_large", info.too_large);
    json_begin_object(json, "redis");
    json_add_string(json, "state", redis_state_name(info.redis_state));
    json_add_count(json, "connections", info.redis_connections);
    json_add_count(json, "hits", info.redis_hits);
    json_add_count(json, "misses", info.redis_misses);
    json_add_count(json, "stored", info.redis_stored);
    json_add_count(json, "errors", info.redis_errors);
    json_end_object(json);
    json_end_object(json);
}

static void write_limits(struct json_writer *json, const struct routes_settings *settings) {
    json_begin_object(json, "limits");
    for (size_t i = 0; i < settings->limits_count; i++)
        json_add_count(json, settings->limits[i].key, settings->limits[i].value);
    json_end_object(json);
}

static void write_counters(struct json_writer *json) {
    json_begin_object(json, "counters");
    for (int metric = 0; metric < METRIC_COUNT; metric++)
        json_add_count(json, metrics_name((enum metric)metric), metrics_get((enum metric)metric));
    json_add_count(json, "sluice_log_lines_dropped_total", log_dropped());
    json_end_object(json);
}

void handle_stats(struct request *request) {
    const struct routes_context *context = request->context;
    struct broadcaster_stats stats;
    broadcaster_get_stats(context->broadcaster, &stats);
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    health_write_summary(&json, context, &stats);
    json_add_bool(&json, "draining", broadcaster_is_draining(context->broadcaster));
    json_add_count(&json, "connections", context->connections());
    json_add_count(&json, "tunnels", live_count());
    json_add_count(&json, "sessions_awaited", stats.sessions_awaited);
    json_add_count(&json, "subscribers_waiting", stats.subscribers_waiting);
    json_add_count(&json, "tasks", stats.tasks);
    json_add_count(&json, "log_events", stats.log_events);
    json_add_count(&json, "log_bytes", stats.log_bytes);
    json_add_count(&json, "subscriber_lag_events", fanout_lag_events());
    write_memory(&json, context, &stats);
    write_queue(&json, context->broadcaster);
    write_ended(&json, context->broadcaster);
    upstream_view_write_all(&json, context->relay.upstream_worker);
    write_cache(&json, context->cache);
    write_limits(&json, context->settings);
    write_counters(&json);
    json_end_object(&json);
    reply_json(request, 200, &json);
}
