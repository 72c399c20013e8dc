/* An upstream shaped like ADK's api server, on epoll, for thousands of streams at once.
 *
 *     sse_source --port Q --rate R --size BYTES --events E
 *
 * A POST of the creation of a session (its path holds "/sessions/") is answered `{}`. Any other request is
 * answered by a chunked event stream of E events, R a second (0: as fast as they are read), one event a chunk
 * and one send an event, as ADK does. An event's data is BYTES of JSON that begins with its number and the
 * time it was sent (source_event.h). Streams do not tick in unison: each begins at another phase.
 *
 * It prints {"listening":PORT}. `GET /source-stats` tells what was done; where a request's body holds
 * `t0=<monotonic ns>`, `request_delay_us` is the time from then to its arrival. SIGTERM ends it, an hour at
 * most.
 */
#include "tests/bench/bench.h"
#include "tests/bench/source_event.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_BYTES_MAX (1024 * 1024)
#define REQUEST_BYTES_MIN 1024
#define BATCH_BYTES (16 * 1024) /* of a send where events go as fast as they are read */
#define EVENTS_AT_ONCE 256      /* of epoll */
#define LIFE_S 3600

struct connection {
    int fd;
    char *in; /* what came of a request; NULL: nothing */
    size_t in_length, in_capacity;
    char *rest; /* what the socket did not take; NULL: nothing */
    size_t rest_length;
    int64_t next_event;
    int64_t due_ns; /* of the next event, while it is in `due` */
    bool is_streaming, is_due, awaits_room;
    TAILQ_ENTRY(connection) due_link;
};

TAILQ_HEAD(connection_queue, connection);

static struct { int64_t port, rate, size, events; } options;

static const char stream_head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                  "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char last_chunk[] = "0\r\n\r\n";

static struct {
    uint64_t requests, streams, open, events;
    struct histogram delay;
} stats;

static struct connection_queue due = TAILQ_HEAD_INITIALIZER(due); /* the soonest first */
static int poll_fd, listener;
static int64_t interval_ns;
static volatile sig_atomic_t is_told_to_end;

/* One event as a chunk; its stamp is written anew each time. */
static char *event_chunk;
static size_t event_chunk_bytes, event_data_at;

/* ---- events -------------------------------------------------------------------------------------- */

static void make_event_chunk(void) {
    static const char middle[] = "0000000000:0000000000000000000\",\"author\":\"bench\",\"partial\":true,"
                                 "\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"";
    static const char closing[] = "\"}]}}";
    size_t fixed = EVENT_OPENING_BYTES + strlen(middle) + strlen(closing);
    size_t size = (size_t)options.size;
    if (size < fixed)
        die("--size: at least %zu", fixed);
    size_t frame_bytes = strlen("data: ") + size + strlen("\n\n");
    event_chunk = must_calloc(1, frame_bytes + 32);
    int head = sprintf(event_chunk, "%zx\r\ndata: ", frame_bytes);
    event_data_at = (size_t)head;
    char *end = stpcpy(stpcpy(event_chunk + head, EVENT_OPENING), middle);
    memset(end, 'x', size - fixed);
    end = stpcpy(stpcpy(end + size - fixed, closing), "\n\n\r\n");
    event_chunk_bytes = (size_t)(end - event_chunk);
}

static void stamp_event(char *chunk, int64_t number) {
    char *data = chunk + event_data_at;
    event_write_digits(data + EVENT_NUMBER_AT, EVENT_NUMBER_DIGITS, (uint64_t)number);
    event_write_digits(data + EVENT_TIME_AT, EVENT_TIME_DIGITS, (uint64_t)now_ns());
}

/* ---- connections --------------------------------------------------------------------------------- */

static void set_due(struct connection *connection, int64_t due_ns) {
    struct connection *before = TAILQ_LAST(&due, connection_queue);
    while (before != NULL && before->due_ns > due_ns)
        before = TAILQ_PREV(before, connection_queue, due_link);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&due, before, connection, due_link);
    else
        TAILQ_INSERT_HEAD(&due, connection, due_link);
    connection->due_ns = due_ns;
    connection->is_due = true;
}

static void clear_due(struct connection *connection) {
    if (connection->is_due)
        TAILQ_REMOVE(&due, connection, due_link);
    connection->is_due = false;
}

static void connection_close(struct connection *connection) {
    clear_due(connection);
    stats.open -= connection->is_streaming;
    close(connection->fd);
    free(connection->in);
    free(connection->rest);
    free(connection);
}

static void await_room(struct connection *connection, bool awaits_room) {
    if (connection->awaits_room == awaits_room)
        return;
    connection->awaits_room = awaits_room;
    poll_change(poll_fd, connection->fd, EPOLLIN | (awaits_room ? EPOLLOUT : 0U), connection);
}

