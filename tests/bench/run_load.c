/* Requests at a given rate over kept-alive connections: how soon each was answered.
 *
 *     run_load --port 8080 --path '/apps/bench/users/u/sessions/s{n}/run' --body '{"message":"t0={t0}"}' \
 *              --sessions 1000 --rate 2000 --requests 10000
 *
 * An open loop: request i is due i/RATE seconds after the first one, whatever became of those before it, and
 * its time counts from when it was due. {n} is i modulo the number of sessions, {t0} the monotonic clock in
 * ns. With rate 0 each connection asks as soon as it was answered. One line of JSON; an answer that is not as
 * expected ends the program.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define ANSWER_BYTES_MAX (16 * 1024)
#define REQUEST_BYTES_MAX 4096
#define GRACE_NS (20 * NS_PER_S) /* how long all of it may take above what it should */

struct connection {
    int fd;
    bool busy;
    int64_t due_ns, sent_ns;
    size_t length; /* of the answer, so far */
    char answer[ANSWER_BYTES_MAX];
};

struct load {
    const char *method, *path, *body, *expect;
    int64_t port, sessions, rate, requests, connection_count;
    struct connection *connections;
    struct connection *idle[CONNECTIONS_MAX];
    size_t idle_count;
    int poll_fd;
    int64_t begin_ns, issued, answered;
    struct histogram accepted; /* from due to answered */
    struct histogram answer;   /* from sent to answered */
    struct histogram late;     /* from due to sent: our own lateness, or no connection free */
};

/* ---- requests ----------------------------------------------------------------------------------------- */

/* `text` with {n} and {t0} filled in. */
static size_t fill_in(char *out, size_t size, const char *text, int64_t number, int64_t t0_ns) {
    size_t length = 0;
    while (*text != '\0' && length < size) {
        if (strncmp(text, "{n}", 3) == 0) {
            length += (size_t)snprintf(out + length, size - length, "%" PRId64, number);
            text += 3;
        } else if (strncmp(text, "{t0}", 4) == 0) {
            length += (size_t)snprintf(out + length, size - length, "%" PRId64, t0_ns);
            text += 4;
        } else {
            out[length++] = *text++;
        }
    }
    if (length >= size)
        die("a request is too long");
    out[length] = '\0';
    return length;
}

