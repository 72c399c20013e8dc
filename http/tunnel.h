/* Connections that have become tunnels, a WebSocket's: bytes go from the client to the reply's source and
 * back.
 *
 *     client --> [ in: at most TUNNEL_BYTES ] --> source.write()
 *     client <-- [ out: at most TUNNEL_BYTES ] <-- source.read()
 *
 * What one side does not take, the other side is not asked for. The connection stays the library's, and
 * counted as its own: it is told when the tunnel has ended, and completes the request then. On one loop's
 * thread.
 */
#ifndef SLUICE_HTTP_TUNNEL_H
#define SLUICE_HTTP_TUNNEL_H

#include "base/attributes.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <sys/queue.h>

struct http_exchange;
struct tunnel;

TAILQ_HEAD(tunnel_list, tunnel);

struct tunnels {
    struct tunnel_list open;
    struct tunnel_list due; /* those that have something to do */
};

void tunnels_init(struct tunnels *tunnels);

/** The response that makes a tunnel of an exchange whose reply is one. NULL: out of memory. */
struct MHD_Response *tunnel_response(struct http_exchange *exchange) MUST_CHECK;

/** Its source has bytes, or room. */
void tunnel_wake(struct tunnel *tunnel);

/** Does what is due. True: there is more. */
bool tunnels_turn(struct tunnels *tunnels);

/** Breaks all off. */
void tunnels_close(struct tunnels *tunnels);

#endif
