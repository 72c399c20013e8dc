/* Closes connections whose client may still be sending.
 *
 * The gateway ends its own side, then reads and throws away until the client ends its side or 2 s are over.
 * Each turn of the loop reads one piece of each, so a fast sender gets no more than the others. Over a
 * maximum of connections one is closed at once, after a bounded read: its client may lose the answer then. */
#include "http/lingering.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT_MAX 256
#define TIME_MS 2000
/* What is read of one client in one turn of the loop. */
#define READ_BYTES 65536
/* What is read of one client that is closed at once. */
#define DISCARD_BYTES_MAX (64 * 1024)

struct lingerer {
    struct lingering *lingering;
    uv_poll_t poll;
    uv_timer_t timer;
    int fd;
    int open_handles;
    LIST_ENTRY(lingerer) entry;
};

static void lingering_on_closed(uv_handle_t *handle) {
    struct lingerer *lingerer = handle->data;
    if (--lingerer->open_handles == 0)
        free(lingerer);
}

static void lingerer_close(struct lingerer *lingerer) {
    LIST_REMOVE(lingerer, entry);
    lingerer->lingering->count--;
    uv_close((uv_handle_t *)&lingerer->poll, lingering_on_closed);
    uv_close((uv_handle_t *)&lingerer->timer, lingering_on_closed);
    close(lingerer->fd);
}

static void lingering_on_timer(uv_timer_t *timer) {
    lingerer_close(timer->data);
}

static void lingering_on_readable(uv_poll_t *poll, int status, int events) {
    (void)events;
    struct lingerer *lingerer = poll->data;
    char bytes[READ_BYTES];
    ssize_t count = recv(lingerer->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    bool goes_on = count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
    if (status < 0 || !goes_on)
        lingerer_close(lingerer);
}

void lingering_init(struct lingering *lingering, uv_loop_t *loop) {
    lingering->loop = loop;
    lingering->count = 0;
    LIST_INIT(&lingering->list);
}

void lingering_close(struct lingering *lingering, int fd) {
    struct lingerer *lingerer = lingering->count < COUNT_MAX ? calloc(1, sizeof(*lingerer)) : NULL;
    shutdown(fd, SHUT_WR);
    if (lingerer == NULL || uv_poll_init(lingering->loop, &lingerer->poll, fd) < 0) {
        free(lingerer);
        socket_discard_input(fd);
        close(fd);
        return;
    }
    lingerer->lingering = lingering;
    lingerer->fd = fd;
    lingerer->open_handles = 2;
    lingerer->poll.data = lingerer->timer.data = lingerer;
    LIST_INSERT_HEAD(&lingering->list, lingerer, entry);
    lingering->count++;
    uv_timer_init(lingering->loop, &lingerer->timer);
    uv_timer_start(&lingerer->timer, lingering_on_timer, TIME_MS, 0);
    uv_poll_start(&lingerer->poll, UV_READABLE, lingering_on_readable);
}

void lingering_finish(struct lingering *lingering) {
    while (!LIST_EMPTY(&lingering->list))
        lingerer_close(LIST_FIRST(&lingering->list));
}

void socket_discard_input(int fd) {
    char bytes[4096];
    ssize_t count = 1;
    for (size_t total = 0; count > 0 && total < DISCARD_BYTES_MAX; total += (size_t)count) {
        count = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (count < 0)
            break;
    }
}