/* What does not fit is kept. False: the other side has gone. */
static bool connection_send(struct connection *connection, const char *bytes, size_t length) {
    ssize_t sent = send(connection->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return false;
    size_t left = length - (sent > 0 ? (size_t)sent : 0);
    if (left == 0)
        return true;
    connection->rest = must_calloc(1, left);
    memcpy(connection->rest, bytes + length - left, left);
    connection->rest_length = left;
    await_room(connection, true);
    return true;
}

static bool send_rest(struct connection *connection) {
    char *rest = connection->rest;
    connection->rest = NULL;
    bool is_there = rest == NULL || connection_send(connection, rest, connection->rest_length);
    free(rest);
    return is_there;
}

/* Sends the next `count` events at once, and after the last one of all the end. */
static bool send_events(struct connection *connection, int64_t count) {
    static char *batch;
    if (batch == NULL)
        batch = must_calloc(1, BATCH_BYTES + event_chunk_bytes + sizeof last_chunk);
    size_t length = 0;
    for (; count > 0 && connection->next_event < options.events; count--) {
        stamp_event(event_chunk, connection->next_event++);
        memcpy(batch + length, event_chunk, event_chunk_bytes);
        length += event_chunk_bytes;
        stats.events++;
    }
    if (connection->next_event == options.events) {
        memcpy(batch + length, last_chunk, strlen(last_chunk));
        length += strlen(last_chunk);
        connection->is_streaming = false;
        stats.open--;
    }
    return connection_send(connection, batch, length);
}

/* ---- requests ------------------------------------------------------------------------------------ */

static void begin_stream(struct connection *connection) {
    stats.streams++;
    stats.open++;
    connection->is_streaming = true;
    connection->next_event = 0;
    if (options.rate == 0) {
        await_room(connection, true);
        return;
    }
    /* The golden ratio spreads any number of them evenly. */
    int64_t phase_ns = (int64_t)(stats.streams * 618034 % 1000000) * interval_ns / 1000000;
    set_due(connection, now_ns() + phase_ns);
}

static bool answer_json(struct connection *connection, const char *json) {
    char answer[512];
    int length =
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(json), json);
    return connection_send(connection, answer, (size_t)length);
}

static bool answer_stats(struct connection *connection) {
    char json[256];
    snprintf(json, sizeof json,
             "{\"requests\":%llu,\"streams\":%llu,\"open\":%llu,\"events\":%llu,"
             "\"request_delay_us\":{\"p50\":%.1f,\"p99\":%.1f}}\n",
             (unsigned long long)stats.requests, (unsigned long long)stats.streams,
             (unsigned long long)stats.open, (unsigned long long)stats.events,
             (double)histogram_at(&stats.delay, 0.5) / 1e3, (double)histogram_at(&stats.delay, 0.99) / 1e3);
    return answer_json(connection, json);
}

static bool line_has(const char *head, const char *text) {
    const char *end = strstr(head, "\r\n");
    const char *found = strstr(head, text);
    return found != NULL && found < end;
}

static void note_delay(const char *body) {
    const char *t0 = strstr(body, "t0=");
    if (t0 != NULL)
        histogram_add(&stats.delay, now_ns() - strtoll(t0 + strlen("t0="), NULL, 10));
}

/* `head` and `body` are NUL-terminated. */
static bool answer(struct connection *connection, const char *head, const char *body) {
    if (strncmp(head, "GET /source-stats", strlen("GET /source-stats")) == 0)
        return answer_stats(connection);
    stats.requests++;
    if (line_has(head, "/sessions/") && strncmp(head, "POST ", 5) == 0)
        return answer_json(connection, "{}");
    note_delay(body);
    begin_stream(connection);
    return connection_send(connection, stream_head, strlen(stream_head));
}

/* Answers the request that stands in `in`, once all of it is there. False: it is no request, or the end. */
static bool take_request(struct connection *connection) {
    char *in = connection->in;
    if (in == NULL || connection->is_streaming || connection->rest != NULL)
        return true;
    size_t head_bytes = http_head_length(in, connection->in_length);
    if (head_bytes == 0)
        return true;
    int64_t body_bytes = http_content_length(in, head_bytes, 0);
    if (body_bytes > REQUEST_BYTES_MAX)
        return false;
    size_t all = head_bytes + (size_t)body_bytes;
    if (connection->in_length < all)
        return true;
    in[connection->in_length] = '\0';
    bool is_alone = connection->in_length == all; /* nobody who is measured here sends requests ahead */
    connection->in = NULL;
    connection->in_length = connection->in_capacity = 0;
    bool goes_on = is_alone && answer(connection, in, in + head_bytes);
    free(in);
    return goes_on;
}

