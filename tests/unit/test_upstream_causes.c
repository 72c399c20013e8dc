/* upstream/transfer_judge: causes that only a socket of our own can bring about. The others are in
 * tests/integration/causes.test.mjs. */
#include "tests/unit/stream_recorder.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve_nothing(struct raw_server *server, int fd, size_t connection) {
    (void)server, (void)fd, (void)connection;
}

#define CONNECTIONS 4

/* A listener whose queue is full: the kernel answers no further connection. */
static int listen_and_fill(int fds[CONNECTIONS], int *ret_port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        int result = connect(fds[i], (struct sockaddr *)&address, size);
        (void)result; /* the last ones wait */
    }
    *ret_port = ntohs(address.sin_port);
    return listener;
}

static void connection_that_nobody_answers_is_a_connect_timeout(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder;
    int fds[CONNECTIONS], port;
    char url[64];
    int listener = listen_and_fill(fds, &port);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", port);
    fixture_begin(&fixture, serve_nothing);
    fixture.settings.base_url = url;
    fixture.settings.connect_timeout_ms = 300;
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_CONNECT);
    assert_string_equal(upstream_cause_word(recorder.result.cause), "connect_timeout");
    static const char begin[] =
        "The upstream did not accept a connection in time: upstream_connect_timeout_ms (300 ms): ";
    assert_memory_equal(recorder.message, begin, strlen(begin));
    assert_true(strlen(recorder.message) >
                strlen(begin)); /* libcurl's words, which depend on what it waited for */
    fixture_end(&fixture);
    for (size_t i = 0; i < CONNECTIONS; i++)
        close(fds[i]);
    close(listener);
}

static void each_cause_has_a_word_of_its_own(void **state) {
    (void)state;
    assert_null(upstream_cause_word(CAUSE_NONE));
    for (int cause = CAUSE_NONE + 1; cause < CAUSE_COUNT; cause++) {
        const char *word = upstream_cause_word((enum upstream_cause)cause);
        assert_non_null(word);
        for (int other = CAUSE_NONE + 1; other < cause; other++)
            assert_string_not_equal(word, upstream_cause_word((enum upstream_cause)other));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connection_that_nobody_answers_is_a_connect_timeout),
        cmocka_unit_test(each_cause_has_a_word_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
