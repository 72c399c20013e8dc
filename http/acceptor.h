/* Takes connections from a listening socket on a loop. Why not libmicrohttpd: it stops listening when the
 * process runs out of descriptors, or at its limit, and in external mode nothing ever makes it listen again.
 *
 * Everything is called on the loop's thread.
 */
#ifndef SLUICE_HTTP_ACCEPTOR_H
#define SLUICE_HTTP_ACCEPTOR_H

#include "base/attributes.h"

#include <sys/socket.h>
#include <uv.h>

struct acceptor;

/** Calls `take` with each connection, non-blocking and close-on-exec, which owns it then. `socket`
 * (listening, non-blocking) is taken over on success. Without descriptors left, connections wait in the
 * kernel until there are some again. NULL: out of memory. */
struct acceptor *acceptor_create(uv_loop_t *loop, int socket,
                                 void (*take)(void *context, int fd, const struct sockaddr *peer,
                                              socklen_t length),
                                 void *context) MUST_CHECK;

/** Takes the connections that are waiting, then closes the socket; the loop frees the rest. */
void acceptor_close(struct acceptor *acceptor);

#endif
