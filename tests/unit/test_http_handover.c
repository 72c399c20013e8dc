/* The hand-over of a connection from libmicrohttpd to a subscriber, held against the library that is
 * installed: another one that behaves otherwise is noticed here. A real worker runs on its thread; the
 * clients are raw sockets. */
#include "broadcaster/lifecycle.h"
#include "tests/support/unit_worker.h"

#define STREAM "GET /apps/a/users/u/sessions/s/run HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define STREAM_1_0 "GET /apps/a/users/u/sessions/s/run HTTP/1.0\r\n\r\n"

static int set_up(void **state) {
    (void)state;
    static const char *const flags[] = {"--stall-timeout-ms", "300", "--send-buffer-bytes", "4096", NULL};
    return worker_set_up(flags);
}

/* Takes the chunks of a chunked body apart (RFC 9112, section 7.1); returns whether the last chunk was there.
 */
static bool unchunk(const char *body, struct buffer *out) {
    for (;;) {
        char *end;
        unsigned long length = strtoul(body, &end, 16);
        if (end == body)
            return false;
        assert_memory_equal(end, "\r\n", 2);
        if (length == 0) {
            assert_string_equal(end + 2, "\r\n");
            return true;
        }
        assert_true(buffer_append(out, end + 2, length));
        assert_memory_equal(end + 2 + length, "\r\n", 2);
        body = end + 2 + length + 2;
    }
}

static const char *body_of(const struct buffer *answer) {
    const char *empty_line = strstr(answer->bytes, "\r\n\r\n");
    assert_non_null(empty_line);
    return empty_line + 4;
}

/* ---- a run without an upstream ------------------------------------------------------------------- */

static void no_start(struct task_driver *driver, struct task *task) {
    (void)driver;
    (void)task;
}

static struct task_driver idle_driver = {.start = no_start, .ended = no_start};

static struct task *start_run(void) {
    struct session *session;
    struct registration registered;
    const struct task_options options = {.timeout_ms = 60000, .priority = 5};
    assert_int_equal(broadcaster_open_session(broadcaster, "a/u/s", &session), 0);
    struct task *task = task_create(session, &options, &idle_driver, NULL);
    assert_int_equal(broadcaster_register_task(broadcaster, task, NULL, &registered), REGISTER_OK);
    task_unref(registered.task);
    session_unref(session);
    return task;
}

static void publish(struct task *task, const char *data, size_t length) {
    assert_true(task_publish(task, lifecycle_make_agent_event(task->serial, NULL, 0, data, length)));
}

static void wait_for_subscribers(uint64_t count) {
    struct broadcaster_stats stats;
    int64_t until_ms = clock_mono_ms() + WAIT_MS;
    do {
        usleep(20000);
        broadcaster_get_stats(broadcaster, &stats);
    } while (stats.subscribers != count && clock_mono_ms() < until_ms);
    assert_int_equal(stats.subscribers, count);
}

/* ---- tests --------------------------------------------------------------------------------------- */

