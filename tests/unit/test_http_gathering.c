/* Two workers, each with a port of its own: the subscribers of a session are gathered on one of them, and its
 * runs are there, wherever their requests came. */
#include "base/metrics.h"
#include "broadcaster/watch.h"
#include "relay/runner.h"
#include "tests/support/unit_worker.h"

#define SESSIONS 8 /* either worker is the home of some of them */
#define EVENTS "text/event-stream"
#define MESSAGE "{\"message\":\"x\"}"
#define MOST 3 /* subscribers of one of them */

static int set_up(void **state) {
    (void)state;
    static const char *const flags[] = {"--workers", "2", "--heartbeat-ms", "3600000", NULL};
    return worker_set_up(flags);
}

static int ask_worker(size_t worker, const char *method, const char *accept, int session, const char *body) {
    char text[512];
    snprintf(text, sizeof(text),
             "%s /apps/a/users/u/sessions/%d/run HTTP/1.1\r\nHost: localhost\r\nAccept: %s\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             method, session, accept, strlen(body), body);
    port = ports[worker];
    return client_request(text);
}

/* A subscriber whose connection this worker took; it is connected when its greeting has come. */
static int subscribe(size_t worker, int session) {
    struct buffer greeting;
    buffer_init(&greeting, 4096);
    int fd = ask_worker(worker, "GET", EVENTS, session, "");
    assert_true(client_read_until(fd, &greeting, "retry:"));
    buffer_finish(&greeting);
    return fd;
}

static void assert_told(int fd, const char *wanted) {
    struct buffer told;
    buffer_init(&told, 64 * 1024);
    assert_true(client_read_until(fd, &told, wanted));
    buffer_finish(&told);
}

static struct session *session_of(int number) {
    char key[16];
    snprintf(key, sizeof(key), "a/u/%d", number);
    struct session *session = broadcaster_find_session(broadcaster, key);
    assert_non_null(session);
    return session;
}

/* How many workers have subscribers of the session. */
static size_t count_workers(int number) {
    struct session *session = session_of(number);
    struct watch *watch;
    size_t count = 0;
    lock_acquire(&session->lock);
    for (watch = LIST_FIRST(&session->watches); watch != NULL; watch = LIST_NEXT(watch, session_entry))
        count++;
    lock_release(&session->lock);
    session_unref(session);
    return count;
}

/* A run whose upstream refuses: it ends by itself, and everybody hears of it. */
static void run_once(size_t worker, int session) {
    int fd = ask_worker(worker, "POST", "*/*", session, MESSAGE);
    assert_told(fd, "\"success\":true");
    close(fd);
}

static void subscribers_of_a_session_are_gathered_on_one_worker(void **state) {
    (void)state;
    size_t descriptors = count_descriptors();
    uint64_t gathered = metrics_get(METRIC_SUBSCRIBERS_GATHERED);
    int fds[SESSIONS][2];
    for (int i = 0; i < SESSIONS; i++) {
        for (size_t worker = 0; worker < 2; worker++)
            fds[i][worker] = subscribe(worker, i);
        run_once((size_t)i % 2, i);
        for (size_t worker = 0; worker < 2; worker++)
            assert_told(fds[i][worker], "event: run.end");
        assert_int_equal(count_workers(i), 1);
    }
    assert_int_equal(metrics_get(METRIC_SUBSCRIBERS_GATHERED) - gathered, SESSIONS); /* one of each two */
    for (int i = 0; i < SESSIONS; i++) {
        for (size_t worker = 0; worker < 2; worker++)
            close(fds[i][worker]);
    }
    wait_for_descriptors(descriptors);
}

static void those_of_a_large_crowd_stay_where_they_came(void **state) {
    (void)state;
    size_t descriptors = count_descriptors();
    atomic_store(&broadcaster_limits(broadcaster)->subscribers_gathered_max, 1);
    for (int i = 0; i < SESSIONS; i++) {
        static const size_t came_to[MOST] = {1, 0, 1};
        int fds[MOST];
        for (size_t k = 0; k < MOST; k++)
            fds[k] = subscribe(came_to[k], i);
        run_once(0, i);
        for (size_t k = 0; k < MOST; k++)
            assert_told(fds[k], "event: run.end");
        assert_int_equal(count_workers(i), 2);
        for (size_t k = 0; k < MOST; k++)
            close(fds[k]);
    }
    wait_for_descriptors(descriptors);
}

static void none_is_gathered_if_none_may_be(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->subscribers_gathered_max, 0);
    uint64_t gathered = metrics_get(METRIC_SUBSCRIBERS_GATHERED);
    for (int i = 0; i < SESSIONS; i++) {
        int fds[2] = {subscribe(0, i), subscribe(1, i)};
        run_once(0, i);
        assert_told(fds[0], "event: run.end");
        assert_told(fds[1], "event: run.end");
        assert_int_equal(count_workers(i), 2);
        close(fds[0]);
        close(fds[1]);
    }
    assert_int_equal(metrics_get(METRIC_SUBSCRIBERS_GATHERED), gathered);
}

