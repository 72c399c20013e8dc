/* Which upstream a request is for: see upstream_choice.h. */
#include "routes/upstream_choice.h"

#include "base/hash.h"
#include "base/metrics.h"
#include "routes/refusal.h"

#include <string.h>

const struct upstream_settings *upstream_at(const struct request *request, size_t index) {
    return &request->context->relay.upstream_worker->settings.items[index];
}

static struct upstream_choice choose_by_session(const struct request *request, const char *app,
                                                const char *session_key) {
    const struct upstream_worker *upstream_worker = request->context->relay.upstream_worker;
    uint64_t affinity = hash_bytes(session_key, strlen(session_key));
    return upstreams_choose(upstream_worker->upstreams, &upstream_worker->settings, app, affinity);
}

struct upstream_choice upstream_choose_for_run(struct request *request, const char *app,
                                               const char *session_key) {
    struct upstream_choice choice = choose_by_session(request, app, session_key);
    if (choice.index == UPSTREAM_NONE)
        reply_error(request, 404, "unknown_app", "No upstream serves this app.");
    return choice;
}

void upstream_refuse_run(struct request *request, const struct upstream_choice *choice) {
    const struct upstream_settings *settings = upstream_at(request, choice->index);
    metrics_add(METRIC_RUNS_REFUSED, 1);
    reply_retry_after(request, choice->retry_after_ms);
    if (choice->by_breaker) {
        breaker_note_refused(
            request->context->relay.upstream_worker->upstreams->items[choice->index].breaker);
        reply_limit(request, 503, "circuit_open",
                    "The circuit breaker refuses calls because the upstream failed too often",
                    "breaker_failure_percent", settings->breaker.failure_percent, NULL);
        request->reply.cause = upstream_cause_word(CAUSE_BREAKER);
    } else {
        reply_limit(request, 503, "upstream_paused",
                    "The upstream asked for a longer pause than a run may wait", "retry_total_ms",
                    (uint64_t)settings->retry.total_ms, "ms");
        request->reply.cause = upstream_cause_word(CAUSE_RETRY_AFTER);
    }
}

void upstream_refuse_query(struct request *request, const struct upstream_result *result) {
    const char *message =
        result->message[0] != '\0' ? result->message : "The upstream gave no complete answer.";
    const char *code = "upstream_unavailable", *cause = upstream_cause_word(result->cause);
    if (result->end == UPSTREAM_REFUSED)
        code = "circuit_open";
    else if (result->end == UPSTREAM_CROWDED)
        code = "upstream_limited";
    else if (result->end == UPSTREAM_NO_DESCRIPTOR)
        code = "no_descriptors";
    else
        refusal_log(request, LOG_LEVEL_WARN, "upstream_unavailable", LOG_STR("path", request->path),
                    LOG_INT("upstream_status", result->http_status),
                    LOG_STR("cause", cause != NULL ? cause : ""), LOG_STR("message", message));
    if (request->context->settings->errors_to_viewers == ERRORS_TO_VIEWERS_CODE)
        message = "The upstream gave no complete answer.";
    reply_retry_after(request, result->retry_after_ms);
    reply_error(request, 503, code, "%s", message);
}

/* The first whose server answers ADK's own API, or UPSTREAM_NONE. */
static size_t find_with_adk_api(const struct upstreams_settings *settings) {
    for (size_t i = 0; i < settings->count; i++) {
        if (settings->items[i].adapter->serves_adk_api)
            return i;
    }
    return UPSTREAM_NONE;
}

size_t upstream_choose_for_app(const struct request *request, const char *app, const char *session_key) {
    if (app[0] != '\0')
        return choose_by_session(request, app, session_key).index;
    return find_with_adk_api(&request->context->relay.upstream_worker->settings);
}

bool upstream_has_adk_api(const struct request *request) {
    return find_with_adk_api(&request->context->relay.upstream_worker->settings) != UPSTREAM_NONE;
}
