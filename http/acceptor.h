/* Accepts connections from a listening socket on a loop. libmicrohttpd is not used for that: it stops
 * listening when the process runs out of descriptors, or at its limit. In external mode nothing makes it
 * listen again.
 *
 * Everything is called on the loop's thread.
 */
#ifndef SLUICE_HTTP_ACCEPTOR_H
#define SLUICE_HTTP_ACCEPTOR_H

#include "base/attributes.h"

#include <sys/socket.h>
#include <uv.h>

struct acceptor;

/** Calls `take` with each connection, non-blocking and close-on-exec; `take` then owns the connection.
 * `socket` (listening, non-blocking) is taken over on success. While no descriptors are left, connections
 * wait in the kernel. NULL: out of memory. */
struct acceptor *acceptor_create(uv_loop_t *loop, int socket,
                                 void (*take)(void *context, int fd, const struct sockaddr *peer,
                                              socklen_t length),
                                 void *context) MUST_CHECK;

/** Accepts the waiting connections, then closes the socket. The loop frees the rest. */
void acceptor_close(struct acceptor *acceptor);

#endif
