/* What the programs share that count instructions (scripts/check-perf.sh): a real worker on its thread, and
 * this program around it as its clients and its upstream.
 *
 * All goes in lock-step: nothing is sent before what was sent last has arrived where it must, so that the
 * worker takes the same turns in each run. Only the worker's thread is counted.
 */
#ifndef SLUICE_TESTS_BENCH_PERF_H
#define SLUICE_TESTS_BENCH_PERF_H

#include "server/listen_socket.h"
#include "server/worker.h"

#include <arpa/inet.h>
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#define PERF_WAIT_S 20
#define PERF_TEXT_MAX 65536
#define PERF_MARK '~' /* stands once in each event of the agent, and nowhere else in a stream */

/* ---- what is counted ----------------------------------------------------------------------------- */

static inline void perf_begin(void) {
    CALLGRIND_ZERO_STATS;
}

/* Tells how many there were of what is counted, and ends the program. */
static inline void perf_end(unsigned long count, const char *what) {
    CALLGRIND_DUMP_STATS;
    printf("%lu %s\n", count, what);
    exit(fflush(stdout) == 0 ? 0 : 1);
}

/* ---- sockets ------------------------------------------------------------------------------------- */

static inline struct sockaddr_in perf_address(uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline int perf_socket(void) {
    const struct timeval limit = {.tv_sec = PERF_WAIT_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
        err(1, "socket");
    return fd;
}

static inline int perf_listen(uint16_t *ret_port) {
    struct sockaddr_in address = perf_address(0);
    socklen_t size = sizeof(address);
    int fd = perf_socket();
    if (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        err(1, "listen");
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static inline int perf_accept(int listener) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        err(1, "the worker did not connect to its upstream");
    return fd;
}

static inline int perf_connect(uint16_t port) {
    const struct sockaddr_in address = perf_address(port);
    int fd = perf_socket();
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        err(1, "connect");
    return fd;
}

static inline void perf_send(int fd, const char *bytes, size_t length) {
    if (send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length)
        err(1, "send");
}

static inline size_t perf_receive(int fd, char *bytes, size_t size) {
    ssize_t count = recv(fd, bytes, size, 0);
    if (count < 0)
        err(1, "recv");
    if (count == 0)
        errx(1, "the worker closed a connection");
    return (size_t)count;
}

/* Reads until `wanted` has come, which is the last that comes. */
static inline void perf_await_text(int fd, const char *wanted) {
    static char text[PERF_TEXT_MAX];
    size_t length = 0;
    text[0] = '\0';
    while (strstr(text, wanted) == NULL) {
        if (length == sizeof(text) - 1)
            errx(1, "\"%s\" did not come", wanted);
        length += perf_receive(fd, text + length, sizeof(text) - 1 - length);
        text[length] = '\0';
    }
}

/* Reads the next event of the agent. */
static inline void perf_await_event(int fd) {
    char bytes[4096];
    size_t length = perf_receive(fd, bytes, sizeof(bytes));
    while (memchr(bytes, PERF_MARK, length) == NULL)
        length = perf_receive(fd, bytes, sizeof(bytes));
}

/* ---- the upstream -------------------------------------------------------------------------------- */

#define PERF_ANSWER_CREATED "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
#define PERF_ANSWER_STREAM                                                                                   \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

/* Reads one request with its body, of the given path. */
static inline void perf_take_request(int fd, const char *path) {
    char text[8192] = "";
    size_t length = 0;
    const char *body = NULL, *size = NULL;
    while (body == NULL || strlen(body) < strtoul(size, NULL, 10)) {
        if (length == sizeof(text) - 1)
            errx(1, "a request that is too long");
        length += perf_receive(fd, text + length, sizeof(text) - 1 - length);
        text[length] = '\0';
        body = strstr(text, "\r\n\r\n");
        size = strcasestr(text, "content-length:");
        body = body != NULL ? body + 4 : NULL;
        size = size != NULL ? size + strlen("content-length:") : "0";
    }
    if (strncmp(text, "POST ", 5) != 0 || strncmp(text + 5, path, strlen(path)) != 0)
        errx(1, "not a POST of %s", path);
}

/* The first run of a session: its session is created upstream, then its stream begins, on the same
 * connection. */
static inline int perf_accept_stream(int listener) {
    int fd = perf_accept(listener);
    perf_take_request(fd, "/apps/");
    perf_send(fd, PERF_ANSWER_CREATED, strlen(PERF_ANSWER_CREATED));
    perf_take_request(fd, "/run_sse ");
    perf_send(fd, PERF_ANSWER_STREAM, strlen(PERF_ANSWER_STREAM));
    return fd;
}

#define PERF_DATA_BYTES 150

/* An event as ADK's api server sends it, in one chunk. */
static inline const char *perf_event_chunk(void) {
    static const char head[] = "{\"content\":{\"parts\":[{\"text\":\"~", tail[] = "\"}]},\"partial\":true}";
    static char chunk[PERF_DATA_BYTES + 32];
    char data[PERF_DATA_BYTES + 1];
    memset(data, 'x', PERF_DATA_BYTES);
    memcpy(data, head, strlen(head));
    memcpy(data + PERF_DATA_BYTES - strlen(tail), tail, sizeof(tail));
    snprintf(chunk, sizeof(chunk), "%x\r\ndata: %s\n\n\r\n", 6 + PERF_DATA_BYTES + 2, data);
    return chunk;
}

/* ---- the worker ---------------------------------------------------------------------------------- */

static inline void perf_on_stopped(struct worker_shared *shared) {
    (void)shared;
}

#define PERF_HOUR "3600000"

/* Starts it with the defaults, but for a small log, which is soon as full as it is in the long run, and times
 * that are not up while valgrind takes its own. Returns its port. It is never stopped: the program ends. */
static inline uint16_t perf_start_worker(uint16_t upstream_port) {
    static char upstream[64];
    /* clang-format off */
    static char *arguments[] = {
        "sluice", "--listen", "127.0.0.1:0", "--workers", "1", "--upstream", upstream, "--log-events-max", "64",
        "--heartbeat-ms", PERF_HOUR, "--stall-timeout-ms", PERF_HOUR, "--request-timeout-ms", PERF_HOUR,
        "--run-timeout-ms", PERF_HOUR, "--upstream-keepalive-ms", PERF_HOUR, "--upstream-idle-timeout-ms", PERF_HOUR,
        "--upstream-connect-timeout-ms", PERF_HOUR, "--upstream-first-byte-timeout-ms", PERF_HOUR};
    /* clang-format on */
    static struct worker_shared shared;
    static struct inbox inbox;
    static uv_loop_t loop;
    struct config *config;
    int listener;
    uint16_t port;
    snprintf(upstream, sizeof(upstream), "http://127.0.0.1:%d", upstream_port);
    signal(SIGPIPE, SIG_IGN);
    if (config_load(sizeof(arguments) / sizeof(*arguments), arguments, &config) != CONFIG_LOADED ||
        uv_loop_init(&loop) < 0 || inbox_init(&inbox, &loop) < 0 ||
        listen_sockets_open(&config->listen, 1, &listener, &port) < 0)
        errx(1, "the worker's settings");
    log_init(config->log_level, config->log_format);
    static struct upstreams upstreams;
    if (!upstreams_init(&upstreams, &config->upstreams))
        errx(1, "out of memory");
    shared = (struct worker_shared){.upstreams = &upstreams,
                                    .broadcaster = broadcaster_create(&config->limits),
                                    .fanout = &config->fanout,
                                    .address_limits = address_limits_create(&config->http.address),
                                    .main_inbox = &inbox,
                                    .on_stopped = perf_on_stopped,
                                    .on_reloaded = perf_on_stopped};
    if (shared.broadcaster == NULL || shared.address_limits == NULL)
        errx(1, "out of memory");
    struct worker *worker = worker_create(&shared, config, listener);
    if (worker == NULL || worker_start(worker) < 0)
        errx(1, "the worker did not start");
    return port;
}

/* Sends a POST with a JSON body. */
static inline void perf_post(int fd, const char *path, const char *body) {
    char text[1024];
    int length = snprintf(text, sizeof(text),
                          "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          path, strlen(body), body);
    perf_send(fd, text, (size_t)length);
}

#endif
