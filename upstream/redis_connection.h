/* One connection to a Redis server on a loop: commands out, replies in, in order, none of them waited for.
 *
 * hiredis writes the commands and reads the replies; the socket is libuv's. (Its own asynchronous half, as
 * Debian has it, resolves names on the calling thread, loses the error of a refused connection with libuv,
 * and aborts the process when a server says something unasked.)
 */
#ifndef SLUICE_UPSTREAM_REDIS_CONNECTION_H
#define SLUICE_UPSTREAM_REDIS_CONNECTION_H

#include "base/attributes.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <uv.h>

struct redis_connection;

/** One command; embedded in what waits for its reply. */
struct redis_command {
    /** The reply, valid in the call; NULL: the connection has gone before it came. Once for each command that
     * was sent. Also called from within redis_connection_close(). */
    void (*on_reply)(struct redis_command *command, const redisReply *reply);
    int64_t deadline_mono_ms;
    STAILQ_ENTRY(redis_command) link;
};

struct redis_connection_settings {
    struct sockaddr_storage place; /* a local socket, IPv4 or IPv6 */
    int64_t timeout_ms;            /* to be connected, and for each reply */
    size_t reply_bytes_max;        /* a larger one breaks the connection */
    /** Commands may be sent. Once. */
    void (*on_open)(void *context);
    /** It could not be made, it broke, or it is of no use: no reply in time, or none that is a reply. All
     * commands were told before. Once; the connection is gone then. Not called after
     * redis_connection_close(). */
    void (*on_lost)(void *context);
    void *context;
};

/** Begins to connect. No callback before it returns. NULL: out of memory. */
struct redis_connection *redis_connection_open(uv_loop_t *loop,
                                               const struct redis_connection_settings *settings) MUST_CHECK;

/** Sends. False: out of memory, or the connection is being lost; on_reply() is not called. */
bool redis_connection_send(struct redis_connection *connection, struct redis_command *command, int count,
                           const char **arguments, const size_t *lengths) MUST_CHECK;

/** Closes it; the loop frees it a turn later. Also from within its callbacks. */
void redis_connection_close(struct redis_connection *connection);

#endif
