/* Active health checks of the upstreams. See health_check.h for the contract.
 *
 * A timer for each upstream asks by a passage and finds its answer before the next check is due; one that is
 * still under way by then has failed. What was found is one atomic flag, which upstream_prospect() reads.
 */
#include "upstream/health_check.h"

#include <stdlib.h>
#include <string.h>

struct health_check {
    struct health_checks *checks;
    size_t index; /* of the upstream */
    uv_timer_t timer;
    struct upstream_passage *passage; /* NULL: none is under way */
    int status;                       /* of its answer; 0: none yet */
};

struct health_checks {
    struct upstream_worker *upstream_worker;
    size_t count;
    size_t open; /* timers */
    struct health_check items[];
};

/* `message`: why, if it is unhealthy. */
static void set_unhealthy(struct health_check *check, bool is_unhealthy, const char *message) {
    const struct upstream_worker *upstream_worker = check->checks->upstream_worker;
    atomic_bool *is_known = &upstream_worker->upstreams->items[check->index].is_unhealthy;
    const struct upstream_notice notice = {.kind = is_unhealthy ? NOTICE_UNHEALTHY : NOTICE_HEALTHY,
                                           .upstream = upstream_worker->settings.items[check->index].name,
                                           .status = check->status,
                                           .message = message};
    if (atomic_exchange(is_known, is_unhealthy) != is_unhealthy && upstream_worker->notify != NULL)
        upstream_worker->notify(&notice);
}

static void stop_passage(struct health_check *check) {
    if (check->passage != NULL)
        upstream_passage_cancel(check->passage);
    check->passage = NULL;
}

/* ---- one check --------------------------------------------------------------------------------------- */

static void health_on_head(void *context, int status, const struct upstream_header *headers, size_t count,
                           int64_t content_length) {
    struct health_check *check = context;
    (void)headers, (void)count, (void)content_length;
    check->status = status;
}

static bool health_on_body(void *context, const char *bytes, size_t length) {
    (void)context, (void)bytes, (void)length;
    return true;
}

static void health_on_end(void *context, const struct upstream_result *result) {
    struct health_check *check = context;
    bool is_healthy = result->end == UPSTREAM_COMPLETED && check->status >= 200 && check->status < 300;
    bool is_ours = result->end == UPSTREAM_NO_DESCRIPTOR || result->end == UPSTREAM_INTERNAL;
    check->passage = NULL;
    if (!is_ours)
        set_unhealthy(check, !is_healthy, result->message != NULL ? result->message : "");
}

/** Scheme and authority of a URL, malloc'd; NULL: out of memory. */
static char *copy_origin(const char *url) {
    const char *scheme_end = strstr(url, "://");
    const char *authority = scheme_end != NULL ? scheme_end + strlen("://") : url;
    return strndup(url, (size_t)(authority - url) + strcspn(authority, "/?#"));
}

/** Without the memory or the descriptor for it nothing is asked, and nothing is found. */
static void ask_health(struct health_check *check, const struct upstream_settings *settings) {
    static const struct upstream_passage_callbacks callbacks = {
        .on_head = health_on_head, .on_body = health_on_body, .on_end = health_on_end};
    struct upstream_settings at_origin = *settings;
    at_origin.base_url = copy_origin(settings->base_url);
    check->status = 0;
    if (at_origin.base_url != NULL)
        check->passage = upstream_passage_start(check->checks->upstream_worker->client, &at_origin, "GET",
                                                settings->health_path, NULL, 0, NULL, 0, &callbacks, check);
    free(at_origin.base_url);
}

static uint64_t jittered_ms(int64_t interval_ms) {
    return (uint64_t)(interval_ms * (900 + random() % 201) / 1000);
}

/** One that is still under way by now has failed. */
static void health_on_due(uv_timer_t *timer) {
    struct health_check *check = CONTAINER_OF(timer, struct health_check, timer);
    const struct upstream_settings *settings = &check->checks->upstream_worker->settings.items[check->index];
    if (check->passage != NULL)
        set_unhealthy(check, true, "The check was still under way when the next one was due.");
    stop_passage(check);
    ask_health(check, settings);
    uv_timer_start(timer, health_on_due, jittered_ms(settings->health_interval_ms), 0);
}

/* ---- all of them ------------------------------------------------------------------------------------- */

void health_checks_reload(struct health_checks *checks) {
    for (size_t i = 0; i < checks->count; i++) {
        struct health_check *check = &checks->items[i];
        stop_passage(check);
        if (checks->upstream_worker->settings.items[i].health_path != NULL) {
            uv_timer_start(&check->timer, health_on_due, 0, 0);
        } else {
            uv_timer_stop(&check->timer);
            set_unhealthy(check, false, NULL);
        }
    }
}

struct health_checks *health_checks_create(struct upstream_worker *upstream_worker) {
    size_t count = upstream_worker->settings.count;
    struct health_checks *checks = calloc(1, sizeof *checks + count * sizeof checks->items[0]);
    if (checks == NULL)
        return NULL;
    checks->upstream_worker = upstream_worker;
    checks->count = checks->open = count;
    for (size_t i = 0; i < count; i++) {
        checks->items[i].checks = checks;
        checks->items[i].index = i;
        uv_timer_init(upstream_worker->loop, &checks->items[i].timer);
    }
    health_checks_reload(checks);
    return checks;
}

static void health_on_closed(uv_handle_t *handle) {
    struct health_check *check = CONTAINER_OF(handle, struct health_check, timer);
    struct health_checks *checks = check->checks;
    if (--checks->open == 0)
        free(checks);
}

void health_checks_close(struct health_checks *checks) {
    if (checks == NULL)
        return;
    size_t count = checks->count;
    for (size_t i = 0; i < count; i++) {
        stop_passage(&checks->items[i]);
        uv_close((uv_handle_t *)&checks->items[i].timer, health_on_closed);
    }
}
