/* libmicrohttpd on a worker's loop.
 *
 *     acceptor --> take_connection(): limits --> MHD_add_connection()
 *     epoll descriptor of the library readable --> `ready`
 *     http_listener_turn(), at the end of the loop's turn --> MHD_run() --> callbacks --> exchanges
 *
 * The library runs in external mode, without threads of its own. It is run at one place of the turn alone:
 * so its callbacks never run inside another part's callback. What it has to say comes by four callbacks: a
 * connection begins or ends, a first line came, more of a request came, a request is complete. */
#include "http/listener.h"

#include "base/json_writer.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "http/exchange.h"
#include "http/handover.h"
#include "http/head.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static _Atomic uint64_t connections;

uint64_t http_listener_connections(void) {
    return atomic_load(&connections);
}

/* ---- libmicrohttpd's callbacks ------------------------------------------------------------------- */

/* The same limit as for refusals of requests (routes/refusal.h). */
static void log_connection(struct http_listener *listener, const struct peer *peer, enum log_level level,
                           const char *event, const char *reason) {
    char address[INET6_ADDRSTRLEN];
    uint64_t unwritten;
    if (!log_enabled(level) || !log_limit_take(&listener->context->refusals, &unwritten))
        return;
    peer_format(peer, address);
    const struct log_field fields[] = {
        LOG_STR("reason", reason), LOG_STR("peer", address), LOG_INT("unwritten", unwritten), {0}};
    log_write(level, event, fields);
}

/* That the connection is closed now is no fault of the client's. */
static void note_no_memory(struct MHD_Connection *handle) {
    struct http_connection *connection =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (connection == NULL)
        return;
    connection->closing = true;
    log_connection(connection->listener, &connection->peer, LOG_LEVEL_ERROR, "out_of_memory", "request");
}

static void *listener_on_request_line(void *context, const char *uri, struct MHD_Connection *handle) {
    struct http_listener *listener = context;
    struct http_exchange *exchange = http_exchange_create(listener, uri, handle);
    listener->progress.was_called = true;
    if (exchange == NULL)
        note_no_memory(handle);
    else if (!http_head_parameters_fit(uri, listener->settings.request_header_bytes_max))
        http_exchange_end_stuck(exchange);
    return exchange;
}

static enum MHD_Result listener_on_request(void *context, struct MHD_Connection *connection, const char *url,
                                           const char *method, const char *version, const char *upload,
                                           size_t *upload_length, void **exchange) {
    struct http_listener *listener = context;
    (void)connection;
    (void)url;
    listener->progress.was_called = true;
    if (*exchange == NULL)
        return MHD_NO; /* there was no memory for it */
    return http_exchange_handle(*exchange, method, version, upload, upload_length);
}

/* The library has answered with an error of its own. */
static void note_refusal(struct http_exchange *exchange, struct MHD_Connection *handle) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(handle, MHD_CONNECTION_INFO_HTTP_STATUS);
    if (exchange->request.reply.kind == REPLY_NONE && info != NULL && info->http_status >= 400)
        http_connection_offends(exchange->connection, (int)info->http_status,
                                "libmicrohttpd refused the request");
}

static void listener_on_completed(void *context, struct MHD_Connection *connection, void **exchange,
                                  enum MHD_RequestTerminationCode code) {
    struct http_listener *listener = context;
    listener->progress.was_called = true;
    if (*exchange != NULL)
        note_refusal(*exchange, connection);
    if (*exchange != NULL)
        http_exchange_finish(*exchange, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    *exchange = NULL;
}

static void listener_on_connection(void *context, struct MHD_Connection *handle, void **connection,
                                   enum MHD_ConnectionNotificationCode code) {
    struct http_listener *listener = context;
    listener->progress.was_called = true;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        atomic_fetch_add(&connections, 1);
        *connection = http_connection_create(listener, handle, listener->arriving);
        if (*connection != NULL)
            listener->arriving = NULL;
    } else {
        atomic_fetch_sub(&connections, 1);
        http_connection_destroy(*connection);
    }
}

/* Paths and queries are decoded by the routes, once and strictly: nothing is unescaped here. */
static size_t keep_escapes(void *context, struct MHD_Connection *connection, char *text) {
    (void)context;
    (void)connection;
    return strlen(text);
}

/* An event stream makes the library leave the connection to us by an error that is none (http/reply.c). */
static bool is_of_handover(struct http_listener *listener, const char *text) {
    bool is_left = listener->is_left;
    listener->is_left = false;
    return is_left && (strstr(text, "application error") != NULL ||
                       strstr(text, "Application reported internal error") != NULL);
}

