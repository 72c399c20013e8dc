/* Closes connections whose client may still be sending. To close over bytes that were not read resets the
 * connection, and the client may lose the answer that it was sent (RFC 9112, section 9.6): so our side is
 * ended, and what comes is thrown away, for a while.
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

/** Takes over the connected, non-blocking socket `fd` and closes it: once the client has ended its side, or
 * has had its time, or at once if too many linger already. */
void lingering_close(struct lingering *lingering, int fd);

/** Reads, up to a limit, what a client sent to `fd` that nobody will look at: before it is closed at once. */
void socket_discard_input(int fd);

/** Closes those that are left. */
void lingering_finish(struct lingering *lingering);

#endif