static bool grow_input(struct connection *connection) {
    size_t capacity = connection->in == NULL ? REQUEST_BYTES_MIN : 2 * connection->in_capacity;
    char *in = capacity <= 2 * REQUEST_BYTES_MAX ? realloc(connection->in, capacity + 1) : NULL;
    if (in == NULL)
        return false;
    connection->in = in;
    connection->in_capacity = capacity;
    return true;
}

static bool receive(struct connection *connection) {
    if (connection->in_length == connection->in_capacity && !grow_input(connection))
        return false;
    ssize_t length = recv(connection->fd, connection->in + connection->in_length,
                          connection->in_capacity - connection->in_length, MSG_DONTWAIT);
    if (length < 0)
        return errno == EAGAIN;
    connection->in_length += (size_t)length;
    return length > 0 && take_request(connection);
}

/* ---- the loop ------------------------------------------------------------------------------------ */

static bool on_room(struct connection *connection) {
    if (!send_rest(connection))
        return false;
    if (connection->rest != NULL)
        return true;
    if (connection->is_streaming && options.rate == 0)
        return send_events(connection, (int64_t)(BATCH_BYTES / event_chunk_bytes) + 1);
    await_room(connection, false);
    if (connection->is_streaming && !connection->is_due)
        set_due(connection, now_ns());
    return take_request(connection);
}

static void on_ready(struct connection *connection, uint32_t events) {
    bool is_there = (events & (EPOLLHUP | EPOLLERR)) == 0;
    if (is_there && (events & EPOLLIN) != 0)
        is_there = receive(connection);
    if (is_there && (events & EPOLLOUT) != 0)
        is_there = on_room(connection);
    if (!is_there)
        connection_close(connection);
}

static void accept_all(void) {
    int fd;
    while ((fd = tcp_accept(listener)) >= 0) {
        struct connection *connection = must_calloc(1, sizeof *connection);
        connection->fd = fd;
        poll_add(poll_fd, fd, EPOLLIN, connection);
    }
}

/* A stream whose reader is behind gets its next event when there is room again. */
static void send_due(void) {
    struct connection *connection;
    int64_t now = now_ns();
    while ((connection = TAILQ_FIRST(&due)) != NULL && connection->due_ns <= now) {
        int64_t due_ns = connection->due_ns;
        clear_due(connection);
        if (!send_events(connection, 1))
            connection_close(connection);
        else if (connection->is_streaming && connection->rest == NULL)
            set_due(connection, due_ns + interval_ns);
    }
}

static void wait_and_serve(void) {
    struct epoll_event events[EVENTS_AT_ONCE];
    const struct connection *first = TAILQ_FIRST(&due);
    int64_t now = now_ns();
    int64_t wait_ns = first == NULL ? NS_PER_S : first->due_ns > now ? first->due_ns - now : 0;
    struct timespec wait = {.tv_sec = wait_ns / NS_PER_S, .tv_nsec = wait_ns % NS_PER_S};
    int ready = epoll_pwait2(poll_fd, events, EVENTS_AT_ONCE, &wait, NULL);
    for (int i = 0; i < ready; i++) {
        if (events[i].data.ptr == NULL)
            accept_all();
        else
            on_ready(events[i].data.ptr, events[i].events);
    }
    send_due();
}

static void on_signal(int number) {
    (void)number;
    is_told_to_end = 1;
}

static void read_options(int argc, char **argv) {
    /* clang-format off */
    const struct option_spec list[] = {
        {.name = "port", .value = "PORT", .help = "on 127.0.0.1; 0: a free one",
         .number = &options.port, .max = 65535, .required = true},
        {.name = "rate", .value = "R", .help = "events a second of each stream; 0: as fast as they are read",
         .number = &options.rate, .max = 1000000, .required = true},
        {.name = "size", .value = "BYTES", .help = "of an event's data",
         .number = &options.size, .min = 1, .max = 1 << 24, .required = true},
        {.name = "events", .value = "E", .help = "of each stream",
         .number = &options.events, .min = 1, .max = 9999999999, .required = true},
        {0}};
    /* clang-format on */
    options_read(argc, argv, "sse_source --port PORT --rate R --size BYTES --events E", list);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    interval_ns = options.rate > 0 ? NS_PER_S / options.rate : 0;
    make_event_chunk();
    descriptors_raise();
    signal(SIGTERM, on_signal);
    alarm(LIFE_S);
    poll_fd = poll_create();
    listener = tcp_listen((uint16_t)options.port);
    poll_add(poll_fd, listener, EPOLLIN, NULL);
    printf("{\"listening\":%u}\n", tcp_port(listener));
    fflush(stdout);
    while (!is_told_to_end)
        wait_and_serve();
    return 0;
}
