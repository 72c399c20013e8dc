/* GET /metrics: Prometheus text format 0.0.4. */
#include "base/metrics.h"

#include "base/buffer.h"
#include "base/log.h"
#include "routes/handlers.h"
#include "routes/process_memory.h"

#include <inttypes.h>

#define TEXT_BYTES_MAX (64u * 1024u)

/* Text being written; a failure sticks. */
struct exposition {
    struct buffer text;
    bool failed;
};

static void add_head(struct exposition *exposition, const char *name, const char *type, const char *help) {
    exposition->failed =
        exposition->failed ||
        !buffer_printf(&exposition->text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add(struct exposition *exposition, const char *name, const char *type, const char *help,
                uint64_t value) {
    add_head(exposition, name, type, help);
    exposition->failed =
        exposition->failed || !buffer_printf(&exposition->text, "%s %" PRIu64 "\n", name, value);
}

static void add_counters(struct exposition *exposition) {
    for (int i = 0; i < METRIC_COUNT; i++) {
        enum metric metric = (enum metric)i;
        add(exposition, metrics_name(metric), "counter", metrics_help(metric), metrics_get(metric));
    }
    add(exposition, "sluice_log_lines_dropped_total", "counter",
        "Log lines lost because standard error took no more", log_dropped());
}

static void add_gauges(struct exposition *exposition, const struct routes_context *context) {
    struct broadcaster_stats stats;
    broadcaster_get_stats(context->broadcaster, &stats);
    add(exposition, "sluice_sessions", "gauge", "Open sessions", stats.sessions);
    add(exposition, "sluice_subscribers", "gauge", "Connected subscribers", stats.subscribers);
    add(exposition, "sluice_runs", "gauge", "Runs under way", stats.runs);
    add(exposition, "sluice_runs_queued", "gauge", "Runs that wait for their turn", stats.runs_queued);
    add(exposition, "sluice_tasks", "gauge", "Runs that are tracked, ended ones included", stats.tasks);
    add(exposition, "sluice_log_events", "gauge", "Events retained in all logs", stats.log_events);
    add(exposition, "sluice_log_bytes", "gauge", "Bytes of memory of those events", stats.log_bytes);
    add(exposition, "sluice_accounted_bytes", "gauge",
        "Bytes of memory of logs, sessions, subscribers and runs, estimated", broadcaster_memory(&stats));
    add(exposition, "sluice_connections", "gauge", "HTTP connections, without those of subscribers",
        context->connections());
    add(exposition, "sluice_draining", "gauge", "1 while the gateway is about to stop",
        broadcaster_is_draining(context->broadcaster));
    add(exposition, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes",
        process_memory_resident_bytes());
    add(exposition, "process_start_time_seconds", "gauge", "Start time of the process since the unix epoch",
        (uint64_t)context->started_unix_ms / 1000);
}

/* Which reasons a status can have; what is shown even while it is 0, so that a first one is seen as a change.
 */
static bool is_possible(enum task_status status, enum task_reason reason) {
    switch (status) {
    case TASK_COMPLETED:
    case TASK_REPLACED:
        return reason == REASON_NONE;
    case TASK_FAILED:
        return reason >= REASON_UPSTREAM_CONNECT && reason <= REASON_INTERNAL;
    case TASK_CANCELLED:
        return reason >= REASON_REQUESTED && reason <= REASON_SHUTDOWN;
    case TASK_TIMEOUT:
        return reason == REASON_RUN_TIME;
    case TASK_PENDING:
    case TASK_RUNNING:
    case TASK_STATUS_COUNT:
        break;
    }
    return false;
}

/* The words of statuses and reasons hold nothing that a label's value would have to escape. */
static void add_ends(struct exposition *exposition, struct broadcaster *broadcaster) {
    static const char name[] = "sluice_runs_ended_total";
    add_head(exposition, name, "counter", "Runs that ended, by how and why");
    for (int i = 0; i < TASK_STATUS_COUNT; i++) {
        for (int k = 0; k < REASON_COUNT; k++) {
            enum task_status status = (enum task_status)i;
            enum task_reason reason = (enum task_reason)k;
            if (!is_possible(status, reason))
                continue;
            const char *reason_name = task_reason_name(reason);
            exposition->failed =
                exposition->failed ||
                !buffer_printf(&exposition->text, "%s{status=\"%s\",reason=\"%s\"} %" PRIu64 "\n", name,
                               task_status_name(status), reason_name != NULL ? reason_name : "",
                               broadcaster_ended_count(broadcaster, status, reason));
        }
    }
}

static void add_build(struct exposition *exposition, const struct routes_context *context) {
    static const char name[] = "sluice_build_info";
    add_head(exposition, name, "gauge", "Always 1; which version this is");
    exposition->failed =
        exposition->failed || !buffer_printf(&exposition->text, "%s{version=\"%s\",upstream_kind=\"%s\"} 1\n",
                                             name, context->version, context->upstream->adapter->name);
}

void handle_metrics(struct request *request) {
    struct exposition exposition = {.failed = false};
    buffer_init(&exposition.text, TEXT_BYTES_MAX);
    add_counters(&exposition);
    add_gauges(&exposition, request->context);
    add_ends(&exposition, request->context->broadcaster);
    add_build(&exposition, request->context);
    size_t length = exposition.text.length;
    char *text = exposition.failed ? NULL : buffer_detach(&exposition.text);
    buffer_finish(&exposition.text);
    if (text != NULL)
        reply_body(request, 200, "text/plain; version=0.0.4; charset=utf-8", text, length);
    else
        reply_no_memory(request);
}
