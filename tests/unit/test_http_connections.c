/* Taking connections: the limit, and the end with requests under way. */
#include "tests/support/unit_worker.h"

#define STREAM "GET /apps/a/users/u/sessions/s/run HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define CONNECTIONS_MAX 4

static int set_up(void **state) {
    (void)state;
    static const char *const flags[] = {"--connections-max", "4", NULL};
    return worker_set_up(flags);
}

static int set_up_without_limit(void **state) {
    (void)state;
    static const char *const flags[] = {NULL};
    return worker_set_up(flags);
}

static void assert_refused(void) {
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    int fd = client_connect();
    assert_true(client_read_to_end(fd, &answer));
    assert_memory_equal(answer.bytes, "HTTP/1.1 503 ", 13);
    assert_non_null(strstr(answer.bytes, "\r\nRetry-After: "));
    assert_non_null(strstr(answer.bytes, "too_many_connections"));
    close(fd);
    buffer_finish(&answer);
}

static void one_connection_too_many_is_told_so(void **state) {
    (void)state;
    size_t descriptors = count_descriptors();
    int fds[CONNECTIONS_MAX];
    for (int round = 0; round < 3; round++) { /* that the places are given back, too */
        for (int i = 0; i < CONNECTIONS_MAX; i++)
            assert_served(fds[i] = client_connect());
        for (int i = 0; i < 10; i++)
            assert_refused();
        for (int i = 0; i < CONNECTIONS_MAX; i++)
            close(fds[i]);
        wait_for_descriptors(descriptors);
    }
}

static void a_client_that_was_refused_and_stays_is_left(void **state) {
    (void)state;
    struct buffer answer;
    int fds[CONNECTIONS_MAX];
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        assert_served(fds[i] = client_connect());
    size_t descriptors = count_descriptors();
    buffer_init(&answer, 1 << 20);
    int fd = client_connect();
    assert_true(client_read_to_end(fd, &answer)); /* the gateway waits for us to close, too */
    wait_for_descriptors(descriptors + 1);
    buffer_finish(&answer);
    close(fd);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        close(fds[i]);
}

static void subscribers_count_as_connections(void **state) {
    (void)state;
    size_t descriptors = count_descriptors();
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    int fds[CONNECTIONS_MAX];
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        fds[i] = client_request(STREAM);
        assert_true(client_read_until(fds[i], &answer, "retry:"));
        buffer_clear(&answer);
    }
    wait_for_descriptors(descriptors + 2 * CONNECTIONS_MAX);
    assert_refused();
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        close(fds[i]);
    wait_for_descriptors(descriptors);
    buffer_finish(&answer);
}

/* libmicrohttpd leaves a connection whose stream was handed over with those that are idle. */
static void handed_over_connection_is_given_back_while_an_older_one_is_idle(void **state) {
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    int idle = client_connect();
    assert_served(idle);
    size_t descriptors = count_descriptors();
    int fd = client_request(STREAM);
    assert_true(client_read_until(fd, &answer, "retry:"));
    wait_for_descriptors(descriptors + 2); /* ours and the subscriber's */
    close(fd);
    wait_for_descriptors(descriptors);
    close(idle);
    buffer_finish(&answer);
}

/* Accepts nothing: whoever asks there waits. */
static int silent_upstream(char url[64]) {
    const struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&any, sizeof(any)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    snprintf(url, 64, "http://127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

#define WAITING "GET /list-apps HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void end_answers_a_request_that_waits(void **state) {
    (void)state;
    char url[64];
    int upstream = silent_upstream(url);
    const char *const flags[] = {"--upstream", url, NULL};
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    worker_set_up(flags);
    int fd = client_request(WAITING);
    int asked = accept(upstream, NULL, NULL);
    assert_true(asked >= 0);
    worker_tear_down(NULL);
    client_read_to_end(fd, &answer);
    assert_non_null(answer.bytes);
    assert_memory_equal(answer.bytes, "HTTP/1.1 503 ", 13);
    close(asked);
    close(upstream);
    close(fd);
    buffer_finish(&answer);
}

/* libmicrohttpd aborts if it is stopped while a connection is suspended: a request that comes at the last
 * moment must not be taken up. */
static void request_that_comes_while_it_closes_is_left(void **state) {
    (void)state;
    static const char *const flags[] = {NULL};
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    worker_prepare(flags);
    int fd = client_request(WAITING); /* seen when the worker, which never ran, is closed */
    worker_dispose();
    client_read_to_end(fd, &answer);
    assert_null(answer.bytes);
    close(fd);
    buffer_finish(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_connection_too_many_is_told_so, set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_was_refused_and_stays_is_left, set_up,
                                        worker_tear_down),
        cmocka_unit_test_setup_teardown(subscribers_count_as_connections, set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(handed_over_connection_is_given_back_while_an_older_one_is_idle,
                                        set_up_without_limit, worker_tear_down),
        cmocka_unit_test(end_answers_a_request_that_waits),
        cmocka_unit_test(request_that_comes_while_it_closes_is_left),
    };
    return cmocka_run_group_tests_name("http_connections", tests, NULL, NULL);
}
