/* A sink that writes to its own socket: a connection that the HTTP library has handed over. */
#ifndef SLUICE_HTTP_SOCKET_SINK_H
#define SLUICE_HTTP_SOCKET_SINK_H

#include "base/attributes.h"
#include "broadcaster/subscriber.h"
#include "http/address_limits.h"

#include <uv.h>

/** Takes over the connected socket `fd`. The sink reports to its subscriber that the client has gone.
 * `send_buffer_bytes` sets SO_SNDBUF; 0 leaves the size to the kernel. The kernel drops a peer that
 * acknowledges nothing for `peer_timeout_ms`. `address` leaves its limits when the socket is closed. NULL:
 * out of memory, and the caller still owns `fd` and `address`. On the loop's thread, like everything here. */
struct sink *socket_sink_create(uv_loop_t *loop, int fd, uint64_t send_buffer_bytes, int64_t peer_timeout_ms,
                                struct address_limits *limits, struct address *address) MUST_CHECK;

/** Returns the number of open sockets of sinks on all loops. Any thread. */
uint64_t socket_sinks_open(void);

#endif