static void send_request(struct load *load, struct connection *connection, int64_t due_ns) {
    char path[1024], body[1024], request[REQUEST_BYTES_MAX];
    int64_t number = load->issued++ % load->sessions, sent_ns = now_ns();
    fill_in(path, sizeof(path), load->path, number, sent_ns);
    size_t body_length = fill_in(body, sizeof(body), load->body, number, sent_ns);
    int length = snprintf(request, sizeof(request),
                          "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          load->method, path, body_length, body);
    if (send(connection->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
        die_errno("a request could not be sent");
    connection->busy = true;
    connection->length = 0;
    connection->due_ns = due_ns;
    connection->sent_ns = sent_ns;
    histogram_add(&load->late, sent_ns - due_ns);
}

static int64_t due_ns_of(const struct load *load, int64_t request) {
    return load->begin_ns + request * NS_PER_S / load->rate;
}

/* Sends what is due. Returns in how many ns the next one is; -1: only an answer can lead on. */
static int64_t send_due(struct load *load) {
    while (load->issued < load->requests && load->idle_count > 0) {
        int64_t now = now_ns(), due = load->rate == 0 ? now : due_ns_of(load, load->issued);
        if (due > now)
            return due - now;
        send_request(load, load->idle[--load->idle_count], due);
    }
    return -1;
}

/* ---- answers ------------------------------------------------------------------------------------------ */

/* Whether all of the answer is there. */
static bool is_whole(const struct connection *connection) {
    size_t head = http_head_length(connection->answer, connection->length);
    int64_t body = head > 0 ? http_content_length(connection->answer, head, -1) : 0;
    if (body < 0 || connection->length == ANSWER_BYTES_MAX - 1)
        die("an answer without a length, or too long: %.400s", connection->answer);
    return head > 0 && connection->length == head + (size_t)body;
}

static void check_answer(const struct load *load, const struct connection *connection) {
    int status = http_status(connection->answer, connection->length);
    if (status < 200 || status > 299 || strstr(connection->answer, load->expect) == NULL)
        die("an answer was not as expected: %.400s", connection->answer);
}

static void take_answer(struct load *load, struct connection *connection) {
    ssize_t count = recv(connection->fd, connection->answer + connection->length,
                         ANSWER_BYTES_MAX - 1 - connection->length, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0 || !connection->busy)
        die("a connection was closed, or spoke without being asked");
    connection->length += (size_t)count;
    connection->answer[connection->length] = '\0';
    if (!is_whole(connection))
        return;
    int64_t now = now_ns();
    check_answer(load, connection);
    histogram_add(&load->accepted, now - connection->due_ns);
    histogram_add(&load->answer, now - connection->sent_ns);
    connection->busy = false;
    load->answered++;
    load->idle[load->idle_count++] = connection;
}

/* ---- the whole ---------------------------------------------------------------------------------------- */

static void connect_all(struct load *load) {
    load->connections = must_calloc((size_t)load->connection_count, sizeof(*load->connections));
    load->poll_fd = poll_create();
    for (int64_t i = 0; i < load->connection_count; i++) {
        struct connection *connection = &load->connections[i];
        connection->fd = tcp_connect((uint16_t)load->port);
        poll_add(load->poll_fd, connection->fd, EPOLLIN, connection);
        load->idle[load->idle_count++] = connection;
    }
}

static void run(struct load *load) {
    int64_t should_take_ns = load->rate == 0 ? 0 : load->requests * NS_PER_S / load->rate;
    load->begin_ns = now_ns();
    while (load->answered < load->requests) {
        struct epoll_event events[64];
        int64_t wait_ns = send_due(load);
        if (wait_ns < 0)
            wait_ns = NS_PER_S;
        const struct timespec wait = {.tv_sec = wait_ns / NS_PER_S, .tv_nsec = wait_ns % NS_PER_S};
        int count = epoll_pwait2(load->poll_fd, events, 64, &wait, NULL);
        for (int i = 0; i < count; i++)
            take_answer(load, events[i].data.ptr);
        if (now_ns() - load->begin_ns > 2 * should_take_ns + GRACE_NS)
            die("only %" PRId64 " of %" PRId64 " requests were answered in time", load->answered,
                load->requests);
    }
}

static void print_times(const char *name, const struct histogram *times) {
    printf(",\"%s\":", name);
    histogram_print_us(times);
}

static void print_result(const struct load *load) {
    double seconds = (double)(now_ns() - load->begin_ns) / (double)NS_PER_S;
    printf("{\"requests\":%" PRId64 ",\"seconds\":%.3f,\"per_s\":%.1f", load->answered, seconds,
           (double)load->answered / seconds);
    print_times("accepted_us", &load->accepted);
    print_times("answer_us", &load->answer);
    print_times("late_us", &load->late);
    printf("}\n");
}

int main(int argc, char **argv) {
    static struct load load = {
        .method = "POST", .body = "", .expect = "", .sessions = 1, .connection_count = 16};
    const struct option_spec options[] = {
        {.name = "port",
         .value = "PORT",
         .help = "of the gateway",
         .number = &load.port,
         .min = 1,
         .max = 65535,
         .required = true},
        {.name = "path",
         .value = "TEMPLATE",
         .help = "of each request, with {n}",
         .text = &load.path,
         .required = true},
        {.name = "method", .value = "NAME", .help = "POST, if not given", .text = &load.method},
        {.name = "body",
         .value = "TEMPLATE",
         .help = "of each request, with {n} and {t0}",
         .text = &load.body},
        {.name = "expect", .value = "TEXT", .help = "that stands in each answer", .text = &load.expect},
        {.name = "requests",
         .value = "N",
         .help = "in all",
         .number = &load.requests,
         .min = 1,
         .max = 10000000,
         .required = true},
        {.name = "rate",
         .value = "N",
         .help = "requests a second; 0: as fast as they are answered",
         .number = &load.rate,
         .max = 1000000},
        {.name = "sessions",
         .value = "N",
         .help = "{n} goes from 0 to N-1, again and again",
         .number = &load.sessions,
         .min = 1,
         .max = 10000000},
        {.name = "connections",
         .value = "N",
         .help = "that are kept open",
         .number = &load.connection_count,
         .min = 1,
         .max = CONNECTIONS_MAX},
        {0}};
    options_read(argc, argv, "run_load --port PORT --path TEMPLATE --requests N [...]", options);
    prctl(PR_SET_TIMERSLACK, 1UL); /* what is due at a time is sent at that time */
    connect_all(&load);
    run(&load);
    print_result(&load);
    return 0;
}