static void handover_keeps_the_chunks_of_one_body(void **state) {
    (void)state;
    size_t descriptors = count_descriptors();
    struct buffer answer, text;
    buffer_init(&answer, 1 << 20);
    buffer_init(&text, 1 << 20);
    int fd = client_request(STREAM);
    assert_true(client_read_until(fd, &answer, "retry:"));
    struct task *task = start_run();
    publish(task, "one", 3);
    assert_true(client_read_until(fd, &answer, "data: one\nid: "));
    publish(task, "two", 3);
    assert_true(task_cancel(task, REASON_REQUESTED));
    assert_true(broadcaster_close_session(task->session, REASON_SESSION_DELETED));
    assert_true(client_read_to_end(fd, &answer));
    assert_memory_equal(answer.bytes, "HTTP/1.1 200 ", 13);
    assert_non_null(strstr(answer.bytes, "Content-Type: text/event-stream\r\n"));
    assert_non_null(strstr(answer.bytes, "Transfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(answer.bytes, "Cache-Control: no-cache, no-transform\r\n"));
    assert_non_null(strstr(answer.bytes, "X-Accel-Buffering: no\r\n"));
    assert_true(unchunk(body_of(&answer), &text));
    assert_memory_equal(text.bytes, ": ", 2);
    const char *start = strstr(text.bytes, "event: run.start\n"),
               *one = strstr(text.bytes, "data: one\nid: "), *two = strstr(text.bytes, "data: two\nid: "),
               *end = strstr(text.bytes, "event: run.end\n"),
               *last = strstr(text.bytes, "event: session.end\n");
    assert_true(start != NULL && start < one && one < two && two < end && end < last);
    close(fd);
    task_unref(task);
    buffer_finish(&answer);
    buffer_finish(&text);
    wait_for_descriptors(descriptors);
}

static void handover_writes_bare_text_to_http_1_0(void **state) {
    (void)state;
    size_t descriptors = count_descriptors();
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    int fd = client_request(STREAM_1_0);
    assert_true(client_read_until(fd, &answer, "retry:"));
    struct task *task = start_run();
    publish(task, "one", 3);
    assert_true(client_read_until(fd, &answer, "data: one\nid: "));
    assert_true(broadcaster_close_session(task->session, REASON_SESSION_DELETED));
    assert_true(client_read_to_end(fd, &answer));
    assert_null(strstr(answer.bytes, "Transfer-Encoding"));
    const char *body = body_of(&answer);
    assert_memory_equal(body, ": ", 2);
    const char *last = strstr(body, "data: {\"reason\":\"deleted\"}\nid: ");
    assert_non_null(last);
    assert_string_equal(strstr(last, "\n\n"), "\n\n");
    close(fd);
    task_unref(task);
    buffer_finish(&answer);
    wait_for_descriptors(descriptors);
}

static void handover_leaves_nothing_of_clients_that_leave_in_between(void **state) {
    (void)state;
    size_t descriptors = count_descriptors();
    for (int i = 0; i < 100; i++) {
        int fd = client_request(i % 2 == 0 ? STREAM : STREAM_1_0);
        if (i % 3 == 0)
            client_reset(fd);
        else
            close(fd);
    }
    int last = client_connect();
    assert_served(last); /* so all those before it were accepted */
    close(last);
    wait_for_subscribers(0);
    wait_for_descriptors(descriptors);
}

static void handover_sees_a_disconnect_at_once(void **state) {
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    int fd = client_request(STREAM);
    assert_true(client_read_until(fd, &answer, "retry:"));
    wait_for_subscribers(1);
    close(fd);
    wait_for_subscribers(0); /* nothing is ever written to it: no heartbeat is due for 12 s */
    buffer_finish(&answer);
}

static void handover_ignores_what_follows_the_request(void **state) {
    (void)state;
    struct buffer answer, text;
    buffer_init(&answer, 1 << 20);
    buffer_init(&text, 1 << 20);
    int fd = client_request(STREAM STREAM);
    assert_true(client_read_until(fd, &answer, "retry:"));
    struct task *task = start_run();
    publish(task, "one", 3);
    assert_true(broadcaster_close_session(task->session, REASON_SESSION_DELETED));
    assert_true(client_read_to_end(fd, &answer));
    assert_true(unchunk(body_of(&answer), &text));
    assert_non_null(strstr(text.bytes, "data: one\nid: "));
    close(fd);
    task_unref(task);
    buffer_finish(&answer);
    buffer_finish(&text);
}

static void handover_breaks_off_without_the_last_chunk_when_the_client_stalls(void **state) {
    (void)state;
    struct buffer answer, text;
    buffer_init(&answer, 64 << 20);
    buffer_init(&text, 64 << 20);
    int fd = client_request(STREAM);
    assert_true(client_read_until(fd, &answer, "retry:"));
    struct task *task = start_run();
    size_t length = 512 * 1024;
    char *data = malloc(length);
    memset(data, 'x', length);
    for (int i = 0; i < 64; i++) /* more than any socket buffers on the way hold */
        publish(task, data, length);
    wait_for_subscribers(0);                       /* stall_timeout_ms is 300 here */
    assert_false(client_read_to_end(fd, &answer)); /* reset */
    close(fd);
    task_cancel(task, REASON_REQUESTED);
    task_unref(task);
    free(data);
    buffer_finish(&answer);
    buffer_finish(&text);
}

static void requests_share_a_connection(void **state) {
    (void)state;
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    int fd = client_connect();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
        assert_true(client_read_until(fd, &answer, "\"ok\""));
        assert_memory_equal(answer.bytes, "HTTP/1.1 200 ", 13);
        buffer_clear(&answer);
    }
    close(fd);
    buffer_finish(&answer);
}

/* The server's side of a connection in this process. */
static int find_accepted(void) {
    for (int fd = 0; fd < 1024; fd++) {
        struct sockaddr_in address;
        socklen_t length = sizeof(address), size = sizeof(int);
        int listens = 1;
        bool is_ours = getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
                       address.sin_family == AF_INET && ntohs(address.sin_port) == port &&
                       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0;
        if (is_ours && listens == 0)
            return fd;
    }
    fail_msg("no connection was accepted");
    return -1;
}

static void connections_have_a_bounded_send_buffer_from_the_first(void **state) {
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 1 << 16);
    int size = 0, fd = client_request("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socklen_t length = sizeof(size);
    assert_true(client_read_until(fd, &answer, "\r\n\r\n"));
    assert_int_equal(getsockopt(find_accepted(), SOL_SOCKET, SO_SNDBUF, &size, &length), 0);
    assert_int_equal(size, 2 * 4096); /* the kernel doubles it */
    close(fd);
    buffer_finish(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(handover_keeps_the_chunks_of_one_body, set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(handover_writes_bare_text_to_http_1_0, set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(handover_leaves_nothing_of_clients_that_leave_in_between, set_up,
                                        worker_tear_down),
        cmocka_unit_test_setup_teardown(handover_sees_a_disconnect_at_once, set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(handover_ignores_what_follows_the_request, set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(handover_breaks_off_without_the_last_chunk_when_the_client_stalls,
                                        set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(connections_have_a_bounded_send_buffer_from_the_first, set_up,
                                        worker_tear_down),
        cmocka_unit_test_setup_teardown(requests_share_a_connection, set_up, worker_tear_down),
    };
    return cmocka_run_group_tests_name("http_handover", tests, NULL, NULL);
}
