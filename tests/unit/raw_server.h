/* A server for tests that answers bytes as scripted: what a proper HTTP library would not let out.
 *
 *     static void serve(struct raw_server *server, int fd, size_t connection) {
 *         while (raw_server_read(server, fd))
 *             raw_server_write(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
 *     }
 *     raw_server_start(&server, serve);
 *
 * Each connection has a thread that runs the script; the connection is closed when it returns.
 */
#ifndef SLUICE_TESTS_UNIT_RAW_SERVER_H
#define SLUICE_TESTS_UNIT_RAW_SERVER_H

#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RAW_CONNECTIONS_MAX 32
#define RAW_REQUEST_BYTES_MAX 8192
#define RAW_LOG_BYTES_MAX 65536

struct raw_server {
    int fd;
    int port;
    void (*serve)(struct raw_server *server, int fd, size_t connection);
    pthread_t acceptor;
    pthread_mutex_t mutex;
    size_t connections; /* those below are guarded by the mutex */
    size_t requests;
    char log[RAW_LOG_BYTES_MAX]; /* all requests, one behind the other */
    int fds[RAW_CONNECTIONS_MAX];
    pthread_t threads[RAW_CONNECTIONS_MAX];
};

/** A socket of 127.0.0.1 at a free port; nobody listens on it yet. */
static inline int raw_server_bind(int *ret_port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = bind(fd, (struct sockaddr *)&address, size);
    failed |= getsockname(fd, (struct sockaddr *)&address, &size);
    assert(fd >= 0 && failed == 0);
    *ret_port = ntohs(address.sin_port);
    return failed == 0 ? fd : -1;
}

struct raw_connection {
    struct raw_server *server;
    size_t index;
    int fd;
};

static inline void *raw_server_run_connection(void *context) {
    struct raw_connection *connection = context;
    struct raw_server *server = connection->server;
    server->serve(server, connection->fd, connection->index);
    pthread_mutex_lock(&server->mutex);
    if (server->fds[connection->index] >= 0)
        close(connection->fd);
    server->fds[connection->index] = -1;
    pthread_mutex_unlock(&server->mutex);
    free(connection);
    return NULL;
}

/* accept() takes a descriptor before it waits: tests that count descriptors must not meet that one. */
static inline int raw_server_await(struct raw_server *server) {
    poll(&(struct pollfd){.fd = server->fd, .events = POLLIN}, 1, -1);
    return accept(server->fd, NULL, NULL);
}

static inline void *raw_server_accept(void *context) {
    struct raw_server *server = context;
    for (int fd; (fd = raw_server_await(server)) >= 0;) {
        struct raw_connection *connection = malloc(sizeof *connection);
        assert(connection != NULL && server->connections < RAW_CONNECTIONS_MAX);
        pthread_mutex_lock(&server->mutex);
        size_t index = server->connections++;
        *connection = (struct raw_connection){.server = server, .index = index, .fd = fd};
        server->fds[index] = fd;
        pthread_create(&server->threads[index], NULL, raw_server_run_connection, connection);
        pthread_mutex_unlock(&server->mutex);
    }
    return NULL;
}

static inline void raw_server_start(struct raw_server *server,
                                    void (*serve)(struct raw_server *server, int fd, size_t connection)) {
    *server = (struct raw_server){.serve = serve};
    pthread_mutex_init(&server->mutex, NULL);
    server->fd = raw_server_bind(&server->port);
    listen(server->fd, RAW_CONNECTIONS_MAX);
    pthread_create(&server->acceptor, NULL, raw_server_accept, server);
}

/** Breaks what is still open and waits for the threads. */
static inline void raw_server_stop(struct raw_server *server) {
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->acceptor, NULL);
    close(server->fd);
    pthread_mutex_lock(&server->mutex);
    for (size_t i = 0; i < server->connections; i++) {
        if (server->fds[i] >= 0)
            shutdown(server->fds[i], SHUT_RDWR);
    }
    pthread_mutex_unlock(&server->mutex);
    for (size_t i = 0; i < server->connections; i++)
        pthread_join(server->threads[i], NULL);
    pthread_mutex_destroy(&server->mutex);
}

static inline size_t raw_server_connections(struct raw_server *server) {
    pthread_mutex_lock(&server->mutex);
    size_t connections = server->connections;
    pthread_mutex_unlock(&server->mutex);
    return connections;
}

/** Connections that the server has not closed yet. */
static inline size_t raw_server_open(struct raw_server *server) {
    size_t open = 0;
    pthread_mutex_lock(&server->mutex);
    for (size_t i = 0; i < server->connections; i++)
        open += server->fds[i] >= 0 ? 1 : 0;
    pthread_mutex_unlock(&server->mutex);
    return open;
}

static inline size_t raw_server_requests(struct raw_server *server) {
    pthread_mutex_lock(&server->mutex);
    size_t requests = server->requests;
    pthread_mutex_unlock(&server->mutex);
    return requests;
}

/** Whether the requests so far contain `text`. */
static inline bool raw_server_was_sent(struct raw_server *server, const char *text) {
    pthread_mutex_lock(&server->mutex);
    bool found = strstr(server->log, text) != NULL;
    pthread_mutex_unlock(&server->mutex);
    return found;
}

/** Reads one request with its body. False: the other side has closed. */
static inline bool raw_server_read(struct raw_server *server, int fd) {
    char request[RAW_REQUEST_BYTES_MAX];
    size_t length = 0, needed = SIZE_MAX;
    while (length < needed) {
        ssize_t count = recv(fd, request + length, sizeof request - 1 - length, 0);
        if (count <= 0)
            return false;
        length += (size_t)count;
        request[length] = '\0';
        const char *body = strstr(request, "\r\n\r\n");
        const char *size = strstr(request, "Content-Length: ");
        if (body != NULL)
            needed = (size_t)(body + 4 - request) + (size != NULL ? strtoul(size + 16, NULL, 10) : 0);
    }
    pthread_mutex_lock(&server->mutex);
    server->requests++;
    strncat(server->log, request, sizeof server->log - strlen(server->log) - 1);
    pthread_mutex_unlock(&server->mutex);
    return true;
}

/** Writes; false: the other side has closed. */
static inline bool raw_server_write(int fd, const char *text) {
    size_t length = strlen(text);
    while (length > 0) {
        ssize_t count = send(fd, text, length, MSG_NOSIGNAL);
        if (count <= 0)
            return false;
        text += count;
        length -= (size_t)count;
    }
    return true;
}

/** Writes `text` as a chunk. */
static inline bool raw_server_write_chunk(int fd, const char *text) {
    char line[32];
    snprintf(line, sizeof line, "%zx\r\n", strlen(text));
    return raw_server_write(fd, line) && raw_server_write(fd, text) && raw_server_write(fd, "\r\n");
}

/** Waits until the other side closes. */
static inline void raw_server_hold(int fd) {
    char bytes[256];
    while (recv(fd, bytes, sizeof bytes, 0) > 0) {
    }
}

/** Closes a connection before its script ends, which may not use it any more. */
static inline void raw_server_close(struct raw_server *server, size_t connection) {
    pthread_mutex_lock(&server->mutex);
    close(server->fds[connection]);
    server->fds[connection] = -1;
    pthread_mutex_unlock(&server->mutex);
}

/** What the script closes at its end is reset, not closed in order. */
static inline void raw_server_reset(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

#endif
