/* Takes connections from a listening socket.
 *
 * In one turn of the loop a bounded number is taken, so that connections at hand are served in between.
 * Without descriptors left, the socket stays readable and would wake the loop for ever. So it is left alone
 * for a while; the connections wait in the kernel, and clients see a slow accept instead of a refusal. */
#include "http/acceptor.h"

#include "base/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Connections taken in one turn of the loop, so that those at hand are served in between. */
#define TAKEN_MAX 64
/* How long to leave the socket alone when there are no descriptors left: nothing tells when there are. */
#define PAUSE_MS 100

struct acceptor {
    uv_poll_t poll;
    uv_timer_t pause;
    int socket;
    bool starved; /* told in the log, once until it gets better */
    void (*take)(void *context, int fd, const struct sockaddr *peer, socklen_t length);
    void *context;
    int open_handles;
};

static void acceptor_on_readable(uv_poll_t *poll, int status, int events);

static void acceptor_on_pause_over(uv_timer_t *timer) {
    struct acceptor *acceptor = timer->data;
    uv_poll_start(&acceptor->poll, UV_READABLE, acceptor_on_readable);
}

static void note_starved(struct acceptor *acceptor, int error) {
    if (!acceptor->starved)
        /* glibc's strerror() has a buffer for each thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        log_warn("accept_failed", LOG_STR("message", strerror(error)));
    acceptor->starved = true;
}

/* Takes one connection. 0; -EAGAIN: there is none; another negative errno: there may be, but not now. */
static int take_one(struct acceptor *acceptor) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof(peer);
    int fd = accept4(acceptor->socket, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        acceptor->take(acceptor->context, fd, (const struct sockaddr *)&peer, length);
        return 0;
    }
    bool was_lost = errno == ECONNABORTED || errno == EINTR || errno == EPROTO; /* the next one may be fine */
    return was_lost ? 0 : -errno;
}

static void acceptor_on_readable(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    struct acceptor *acceptor = poll->data;
    int result = 0;
    for (int taken = 0; result == 0 && taken < TAKEN_MAX; taken++)
        result = take_one(acceptor);
    if (result == -EAGAIN)
        acceptor->starved = false;
    if (result == 0 || result == -EAGAIN)
        return;
    note_starved(acceptor, -result);
    uv_poll_stop(&acceptor->poll);
    uv_timer_start(&acceptor->pause, acceptor_on_pause_over, PAUSE_MS, 0);
}

struct acceptor *acceptor_create(uv_loop_t *loop, int socket,
                                 void (*take)(void *context, int fd, const struct sockaddr *peer,
                                              socklen_t length),
                                 void *context) {
    struct acceptor *acceptor = calloc(1, sizeof(*acceptor));
    if (acceptor == NULL)
        return NULL;
    if (uv_poll_init(loop, &acceptor->poll, socket) < 0) {
        free(acceptor);
        return NULL;
    }
    acceptor->socket = socket;
    acceptor->take = take;
    acceptor->context = context;
    acceptor->poll.data = acceptor->pause.data = acceptor;
    acceptor->open_handles = 2;
    uv_timer_init(loop, &acceptor->pause);
    uv_poll_start(&acceptor->poll, UV_READABLE, acceptor_on_readable);
    return acceptor;
}

static void acceptor_on_closed(uv_handle_t *handle) {
    struct acceptor *acceptor = handle->data;
    if (--acceptor->open_handles == 0)
        free(acceptor);
}

void acceptor_close(struct acceptor *acceptor) {
    while (take_one(acceptor) == 0)
        ;
    uv_close((uv_handle_t *)&acceptor->poll, acceptor_on_closed);
    uv_close((uv_handle_t *)&acceptor->pause, acceptor_on_closed);
    close(acceptor->socket);
}
