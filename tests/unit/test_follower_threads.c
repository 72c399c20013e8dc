/* upstream/follower, upstream/flight: runs of several workers follow flights of another one, come and go as
 * they like, and get all of it, in order. */
#include "tests/unit/cache_fixture.h"

#include <pthread.h>

#define WORKERS 3
#define RUNS 40     /* a worker's */
#define EVENTS 2000 /* of a flight */

static struct cache_settings settings = {.bytes_max = 16 << 20, .run_bytes_max = 8 << 20};
static struct cache *cache;

/* One run of a worker; some leave early. */
struct visitor {
    struct visiting_worker *worker;
    struct follower *follower;
    struct cache_policy policy;
    size_t events; /* that came so far: each is the number of those before it */
    size_t leaves_after;
    bool in_order, has_ended, has_left;
};

struct visiting_worker {
    struct fake_worker base;
    pthread_t thread;
    const char *key;
    struct inbox_item start_item;
    struct visitor visitors[RUNS];
    size_t over;
};

static bool visitor_on_event(void *context, const struct sse_event *event) {
    struct visitor *visitor = context;
    char text[32];
    int length = snprintf(text, sizeof(text), "%zu", visitor->events++);
    visitor->in_order = visitor->in_order && event->data_length == (size_t)length &&
                        memcmp(event->data, text, (size_t)length) == 0;
    if (visitor->events != visitor->leaves_after)
        return true;
    visitor->has_left = true;
    visitor->worker->over++;
    return false;
}

static void visitor_on_sent(void *context) {
    (void)context;
}

static void visitor_on_end(void *context, const struct upstream_result *result) {
    struct visitor *visitor = context;
    visitor->in_order = visitor->in_order && result->end == UPSTREAM_COMPLETED && visitor->events == EVENTS;
    visitor->has_ended = true;
    visitor->worker->over++;
}

static const struct upstream_call_callbacks visitor_callbacks = {
    .on_sent = visitor_on_sent, .on_event = visitor_on_event, .on_end = visitor_on_end};

static void discard(struct upstream_preparer *request) {
    free(request);
}

static void start_visitors(struct inbox_item *item) {
    struct visiting_worker *worker = CONTAINER_OF(item, struct visiting_worker, start_item);
    for (size_t i = 0; i < RUNS; i++) {
        struct visitor *visitor = &worker->visitors[i];
        *visitor = (struct visitor){.worker = worker, .in_order = true, .policy.ttl_ms = 60000};
        visitor->leaves_after = i % 4 == 1 ? 1 + i * 47 % EVENTS : 0;
        struct upstream_preparer *request = malloc(sizeof(*request));
        *request = (struct upstream_preparer){.prepare = request_prepare, .destroy = discard};
        const struct follower_start start = {.key = worker->key,
                                             .upstream = 1,
                                             .policy = &visitor->policy,
                                             .preparer = request,
                                             .callbacks = &visitor_callbacks,
                                             .context = visitor};
        visitor->follower = follower_start(worker->base.part, &start);
    }
}

static void *run_worker(void *context) {
    struct visiting_worker *worker = context;
    inbox_adopt(&worker->base.inbox);
    while (worker->over < RUNS || cache_worker_active(worker->base.part) > 0)
        worker_turn(&worker->base);
    return NULL;
}

/* The visitors of all workers follow a flight of the main thread; those of the last one come when it is over.
 */
static void visit(struct visiting_worker *workers, struct fake_worker *home, struct fake_run *host) {
    char text[32];
    run_start(host, home, "key");
    assert_int_equal(call_count, 1);
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct visiting_worker){.key = "key", .start_item.handle = start_visitors};
        worker_begin(&workers[i].base, cache);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        if (i < WORKERS - 1)
            inbox_post(&workers[i].base.inbox, &workers[i].start_item);
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]), 0);
    }
    call_sent(0);
    for (size_t i = 0; i < EVENTS; i++) {
        snprintf(text, sizeof(text), "%zu", i);
        assert_true(call_event(0, text));
        uv_run(&home->loop, UV_RUN_NOWAIT);
    }
    call_end(0, UPSTREAM_COMPLETED);
    inbox_post(&workers[WORKERS - 1].base.inbox, &workers[WORKERS - 1].start_item);
}

