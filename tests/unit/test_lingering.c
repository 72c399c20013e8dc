/* http/lingering: a client that still sends loses nothing of what it was sent. */
#include "http/lingering.h"
#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define LINGERERS_MAX 256 /* as in http/lingering.c */

static void connect_pair(int *ret_client, int *ret_server) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    *ret_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(*ret_client, (struct sockaddr *)&address, length), 0);
    *ret_server = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(*ret_server >= 0);
    close(listening);
}

/* Writes what the sockets hold, more than the client's alone. */
static size_t write_all(int server) {
    static char bytes[16384];
    size_t total = 0;
    for (ssize_t count; (count = send(server, bytes, sizeof(bytes), MSG_NOSIGNAL)) > 0;)
        total += (size_t)count;
    assert_true(total > 0 && errno == EAGAIN);
    return total;
}

/* Returns how much came before the end, or before the connection was reset. */
static size_t read_all(int client) {
    static char bytes[16384];
    size_t total = 0;
    for (ssize_t count; (count = recv(client, bytes, sizeof(bytes), 0)) > 0;)
        total += (size_t)count;
    return total;
}

static void connections_end_in_order_when_too_many_linger(void **state) {
    (void)state;
    static int clients[LINGERERS_MAX + 1];
    static size_t written[LINGERERS_MAX + 1];
    struct rlimit limit;
    struct lingering lingering;
    uv_loop_t loop;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    lingering_init(&lingering, &loop);
    for (size_t i = 0; i < LINGERERS_MAX + 1; i++) {
        int server;
        connect_pair(&clients[i], &server);
        assert_int_equal(send(clients[i], "unread", 6, MSG_NOSIGNAL), 6);
        written[i] = i % LINGERERS_MAX == 0 ? write_all(server) : 0; /* the first one's and the last one's */
        lingering_close(&lingering, server);
    }
    assert_int_equal(lingering.count, LINGERERS_MAX);
    assert_int_equal(read_all(clients[LINGERERS_MAX]), written[LINGERERS_MAX]);
    for (size_t i = 0; i < LINGERERS_MAX; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        assert_int_equal(send(clients[i], "late", 4, MSG_NOSIGNAL), 4);
        assert_int_equal(read_all(clients[i]), written[i]);
        close(clients[i]);
    }
    close(clients[LINGERERS_MAX]);
    lingering_finish(&lingering);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_end_in_order_when_too_many_linger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
