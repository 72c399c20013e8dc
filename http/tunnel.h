/* Connections that have become tunnels of WebSockets: bytes go from the client to the reply's source and
 * back.
 *
 *     client --> [ in: at most TUNNEL_BYTES ] --> source.write()
 *     client <-- [ out: at most TUNNEL_BYTES ] <-- source.read()
 *
 * While one side accepts no bytes, none are read from the other side. The library keeps the connection, and
 * still counts it. When the tunnel ends, the library completes the request. On one loop's thread.
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
    struct tunnel_list due; /* tunnels that have work to do */
};

void tunnels_init(struct tunnels *tunnels);

/** Makes the response that turns the connection of an exchange into a tunnel. The exchange's reply is a
 * tunnel. NULL: out of memory. */
struct MHD_Response *tunnel_response(struct http_exchange *exchange) MUST_CHECK;

/** Called when the tunnel's source has bytes or room. */
void tunnel_wake(struct tunnel *tunnel);

/** Does the work that is due. True: there is more work. */
bool tunnels_turn(struct tunnels *tunnels);

/** Breaks off all tunnels. */
void tunnels_close(struct tunnels *tunnels);

#endif
