/* Where events go to, for sse_load: see event_feed.h. */
#include "tests/bench/event_feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_BYTES_MAX (1 << 20)
#define OUT_BYTES_MAX (8 << 20)

static void must(bool done) {
    if (!done)
        die("a message of the feed is too large");
}

/* ---- connections --------------------------------------------------------------------------------- */

static struct feed_connection *connection_open(struct feed *feed, int fd) {
    struct feed_connection *connection = feed->connections;
    while (connection < feed->connections + FEED_CONNECTIONS_MAX && connection->fd >= 0)
        connection++;
    if (connection == feed->connections + FEED_CONNECTIONS_MAX)
        die("the server opened more than %d connections to its source", FEED_CONNECTIONS_MAX);
    *connection = (struct feed_connection){.feed = feed, .fd = fd};
    buffer_init(&connection->in, IN_BYTES_MAX);
    buffer_init(&connection->out, OUT_BYTES_MAX);
    poll_add(feed->poll_fd, fd, EPOLLIN, connection);
    return connection;
}

static void connection_close(struct feed_connection *connection) {
    if (connection == connection->feed->stream)
        die("the server closed the connection that the events go over");
    close(connection->fd);
    connection->fd = -1;
    buffer_finish(&connection->in);
    buffer_finish(&connection->out);
}

static void connection_flush(struct feed_connection *connection) {
    struct buffer *out = &connection->out;
    ssize_t sent = out->length > 0 ? send(connection->fd, out->bytes, out->length, MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN)
        die_errno("send to the server");
    buffer_consume(out, sent > 0 ? (size_t)sent : 0);
    bool waits = out->length > 0;
    if (waits != connection->waits_for_room)
        poll_change(connection->feed->poll_fd, connection->fd, waits ? EPOLLIN | EPOLLOUT : EPOLLIN,
                    connection);
    connection->waits_for_room = waits;
}

static void feed_init(struct feed *feed, int poll_fd) {
    *feed = (struct feed){.poll_fd = poll_fd, .listener = -1};
    for (size_t i = 0; i < FEED_CONNECTIONS_MAX; i++)
        feed->connections[i].fd = -1;
}

/* ---- the source ---------------------------------------------------------------------------------- */

void feed_listen(struct feed *feed, int poll_fd, uint16_t port) {
    feed_init(feed, poll_fd);
    feed->listener = tcp_listen(port);
    poll_add(poll_fd, feed->listener, EPOLLIN, feed);
}

static void begin_stream(struct feed_connection *connection, bool is_chunked) {
    struct feed *feed = connection->feed;
    if (feed->stream != NULL)
        die("the server asked for the events twice");
    must(buffer_append_text(&connection->out,
                            is_chunked ? "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                         "Transfer-Encoding: chunked\r\n\r\n"
                                       : "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"));
    feed->stream = connection;
    feed->is_chunked = is_chunked;
}

static bool is_in_first_line(const char *head, size_t length, const char *text) {
    const char *end = memchr(head, '\r', length);
    return end != NULL && memmem(head, (size_t)(end - head), text, strlen(text)) != NULL;
}

/* Answers one request that has come whole; false if there is none. */
static bool answer_request(struct feed_connection *connection) {
    const char *head = connection->in.bytes;
    size_t length = http_head_length(head, connection->in.length);
    if (length == 0)
        return false;
    size_t whole = length + (size_t)http_content_length(head, length, 0);
    if (connection->in.length < whole)
        return false;
    if (is_in_first_line(head, length, "/sessions"))
        must(buffer_append_text(&connection->out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                                  "Content-Length: 2\r\n\r\n{}"));
    else
        begin_stream(connection, is_in_first_line(head, length, "HTTP/1.1"));
    buffer_consume(&connection->in, whole);
    return true;
}

/* ---- publishing ---------------------------------------------------------------------------------- */

