/* libmicrohttpd on a worker's loop: see http_listener.h. */
#include "server/http_listener.h"

#include "base/log.h"
#include "base/metrics.h"
#include "server/http_exchange.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic uint64_t connections;

uint64_t http_listener_connections(void) {
    return atomic_load(&connections);
}

/* ---- libmicrohttpd's callbacks ------------------------------------------------------------------- */

static void *on_request_line(void *context, const char *uri, struct MHD_Connection *connection) {
    return http_exchange_create(context, uri, connection);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_length, void **exchange) {
    (void)context;
    (void)connection;
    (void)url;
    if (*exchange == NULL)
        return MHD_NO; /* there was no memory for it */
    return http_exchange_handle(*exchange, method, version, upload, upload_length);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **exchange,
                         enum MHD_RequestTerminationCode code) {
    (void)context;
    (void)connection;
    (void)code;
    if (*exchange != NULL)
        http_exchange_finish(*exchange);
    *exchange = NULL;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code) {
    (void)context;
    (void)connection;
    (void)socket_context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        atomic_fetch_add(&connections, 1);
    else
        atomic_fetch_sub(&connections, 1);
}

/* Paths and queries are decoded by the routes, once and strictly: nothing is unescaped here. */
static size_t keep_escapes(void *context, struct MHD_Connection *connection, char *text) {
    (void)context;
    (void)connection;
    return strlen(text);
}

static void PRINTF_LIKE(2, 0) on_message(void *context, const char *format, va_list values) {
    (void)context;
    if (!log_enabled(LOG_LEVEL_DEBUG))
        return;
    char text[256];
    vsnprintf(text, sizeof(text), format, values);
    text[strcspn(text, "\n")] = '\0';
    log_debug("http_library", LOG_STR("message", text));
}

/* ---- the loop ------------------------------------------------------------------------------------ */

static void on_poll(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    struct http_listener *listener = poll->data;
    listener->ready = true;
}

static void on_timer(uv_timer_t *timer) {
    struct http_listener *listener = timer->data;
    listener->ready = true;
}

bool http_listener_turn(struct http_listener *listener) {
    if (listener->closing)
        return false;
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    if (listener->ready) {
        listener->ready = false;
        MHD_run(listener->daemon);
    }
    if (MHD_get_timeout(listener->daemon, &timeout_ms) != MHD_YES)
        uv_timer_stop(&listener->timer);
    else if (timeout_ms > 0)
        uv_timer_start(&listener->timer, on_timer, timeout_ms, 0);
    else
        listener->ready = true;
    return listener->ready;
}

static struct MHD_Daemon *start_daemon(struct http_listener *listener) {
    const struct http_listener_settings *settings = &listener->settings;
    unsigned flags = MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    /* clang-format off */
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, listener,
        MHD_OPTION_EXTERNAL_LOGGER, on_message, listener, /* first, or what the others say goes elsewhere */
        MHD_OPTION_LISTEN_SOCKET, listener->socket,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)settings->connections_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(2 * settings->request_header_bytes_max), /* half is headers */
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((settings->request_timeout_ms + 999) / 1000),
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, listener,
        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, listener,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, listener,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, listener,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_END);
    /* clang-format on */
}

struct http_listener *http_listener_create(struct routes_context *context, int socket,
                                           const struct http_listener_settings *settings) {
    struct http_listener *listener = calloc(1, sizeof(*listener));
    if (listener == NULL)
        return NULL;
    listener->context = context;
    listener->settings = *settings;
    listener->socket = socket;
    LIST_INIT(&listener->exchanges);
    listener->daemon = start_daemon(listener);
    if (listener->daemon == NULL) {
        free(listener);
        return NULL;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    listener->poll.data = listener->timer.data = listener;
    listener->open_handles = 2;
    uv_poll_init(context->loop, &listener->poll, info->epoll_fd);
    uv_poll_start(&listener->poll, UV_READABLE, on_poll);
    uv_timer_init(context->loop, &listener->timer);
    listener->ready = true;
    return listener;
}

void http_listener_quiesce(struct http_listener *listener) {
    if (listener->socket < 0)
        return;
    MHD_run(listener->daemon); /* accept what has been waiting */
    MHD_quiesce_daemon(listener->daemon);
    close(listener->socket);
    listener->socket = -1;
    listener->ready = true;
}

static void on_handle_closed(uv_handle_t *handle) {
    struct http_listener *listener = handle->data;
    if (--listener->open_handles == 0)
        free(listener);
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
    MHD_run(listener->daemon);
    uv_close((uv_handle_t *)&listener->poll, on_handle_closed);
    uv_close((uv_handle_t *)&listener->timer, on_handle_closed);
    MHD_stop_daemon(listener->daemon);
    assert(LIST_EMPTY(&listener->exchanges));
}