static void PRINTF_LIKE(2, 0) listener_on_message(void *context, const char *format, va_list values) {
    if (!log_enabled(LOG_LEVEL_DEBUG))
        return;
    char text[256];
    vsnprintf(text, sizeof(text), format, values);
    text[strcspn(text, "\n")] = '\0';
    if (!is_of_handover(context, text))
        log_debug("http_library", LOG_STR("message", text));
}

/* ---- taking connections -------------------------------------------------------------------------- */

/* Answers before anything was asked: one connection too many. */
static void refuse_connection(struct http_listener *listener, int fd, const struct peer *peer,
                              const char *status, const char *code, const char *message) {
    char body[256], answer[512];
    size_t body_length = json_write_error(body, sizeof(body), code, message);
    int length = snprintf(answer, sizeof(answer),
                          "HTTP/1.1 %s\r\nConnection: close\r\nRetry-After: 2\r\n"
                          "Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          status, body_length, body);
    log_connection(listener, peer, LOG_LEVEL_INFO, "connection_refused", code);
    send(fd, answer, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
    lingering_close(&listener->lingering, fd);
}

/* When nothing may grow, connections may still have a sixteenth of the memory: to see what is wrong, and to
 * end something. */
static bool has_memory_for_connection(void) {
    return memory_level() < MEMORY_OVER || memory_used(MEMORY_CONNECTIONS) < memory_limit() / 16;
}

static void take_connection(void *context, int fd, const struct sockaddr *peer, socklen_t length) {
    struct http_listener *listener = context;
    const struct peer address = peer_of(peer);
    char message[MEMORY_MESSAGE_SIZE];
    if (http_listener_connections() + handed_over_open() >= listener->settings.connections_max) {
        metrics_add(METRIC_CONNECTIONS_REFUSED, 1);
        snprintf(message, sizeof(message),
                 "The connection limit has been reached: connections_max (%" PRIu64 ").",
                 listener->settings.connections_max);
        refuse_connection(listener, fd, &address, "503 Service Unavailable", "too_many_connections", message);
        return;
    }
    if (!has_memory_for_connection()) {
        metrics_add(METRIC_MEMORY_REFUSED, 1);
        refuse_connection(listener, fd, &address, "503 Service Unavailable", "memory_full",
                          memory_full_message(message));
        return;
    }
    if (!address_limits_enter(listener->limits, &address, &listener->arriving)) {
        metrics_add(METRIC_CONNECTIONS_OF_ADDRESS_REFUSED, 1);
        snprintf(message, sizeof(message),
                 "Your address has too many connections: connections_per_address_max (%" PRIu64 ").",
                 address_limits_settings(listener->limits)->connections_max);
        refuse_connection(listener, fd, &address, "429 Too Many Requests", "too_many_connections_of_address",
                          message);
        return;
    }
    MHD_add_connection(listener->daemon, fd, peer, length);     /* closes it if there is no memory */
    address_limits_leave(listener->limits, listener->arriving); /* then nobody has taken it over */
    listener->arriving = NULL;
    listener->ready = true;
}

/* ---- the loop ------------------------------------------------------------------------------------ */

static void listener_on_poll(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    struct http_listener *listener = poll->data;
    listener->ready = true;
}

static void listener_on_timer(uv_timer_t *timer) {
    struct http_listener *listener = timer->data;
    listener->ready = true;
}

/* In how many ms the library wants to be run again; -1: it does not say. Its descriptor alone does not say it: the
 * library watches its connections edge-triggered, and may leave bytes unread
 * (https://github.com/systemd/systemd/issues/7130). */
static int64_t library_timeout_ms(const struct http_listener *listener) {
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    return MHD_get_timeout(listener->daemon, &timeout_ms) == MHD_YES ? (int64_t)timeout_ms : -1;
}

static void run_library(struct http_listener *listener) {
    listener->ready = false;
    MHD_run(listener->daemon);
    http_progress_after_turn(listener, library_timeout_ms(listener) == 0);
}

bool http_listener_turn(struct http_listener *listener) {
    if (listener->closing)
        return false;
    bool more = tunnels_turn(&listener->tunnels);
    if (listener->ready || more)
        run_library(listener);
    int64_t wait_ms = http_connection_expire(listener);
    int64_t timeout_ms = library_timeout_ms(listener);
    if (timeout_ms == 0) {
        timeout_ms = http_progress_pause_ms(listener);
        listener->ready = listener->ready || timeout_ms == 0;
    }
    if (wait_ms == 0 || (timeout_ms >= 0 && timeout_ms < wait_ms))
        wait_ms = timeout_ms;
    if (wait_ms > 0)
        uv_timer_start(&listener->timer, listener_on_timer, (uint64_t)wait_ms, 0);
    else
        uv_timer_stop(&listener->timer);
    return listener->ready || more;
}

static struct MHD_Daemon *start_daemon(struct http_listener *listener) {
    const struct http_listener_settings *settings = &listener->settings;
    unsigned flags = MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                     MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_UPGRADE;
    /* clang-format off */
    return MHD_start_daemon(flags, 0, NULL, NULL, listener_on_request, listener,
        MHD_OPTION_EXTERNAL_LOGGER, listener_on_message, listener, /* first, or what the others say goes elsewhere */
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)INT_MAX, /* the limit is ours to keep */
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_POOL_BYTES(settings->request_header_bytes_max),
        /* Without progress of an answer; a request has its own time, which is up before this. */
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(settings->request_timeout_ms / 1000 + 1),
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, listener,
        MHD_OPTION_URI_LOG_CALLBACK, listener_on_request_line, listener,
        MHD_OPTION_NOTIFY_COMPLETED, listener_on_completed, listener,
        MHD_OPTION_NOTIFY_CONNECTION, listener_on_connection, listener,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
#if MHD_VERSION >= 0x00097701
        MHD_OPTION_CLIENT_DISCIPLINE_LVL, 2, /* "for security-centric applications" */
#endif
        MHD_OPTION_END);
    /* clang-format on */
}

static void listener_on_closed(uv_handle_t *handle) {
    struct http_listener *listener = handle->data;
    if (--listener->open_handles == 0)
        free(listener);
}

/* Ties the library to the loop. */
static bool watch_daemon(struct http_listener *listener, uv_loop_t *loop) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (uv_poll_init(loop, &listener->poll, info->epoll_fd) < 0)
        return false;
    uv_poll_start(&listener->poll, UV_READABLE, listener_on_poll);
    uv_timer_init(loop, &listener->timer);
    listener->poll.data = listener->timer.data = listener;
    listener->open_handles = 2;
    return true;
}

