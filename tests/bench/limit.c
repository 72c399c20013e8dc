/* The least that a server of event streams can do, which is the ceiling for those that do more.
 *
 *     limit --port P --upstream Q [--threads N]
 *
 * No HTTP library, no memory to manage, one process on one epoll instance. It reads a stream of events,
 * closed at its end, from 127.0.0.1:Q, puts its chunk line and id to each of them once, and sends them to
 * whoever sent a request head to port P. Whatever arrived by then leaves in one send a subscriber. It says on
 * which port it listens, and ends after --seconds or by a signal.
 *
 * With more threads each has its own listener on the port, its own epoll instance and its own subscribers.
 * The first one reads the events; the ring is all that they share, and a turn that brought events costs one
 * wake-up for each other thread.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SUBSCRIBERS_MAX 65536
#define THREADS_MAX 16
#define RING_BYTES (UINT64_C(16) << 20)
/* Half of the ring is for those who are behind, the other half for what is written while they are sent it. */
#define BEHIND_BYTES_MAX (RING_BYTES / 2) /* who is further behind is closed */
#define AHEAD_BYTES_MAX (RING_BYTES / 8)  /* of the slowest thread; one read more may follow */
#define EVENT_BYTES_MAX (1 << 20)
#define CACHE_LINE 64
#define EVENTS_AT_ONCE 512
#define RETRY_MS 20

static const char request[] = "GET /source HTTP/1.0\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                             "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";

/* Positions count bytes from the start of the stream:
 *
 *     a subscriber's position <= end <= written <= that position + RING_BYTES
 *
 * The last of it holds for all but those who are closed at their next turn. Threads see the ring up to `end`.
 * It is mapped twice, one behind the other, so that any piece of it lies in one piece. */
static char *ring;
static uint64_t ring_written; /* the first thread's */
static _Alignas(CACHE_LINE) _Atomic uint64_t ring_end;

struct subscriber {
    int fd;
    uint32_t index;    /* in the loop's `subscribers` */
    uint32_t head_end; /* how much of the empty line behind its request has come */
    bool reads;        /* its request has come: it is sent the stream */
    bool blocked;      /* waits for room */
    uint64_t position;
};

/* A thread's own. */
static struct loop {
    _Alignas(CACHE_LINE) _Atomic uint64_t sent; /* up to here all of its subscribers have had their turn */
    int poll_fd, listener;
    int wake_fd;
    uint32_t subscriber_count;
    struct subscriber *subscribers[SUBSCRIBERS_MAX];
} loops[THREADS_MAX];

static int64_t thread_count = 1, upstream_port, until_ns;

static struct {
    int fd; /* -1: not connected */
    bool answered;
    size_t length, scanned; /* of `bytes`: what came, and how much of it holds no end of an event */
    char bytes[2 * EVENT_BYTES_MAX];
} upstream = {.fd = -1};

/* The owners of descriptors that are no subscriber's. */
static char is_listener, is_upstream, is_wake_up;

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
    char *out = ring + ring_written % RING_BYTES;
    char *at = out + sprintf(out, "%zX\r\n", id_length + length);
    at = mempcpy(mempcpy(mempcpy(at, id, id_length), event, length), "\r\n", 2);
    ring_written += (uint64_t)(at - out);
}

/* Shows all threads what was added. */
static void ring_publish(void) {
    static const uint64_t one = 1;
    if (ring_written == atomic_load_explicit(&ring_end, memory_order_relaxed))
        return;
    atomic_store_explicit(&ring_end, ring_written, memory_order_release);
    for (int64_t i = 1; i < thread_count; i++) {
        if (write(loops[i].wake_fd, &one, sizeof one) < 0)
            die_errno("write to an eventfd");
    }
}

static uint64_t ring_see(void) {
    return atomic_load_explicit(&ring_end, memory_order_acquire);
}

/* Whether what would be added now could reach what a thread has yet to send. */
static bool ring_is_full(void) {
    for (int64_t i = 0; i < thread_count; i++) {
        if (ring_written - atomic_load_explicit(&loops[i].sent, memory_order_acquire) >= AHEAD_BYTES_MAX)
            return true;
    }
    return false;
}

/* ---- subscribers --------------------------------------------------------------------------------- */

static void subscriber_close(struct loop *loop, struct subscriber *subscriber) {
    struct subscriber *last = loop->subscribers[--loop->subscriber_count];
    loop->subscribers[subscriber->index] = last;
    last->index = subscriber->index;
    close(subscriber->fd);
    free(subscriber);
}

/* Sends what it does not have yet. False: it is closed. */
static bool subscriber_send(struct loop *loop, struct subscriber *subscriber) {
    uint64_t position = subscriber->position, end = ring_see(), length = end - position;
    bool is_behind = length > BEHIND_BYTES_MAX;
    ssize_t sent = is_behind ? -1 : send(subscriber->fd, ring + position % RING_BYTES, length, MSG_NOSIGNAL);
    if (sent < 0 && (is_behind || errno != EAGAIN)) {
        subscriber_close(loop, subscriber);
        return false;
    }
    subscriber->position += sent > 0 ? (uint64_t)sent : 0;
    bool blocked = subscriber->position < end;
    if (blocked != subscriber->blocked)
        poll_change(loop->poll_fd, subscriber->fd, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, subscriber);
    subscriber->blocked = blocked;
    return true;
}

