/* Connections that have become tunnels.
 *
 * After the 101 the library leaves the socket to us, but keeps the connection and its limits. A tunnel has
 * one piece for each direction: a piece is filled only when it is empty, so a slow side holds the other one
 * back. Tunnels with work stand in a list, and each gets a few pieces a turn of the loop. The library
 * completes the request when it is told that the tunnel has ended. */
#include "http/tunnel.h"

#include "base/memory_budget.h"
#include "http/exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TUNNEL_BYTES ((size_t)16 * 1024)
/* In one turn of the loop, each way: other clients of the worker wait meanwhile. */
#define PIECES_PER_TURN 4

/* Bytes that were taken from one side, and not by the other yet. */
struct piece {
    char *bytes;
    size_t at, length, size;
};

struct tunnel {
    struct http_exchange *exchange;
    struct MHD_UpgradeResponseHandle *handle;
    int fd; /* the library's */
    uv_poll_t poll;
    struct piece in, out;
    TAILQ_ENTRY(tunnel) entry, due_entry;
    bool is_due;
    bool in_ended;   /* the client's side */
    bool out_ended;  /* the source's */
    bool is_blocked; /* the client takes no more just now */
    bool is_held;    /* the source takes no more just now */
    bool hung_up;    /* the client has ended its side, and bytes of it wait to be read */
    bool is_closed;
};

enum state { GOES_ON, HAS_ENDED, IS_BROKEN };

void tunnels_init(struct tunnels *tunnels) {
    TAILQ_INIT(&tunnels->open);
    TAILQ_INIT(&tunnels->due);
}

static struct tunnels *tunnels_of(const struct tunnel *tunnel) {
    return &tunnel->exchange->listener->tunnels;
}

static void make_due(struct tunnel *tunnel) {
    if (tunnel->is_due || tunnel->is_closed)
        return;
    tunnel->is_due = true;
    TAILQ_INSERT_TAIL(&tunnels_of(tunnel)->due, tunnel, due_entry);
    tunnel->exchange->listener->ready = true;
}

void tunnel_wake(struct tunnel *tunnel) {
    tunnel->is_held = false;
    make_due(tunnel);
}

/* ---- the end ------------------------------------------------------------------------------------- */

static void piece_finish(struct piece *piece) {
    if (piece->bytes == NULL)
        return;
    memory_release(MEMORY_CONNECTIONS, piece->size);
    free(piece->bytes);
    piece->bytes = NULL;
}

static void tunnel_free(struct tunnel *tunnel) {
    memory_release(MEMORY_CONNECTIONS, sizeof(*tunnel));
    piece_finish(&tunnel->in);
    piece_finish(&tunnel->out);
    free(tunnel);
}

static void tunnel_on_closed(uv_handle_t *handle) {
    tunnel_free(CONTAINER_OF((uv_poll_t *)handle, struct tunnel, poll));
}