/* Else the run could be ahead of its own stream before that is there, and its first events be gone. */
static void run_that_is_answered_by_its_stream_stays_with_it(void **state) {
    (void)state;
    uint64_t gathered = metrics_get(METRIC_SUBSCRIBERS_GATHERED);
    for (int i = 0; i < SESSIONS; i++) {
        int fds[2];
        for (size_t worker = 0; worker < 2; worker++) {
            fds[worker] = ask_worker(worker, "POST", EVENTS, i, MESSAGE);
            assert_told(fds[worker], "event: run.end");
        }
        close(fds[0]);
        close(fds[1]);
    }
    assert_int_equal(metrics_get(METRIC_SUBSCRIBERS_GATHERED), gathered);
}

/* Somebody else was about to give it a run, and thinks better of it when it has looked for the last time. */
static void worker_that_stops_notices_that_nothing_comes_any_more(void **state) {
    (void)state;
    static const struct task_options options = {.timeout_ms = 60000, .priority = 5};
    static const struct trace no_trace;
    struct session *session;
    assert_int_equal(broadcaster_open_session(broadcaster, "a/u/s", &session), 0);
    struct plan *plan = plan_create(shared.contexts[1]->relay.upstream_worker, session, &no_trace, 1);
    assert_non_null(plan);
    plan->count = 1;
    struct task *task = runner_create_task(shared.contexts[1]->runner, session, &options, plan);
    assert_non_null(task);
    session_unref(session);
    stop_workers();
    while (stopped < 1)
        uv_run(&main_loop, UV_RUN_ONCE);
    usleep(1100 * 1000); /* longer than a worker waits for its clients */
    runner_discard_task(task);
    while (stopped < 2)
        uv_run(&main_loop, UV_RUN_ONCE);
    worker_dispose();
    assert_int_equal(set_up(state), 0);
}

/* Some of them are on their way from one worker to the other when these are told to stop. */
static void workers_stop_while_subscribers_are_being_gathered(void **state) {
    (void)state;
    int fds[64];
    for (int i = 0; i < 64; i++)
        fds[i] = ask_worker((size_t)i % 2, i % 4 == 3 ? "POST" : "GET", EVENTS, i / 8, MESSAGE);
    worker_tear_down(state);
    for (int i = 0; i < 64; i++)
        close(fds[i]);
    assert_int_equal(set_up(state), 0);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, worker_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(subscribers_of_a_session_are_gathered_on_one_worker),
        TEST(those_of_a_large_crowd_stay_where_they_came),
        TEST(none_is_gathered_if_none_may_be),
        TEST(run_that_is_answered_by_its_stream_stays_with_it),
        TEST(worker_that_stops_notices_that_nothing_comes_any_more),
        TEST(workers_stop_while_subscribers_are_being_gathered),
    };
    return cmocka_run_group_tests_name("http_gathering", tests, NULL, NULL);
}
