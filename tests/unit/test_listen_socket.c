/* server/listen_socket: sockets that share a port of either family, and a port that is not ours to share. */
#include "server/listen_socket.h"
#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT 3

static void close_all(const int *sockets) {
    for (int i = 0; i < COUNT; i++)
        close(sockets[i]);
}

/* 0, or a negative errno. */
static int connect_to(int family, const char *address, uint16_t port) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is_v4 = family == AF_INET;
    assert_int_equal(inet_pton(family, address, is_v4 ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr), 1);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    int failed = is_v4 ? connect(fd, (const struct sockaddr *)&v4, sizeof(v4))
                       : connect(fd, (const struct sockaddr *)&v6, sizeof(v6));
    int result = failed != 0 ? -errno : 0;
    close(fd);
    return result;
}

static struct config_listen listen_at(const char *address) {
    struct config_listen listen_on = {.port = 0};
    snprintf(listen_on.address, sizeof(listen_on.address), "%s", address);
    return listen_on;
}

static void check_family(int family, const char *address) {
    struct config_listen listen_on = listen_at(address);
    int sockets[COUNT], others[COUNT];
    uint16_t port = 0, other;
    assert_int_equal(listen_sockets_open(&listen_on, COUNT, sockets, &port), 0);
    assert_int_not_equal(port, 0);
    assert_int_equal(connect_to(family, address, port), 0);
    listen_on.port = port;
    assert_int_equal(listen_sockets_open(&listen_on, COUNT, others, &other), -EADDRINUSE);
    close_all(sockets);
    assert_int_equal(connect_to(family, address, port), -ECONNREFUSED);
    assert_int_equal(listen_sockets_open(&listen_on, COUNT, sockets, &other), 0);
    assert_int_equal(other, port);
    close_all(sockets);
}

static void sockets_of_an_ipv4_address_share_its_port(void **state) {
    (void)state;
    check_family(AF_INET, "127.0.0.1");
}

static void sockets_of_an_ipv6_address_share_its_port(void **state) {
    (void)state;
    check_family(AF_INET6, "::1");
}

static void address_of_another_machine_is_refused(void **state) {
    (void)state;
    int sockets[COUNT];
    uint16_t port;
    struct config_listen listen_on = listen_at("192.0.2.1"); /* RFC 5737: of nobody */
    assert_int_equal(listen_sockets_open(&listen_on, COUNT, sockets, &port), -EADDRNOTAVAIL);
    listen_on = listen_at("2001:db8::1"); /* RFC 3849 */
    assert_int_equal(listen_sockets_open(&listen_on, COUNT, sockets, &port), -EADDRNOTAVAIL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_of_an_ipv4_address_share_its_port),
        cmocka_unit_test(sockets_of_an_ipv6_address_share_its_port),
        cmocka_unit_test(address_of_another_machine_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
