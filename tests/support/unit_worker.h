/* A real worker on its thread, or several, each with a port of its own; raw sockets as its clients. The
 * upstream is a port that refuses, unless the flags name another one. */
#ifndef SLUICE_TESTS_UNIT_WORKER_H
#define SLUICE_TESTS_UNIT_WORKER_H

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/listen_socket.h"
#include "server/worker.h"
#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 60000 /* valgrind takes its time */
#define FLAGS_MAX 32
#define TEST_WORKERS_MAX 2

static struct config *config;
static struct inbox main_inbox;
static uv_loop_t main_loop;
static struct broadcaster *broadcaster;
static struct address_limits *address_limits;
static struct upstreams upstreams;
static struct worker_shared shared;
static struct worker *workers[TEST_WORKERS_MAX];
static uint16_t ports[TEST_WORKERS_MAX];
static size_t worker_count, stopped;
static uint16_t port; /* the first one's; a client connects there unless it was set to another one */

static inline void on_stopped(struct worker_shared *unused) {
    (void)unused;
    stopped++;
}

/* Workers that do not run yet. `flags`: as on the command line, the last one NULL. */
static inline void worker_prepare(const char *const *flags) {
    char *arguments[FLAGS_MAX] = {"sluice",     "--listen",           "127.0.0.1:0",     "--workers", "1",
                                  "--upstream", "http://127.0.0.1:1", "--allowed-hosts", "x"};
    int count = 9;
    for (; *flags != NULL; flags++)
        arguments[count++] = (char *)(uintptr_t)*flags;
    stopped = 0;
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    assert_int_equal(config_load(count, arguments, &config), CONFIG_LOADED);
    assert_int_equal(uv_loop_init(&main_loop), 0);
    assert_int_equal(inbox_init(&main_inbox, &main_loop), 0);
    broadcaster = broadcaster_create(&config->limits);
    address_limits = address_limits_create(&config->http.address);
    assert_true(upstreams_init(&upstreams, &config->upstreams));
    shared = (struct worker_shared){.broadcaster = broadcaster,
                                    .fanout = &config->fanout,
                                    .address_limits = address_limits,
                                    .upstreams = &upstreams,
                                    .main_inbox = &main_inbox,
                                    .on_stopped = on_stopped};
    worker_count = config->workers;
    for (size_t i = 0; i < worker_count; i++) {
        int sock;
        assert_int_equal(listen_sockets_open(&config->listen, 1, &sock, &ports[i]), 0);
        workers[i] = worker_create(&shared, config, sock);
        assert_non_null(workers[i]);
    }
    port = ports[0];
}

static inline int worker_set_up(const char *const *flags) {
    worker_prepare(flags);
    for (size_t i = 0; i < worker_count; i++)
        assert_int_equal(worker_start(workers[i]), 0);
    return 0;
}

static inline void worker_dispose(void) {
    for (size_t i = 0; i < worker_count; i++)
        worker_destroy(workers[i]);
    address_limits_destroy(address_limits);
    upstreams_finish(&upstreams);
    broadcaster_destroy(broadcaster);
    inbox_close(&main_inbox);
    uv_run(&main_loop, UV_RUN_DEFAULT);
    inbox_finish(&main_inbox);
    uv_loop_close(&main_loop);
    config_destroy(config);
}

static inline void stop_workers(void) {
    for (size_t i = 0; i < worker_count; i++)
        worker_drain(workers[i]);
    broadcaster_drain(broadcaster);
    broadcaster_cancel_all(broadcaster, REASON_SHUTDOWN);
    for (size_t i = 0; i < worker_count; i++)
        worker_stop(workers[i]);
}

static inline int worker_tear_down(void **state) {
    (void)state;
    stop_workers();
    while (stopped < worker_count)
        uv_run(&main_loop, UV_RUN_ONCE);
    worker_dispose();
    return 0;
}

/* ---- a client ------------------------------------------------------------------------------------ */

static inline int client_connect(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval limit = {.tv_sec = WAIT_MS / 1000};
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static inline int client_request(const char *text) {
    int fd = client_connect();
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    return fd;
}

/* Reads until `wanted` was seen; false: the connection ended, or time was up, before that. */
static inline bool client_read_until(int fd, struct buffer *got, const char *wanted) {
    while (got->bytes == NULL || strstr(got->bytes, wanted) == NULL) {
        char bytes[4096];
        ssize_t count = recv(fd, bytes, sizeof(bytes), 0);
        if (count <= 0)
            return false;
        assert_true(buffer_append(got, bytes, (size_t)count));
    }
    return true;
}

/* True: the server has ended the connection in order; false: it was reset. */
static inline bool client_read_to_end(int fd, struct buffer *got) {
    char bytes[4096];
    ssize_t count;
    while ((count = recv(fd, bytes, sizeof(bytes), 0)) > 0)
        assert_true(buffer_append(got, bytes, (size_t)count));
    return count == 0;
}

static inline void client_reset(int fd) {
    const struct linger at_once = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
}

static inline void client_send(int fd, const char *text) {
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* ---- descriptors --------------------------------------------------------------------------------- */

static inline size_t count_descriptors(void) {
    size_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static inline void wait_for_descriptors(size_t count) {
    int64_t until_ms = clock_mono_ms() + WAIT_MS;
    size_t now;
    while ((now = count_descriptors()) != count && clock_mono_ms() < until_ms)
        usleep(20000);
    assert_int_equal(now, count);
}

/* The worker answers on the connection. */
static inline void assert_served(int fd) {
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    client_send(fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_true(client_read_until(fd, &answer, "\"ok\""));
    buffer_finish(&answer);
}

#endif
