/* A client's connection while libmicrohttpd has it: see http_connection.h. */
#include "server/http_connection.h"

#include "base/clock.h"
#include "server/http_exchange.h"

#include <stdlib.h>
#include <sys/socket.h>

struct http_connection *http_connection_create(struct http_listener *listener,
                                               struct MHD_Connection *handle) {
    struct http_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        return NULL;
    connection->listener = listener;
    connection->fd = MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    http_connection_await(connection, NULL);
    return connection;
}

void http_connection_destroy(struct http_connection *connection) {
    if (connection == NULL)
        return;
    http_connection_arrived(connection);
    free(connection);
}

void http_connection_await(struct http_connection *connection, struct http_exchange *exchange) {
    struct http_listener *listener = connection->listener;
    http_connection_arrived(connection);
    connection->exchange = exchange;
    connection->until_mono_ms = clock_mono_ms() + listener->settings.request_timeout_ms;
    connection->awaited = true;
    TAILQ_INSERT_TAIL(&listener->awaited, connection, entry);
}

void http_connection_arrived(struct http_connection *connection) {
    if (connection->awaited)
        TAILQ_REMOVE(&connection->listener->awaited, connection, entry);
    connection->awaited = false;
}

/* The library closes a connection that the client seems to have ended. */
static void end(struct http_connection *connection) {
    http_connection_arrived(connection);
    if (connection->exchange != NULL)
        http_exchange_time_out(connection->exchange);
    shutdown(connection->fd, SHUT_RD);
}

int64_t http_connection_expire(struct http_listener *listener) {
    struct http_connection *first;
    int64_t now_ms = clock_mono_ms();
    while ((first = TAILQ_FIRST(&listener->awaited)) != NULL && first->until_mono_ms <= now_ms)
        end(first);
    return first != NULL ? first->until_mono_ms - now_ms : 0;
}
