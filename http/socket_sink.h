/* A sink that writes to a socket of its own: a connection that the HTTP library has handed over. */
#ifndef SLUICE_HTTP_SOCKET_SINK_H
#define SLUICE_HTTP_SOCKET_SINK_H

#include "base/attributes.h"
#include "broadcaster/subscriber.h"
#include "http/address_limits.h"

#include <uv.h>

/** Takes over the connected socket `fd`. That its client has gone is told to the sink's subscriber, once it
 * has one. On the loop's thread, as everything here. `send_buffer_bytes` 0 leaves SO_SNDBUF to the kernel,
 * which gives up a peer that acknowledges nothing for `peer_timeout_ms`. `address` leaves its limits when the
 * socket is closed. NULL: out of memory, and `fd` and `address` are still the caller's. */
struct sink *socket_sink_create(uv_loop_t *loop, int fd, uint64_t send_buffer_bytes, int64_t peer_timeout_ms,
                                struct address_limits *limits, struct address *address) MUST_CHECK;

/** Sockets that sinks have open, of all loops. Any thread. */
uint64_t socket_sinks_open(void);

#endif
