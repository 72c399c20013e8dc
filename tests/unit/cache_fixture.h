/* What the tests of the cache share: a worker without a gateway, calls that the test makes come and go (they
 * take the place of upstream/call.c), and runs that write down what they are told.
 *
 *     struct fake_run run = {0};
 *     run_start(&run, &worker, "key");
 *     call_sent(0), call_event(0, "a"), call_end(0, UPSTREAM_COMPLETED);
 *     run_await_end(&run);
 *     assert_string_equal(run.told, "sent|a|completed");
 */
#ifndef SLUICE_TESTS_UNIT_CACHE_FIXTURE_H
#define SLUICE_TESTS_UNIT_CACHE_FIXTURE_H

#include "base/clock.h"
#include "tests/support/unit.h"
#include "upstream/follower.h"

#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_MS 60000 /* a test that waits for longer has failed */
#define CALLS_MAX 64

/* ---- calls --------------------------------------------------------------------------------------- */

struct upstream_call {
    struct upstream_call_callbacks callbacks;
    void *context;
    size_t upstream;
    bool is_cancelled, has_ended;
    unsigned resumed;
};

static struct upstream_call calls[CALLS_MAX];
static size_t call_count;
static bool calls_fail;

struct upstream_call *upstream_call_start(struct upstream_worker *upstream_worker, size_t index,
                                          struct upstream_preparer *preparer,
                                          const struct upstream_call_callbacks *callbacks, void *context) {
    (void)upstream_worker, (void)preparer;
    if (calls_fail)
        return NULL;
    assert_true(call_count < CALLS_MAX);
    struct upstream_call *call = &calls[call_count++];
    *call = (struct upstream_call){.callbacks = *callbacks, .context = context, .upstream = index};
    return call;
}

void upstream_call_resume(struct upstream_call *call) {
    assert_false(call->is_cancelled || call->has_ended);
    call->resumed++;
}

void upstream_call_cancel(struct upstream_call *call) {
    assert_false(call->is_cancelled || call->has_ended);
    call->is_cancelled = true;
}

size_t upstream_call_upstream(const struct upstream_call *call) {
    return call->upstream;
}

static inline void call_sent(size_t index) {
    calls[index].callbacks.on_sent(calls[index].context);
}

static inline bool call_event(size_t index, const char *data) {
    const struct sse_event event = {.type = "message",
                                    .type_length = strlen("message"),
                                    .data = data,
                                    .data_length = strlen(data),
                                    .last_event_id = ""};
    assert_false(calls[index].is_cancelled || calls[index].has_ended);
    return calls[index].callbacks.on_event(calls[index].context, &event);
}

static inline void call_end(size_t index, enum upstream_end end) {
    const struct upstream_result result = {
        .end = end, .http_status = 200, .message = end == UPSTREAM_COMPLETED ? "" : "it failed"};
    assert_false(calls[index].is_cancelled || calls[index].has_ended);
    calls[index].has_ended = true;
    calls[index].callbacks.on_end(calls[index].context, &result);
}

/* ---- workers ------------------------------------------------------------------------------------- */

struct fake_worker {
    uv_loop_t loop;
    uv_timer_t patience;
    struct inbox inbox;
    struct upstream_worker upstream_worker;
    struct cache_worker *part;
};

static inline void lose_patience(uv_timer_t *timer) {
    (void)timer;
    fail_msg("waited for too long");
}

static inline void worker_begin(struct fake_worker *worker, struct cache *cache) {
    *worker = (struct fake_worker){0};
    assert_int_equal(uv_loop_init(&worker->loop), 0);
    assert_int_equal(inbox_init(&worker->inbox, &worker->loop), 0);
    uv_timer_init(&worker->loop, &worker->patience);
    uv_timer_start(&worker->patience, lose_patience, PATIENCE_MS, 0);
    uv_unref((uv_handle_t *)&worker->patience);
    worker->upstream_worker = (struct upstream_worker){.inbox = &worker->inbox, .loop = &worker->loop};
    worker->part = cache_worker_create(cache, &worker->upstream_worker);
    assert_non_null(worker->part);
}

static inline void worker_turn(struct fake_worker *worker) {
    uv_run(&worker->loop, UV_RUN_ONCE);
}

/** Handles what is there, without waiting for anything. */
static inline void worker_settle(struct fake_worker *worker) {
    for (int i = 0; i < 10; i++)
        uv_run(&worker->loop, UV_RUN_NOWAIT);
}

