/* A client's connection while libmicrohttpd has it.
 *
 * The library's timeout begins anew with each byte, so a client that sends a byte now and then could hold a
 * connection for ever. Here a request has one deadline. All deadlines are equally long, so a queue keeps them
 * in order. The library never learns of a deadline: a late connection is shut for reading, which the library
 * takes for an end by the client. */
#include "http/connection.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "http/exchange.h"

#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

/* What the library takes for a connection, beside the room for the head of a request. */
#define LIBRARY_MEMORY 1024

/* The room is as large as the head may be, and not all of it is touched. But any client can see to that. */
static size_t memory_of(const struct http_listener *listener) {
    return sizeof(struct http_connection) + LIBRARY_MEMORY +
           (size_t)HTTP_POOL_BYTES(listener->settings.request_header_bytes_max);
}

struct http_connection *http_connection_create(struct http_listener *listener, struct MHD_Connection *handle,
                                               struct address *address) {
    struct http_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        return NULL;
    connection->memory = memory_of(listener);
    memory_charge(MEMORY_CONNECTIONS, connection->memory);
    connection->listener = listener;
    connection->address = address;
    connection->peer =
        peer_of(MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
    connection->fd = MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    http_connection_await(connection, NULL);
    return connection;
}

void http_connection_offends(struct http_connection *connection, int status, const char *reason) {
    connection->closing = true;
    offence_note(&connection->listener->offences, &connection->peer, status, reason);
}

/* Whether the client's side is open still: then it was not the client who ended the connection. */
static bool peer_is_there(int fd) {
    struct tcp_info info;
    socklen_t length = sizeof(info);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_ESTABLISHED;
}

void http_connection_destroy(struct http_connection *connection) {
    if (connection == NULL)
        return;
    struct http_listener *listener = connection->listener;
    if (!connection->closing && !listener->closing && peer_is_there(connection->fd))
        http_connection_offends(connection, 0, "libmicrohttpd found no valid request line");
    /* libmicrohttpd 0.9.75 completes no request for which it has failed twice to make an error answer. */
    if (connection->exchange != NULL)
        http_exchange_finish(connection->exchange, false);
    http_connection_arrived(connection);
    address_limits_leave(listener->limits, connection->address);
    memory_release(MEMORY_CONNECTIONS, connection->memory);
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
static void end_connection(struct http_connection *connection) {
    http_connection_arrived(connection);
    connection->closing = true;
    if (connection->exchange != NULL)
        http_exchange_time_out(connection->exchange);
    shutdown(connection->fd, SHUT_RD);
}

int64_t http_connection_expire(struct http_listener *listener) {
    struct http_connection *first;
    int64_t now_ms = clock_mono_ms();
    while ((first = TAILQ_FIRST(&listener->awaited)) != NULL && first->until_mono_ms <= now_ms)
        end_connection(first);
    return first != NULL ? first->until_mono_ms - now_ms : 0;
}

void offence_note(struct log_limit *offences, const struct peer *peer, int status, const char *reason) {
    char address[INET6_ADDRSTRLEN];
    uint64_t unwritten;
    metrics_add(METRIC_REQUESTS_OFFENDING, 1);
    if (!log_limit_take(offences, &unwritten))
        return;
    peer_format(peer, address);
    log_warn("request_refused", LOG_STR("peer", address), LOG_STR("reason", reason),
             LOG_INT("status", status), LOG_INT("unwritten", unwritten));
}