static void check(struct visiting_worker *worker) {
    pthread_join(worker->thread, NULL);
    for (size_t i = 0; i < RUNS; i++) {
        const struct visitor *visitor = &worker->visitors[i];
        assert_true(visitor->in_order);
        assert_true(visitor->has_ended != visitor->has_left);
        assert_int_equal(visitor->events, visitor->has_left ? visitor->leaves_after : EVENTS);
    }
    worker_end(&worker->base);
}

static void followers_of_other_workers_get_all_of_a_flight_in_order(void **state) {
    (void)state;
    static struct visiting_worker workers[WORKERS];
    struct fake_worker home;
    struct fake_run host = {0};
    fixture_reset();
    cache = cache_create(&settings);
    worker_begin(&home, cache);
    visit(workers, &home, &host);
    run_await_end(&host);
    for (size_t i = 0; i < WORKERS; i++)
        check(&workers[i]);
    assert_int_equal(call_count, 1); /* whoever came late got it from memory */
    struct cache_info info;
    cache_get_info(cache, &info);
    assert_int_equal(info.misses, 1);
    assert_int_equal(info.hits + info.joined, WORKERS * RUNS);
    assert_int_equal(info.flights, 0);
    worker_end(&home);
    cache_destroy(cache);
}

/* Followers alone, all of other workers: the last one that leaves has the flight cancelled at home. */
static void flight_is_cancelled_at_home_by_the_last_follower_of_another_worker(void **state) {
    (void)state;
    static struct visiting_worker other;
    struct fake_worker home;
    struct fake_run host = {0};
    fixture_reset();
    cache = cache_create(&settings);
    worker_begin(&home, cache);
    run_start(&host, &home, "key");
    other = (struct visiting_worker){.key = "key", .start_item.handle = start_visitors};
    worker_begin(&other.base, cache);
    inbox_post(&other.base.inbox, &other.start_item);
    worker_settle(&other.base);
    for (size_t i = 0; i < RUNS; i++)
        other.visitors[i].leaves_after = 1;
    assert_int_equal(call_count, 1);
    run_cancel(&host);
    worker_settle(&home);
    assert_false(calls[0].is_cancelled);
    call_event(0, "0");
    while (other.over < RUNS)
        worker_turn(&other.base);
    assert_false(calls[0].is_cancelled);
    while (cache_worker_active(home.part) > 0)
        worker_turn(&home);
    assert_true(calls[0].is_cancelled);
    worker_end(&other.base);
    worker_end(&home);
    cache_destroy(cache);
}

/* A recording that cannot be kept as a whole: its writer is held until the others have read. */
static void followers_of_other_workers_hold_a_flight_that_is_too_long(void **state) {
    (void)state;
    static struct visiting_worker workers[WORKERS];
    const struct cache_settings small = {.bytes_max = 1 << 20, .run_bytes_max = 20 * 1000};
    struct fake_worker home;
    struct fake_run host = {0};
    size_t sent = 0;
    char text[32];
    fixture_reset();
    cache = cache_create(&small);
    worker_begin(&home, cache);
    run_start(&host, &home, "key");
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct visiting_worker){.key = "key", .start_item.handle = start_visitors};
        worker_begin(&workers[i].base, cache);
        inbox_post(&workers[i].base.inbox, &workers[i].start_item);
        worker_settle(&workers[i].base); /* all have joined before there is too much of it */
    }
    assert_int_equal(call_count, 1);
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]), 0);
    while (sent < EVENTS) {
        if (!calls[0].callbacks.may_read(calls[0].context)) {
            unsigned before = calls[0].resumed;
            while (calls[0].resumed == before)
                worker_turn(&home);
            continue;
        }
        snprintf(text, sizeof(text), "%zu", sent++);
        assert_true(call_event(0, text));
        uv_run(&home.loop, UV_RUN_NOWAIT);
    }
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&host);
    for (size_t i = 0; i < WORKERS; i++)
        check(&workers[i]);
    worker_end(&home);
    cache_destroy(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(followers_of_other_workers_get_all_of_a_flight_in_order),
        cmocka_unit_test(flight_is_cancelled_at_home_by_the_last_follower_of_another_worker),
        cmocka_unit_test(followers_of_other_workers_hold_a_flight_that_is_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