/* One that ended lingers, so that the client gets all of it; one that broke off is reset. */
static void close_socket(const struct tunnel *tunnel, enum state state) {
    struct http_listener *listener = tunnel->exchange->listener;
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    int fd = state == HAS_ENDED && !listener->closing ? fcntl(tunnel->fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd >= 0)
        lingering_close(&listener->lingering, fd);
    else if (state == IS_BROKEN)
        setsockopt(tunnel->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    else
        socket_discard_input(tunnel->fd); /* no descriptor is left for it */
}

/* The library completes the request the next time it runs. */
static void close_tunnel(struct tunnel *tunnel, enum state state) {
    struct tunnels *tunnels = tunnels_of(tunnel);
    tunnel->is_closed = true;
    if (tunnel->is_due)
        TAILQ_REMOVE(&tunnels->due, tunnel, due_entry);
    TAILQ_REMOVE(&tunnels->open, tunnel, entry);
    tunnel->exchange->tunnel = NULL;
    tunnel->exchange->listener->ready = true;
    close_socket(tunnel, state);
    uv_close((uv_handle_t *)&tunnel->poll, tunnel_on_closed);
    MHD_upgrade_action(tunnel->handle, MHD_UPGRADE_ACTION_CLOSE);
}

void tunnels_close(struct tunnels *tunnels) {
    struct tunnel *tunnel;
    while ((tunnel = TAILQ_FIRST(&tunnels->open)) != NULL)
        close_tunnel(tunnel, IS_BROKEN);
}

/* ---- both ways ----------------------------------------------------------------------------------- */

static bool is_empty(const struct piece *piece) {
    return piece->at == piece->length;
}

/* From the client. False: it broke off. */
static bool receive_bytes(struct tunnel *tunnel) {
    struct piece *in = &tunnel->in;
    ssize_t count;
    do
        count = recv(tunnel->fd, in->bytes, in->size, MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK;
    in->at = 0;
    in->length = (size_t)count;
    tunnel->in_ended = count == 0;
    return true;
}

static bool take_in(struct tunnel *tunnel) {
    const struct reply_source *source = &tunnel->exchange->request.reply.source;
    struct piece *in = &tunnel->in;
    for (int i = 0; i < PIECES_PER_TURN && !tunnel->in_ended && !tunnel->is_held; i++) {
        if (is_empty(in) && !receive_bytes(tunnel))
            return false;
        if (tunnel->in_ended)
            source->write_end(source->context);
        if (is_empty(in))
            break;
        in->at += source->write(source->context, in->bytes + in->at, in->length - in->at);
        tunnel->is_held = !is_empty(in);
    }
    return true;
}

/* To the client. False: the connection broke off. */
static bool send_piece(struct tunnel *tunnel) {
    struct piece *out = &tunnel->out;
    ssize_t count;
    do
        count = send(tunnel->fd, out->bytes + out->at, out->length - out->at, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (count < 0 && errno == EINTR);
    tunnel->is_blocked = count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    out->at += count > 0 ? (size_t)count : 0;
    return count >= 0 || tunnel->is_blocked;
}

/* A client that takes nothing must not keep a tunnel whose other side is gone, or that was cancelled. */
static bool has_broken_off(const struct tunnel *tunnel) {
    const struct reply_source *source = &tunnel->exchange->request.reply.source;
    return !tunnel->out_ended && source->read(source->context, tunnel->out.bytes, 0) < -1;
}

static enum state bring_out(struct tunnel *tunnel) {
    const struct reply_source *source = &tunnel->exchange->request.reply.source;
    struct piece *out = &tunnel->out;
    tunnel->is_blocked = false;
    for (int i = 0; i < PIECES_PER_TURN; i++) {
        if (is_empty(out) && !tunnel->out_ended) {
            ssize_t count = source->read(source->context, out->bytes, out->size);
            if (count < -1)
                return IS_BROKEN;
            tunnel->out_ended = count == -1;
            out->at = 0;
            out->length = count > 0 ? (size_t)count : 0;
        }
        if (is_empty(out))
            return tunnel->out_ended ? HAS_ENDED : GOES_ON;
        if (!send_piece(tunnel))
            return IS_BROKEN;
        if (tunnel->is_blocked)
            return has_broken_off(tunnel) ? IS_BROKEN : GOES_ON;
    }
    make_due(tunnel); /* there may be more */
    return GOES_ON;
}

static void tunnel_on_poll(uv_poll_t *poll, int status, int events) {
    struct tunnel *tunnel = CONTAINER_OF(poll, struct tunnel, poll);
    if (tunnel->is_closed)
        return;
    tunnel->hung_up = tunnel->hung_up || (events & UV_DISCONNECT) != 0;
    if (status < 0)
        close_tunnel(tunnel, IS_BROKEN);
    else
        make_due(tunnel);
}

/* A client that is not read may have gone all the same; that it has ended its side is seen once. */
static void watch_tunnel(struct tunnel *tunnel) {
    int events = tunnel->is_blocked ? UV_WRITABLE : 0;
    if (!tunnel->in_ended && !tunnel->is_held)
        events |= UV_READABLE;
    else if (!tunnel->in_ended && !tunnel->hung_up)
        events |= UV_DISCONNECT;
    if (events != 0)
        uv_poll_start(&tunnel->poll, events, tunnel_on_poll);
    else
        uv_poll_stop(&tunnel->poll);
}

static void move_bytes(struct tunnel *tunnel) {
    enum state state = bring_out(tunnel);
    if (state == GOES_ON && !take_in(tunnel))
        state = IS_BROKEN;
    if (state != GOES_ON)
        close_tunnel(tunnel, state);
    else
        watch_tunnel(tunnel);
}

bool tunnels_turn(struct tunnels *tunnels) {
    const struct tunnel *last = TAILQ_LAST(&tunnels->due, tunnel_list);
    struct tunnel *tunnel = NULL;
    while (tunnel != last) {
        tunnel = TAILQ_FIRST(&tunnels->due);
        TAILQ_REMOVE(&tunnels->due, tunnel, due_entry);
        tunnel->is_due = false;
        /* It may be due again, after the last one; what was closed stays until the loop goes on. */
        move_bytes(tunnel);
    }
    return !TAILQ_EMPTY(&tunnels->due);
}

/* ---- the beginning ------------------------------------------------------------------------------- */

static bool piece_init(struct piece *piece, size_t size) {
    piece->bytes = malloc(size);
    piece->size = size;
    if (piece->bytes != NULL)
        memory_charge(MEMORY_CONNECTIONS, size);
    return piece->bytes != NULL;
}

static void set_options(struct tunnel *tunnel) {
    int off = 0, on = 1;
    int timeout_ms = (int)fanout_peer_timeout_ms(tunnel->exchange->listener->context->relay.fanout);
    setsockopt(tunnel->fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
    setsockopt(tunnel->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(tunnel->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

static struct tunnel *tunnel_create(struct http_exchange *exchange, const char *early, size_t early_length,
                                    int fd) {
    size_t in_size = early_length > TUNNEL_BYTES ? early_length : TUNNEL_BYTES;
    struct tunnel *tunnel = calloc(1, sizeof(*tunnel));
    if (tunnel == NULL)
        return NULL;
    memory_charge(MEMORY_CONNECTIONS, sizeof(*tunnel));
    tunnel->exchange = exchange;
    tunnel->fd = fd;
    if (!piece_init(&tunnel->in, in_size) || !piece_init(&tunnel->out, TUNNEL_BYTES) ||
        uv_poll_init(exchange->listener->context->relay.loop, &tunnel->poll, fd) < 0) {
        tunnel_free(tunnel);
        return NULL;
    }
    if (early_length > 0)
        memcpy(tunnel->in.bytes, early, early_length);
    tunnel->in.length = early_length;
    return tunnel;
}

/* libmicrohttpd has sent the head, and leaves the socket to us. */
static void tunnel_on_upgraded(void *context, struct MHD_Connection *connection, void *request,
                               const char *early, size_t early_length, MHD_socket fd,
                               struct MHD_UpgradeResponseHandle *handle) {
    struct http_exchange *exchange = context;
    (void)connection;
    (void)request;
    exchange->listener->progress.was_called = true;
    exchange->connection->closing = true;
    struct tunnel *tunnel =
        exchange->listener->closing ? NULL : tunnel_create(exchange, early, early_length, fd);
    if (tunnel == NULL) {
        exchange->listener->ready = true;
        MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
        return;
    }
    tunnel->handle = handle;
    exchange->tunnel = tunnel;
    TAILQ_INSERT_TAIL(&exchange->listener->tunnels.open, tunnel, entry);
    set_options(tunnel);
    watch_tunnel(tunnel);
    tunnel_wake(tunnel);
}

struct MHD_Response *tunnel_response(struct http_exchange *exchange) {
    return MHD_create_response_for_upgrade(tunnel_on_upgraded, exchange);
}
