/* libmicrohttpd on a worker's loop, in external-epoll mode. The listener turns the library's callbacks into
 * struct request and struct reply, and hands the connections of event streams over to their subscribers.
 *
 * Everything is called on the worker's thread, except http_listener_connections().
 */
#ifndef SLUICE_HTTP_LISTENER_H
#define SLUICE_HTTP_LISTENER_H

#include "http/address_limits.h"
#include "routes/context.h"

struct http_listener;

/** The library's memory for each connection. The head of a request may take half of it. */
#define HTTP_POOL_BYTES(request_header_bytes_max) (2 * (request_header_bytes_max))

/** The settings of a listener, which copies them. */
struct http_listener_settings {
    uint64_t connections_max; /* of all listeners, connections handed over included */
    uint64_t request_header_bytes_max;
    uint64_t request_headers_max;
    int64_t request_timeout_ms;
    uint64_t send_buffer_bytes; /* of a client's socket; 0 leaves the size to the kernel */
};

/** Accepts from `socket` (bound and listening, taken over on success). All listeners share `limits`. NULL:
 * the library could not start. */
struct http_listener *http_listener_create(struct routes_context *context, int socket,
                                           struct address_limits *limits,
                                           const struct http_listener_settings *settings) MUST_CHECK;

/** Does the work that is due, at the end of each turn of the loop. True: more work is due at once. */
bool http_listener_turn(struct http_listener *listener);

/** Accepts the waiting connections and no further ones. Accepted connections go on. */
void http_listener_quiesce(struct http_listener *listener);

/** Returns whether a request that has come is not yet answered to the last byte. */
bool http_listener_is_busy(const struct http_listener *listener);

/** Abandons all requests under way and closes. The loop frees the listener with its handles. */
void http_listener_close(struct http_listener *listener);

/** Returns the number of HTTP connections of all listeners, without those handed over. Any thread. */
uint64_t http_listener_connections(void);

#endif
