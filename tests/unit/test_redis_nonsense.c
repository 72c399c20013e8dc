/* upstream/redis_connection, upstream/redis_cache: a server that is none is done without. */
#include "tests/unit/raw_server.h"
#include "tests/unit/redis_gateway.h"

#include <signal.h>
#include <stdatomic.h>

#define TIMEOUT_MS 30000

static int set_up(void **state) {
    (void)state;
    fixture_reset();
    return 0;
}

static const char *nonsense;
static atomic_bool nonsense_at_once; /* before anything was asked */

/* Greets as it should, and talks nonsense from then on. */
static void serve_nonsense(struct raw_server *raw, int fd, size_t connection) {
    char bytes[4096];
    (void)raw, (void)connection;
    if (!atomic_load(&nonsense_at_once)) {
        if (recv(fd, bytes, sizeof(bytes), 0) <= 0 || !raw_server_write(fd, "+PONG\r\n"))
            return;
        if (recv(fd, bytes, sizeof(bytes), 0) <= 0)
            return;
    }
    raw_server_write(fd, nonsense);
    raw_server_hold(fd);
}

/* The gateway asks such a server for a run, and in vain. What is no reply at all ends the connection. */
static void ask_nonsense(const char *text, bool is_a_reply) {
    struct raw_server raw;
    struct gateway gateway;
    struct fake_run run = {0};
    nonsense = text;
    atomic_store(&nonsense_at_once, false);
    fixture_reset();
    raw_server_start(&raw, serve_nonsense);
    gateway_open(&gateway, server_address(raw.port), NULL, TIMEOUT_MS);
    await_state(&gateway, REDIS_UP);
    int64_t begun_ms = clock_mono_ms();
    run_start(&run, &gateway.worker, "key");
    while (call_count == 0)
        worker_turn(&gateway.worker);
    run_cancel(&run);
    assert_true(clock_mono_ms() - begun_ms < TIMEOUT_MS); /* at once, not when time is up */
    while (!is_a_reply && raw_server_connections(&raw) < 2)
        worker_turn(&gateway.worker);
    assert_int_equal(info_of(&gateway).redis_hits, 0);
    assert_true(info_of(&gateway).redis_errors > 0);
    gateway_end(&gateway);
    raw_server_stop(&raw);
}

static void server_that_talks_nonsense_is_done_without(void **state) {
    (void)state;
    ask_nonsense("HTTP/1.1 400 Bad Request\r\n\r\n", false);
    ask_nonsense("$99999999999999999999\r\nx\r\n", false);
    ask_nonsense("*1000000000\r\n", false);
    ask_nonsense("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n$1\r\nx\r\n", false);
    ask_nonsense("-LOADING it will take a while\r\n", true);
    ask_nonsense(":7\r\n", true);
    ask_nonsense("$-1\r\n", true);
    ask_nonsense("$7\r\ngarbage\r\n", true);
    ask_nonsense("+OK\r\n+and what nobody has asked for\r\n", false);
}

static void server_that_is_no_redis_is_not_connected_to(void **state) {
    (void)state;
    struct raw_server raw;
    struct gateway gateway;
    nonsense = "+hello, this is something else\r\n";
    atomic_store(&nonsense_at_once, true);
    raw_server_start(&raw, serve_nonsense);
    gateway_open(&gateway, server_address(raw.port), NULL, TIMEOUT_MS);
    while (raw_server_connections(&raw) < 3) /* it is left, and tried again */
        worker_turn(&gateway.worker);
    ask_upstream(&gateway, "key");
    gateway_end(&gateway);
    raw_server_stop(&raw);
}

static const char *refusal;

/* Has nothing, and takes nothing: not even a PING, if the refusal is one that Redis gives to that too. */
static void serve_refusals(struct raw_server *raw, int fd, size_t connection) {
    char bytes[4096];
    ssize_t count;
    (void)raw, (void)connection;
    while ((count = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        bool is_get = memmem(bytes, (size_t)count, "GETRANGE", strlen("GETRANGE")) != NULL;
        bool is_ping = memmem(bytes, (size_t)count, "PING", strlen("PING")) != NULL;
        bool takes_ping = strncmp(refusal, "-MISCONF", strlen("-MISCONF")) != 0;
        if (!raw_server_write(fd, is_get ? "$0\r\n\r\n" : is_ping && takes_ping ? "+PONG\r\n" : refusal))
            return;
    }
}

static void server_that_stores_nothing_is_still_asked(void **state) {
    (void)state;
    static const char *const refusals[] = {
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-READONLY You can't write against a read only replica.\r\n",
        "-MISCONF Redis is configured to save RDB snapshots, but it's unable to.\r\n",
        "-NOREPLICAS Not enough good replicas to write.\r\n",
        "-NOPERM this user has no permissions to run the 'set' command\r\n"};
    static const char *const keys[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
        struct raw_server raw;
        struct gateway gateway;
        refusal = refusals[i];
        fixture_reset();
        raw_server_start(&raw, serve_refusals);
        gateway_open(&gateway, server_address(raw.port), NULL, TIMEOUT_MS);
        await_state(&gateway, REDIS_UP);
        for (size_t k = 0; k < 4; k++)
            ask_upstream_in_vain(&gateway, keys[k]);
        assert_int_equal(info_of(&gateway).redis_misses, 4);
        gateway_end(&gateway);
        raw_server_stop(&raw);
    }
}

static void address_that_refuses_is_away(void **state) {
    (void)state;
    struct gateway gateway;
    int port;
    int fd = raw_server_bind(&port);
    gateway_open(&gateway, server_address(port), NULL, TIMEOUT_MS);
    worker_settle(&gateway.worker);
    ask_upstream(&gateway, "key");
    assert_int_equal(info_of(&gateway).redis_state, REDIS_AWAY);
    gateway_end(&gateway);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(server_that_talks_nonsense_is_done_without, set_up),
        cmocka_unit_test_setup(server_that_is_no_redis_is_not_connected_to, set_up),
        cmocka_unit_test_setup(server_that_stores_nothing_is_still_asked, set_up),
        cmocka_unit_test_setup(address_that_refuses_is_away, set_up),
    };
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
