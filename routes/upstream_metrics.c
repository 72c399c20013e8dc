/* The upstreams in /metrics: one family after the other, with a sample for each upstream. */
#include "routes/upstream_metrics.h"

#include "routes/exposition.h"
#include "routes/upstream_view.h"

#include <stdlib.h>

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
            "Requests other than runs sent to an upstream: for sessions, and passed through"),
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
                      "Remaining pause of calls that the upstream asked for");
    for (size_t i = 0; i < views->count; i++) {
        const struct upstream_view *view = &views->items[i];
        if (view->has_limiter)
            exposition_sample_ms(exposition,
                                 (const struct exposition_label[]){{"upstream", view->settings->name}, {0}},
                                 (uint64_t)view->limiter.paused_ms);
    }
}

void upstream_metrics_add(struct exposition *exposition, const struct upstream_caller *caller) {
    struct views views = {.count = caller->upstreams->count};
    views.items = calloc(views.count, sizeof(*views.items));
    if (views.items == NULL) {
        exposition->failed = true;
        return;
    }
    for (size_t i = 0; i < views.count; i++)
        upstream_view_get(caller, i, &views.items[i]);
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
