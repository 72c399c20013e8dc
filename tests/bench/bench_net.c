/* Sockets, epoll and the heads of HTTP messages, for the benchmarks: see bench.h. */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- sockets --------------------------------------------------------------------------------------- */
/* ---- sockets --------------------------------------------------------------------------------------- */

int64_t descriptors_raise(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die_errno("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        die_errno("setrlimit");
    return (int64_t)limit.rlim_cur;
}

static struct sockaddr_in loopback(uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void set_no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int listen_on(uint16_t port, bool shares) {
    struct sockaddr_in address = loopback(port);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        die_errno("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (shares)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die_errno("bind to port %u", port);
    if (listen(fd, 4096) < 0)
        die_errno("listen");
    return fd;
}

int tcp_listen(uint16_t port) {
    return listen_on(port, false);
}

int tcp_listen_shared(uint16_t port) {
    return listen_on(port, true);
}

uint16_t tcp_port(int fd) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        die_errno("getsockname");
    return ntohs(address.sin_port);
}

int tcp_try_connect(uint16_t port) {
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die_errno("socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    set_no_delay(fd);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

int tcp_connect(uint16_t port) {
    int fd = tcp_try_connect(port);
    if (fd < 0)
        die_errno("connect to port %u", port);
    return fd;
}

int tcp_accept(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        set_no_delay(fd);
    else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        die_errno("accept");
    return fd;
}

void tcp_close_hard(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

int poll_create(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        die_errno("epoll_create1");
    return fd;
}

static void poll_control(int poll_fd, int operation, int fd, uint32_t events, void *owner) {
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(poll_fd, operation, fd, &event) < 0)
        die_errno("epoll_ctl");
}

void poll_add(int poll_fd, int fd, uint32_t events, void *owner) {
    poll_control(poll_fd, EPOLL_CTL_ADD, fd, events, owner);
}

void poll_change(int poll_fd, int fd, uint32_t events, void *owner) {
    poll_control(poll_fd, EPOLL_CTL_MOD, fd, events, owner);
}

void poll_remove(int poll_fd, int fd) {
    poll_control(poll_fd, EPOLL_CTL_DEL, fd, 0, NULL);
}

int poll_wait(int poll_fd, struct epoll_event *events, int events_max, int timeout_ms) {
    int ready = epoll_wait(poll_fd, events, events_max, timeout_ms);
    if (ready < 0 && errno != EINTR)
        die_errno("epoll_wait");
    return ready < 0 ? 0 : ready;
}

/* ---- heads of HTTP messages ------------------------------------------------------------------------ */

size_t http_head_length(const char *bytes, size_t length) {
    const char *end = memmem(bytes, length, "\r\n\r\n", 4);
    return end != NULL ? (size_t)(end - bytes) + 4 : 0;
}

const char *http_field(const char *head, size_t head_length, const char *name, size_t *ret_length) {
    size_t name_length = strlen(name);
    const char *end = head + head_length;
    for (const char *line = memchr(head, '\n', head_length); line != NULL;
         line = memchr(line, '\n', (size_t)(end - line))) {
        line++;
        if ((size_t)(end - line) <= name_length || line[name_length] != ':' ||
            strncasecmp(line, name, name_length) != 0)
            continue;
        const char *value = line + name_length + 1;
        const char *value_end = memchr(value, '\r', (size_t)(end - value));
        if (value_end == NULL)
            return NULL;
        while (value < value_end && *value == ' ')
            value++;
        while (value < value_end && value_end[-1] == ' ')
            value_end--;
        *ret_length = (size_t)(value_end - value);
        return value;
    }
    return NULL;
}

bool http_field_is(const char *head, size_t head_length, const char *name, const char *value) {
    size_t length;
    const char *is = http_field(head, head_length, name, &length);
    return is != NULL && length == strlen(value) && strncasecmp(is, value, length) == 0;
}

int64_t http_content_length(const char *head, size_t head_length, int64_t otherwise) {
    size_t length;
    int64_t number;
    const char *text = http_field(head, head_length, "content-length", &length);
    if (text == NULL)
        return otherwise;
    if (!number_read(&text, " \r", 0, INT64_MAX, &number))
        die("a bad Content-Length");
    return number;
}

int http_status(const char *head, size_t head_length) {
    static const char start[] = "HTTP/1.";
    if (head_length < 14 || memcmp(head, start, strlen(start)) != 0)
        return 0;
    return atoi(head + strlen("HTTP/1.1 "));
}
