/* The sockets of a client's connections, and whether a kept one may still be used.
 *
 * libcurl looks at a kept connection before it uses it, but takes one for alive that was reset, that brings
 * bytes which nobody asked for, or whose end is a TLS alert. So the client looks itself, right before a
 * request is sent. libcurl names the connection by its ports alone then: hence the list of all sockets. */
#include "upstream/client_internal.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define CONNECTIONS_AT_FIRST 16

/** The ports are 0 until somebody asks for them. */
struct connection {
    int fd;
    in_port_t local_port, remote_port;
};

static bool make_room(struct connections *connections) {
    if (connections->count < connections->capacity)
        return true;
    size_t capacity = connections->capacity > 0 ? 2 * connections->capacity : CONNECTIONS_AT_FIRST;
    struct connection *items = realloc(connections->items, capacity * sizeof *items);
    if (items == NULL)
        return false;
    connections->items = items;
    connections->capacity = capacity;
    return true;
}

/* One that there is no memory for is not found, and so it is used once. */
int connections_open(struct connections *connections, const struct curl_sockaddr *address) {
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd >= 0 && make_room(connections))
        connections->items[connections->count++] = (struct connection){.fd = fd};
    return fd;
}

void connections_close(struct connections *connections, int fd) {
    for (size_t i = 0; i < connections->count; i++) {
        if (connections->items[i].fd != fd)
            continue;
        connections->items[i] = connections->items[--connections->count];
        break;
    }
    close(fd);
}

void connections_finish(struct connections *connections) {
    free(connections->items);
    *connections = (struct connections){0};
}

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static in_port_t port_of_address(const union address *address) {
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

static void learn_ports(struct connection *connection) {
    union address local = {0}, remote = {0};
    socklen_t local_size = sizeof local, remote_size = sizeof remote;
    if (getsockname(connection->fd, &local.any, &local_size) != 0 ||
        getpeername(connection->fd, &remote.any, &remote_size) != 0)
        return; /* it is still being connected */
    connection->local_port = port_of_address(&local);
    connection->remote_port = port_of_address(&remote);
}

int connections_find(struct connections *connections, int local_port, int remote_port) {
    for (size_t i = 0; i < connections->count; i++) {
        struct connection *connection = &connections->items[i];
        if (connection->local_port == 0)
            learn_ports(connection);
        if (connection->local_port == local_port && connection->remote_port == remote_port)
            return connection->fd;
    }
    return -1;
}

bool connection_is_quiet(int fd) {
    struct pollfd look = {.fd = fd, .events = POLLIN | POLLRDHUP};
    return poll(&look, 1, 0) == 0;
}
