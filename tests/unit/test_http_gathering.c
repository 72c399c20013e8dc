/* Two workers, each with a port of its own: the subscribers of a session are gathered on one of them, and its
 * runs are there, wherever their requests came. */
#include "base/metrics.h"
#include "broadcaster/watch.h"
#include "tests/support/unit_worker.h"

#define SESSIONS 8 /* either worker is the home of some of them */
#define MOST 3     /* subscribers of one of them */

static int set_up(void **state) {
    (void)state;
    static const char *const flags[] = {"--workers", "2", "--drain-ms", "0", NULL};
    return worker_set_up(flags);
}

static int ask_worker(size_t worker, const char *method, int session, const char *body) {
    char text[512];
    snprintf(text, sizeof(text),
             "%s /apps/a/users/u/sessions/%d/run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             method, session, strlen(body), body);
    port = ports[worker];
    return client_request(text);
}

/* A subscriber whose connection this worker took; it is connected when its greeting has come. */
static int subscribe(size_t worker, int session) {
    struct buffer greeting;
    buffer_init(&greeting, 4096);
    int fd = ask_worker(worker, "GET", session, "");
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
    int fd = ask_worker(worker, "POST", session, "{\"message\":\"x\"}");
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

/* Some of them are on their way from one worker to the other when these are told to stop. */
static void workers_stop_while_subscribers_are_being_gathered(void **state) {
    (void)state;
    int fds[64];
    for (int i = 0; i < 64; i++)
        fds[i] = ask_worker((size_t)i % 2, i % 4 == 3 ? "POST" : "GET", i / 8, "{\"message\":\"x\"}");
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
        TEST(workers_stop_while_subscribers_are_being_gathered),
    };
    return cmocka_run_group_tests_name("http_gathering", tests, NULL, NULL);
}
