/* A client's connection while libmicrohttpd has it, and its time limit for a request. The library's own
 * timeout begins anew with each byte. Private to the listener.
 *
 *                opened                      first line came
 *     (nothing) --------> awaits a request -----------------> awaits the rest
 *                           ^                                   |
 *                           | answered          all of it came  v
 *                           +------------------------------- being answered
 */
#ifndef SLUICE_HTTP_CONNECTION_H
#define SLUICE_HTTP_CONNECTION_H

#include "base/attributes.h"
#include "base/log_limit.h"
#include "http/address_limits.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct http_exchange;
struct http_listener;

struct http_connection {
    struct http_listener *listener;
    int fd; /* owned by the library */
    struct peer peer;
    size_t memory;                  /* memory of the connection, the library's part included */
    struct address *address;        /* the address that counts it; a subscriber's socket takes it over */
    bool closing;                   /* the connection will be closed for a known reason */
    struct http_exchange *exchange; /* the awaited request, once its first line has come */
    bool awaited;                   /* linked */
    int64_t until_mono_ms;
    TAILQ_ENTRY(http_connection) entry; /* in the listener's list, in the order of their deadlines */
};

TAILQ_HEAD(http_connection_list, http_connection);

/** Makes a connection that awaits a request and takes over `address`. NULL: out of memory, and the caller
 * still owns `address`. */
struct http_connection *http_connection_create(struct http_listener *listener, struct MHD_Connection *handle,
                                               struct address *address) MUST_CHECK;

/** Frees the connection before the library closes its descriptor. Logs a close without a known reason. Takes
 * NULL. */
void http_connection_destroy(struct http_connection *connection);

/** Begins to await the rest of `exchange`, or a first line if it is NULL. */
void http_connection_await(struct http_connection *connection, struct http_exchange *exchange);

/** Ends the wait: all of the request has come. */
void http_connection_arrived(struct http_connection *connection);

/** Logs that the connection sent an invalid request. The caller then closes the connection. */
void http_connection_offends(struct http_connection *connection, int status, const char *reason);

/** Counts an invalid request and logs it as a warning. `status` is the answer's status, or 0 if the library closed
 * the connection. Each listener has one limit for these lines, on its thread. */
void offence_note(struct log_limit *offences, const struct peer *peer, int status, const char *reason);

/** Ends the connections whose time is over. Returns the milliseconds until the next call; 0 if no connection
 * awaits anything. */
int64_t http_connection_expire(struct http_listener *listener);

#endif
