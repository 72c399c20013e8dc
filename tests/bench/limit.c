/* The least that a server of event streams can do, which is the ceiling for those that do more.
 *
 *     limit --port P --upstream Q
 *
 * No HTTP library, no memory to manage, one process on one epoll instance. It reads a stream of events,
 * closed at its end, from 127.0.0.1:Q, puts its chunk line and id to each of them once, and sends them to
 * whoever sent a request head to port P. Whatever arrived by then leaves in one send a subscriber. It says on
 * which port it listens, and ends after --seconds or by a signal.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SUBSCRIBERS_MAX 65536
#define RING_BYTES (UINT64_C(16) << 20) /* who is further behind is closed */
#define EVENT_BYTES_MAX (1 << 20)
#define EVENTS_AT_ONCE 512
#define RETRY_MS 20

static const char request[] = "GET /source HTTP/1.0\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                             "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";

/* Positions count bytes from the start of the stream:
 *
 *     a subscriber's position <= end <= that position + RING_BYTES
 *
 * Up to `sent` all have had their turn. The ring is mapped twice, one behind the other, so that any piece of
 * it lies in one piece. */
static char *ring;
static uint64_t ring_end, ring_sent;

struct subscriber {
    int fd;
    uint32_t index;    /* in `subscribers` */
    uint32_t head_end; /* how much of the empty line behind its request has come */
    bool reads;        /* its request has come: it is sent the stream */
    bool blocked;      /* waits for room */
    uint64_t position;
};

static struct subscriber *subscribers[SUBSCRIBERS_MAX];
static uint32_t subscriber_count;

static struct {
    int fd; /* -1: not connected */
    bool answered;
    size_t length, scanned; /* of `bytes`: what came, and how much of it holds no end of an event */
    char bytes[2 * EVENT_BYTES_MAX];
} upstream = {.fd = -1};

static int poll_fd;
/* The owners of sockets that are no subscriber's. */
static char is_listener, is_upstream;

/* ---- the ring ------------------------------------------------------------------------------------ */

