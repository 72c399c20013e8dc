/* A client's connection while libmicrohttpd has it, and how long it may take to send a request: the library's
 * own timeout begins anew with each byte. Private to the listener.
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
#include "http/address_limits.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct http_exchange;
struct http_listener;

struct http_connection {
    struct http_listener *listener;
    int fd; /* the library's */
    struct peer peer;
    size_t memory;                  /* that it takes, the library's part included */
    struct address *address;        /* that it is counted for; a subscriber's socket takes it along */
    bool closing;                   /* that it is to be closed, and why, is known */
    struct http_exchange *exchange; /* the request of which more is awaited, if its first line has come */
    bool awaited;                   /* linked */
    int64_t until_mono_ms;
    TAILQ_ENTRY(http_connection) entry; /* in the listener's list, in the order of their deadlines */
};

TAILQ_HEAD(http_connection_list, http_connection);

/** A connection that awaits a request; it takes over `address`. NULL: out of memory, and `address` is still
 * the caller's. */
struct http_connection *http_connection_create(struct http_listener *listener, struct MHD_Connection *handle,
                                               struct address *address) MUST_CHECK;

/** The library is about to close its descriptor. Logs it if nobody knows why. Takes NULL. */
void http_connection_destroy(struct http_connection *connection);

/** More is awaited from now on: of `exchange`, or (NULL) a first line. */
void http_connection_await(struct http_connection *connection, struct http_exchange *exchange);

/** The request has come. */
void http_connection_arrived(struct http_connection *connection);

/** Logs that what came on it is no proper request; then it is closed. */
void http_connection_offends(struct http_connection *connection, int status, const char *reason);

/** Ends the connections that have had their time. Returns in how many ms to call it again; 0: nothing is
 * awaited. */
int64_t http_connection_expire(struct http_listener *listener);

#endif
