/* The sockets that the workers accept from.
 *
 * Each worker has one of its own, by SO_REUSEPORT, and the kernel spreads connections over them. With that
 * option a second gateway could quietly share the port. So an exclusive bind comes first, as a probe: it
 * fails if the port is taken, and it finds the port if the kernel may choose one. */
#include "server/listen_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel takes net.core.somaxconn if that is less */

static socklen_t make_address(const struct config_listen *listen, uint16_t port,
                              struct sockaddr_storage *out) {
    memset(out, 0, sizeof(*out));
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    if (inet_pton(AF_INET, listen->address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof(*v4);
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    inet_pton(AF_INET6, listen->address, &v6->sin6_addr);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    return sizeof(*v6);
}

/* A bound socket, or a negative errno. */
static int open_bound(const struct config_listen *listen, uint16_t port, bool shared) {
    struct sockaddr_storage address;
    socklen_t length = make_address(listen, port, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (shared)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&address, length) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static int port_of_socket(int fd, uint16_t *ret_port) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t length = sizeof(address);
    if (getsockname(fd, &address.any, &length) < 0)
        return -errno;
    *ret_port = ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    return 0;
}

/* Whether the port is ours to take: an exclusive bind fails where a shared one would quietly join in. */
static int probe_port(const struct config_listen *listen_on, uint16_t *ret_port) {
    int fd = open_bound(listen_on, listen_on->port, false);
    if (fd < 0)
        return fd;
    int result = port_of_socket(fd, ret_port);
    if (result == 0 && listen(fd, 1) < 0)
        result = -errno;
    close(fd);
    return result;
}

int listen_sockets_open(const struct config_listen *listen_on, size_t count, int *sockets,
                        uint16_t *ret_port) {
    uint16_t port = 0;
    int result = probe_port(listen_on, &port);
    size_t opened = 0;
    while (result == 0 && opened < count) {
        int fd = open_bound(listen_on, port, true);
        if (fd < 0)
            result = fd;
        else
            sockets[opened++] = fd;
        if (result == 0 && listen(fd, BACKLOG) < 0)
            result = -errno;
    }
    if (result == 0) {
        *ret_port = port;
        return 0;
    }
    while (opened > 0)
        close(sockets[--opened]);
    return result;
}