static void ring_create(void) {
    int fd = memfd_create("ring", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, RING_BYTES) < 0)
        die_errno("memfd");
    ring = mmap(NULL, 2 * RING_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int half = 0; half < 2 && ring != MAP_FAILED; half++) {
        if (mmap(ring + (uint64_t)half * RING_BYTES, RING_BYTES, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
            die_errno("mmap");
    }
    if (ring == MAP_FAILED)
        die_errno("mmap");
    close(fd);
}

/* One event, from its first line to its empty line, as a chunk with an id. */
static void ring_add(const char *event, size_t length) {
    static int64_t last_ms;
    static unsigned serial;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
    serial = ms > last_ms ? 0 : serial + 1;
    last_ms = ms > last_ms ? ms : last_ms;
    char id[64];
    size_t id_length = (size_t)sprintf(id, "id: %lld-%u\n", (long long)last_ms, serial);
    char *out = ring + ring_end % RING_BYTES;
    char *at = out + sprintf(out, "%zX\r\n", id_length + length);
    at = mempcpy(mempcpy(mempcpy(at, id, id_length), event, length), "\r\n", 2);
    ring_end += (uint64_t)(at - out);
}

/* ---- subscribers --------------------------------------------------------------------------------- */

static void subscriber_close(struct subscriber *subscriber) {
    struct subscriber *last = subscribers[--subscriber_count];
    subscribers[subscriber->index] = last;
    last->index = subscriber->index;
    close(subscriber->fd);
    free(subscriber);
}

/* Sends what it does not have yet. False: it is closed. */
static bool subscriber_send(struct subscriber *subscriber) {
    uint64_t position = subscriber->position, length = ring_end - position;
    ssize_t sent =
        length <= RING_BYTES ? send(subscriber->fd, ring + position % RING_BYTES, length, MSG_NOSIGNAL) : -1;
    if (sent < 0 && (length > RING_BYTES || errno != EAGAIN)) {
        subscriber_close(subscriber);
        return false;
    }
    subscriber->position += sent > 0 ? (uint64_t)sent : 0;
    bool blocked = subscriber->position < ring_end;
    if (blocked != subscriber->blocked)
        poll_change(poll_fd, subscriber->fd, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, subscriber);
    subscriber->blocked = blocked;
    return true;
}

static void flush(void) {
    for (uint32_t i = 0; i < subscriber_count;) {
        struct subscriber *subscriber = subscribers[i];
        bool is_due = subscriber->reads && !subscriber->blocked && subscriber->position < ring_end;
        if (!is_due || subscriber_send(subscriber))
            i++;
    }
    ring_sent = ring_end;
}

static void subscribers_accept(int listener) {
    int fd;
    while ((fd = tcp_accept(listener)) >= 0) {
        if (subscriber_count == SUBSCRIBERS_MAX)
            die("more than %d subscribers", SUBSCRIBERS_MAX);
        struct subscriber *subscriber = must_calloc(1, sizeof *subscriber);
        subscriber->fd = fd;
        subscriber->index = subscriber_count;
        subscribers[subscriber_count++] = subscriber;
        poll_add(poll_fd, fd, EPOLLIN, subscriber);
    }
}

/* Looks for the empty line behind a request. */
static bool head_is_whole(struct subscriber *subscriber, const char *bytes, size_t length) {
    static const char end[] = "\r\n\r\n";
    for (size_t i = 0; i < length && subscriber->head_end < 4; i++) {
        bool goes_on = bytes[i] == end[subscriber->head_end];
        subscriber->head_end = goes_on ? subscriber->head_end + 1 : bytes[i] == '\r';
    }
    return subscriber->head_end == 4;
}

static void subscriber_read(struct subscriber *subscriber) {
    char bytes[4096];
    ssize_t length = recv(subscriber->fd, bytes, sizeof bytes, 0);
    if (length == 0 || (length < 0 && errno != EAGAIN)) {
        subscriber_close(subscriber);
        return;
    }
    if (length < 0 || subscriber->reads || !head_is_whole(subscriber, bytes, (size_t)length))
        return;
    if (send(subscriber->fd, answer, strlen(answer), MSG_NOSIGNAL) != (ssize_t)strlen(answer)) {
        subscriber_close(subscriber);
        return;
    }
    subscriber->reads = true;
    subscriber->position = ring_end;
}

static void on_subscriber(struct subscriber *subscriber, uint32_t events) {
    if (subscriber->blocked && (events & EPOLLOUT) != 0 && !subscriber_send(subscriber))
        return;
    if ((events & ~(uint32_t)EPOLLOUT) != 0)
        subscriber_read(subscriber);
}

/* ---- the upstream -------------------------------------------------------------------------------- */

static void upstream_connect(uint16_t port) {
    upstream.fd = tcp_try_connect(port);
    if (upstream.fd < 0)
        return;
    upstream.answered = false;
    upstream.length = upstream.scanned = 0;
    if (send(upstream.fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
        die_errno("send to the upstream");
    poll_add(poll_fd, upstream.fd, EPOLLIN, &is_upstream);
}

static void upstream_drop(size_t count) {
    upstream.length -= count;
    memmove(upstream.bytes, upstream.bytes + count, upstream.length);
    upstream.scanned = 0;
}

static void take_events(void) {
    if (!upstream.answered) {
        size_t head = http_head_length(upstream.bytes, upstream.length);
        if (head == 0)
            return;
        upstream.answered = true;
        upstream_drop(head);
    }
    size_t taken = 0;
    const char *end;
    while ((end = memmem(upstream.bytes + upstream.scanned, upstream.length - upstream.scanned, "\n\n", 2)) !=
           NULL) {
        upstream.scanned = (size_t)(end + 2 - upstream.bytes);
        ring_add(upstream.bytes + taken, upstream.scanned - taken);
        taken = upstream.scanned;
    }
    upstream_drop(taken);
    upstream.scanned = upstream.length > 0 ? upstream.length - 1 : 0;
}

/* Reads until nothing is left, but for what the ring could not take before it is sent. */
static void upstream_read(void) {
    bool more = true;
    while (more && ring_end - ring_sent < RING_BYTES / 4) {
        size_t room = sizeof upstream.bytes - upstream.length;
        ssize_t length = recv(upstream.fd, upstream.bytes + upstream.length, room, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0) {
            close(upstream.fd);
            upstream.fd = -1;
            return;
        }
        more = (size_t)length == room;
        upstream.length += (size_t)length;
        take_events();
        if (upstream.length >= EVENT_BYTES_MAX)
            die("an event is larger than %d bytes", EVENT_BYTES_MAX);
    }
}

/* ---- the loop ------------------------------------------------------------------------------------ */

static void serve(int listener, uint16_t upstream_port, int64_t until_ns) {
    while (now_ns() < until_ns) {
        struct epoll_event events[EVENTS_AT_ONCE];
        int ready = poll_wait(poll_fd, events, EVENTS_AT_ONCE, upstream.fd < 0 ? RETRY_MS : 1000);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == &is_listener)
                subscribers_accept(listener);
            else if (events[i].data.ptr == &is_upstream)
                upstream_read();
            else
                on_subscriber(events[i].data.ptr, events[i].events);
        }
        if (ring_end > ring_sent)
            flush();
        if (upstream.fd < 0)
            upstream_connect(upstream_port);
    }
}

int main(int argc, char **argv) {
    int64_t port = 0, upstream_port = 0, seconds = 600;
    const struct option_spec options[] = {
        {.name = "port",
         .value = "P",
         .help = "to listen on; 0 takes a free one",
         .number = &port,
         .max = 65535},
        {.name = "upstream",
         .value = "Q",
         .help = "port that the events come from",
         .number = &upstream_port,
         .min = 1,
         .max = 65535,
         .required = true},
        {.name = "seconds", .value = "S", .help = "to live", .number = &seconds, .min = 1, .max = 86400},
        {0},
    };
    options_read(argc, argv, "usage: limit --port P --upstream Q", options);
    signal(SIGPIPE, SIG_IGN);
    descriptors_raise();
    ring_create();
    poll_fd = poll_create();
    int listener = tcp_listen((uint16_t)port);
    poll_add(poll_fd, listener, EPOLLIN, &is_listener);
    printf("{\"event\":\"listening\",\"port\":%u}\n", tcp_port(listener));
    fflush(stdout);
    serve(listener, (uint16_t)upstream_port, now_ns() + seconds * NS_PER_S);
    return 0;
}