static void flush(struct loop *loop, uint64_t end) {
    for (uint32_t i = 0; i < loop->subscriber_count;) {
        struct subscriber *subscriber = loop->subscribers[i];
        bool is_due = subscriber->reads && !subscriber->blocked && subscriber->position < end;
        if (!is_due || subscriber_send(loop, subscriber))
            i++;
    }
    atomic_store_explicit(&loop->sent, end, memory_order_release);
}

static void subscribers_accept(struct loop *loop) {
    int fd;
    while ((fd = tcp_accept(loop->listener)) >= 0) {
        if (loop->subscriber_count == SUBSCRIBERS_MAX)
            die("more than %d subscribers", SUBSCRIBERS_MAX);
        struct subscriber *subscriber = must_calloc(1, sizeof *subscriber);
        subscriber->fd = fd;
        subscriber->index = loop->subscriber_count;
        loop->subscribers[loop->subscriber_count++] = subscriber;
        poll_add(loop->poll_fd, fd, EPOLLIN, subscriber);
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

static void subscriber_read(struct loop *loop, struct subscriber *subscriber) {
    char bytes[4096];
    ssize_t length = recv(subscriber->fd, bytes, sizeof bytes, 0);
    if (length == 0 || (length < 0 && errno != EAGAIN)) {
        subscriber_close(loop, subscriber);
        return;
    }
    if (length < 0 || subscriber->reads || !head_is_whole(subscriber, bytes, (size_t)length))
        return;
    if (send(subscriber->fd, answer, strlen(answer), MSG_NOSIGNAL) != (ssize_t)strlen(answer)) {
        subscriber_close(loop, subscriber);
        return;
    }
    subscriber->reads = true;
    subscriber->position = ring_see();
}

static void on_subscriber(struct loop *loop, struct subscriber *subscriber, uint32_t events) {
    if (subscriber->blocked && (events & EPOLLOUT) != 0 && !subscriber_send(loop, subscriber))
        return;
    if ((events & ~(uint32_t)EPOLLOUT) != 0)
        subscriber_read(loop, subscriber);
}

/* ---- the upstream -------------------------------------------------------------------------------- */

static void upstream_connect(void) {
    upstream.fd = tcp_try_connect((uint16_t)upstream_port);
    if (upstream.fd < 0)
        return;
    upstream.answered = false;
    upstream.length = upstream.scanned = 0;
    if (send(upstream.fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
        die_errno("send to the upstream");
    poll_add(loops[0].poll_fd, upstream.fd, EPOLLIN, &is_upstream);
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
    while (more && !ring_is_full()) {
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

static void take_ready(struct loop *loop, const struct epoll_event *event) {
    if (event->data.ptr == &is_listener) {
        subscribers_accept(loop);
    } else if (event->data.ptr == &is_upstream) {
        upstream_read();
        ring_publish();
    } else if (event->data.ptr != &is_wake_up) {
        on_subscriber(loop, event->data.ptr, event->events);
    }
}

static void *serve(void *argument) {
    struct loop *loop = argument;
    bool has_upstream = loop == loops;
    while (now_ns() < until_ns) {
        struct epoll_event events[EVENTS_AT_ONCE];
        int timeout_ms = has_upstream && upstream.fd < 0 ? RETRY_MS : 1000;
        int ready = poll_wait(loop->poll_fd, events, EVENTS_AT_ONCE, timeout_ms);
        for (int i = 0; i < ready; i++)
            take_ready(loop, &events[i]);
        uint64_t end = ring_see();
        if (end > atomic_load_explicit(&loop->sent, memory_order_relaxed))
            flush(loop, end);
        if (has_upstream && upstream.fd < 0)
            upstream_connect();
    }
    return NULL;
}

static void loop_init(struct loop *loop, uint16_t port) {
    loop->poll_fd = poll_create();
    loop->listener = tcp_listen_shared(port);
    poll_add(loop->poll_fd, loop->listener, EPOLLIN, &is_listener);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0)
        die_errno("eventfd");
    /* By edges, so that it need not be read. */
    poll_add(loop->poll_fd, loop->wake_fd, EPOLLIN | EPOLLET, &is_wake_up);
}

static void read_options(int argc, char **argv, int64_t *ret_port, int64_t *ret_seconds) {
    const struct option_spec options[] = {
        {.name = "port",
         .value = "P",
         .help = "to listen on; 0 takes a free one",
         .number = ret_port,
         .max = 65535},
        {.name = "upstream",
         .value = "Q",
         .help = "port that the events come from",
         .number = &upstream_port,
         .min = 1,
         .max = 65535,
         .required = true},
        {.name = "threads",
         .value = "N",
         .help = "that share the subscribers",
         .number = &thread_count,
         .min = 1,
         .max = THREADS_MAX},
        {.name = "seconds", .value = "S", .help = "to live", .number = ret_seconds, .min = 1, .max = 86400},
        {0},
    };
    options_read(argc, argv, "usage: limit --port P --upstream Q [--threads N]", options);
}

int main(int argc, char **argv) {
    int64_t port = 0, seconds = 600;
    read_options(argc, argv, &port, &seconds);
    signal(SIGPIPE, SIG_IGN);
    descriptors_raise();
    ring_create();
    until_ns = now_ns() + seconds * NS_PER_S;
    loop_init(&loops[0], (uint16_t)port);
    for (int64_t i = 1; i < thread_count; i++)
        loop_init(&loops[i], tcp_port(loops[0].listener));
    printf("{\"event\":\"listening\",\"port\":%u}\n", tcp_port(loops[0].listener));
    fflush(stdout);
    for (int64_t i = 1; i < thread_count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, &loops[i]) != 0)
            die("a thread could not be started");
    }
    serve(&loops[0]);
    return 0;
}