/* Connections have the size from the socket that they come from. Without it the kernel keeps up to 4 MB of an
 * answer whose client does not read, which counts nowhere. */
static void set_send_buffer(int socket, uint64_t bytes) {
    int size = (int)bytes;
    if (bytes > 0)
        setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* it only makes it better */
}

struct http_listener *http_listener_create(struct routes_context *context, int socket,
                                           struct address_limits *limits,
                                           const struct http_listener_settings *settings) {
    struct http_listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL)
        return NULL;
    listener->context = context;
    listener->settings = *settings;
    listener->limits = limits;
    LIST_INIT(&listener->exchanges);
    TAILQ_INIT(&listener->awaited);
    tunnels_init(&listener->tunnels);
    lingering_init(&listener->lingering, context->relay.loop);
    listener->daemon = start_daemon(listener);
    if (listener->daemon == NULL)
        goto no_daemon;
    if (!watch_daemon(listener, context->relay.loop))
        goto no_watch;
    set_send_buffer(socket, settings->send_buffer_bytes);
    listener->acceptor = acceptor_create(context->relay.loop, socket, take_connection, listener);
    if (listener->acceptor == NULL)
        goto no_acceptor;
    return listener;
no_acceptor:
    http_listener_close(listener);
    return NULL;
no_watch:
    MHD_stop_daemon(listener->daemon);
no_daemon:
    free(listener);
    return NULL;
}

void http_listener_quiesce(struct http_listener *listener) {
    if (listener->acceptor != NULL)
        acceptor_close(listener->acceptor);
    listener->acceptor = NULL;
}

bool http_listener_is_busy(const struct http_listener *listener) {
    const struct http_exchange *exchange;
    LIST_FOREACH(exchange, &listener->exchanges, entry) {
        if (exchange->arrived)
            return true;
    }
    return false;
}

void http_listener_close(struct http_listener *listener) {
    http_listener_quiesce(listener);
    listener->closing = true;
    /* A daemon may not be stopped while connections are suspended. */
    struct http_exchange *exchange, *next;
    for (exchange = LIST_FIRST(&listener->exchanges); exchange != NULL; exchange = next) {
        next = LIST_NEXT(exchange, entry);
        if (exchange->suspended)
            http_exchange_abandon(exchange);
    }
    tunnels_close(&listener->tunnels);
    MHD_run(listener->daemon);
    uv_close((uv_handle_t *)&listener->poll, listener_on_closed);
    uv_close((uv_handle_t *)&listener->timer, listener_on_closed);
    MHD_stop_daemon(listener->daemon);
    lingering_finish(&listener->lingering);
    assert(LIST_EMPTY(&listener->exchanges));
}
