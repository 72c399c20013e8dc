/* libmicrohttpd on a worker's loop, in external-epoll mode: turns its callbacks into struct request and
 * struct reply, and hands the connections of event streams over to their subscribers.
 *
 * Everything is called on the worker's thread, except http_listener_connections().
 */
#ifndef SLUICE_HTTP_LISTENER_H
#define SLUICE_HTTP_LISTENER_H

#include "http/address_limits.h"
#include "routes/context.h"

struct http_listener;

/** Room that the library has for each connection; half of it is for the head of a request. */
#define HTTP_POOL_BYTES(request_header_bytes_max) (2 * (request_header_bytes_max))

/** What the listener needs to know; copied. */
struct http_listener_settings {
    uint64_t connections_max; /* of all listeners, with those that were handed over */
    uint64_t request_header_bytes_max;
    uint64_t request_headers_max;
    int64_t request_timeout_ms;
    uint64_t send_buffer_bytes; /* of a client's socket; 0: what the kernel chooses */
};

/** Accepts from `socket` (bound and listening, taken over on success). `limits` are those of all listeners.
 * NULL: the library could not start. */
struct http_listener *http_listener_create(struct routes_context *context, int socket,
                                           struct address_limits *limits,
                                           const struct http_listener_settings *settings) MUST_CHECK;

/** Does what is due; at the end of each turn of the loop. True: more is due at once. */
bool http_listener_turn(struct http_listener *listener);

/** Takes no further connections but those that are waiting. What was accepted before goes on. */
void http_listener_quiesce(struct http_listener *listener);

/** Whether a request that has come is not answered to its last byte. */
bool http_listener_is_busy(const struct http_listener *listener);

/** Gives up all requests under way and closes; the listener is freed when its handles are, by the loop. */
void http_listener_close(struct http_listener *listener);

/** HTTP connections of all listeners, those handed over not counted. Any thread. */
uint64_t http_listener_connections(void);

#endif
