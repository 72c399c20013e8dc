/* Where events go to, for sse_load: into the stream that the server under test reads from us, or to it by
 * requests.
 *
 *     feed_listen(&feed, 9000);              // or feed_publish_to(&feed, url, ...)
 *     feed_event(&feed, event, length);      // any number of them
 *     feed_flush(&feed);                     // in one write
 *
 * The stream is chunked with an event a chunk if the server asked by HTTP/1.1, else closed at its end.
 * Requests that create a session are answered {}.
 */
#ifndef SLUICE_TESTS_BENCH_EVENT_FEED_H
#define SLUICE_TESTS_BENCH_EVENT_FEED_H

#include "base/buffer.h"
#include "tests/bench/bench.h"

#define FEED_CONNECTIONS_MAX 16

/** A connection of the server's to us (source), or ours to it (publish). */
struct feed_connection {
    struct feed *feed;
    int fd; /* -1: none */
    bool waits_for_room;
    struct buffer in, out;
};

struct feed {
    int poll_fd;
    int listener;                   /* -1: events are published by requests */
    struct feed_connection *stream; /* where events go; NULL: the server has not asked yet */
    bool is_chunked;                /* the stream */
    struct feed_connection connections[FEED_CONNECTIONS_MAX];
    /* Publishing: */
    struct buffer request_head; /* up to Content-Length's value */
    const char *body_before, *body_after;
    uint64_t unanswered;
};

/** The server reads the events from `port`. Register the feed's listener and connections by feed_owns(). */
void feed_listen(struct feed *feed, int poll_fd, uint16_t port);

/** The events are posted to `url`, pipelined on one connection; `headers` are whole lines with CRLF. An event
 * stands in `body` where it has a %s, or alone if that is NULL. */
void feed_publish_to(struct feed *feed, int poll_fd, const char *url, const char *headers, const char *body);

/** Whether what epoll gave back is the feed's. */
bool feed_owns(const struct feed *feed, const void *owner);

/** What epoll said about one of the feed's. */
void feed_on_ready(struct feed *feed, void *owner, uint32_t events);

/** One more event, to be written by feed_flush(). */
void feed_event(struct feed *feed, const char *event, size_t length);

/** Writes what there is, as far as there is room; the rest goes when there is. */
void feed_flush(struct feed *feed);

/** Ends the stream as its framing wants it. */
void feed_finish(struct feed *feed);

#endif
