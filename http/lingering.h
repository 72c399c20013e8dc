/* Closes connections whose client may still be sending. A close before all bytes are read resets the
 * connection, and the client may lose its answer (RFC 9112, section 9.6). So the gateway ends its own side
 * and discards further bytes for a while.
 *
 * On one loop's thread.
 */
#ifndef SLUICE_HTTP_LINGERING_H
#define SLUICE_HTTP_LINGERING_H

#include <stddef.h>
#include <sys/queue.h>
#include <uv.h>

LIST_HEAD(lingerer_list, lingerer);

struct lingering {
    uv_loop_t *loop;
    struct lingerer_list list;
    size_t count;
};

void lingering_init(struct lingering *lingering, uv_loop_t *loop);

/** Takes over the connected, non-blocking socket `fd`. Closes it when the client has ended its side or its
 * time is over, or at once if too many sockets linger already. */
void lingering_close(struct lingering *lingering, int fd);

/** Reads and discards, up to a limit, the bytes that a client sent to `fd`. Called before `fd` is closed at
 * once. */
void socket_discard_input(int fd);

/** Closes all lingering sockets. */
void lingering_finish(struct lingering *lingering);

#endif