static inline void worker_end(struct fake_worker *worker) {
    while (cache_worker_active(worker->part) > 0)
        worker_turn(worker);
    cache_worker_close(worker->part);
    uv_close((uv_handle_t *)&worker->patience, NULL);
    inbox_close(&worker->inbox);
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    inbox_finish(&worker->inbox);
    assert_int_equal(uv_loop_close(&worker->loop), 0);
}

/* ---- runs ---------------------------------------------------------------------------------------- */

struct fake_run {
    struct fake_worker *worker;
    struct follower *follower; /* NULL: over */
    struct cache_policy policy;
    char told[65536]; /* "sent|", "retry N|", each event's data and "|", "completed" or "failed: MESSAGE" */
    size_t told_length;
    size_t events;
    bool has_started, has_ended;
    bool refuses; /* may_read() says no */
    size_t asked; /* may_read() */
    bool refuses_retry;
    bool (*in_event)(struct fake_run *run);
    enum follower_source source;
    struct upstream_result result;
};

static size_t requests_made, requests_destroyed;

static inline bool request_prepare(struct upstream_preparer *request, size_t upstream,
                                   struct upstream_post *ret_post, const char **ret_message) {
    (void)request, (void)upstream, (void)ret_post;
    *ret_message = "no run is made in these tests";
    return false;
}

static inline void request_destroy(struct upstream_preparer *request) {
    requests_destroyed++;
    free(request);
}

static inline struct upstream_preparer *request_create(void) {
    struct upstream_preparer *request = malloc(sizeof(*request));
    assert_non_null(request);
    *request = (struct upstream_preparer){.prepare = request_prepare, .destroy = request_destroy};
    requests_made++;
    return request;
}

static inline void run_note(struct fake_run *run, const char *text, size_t length) {
    assert_true(run->has_started); /* no callback before follower_start() has returned */
    assert_false(run->has_ended);
    if (run->told_length + length + 2 > sizeof(run->told))
        return;
    memcpy(run->told + run->told_length, text, length);
    run->told_length += length;
    run->told[run->told_length] = '\0';
}

static inline void run_on_sent(void *context) {
    run_note(context, "sent|", 5);
}

static inline bool run_on_retry(void *context, const struct upstream_retry *retry) {
    struct fake_run *run = context;
    char text[200];
    int length = snprintf(text, sizeof(text), "retry %u of %s after %s|", retry->attempt,
                          retry->upstream != NULL ? retry->upstream : "nobody", retry->failure.message);
    run_note(run, text, (size_t)length);
    return !run->refuses_retry;
}

static inline bool run_on_event(void *context, const struct sse_event *event) {
    struct fake_run *run = context;
    run_note(run, event->data, event->data_length);
    run_note(run, "|", 1);
    run->events++;
    run->source = follower_source(run->follower);
    return run->in_event == NULL || run->in_event(run);
}

static inline bool run_may_read(void *context) {
    struct fake_run *run = context;
    run->asked++;
    return !run->refuses;
}

static inline void run_on_end(void *context, const struct upstream_result *result) {
    struct fake_run *run = context;
    char text[300];
    int length = result->end == UPSTREAM_COMPLETED
                     ? snprintf(text, sizeof(text), "completed")
                     : snprintf(text, sizeof(text), "failed: %s", result->message);
    run_note(run, text, (size_t)length);
    run->source = follower_source(run->follower);
    run->has_ended = true;
    run->follower = NULL;
    run->result = *result;
}

static const struct upstream_call_callbacks run_callbacks = {.on_sent = run_on_sent,
                                                             .on_retry = run_on_retry,
                                                             .on_event = run_on_event,
                                                             .may_read = run_may_read,
                                                             .on_end = run_on_end};

/** What the test has set in `run` stays. */
static inline void run_start(struct fake_run *run, struct fake_worker *worker, const char *key) {
    run->worker = worker;
    if (run->policy.ttl_ms == 0)
        run->policy.ttl_ms = 60000;
    const struct follower_start start = {.key = key,
                                         .upstream = 1,
                                         .policy = &run->policy,
                                         .preparer = request_create(),
                                         .callbacks = &run_callbacks,
                                         .context = run};
    run->follower = follower_start(worker->part, &start);
    assert_non_null(run->follower);
    run->has_started = true;
}

static inline void run_cancel(struct fake_run *run) {
    follower_cancel(run->follower);
    run->follower = NULL;
}

static inline void run_await_end(struct fake_run *run) {
    while (!run->has_ended)
        worker_turn(run->worker);
}

static inline void run_await_events(struct fake_run *run, size_t events) {
    while (run->events < events)
        worker_turn(run->worker);
}

/** Everything anew. */
static inline void fixture_reset(void) {
    call_count = 0;
    calls_fail = false;
    requests_made = requests_destroyed = 0;
}

#endif
