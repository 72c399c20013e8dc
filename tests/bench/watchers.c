/* Idle subscribers, each of a session of its own.
 *
 *     watchers --port 8080 --path '/apps/bench/users/u/sessions/s{n}/run' --count 15000
 *
 * Subscriber i reads the path with i in place of {n}. It prints "ready" when all have been answered, and then
 * holds them until a signal ends it. A subscriber that is refused or ended ends the program.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ARRIVING_MAX 128 /* that have no answer yet */
#define COUNT_MAX 65536
#define EVENTS_AT_ONCE 512

static struct watcher {
    int fd;
    bool answered;
} watchers[COUNT_MAX];

static int64_t port, count;
static const char *path;
static int poll_fd;

static void watcher_join(int64_t number) {
    struct watcher *watcher = &watchers[number];
    const char *at = strstr(path, "{n}");
    char request[1024];
    int length = snprintf(request, sizeof request,
                          "GET %.*s%" PRId64 "%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                          "Accept: text/event-stream\r\n\r\n",
                          (int)(at - path), path, number, at + 3);
    if (length >= (int)sizeof request)
        die("--path is too long");
    watcher->fd = tcp_connect((uint16_t)port);
    if (send(watcher->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
        die_errno("send");
    poll_add(poll_fd, watcher->fd, EPOLLIN, watcher);
}

/* Returns whether this was its first answer. */
static bool watcher_read(struct watcher *watcher) {
    char bytes[4096];
    ssize_t length = recv(watcher->fd, bytes, sizeof bytes, 0);
    if (length < 0 && errno == EAGAIN)
        return false;
    if (length <= 0)
        die("subscriber %td was ended", watcher - watchers);
    bool is_first = !watcher->answered;
    if (is_first && http_status(bytes, (size_t)length) != 200)
        die("subscriber %td was answered %d", watcher - watchers, http_status(bytes, (size_t)length));
    watcher->answered = true;
    return is_first;
}

static void hold(void) {
    for (int64_t joined = 0, answered = 0;;) {
        while (joined < count && joined - answered < ARRIVING_MAX)
            watcher_join(joined++);
        struct epoll_event events[EVENTS_AT_ONCE];
        int ready = poll_wait(poll_fd, events, EVENTS_AT_ONCE, 1000);
        int64_t fresh = 0;
        for (int i = 0; i < ready; i++)
            fresh += watcher_read(events[i].data.ptr);
        answered += fresh;
        if (fresh > 0 && answered == count) {
            printf("ready\n");
            fflush(stdout);
        }
    }
}

int main(int argc, char **argv) {
    const struct option_spec options[] = {
        {.name = "port",
         .value = "PORT",
         .help = "of the gateway",
         .number = &port,
         .min = 1,
         .max = 65535,
         .required = true},
        {.name = "path", .value = "TEMPLATE", .help = "to read, with {n}", .text = &path, .required = true},
        {.name = "count",
         .value = "N",
         .help = "subscribers",
         .number = &count,
         .min = 1,
         .max = COUNT_MAX,
         .required = true},
        {0},
    };
    options_read(argc, argv, "usage: watchers --port PORT --path TEMPLATE --count N", options);
    if (strstr(path, "{n}") == NULL)
        die("--path has no {n}");
    if (count + 16 > descriptors_raise())
        die("there are not descriptors enough for %" PRId64 " subscribers", count);
    poll_fd = poll_create();
    hold();
    return 0;
}
