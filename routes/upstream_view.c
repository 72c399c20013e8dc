/* What one upstream stands at.
 *
 * The counters of an upstream are atomic, and its breaker and limiter are each asked under their own lock.
 * They are copied into one view, which /metrics, /stats and /health all read: so the three cannot judge
 * differently. */
#include "routes/upstream_view.h"

#include "base/json_writer.h"

static void read_counts(const struct upstream *upstream, struct upstream_view *view) {
    for (size_t i = 0; i < UPSTREAM_PHASE_COUNT; i++)
        view->in_phase[i] = atomic_load(&upstream->in_phase[i]);
    view->calls = atomic_load(&upstream->calls);
    view->failures = atomic_load(&upstream->failures);
    view->retries = atomic_load(&upstream->retries);
    view->resumptions = atomic_load(&upstream->resumptions);
    view->fallbacks = atomic_load(&upstream->fallbacks);
    view->canned = atomic_load(&upstream->canned);
    view->queries_waiting = atomic_load(&upstream->queries_waiting);
    view->queries_active = atomic_load(&upstream->queries_active);
    view->queries = atomic_load(&upstream->queries);
    view->query_failures = atomic_load(&upstream->query_failures);
    view->queries_refused = atomic_load(&upstream->queries_refused);
}

void upstream_view_get(const struct upstream_worker *upstream_worker, size_t index,
                       struct upstream_view *ret_view) {
    const struct upstream *upstream = &upstream_worker->upstreams->items[index];
    struct upstream_view view = {.settings = &upstream_worker->settings.items[index],
                                 .has_breaker = upstream->breaker != NULL,
                                 .has_limiter = upstream->limiter != NULL};
    view.is_checked = view.settings->health_path != NULL;
    view.is_healthy = !view.is_checked || !atomic_load(&upstream->is_unhealthy);
    view.score = view.is_healthy ? 100 : 0;
    read_counts(upstream, &view);
    if (view.has_breaker) {
        breaker_get_info(upstream->breaker, &view.breaker);
        view.score = view.is_healthy ? view.breaker.score : 0;
    }
    if (view.has_limiter)
        limiter_get_info(upstream->limiter, &view.limiter);
    *ret_view = view;
}

/* ---- as JSON ------------------------------------------------------------------------------------- */

static void write_state(struct json_writer *json, const struct upstream_view *view) {
    json_add_string(json, "name", view->settings->name);
    json_add_string(json, "kind", view->settings->adapter->name);
    json_add_bool(json, "healthy", view->is_healthy);
    json_add_string(json, "state", view->has_breaker ? breaker_state_name(view->breaker.state) : "closed");
    json_add_number(json, "score", view->score);
}

static void write_phases(struct json_writer *json, const struct upstream_view *view) {
    json_begin_object(json, "phases");
    for (size_t i = 0; i < UPSTREAM_PHASE_COUNT; i++)
        json_add_count(json, upstream_phase_name((enum upstream_phase)i), view->in_phase[i]);
    json_end_object(json);
}

static void write_counts(struct json_writer *json, const struct upstream_view *view) {
    json_add_count(json, "calls", view->calls);
    json_add_count(json, "failures", view->failures);
    json_add_count(json, "retries", view->retries);
    json_add_count(json, "resumptions", view->resumptions);
    json_add_count(json, "fallbacks", view->fallbacks);
    json_add_count(json, "canned", view->canned);
}

static void write_queries(struct json_writer *json, const struct upstream_view *view) {
    json_begin_object(json, "requests");
    json_add_count(json, "total", view->queries);
    json_add_count(json, "failures", view->query_failures);
    json_add_count(json, "refused", view->queries_refused);
    json_add_count(json, "active", view->queries_active);
    json_add_count(json, "waiting", view->queries_waiting);
    json_end_object(json);
}

static void write_breaker(struct json_writer *json, const struct breaker_info *info) {
    json_begin_object(json, "breaker");
    json_add_count(json, "window_calls", info->calls);
    json_add_count(json, "window_failures", info->failures);
    json_add_count(json, "opened", info->opened);
    json_add_count(json, "refused", info->refused);
    json_add_number(json, "retry_after_ms", info->retry_after_ms);
    json_end_object(json);
}

static void write_limiter(struct json_writer *json, const struct limiter_info *info) {
    json_begin_object(json, "limiter");
    json_add_count(json, "slots", info->slots);
    json_add_count(json, "slots_used", info->slots_used);
    json_add_count(json, "tokens", info->tokens);
    json_add_count(json, "waiting", info->waiting);
    json_add_count(json, "waited", info->waited);
    json_add_count(json, "refused", info->refused);
    json_add_count(json, "throttled", info->throttled);
    json_add_number(json, "paused_ms", info->paused_ms);
    json_end_object(json);
}

static void write_upstreams(struct json_writer *json, const struct upstream_worker *upstream_worker,
                            bool everything) {
    json_begin_array(json, "upstreams");
    for (size_t i = 0; i < upstream_worker->upstreams->count; i++) {
        struct upstream_view view;
        upstream_view_get(upstream_worker, i, &view);
        json_begin_object(json, NULL);
        write_state(json, &view);
        if (everything) {
            write_phases(json, &view);
            write_counts(json, &view);
            write_queries(json, &view);
        }
        if (everything && view.has_breaker)
            write_breaker(json, &view.breaker);
        if (everything && view.has_limiter)
            write_limiter(json, &view.limiter);
        json_end_object(json);
    }
    json_end_array(json);
}

void upstream_view_write_states(struct json_writer *json, const struct upstream_worker *upstream_worker) {
    write_upstreams(json, upstream_worker, false);
}

void upstream_view_write_all(struct json_writer *json, const struct upstream_worker *upstream_worker) {
    write_upstreams(json, upstream_worker, true);
}
