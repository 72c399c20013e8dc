/* How it is: GET /healthz, /readyz and /health. */
#include "base/clock.h"
#include "routes/handlers.h"
#include "routes/json_writer.h"

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
        reply_error(request, 503, "draining", "The gateway is about to stop.");
    else
        reply_status(request, "ready");
}

void handle_health(struct request *request) {
    const struct routes_context *context = request->context;
    struct broadcaster_stats stats;
    broadcaster_get_stats(context->broadcaster, &stats);
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_string(&json, "status", broadcaster_is_draining(context->broadcaster) ? "draining" : "ok");
    json_add_string(&json, "version", context->version);
    json_add_time(&json, "started_at", context->started_unix_ms);
    json_add_number(&json, "uptime_ms", clock_unix_ms() - context->started_unix_ms);
    json_add_count(&json, "workers", context->workers);
    json_add_count(&json, "sessions", stats.sessions);
    json_add_count(&json, "subscribers", stats.subscribers);
    json_add_count(&json, "runs", stats.runs);
    json_add_count(&json, "runs_queued", stats.runs_queued);
    json_begin_object(&json, "upstream");
    json_add_string(&json, "kind", context->upstream->adapter->name);
    json_end_object(&json);
    json_end_object(&json);
    reply_json(request, 200, &json);
}