void feed_publish_to(struct feed *feed, int poll_fd, const char *url, const char *headers, const char *body) {
    struct url at = url_read(url);
    feed_init(feed, poll_fd);
    feed->stream = connection_open(feed, tcp_connect(at.port));
    buffer_init(&feed->request_head, IN_BYTES_MAX);
    must(buffer_printf(&feed->request_head, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%sContent-Length: ",
                       at.path, at.port, headers));
    const char *place = body != NULL ? strstr(body, "%s") : NULL;
    if (body != NULL && place == NULL)
        die("the body to publish has no %%s");
    feed->body_before = place != NULL ? strndup(body, (size_t)(place - body)) : "";
    feed->body_after = place != NULL ? place + 2 : "";
}

/* Reads one answer that has come whole; false if there is none. */
static bool read_answer(struct feed_connection *connection) {
    const char *head = connection->in.bytes;
    size_t length = http_head_length(head, connection->in.length);
    if (length == 0)
        return false;
    int status = http_status(head, length);
    if (status < 200 || status > 299)
        die("publishing was answered %d", status);
    if (http_field_is(head, length, "transfer-encoding", "chunked"))
        die("publishing was answered in chunks, which is not read here");
    size_t whole = length + (size_t)http_content_length(head, length, 0);
    if (connection->in.length < whole)
        return false;
    buffer_consume(&connection->in, whole);
    if (connection->feed->unanswered-- == 0)
        die("more answers than events that were published");
    return true;
}

/* ---- both ---------------------------------------------------------------------------------------- */

bool feed_owns(const struct feed *feed, const void *owner) {
    const struct feed_connection *connection = owner;
    return owner == feed ||
           (connection >= feed->connections && connection < feed->connections + FEED_CONNECTIONS_MAX);
}

static void connection_read(struct feed_connection *connection) {
    char bytes[16 * 1024];
    ssize_t length = recv(connection->fd, bytes, sizeof bytes, 0);
    if (length == 0 || (length < 0 && errno != EAGAIN)) {
        connection_close(connection);
        return;
    }
    must(buffer_append(&connection->in, bytes, length > 0 ? (size_t)length : 0));
    bool publishes = connection->feed->listener < 0;
    while (connection->in.length > 0 && (publishes ? read_answer(connection) : answer_request(connection)))
        continue;
    connection_flush(connection);
}

void feed_on_ready(struct feed *feed, void *owner, uint32_t events) {
    if (owner == feed) {
        int fd = tcp_accept(feed->listener);
        if (fd >= 0)
            connection_open(feed, fd);
        return;
    }
    struct feed_connection *connection = owner;
    if ((events & EPOLLOUT) != 0)
        connection_flush(connection);
    if ((events & ~(uint32_t)EPOLLOUT) != 0)
        connection_read(connection);
}

void feed_event(struct feed *feed, const char *event, size_t length) {
    struct buffer *out = &feed->stream->out;
    if (feed->listener < 0) {
        size_t body = strlen(feed->body_before) + length + strlen(feed->body_after);
        must(buffer_append(out, feed->request_head.bytes, feed->request_head.length) &&
             buffer_printf(out, "%zu\r\n\r\n%s", body, feed->body_before) &&
             buffer_append(out, event, length) && buffer_append_text(out, feed->body_after));
        feed->unanswered++;
        return;
    }
    if (feed->is_chunked)
        must(buffer_printf(out, "%zx\r\n", length + strlen("data: \n\n")));
    must(buffer_append_text(out, "data: ") && buffer_append(out, event, length) &&
         buffer_append_text(out, feed->is_chunked ? "\n\n\r\n" : "\n\n"));
}

void feed_flush(struct feed *feed) {
    connection_flush(feed->stream);
}

void feed_finish(struct feed *feed) {
    if (feed->listener >= 0 && feed->is_chunked)
        must(buffer_append_text(&feed->stream->out, "0\r\n\r\n"));
    connection_flush(feed->stream);
}
