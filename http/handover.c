/* The hand-over of an event stream's connection, and the sink that it becomes.
 *
 *     listener's worker                              home of the session
 *     hand_over() -- parcel --> inbox --> parcel_on_arrival() --> socket sink --> subscriber
 *          \-- home is here, or no memory for a parcel --> socket sink --> subscriber
 *
 * A sink is a few functions that a subscriber writes with; this one has a socket of its own, and is all
 * that is left of the connection. */
#include "http/handover.h"

#include "base/memory_budget.h"
#include "base/metrics.h"
#include "http/lingering.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the sink ------------------------------------------------------------------------------------ */

struct socket_sink {
    struct sink sink;
    int fd; /* beside what a send looks at first: with many subscribers each line of the cache counts */
    uv_poll_t poll;
    struct address_limits *limits;
    struct address *address;
};

static _Atomic uint64_t open_sinks;

static uint64_t socket_sinks_open(void) {
    return atomic_load(&open_sinks);
}

static struct socket_sink *socket_of(struct sink *sink) {
    return CONTAINER_OF(sink, struct socket_sink, sink);
}

static void sink_on_poll(uv_poll_t *poll, int status, int events) {
    struct socket_sink *sink = CONTAINER_OF(poll, struct socket_sink, poll);
    if (sink->sink.subscriber == NULL)
        return;
    if (status < 0 || (events & UV_DISCONNECT) != 0)
        subscriber_on_disconnect(sink->sink.subscriber);
    else if ((events & UV_WRITABLE) != 0)
        subscriber_on_writable(sink->sink.subscriber);
}

/* One part goes by send(), which takes 4 % less time than sendmsg() with a list of one. */
static ssize_t send_parts(int fd, const struct iovec *parts, int count) {
    if (count == 1)
        return send(fd, parts->iov_base, parts->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static ssize_t sink_send(struct sink *sink, const struct iovec *parts, int count) {
    ssize_t written;
    do
        written = send_parts(socket_of(sink)->fd, parts, count);
    while (written < 0 && errno == EINTR);
    if (written >= 0)
        return written;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static void sink_wait_writable(struct sink *sink, bool wait) {
    uv_poll_start(&socket_of(sink)->poll, UV_DISCONNECT | (wait ? UV_WRITABLE : 0), sink_on_poll);
}

static void sink_on_closed(uv_handle_t *handle) {
    struct socket_sink *sink = CONTAINER_OF((uv_poll_t *)handle, struct socket_sink, poll);
    memory_release(MEMORY_SUBSCRIBERS, sizeof(*sink));
    free(sink);
}

static void sink_close(struct sink *sink, bool abort) {
    struct socket_sink *socket = socket_of(sink);
    if (abort) {
        const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        setsockopt(socket->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    } else {
        socket_discard_input(socket->fd);
    }
    uv_close((uv_handle_t *)&socket->poll, sink_on_closed);
    close(socket->fd);
    address_limits_leave(socket->limits, socket->address);
    atomic_fetch_sub(&open_sinks, 1);
}

static void set_option(int fd, int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof(value)); /* each only makes it better; none is needed */
}

/* The last bytes and the FIN are one segment then. */
static void sink_hold(struct sink *sink) {
    set_option(socket_of(sink)->fd, IPPROTO_TCP, TCP_CORK, 1);
}

static const struct sink_operations operations = {
    .send = sink_send, .wait_writable = sink_wait_writable, .hold = sink_hold, .close = sink_close};

/* Takes over the connected socket `fd`. The sink reports to its subscriber that the client has gone.
 * `send_buffer_bytes` sets SO_SNDBUF; 0 leaves the size to the kernel. The kernel drops a peer that
 * acknowledges nothing for `peer_timeout_ms`. `address` leaves its limits when the socket is closed. NULL:
 * out of memory, and the caller still owns `fd` and `address`. On the loop's thread, like everything here. */
static struct sink *socket_sink_create(uv_loop_t *loop, int fd, uint64_t send_buffer_bytes,
                                       int64_t peer_timeout_ms, struct address_limits *limits,
                                       struct address *address) {
    struct socket_sink *sink = calloc(1, sizeof(*sink));
    if (sink == NULL)
        return NULL;
    if (uv_poll_init(loop, &sink->poll, fd) < 0) {
        free(sink);
        return NULL;
    }
    memory_charge(MEMORY_SUBSCRIBERS, sizeof(*sink));
    sink->sink.operations = &operations;
    sink->fd = fd;
    sink->limits = limits;
    sink->address = address;
    atomic_fetch_add(&open_sinks, 1);
    /* The HTTP library may have left the last bytes corked: this pushes them out, too. */
    set_option(fd, IPPROTO_TCP, TCP_CORK, 0);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    /* A peer that vanished without a word is noticed when it does not acknowledge what is sent. */
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)peer_timeout_ms);
    if (send_buffer_bytes > 0)
        set_option(fd, SOL_SOCKET, SO_SNDBUF, (int)send_buffer_bytes);
    uv_poll_start(&sink->poll, UV_DISCONNECT, sink_on_poll);
    return &sink->sink;
}

/* ---- the hand-over ------------------------------------------------------------------------------- */

static _Atomic uint64_t on_their_way;

uint64_t handed_over_open(void) {
    return atomic_load(&on_their_way) + socket_sinks_open();
}

/* One that is on its way to another worker. */
struct parcel {
    struct inbox_item item;
    struct routes_context *to;
    struct handover handover;
};

static void connect_subscriber(struct routes_context *context, const struct handover *handover) {
    struct sink *sink = socket_sink_create(context->relay.loop, handover->fd, handover->send_buffer_bytes,
                                           fanout_peer_timeout_ms(context->relay.fanout), handover->limits,
                                           handover->address);
    if (sink != NULL) {
        subscriber_connect(handover->subscriber, context->relay.fanout, sink, handover->chunked);
        return;
    }
    close(handover->fd);
    address_limits_leave(handover->limits, handover->address);
    subscriber_destroy(handover->subscriber);
}

static void parcel_on_arrival(struct inbox_item *item) {
    struct parcel *parcel = CONTAINER_OF(item, struct parcel, item);
    connect_subscriber(parcel->to, &parcel->handover);
    atomic_fetch_sub(&on_their_way, 1);
    fanout_received(parcel->to->relay.fanout);
    memory_release(MEMORY_SUBSCRIBERS, sizeof(*parcel));
    free(parcel);
}

/* False: it must be connected here. */
static bool send_to(struct routes_context *to, const struct handover *handover) {
    struct parcel *parcel = malloc(sizeof(*parcel));
    if (parcel == NULL || !fanout_expect(to->relay.fanout)) {
        free(parcel);
        return false;
    }
    *parcel = (struct parcel){.item.handle = parcel_on_arrival, .to = to, .handover = *handover};
    memory_charge(MEMORY_SUBSCRIBERS, sizeof(*parcel));
    metrics_add(METRIC_SUBSCRIBERS_GATHERED, 1);
    atomic_fetch_add(&on_their_way, 1);
    inbox_post(to->relay.inbox, &parcel->item);
    return true;
}

void hand_over(struct routes_context *context, const struct handover *handover) {
    struct routes_context *home = context_home(context, subscriber_session(handover->subscriber));
    if (home == context || !subscriber_is_gathered(handover->subscriber) || !send_to(home, handover))
        connect_subscriber(context, handover);
}
