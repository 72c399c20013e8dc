/* One HTTP request and its answer between libmicrohttpd and the routes. Private to the listener. */
#ifndef SLUICE_HTTP_EXCHANGE_H
#define SLUICE_HTTP_EXCHANGE_H

#include "base/buffer.h"
#include "http/acceptor.h"
#include "http/body.h"
#include "http/connection.h"
#include "http/lingering.h"
#include "http/listener.h"
#include "http/progress.h"
#include "http/tunnel.h"
#include "routes/request.h"

#include <microhttpd.h>
#include <sys/queue.h>

#define GREETING_SIZE 64

struct http_exchange {
    struct request request;
    struct http_listener *listener;
    struct http_connection *connection;
    struct MHD_Connection *handle; /* the library's handle of the connection */
    LIST_ENTRY(http_exchange) entry;
    char *uri;           /* the target as it came; request.path and request.query point into it */
    uintptr_t uri_place; /* address of the target in the library's memory */
    size_t uri_length;
    struct buffer body;
    size_t memory;       /* memory of the exchange, without parts that charge their own */
    bool begun;          /* the head has been checked */
    bool arrived;        /* all of the request has come, or the rest is not wanted */
    bool asked_to_close; /* the client asked to close the connection after the answer */
    bool offends;        /* the request is invalid and has been logged */
    bool has_own_body;   /* the library does not see the body's end: see http/body.h */
    struct chunks chunks;
    bool cut_off;     /* answered before all of it came; the connection will be closed */
    bool suspended;   /* libmicrohttpd waits for us */
    bool has_no_room; /* the head leaves the library no memory to write an answer */
    bool is_stuck;    /* cut off because the library's buffer is full */
    unsigned probes;  /* probes of the buffer: for this and the next field see http/progress.c */
    bool leaves_input;
    struct tunnel *tunnel; /* the tunnel that the connection has become, or NULL */
    /* for an event stream: */
    char greeting[GREETING_SIZE];
    size_t greeting_length, greeting_sent;
    bool is_greeted; /* head and greeting are in the kernel, so the stream can be taken over */
    int handed_fd;   /* our duplicate of the descriptor, before the stream's head is sent; else -1 */
};

LIST_HEAD(http_exchange_list, http_exchange);

struct http_listener {
    struct routes_context *context;
    struct http_listener_settings settings;
    struct MHD_Daemon *daemon;
    struct acceptor *acceptor; /* NULL once quiesced */
    struct lingering lingering;
    struct address_limits *limits;
    struct address *arriving; /* address of the connection that the library is being given */
    struct log_limit offences;
    struct http_progress progress;
    struct tunnels tunnels;
    struct http_connection_list awaited; /* connections that await a request or the rest of one */
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    bool ready;   /* libmicrohttpd has something to do */
    bool is_left; /* the library has just left a stream's connection, and logs that as an error */
    bool closing; /* no connection may be suspended any more */
    struct http_exchange_list exchanges;
};

/** Makes an exchange for a request line. NULL: out of memory. */
struct http_exchange *http_exchange_create(struct http_listener *listener, const char *uri,
                                           struct MHD_Connection *handle);

/** Frees the exchange, and connects or destroys the subscriber of its reply. `ended_well`: all of the answer
 * was sent. */
void http_exchange_finish(struct http_exchange *exchange, bool ended_well);

/** Abandons an exchange that libmicrohttpd waits for: its answer breaks off. */
void http_exchange_abandon(struct http_exchange *exchange);

/** Answers a request that did not arrive in time. The caller then closes its connection. */
void http_exchange_time_out(struct http_exchange *exchange);

/** Answers a request that does not fit the library's buffer, and lets the library close its connection. */
void http_exchange_end_stuck(struct http_exchange *exchange);

/** libmicrohttpd's access handler for an exchange. */
enum MHD_Result http_exchange_handle(struct http_exchange *exchange, const char *method, const char *version,
                                     const char *upload, size_t *upload_length);

/** Takes more of the body. Without room for it, answers so and returns MHD_NO. */
enum MHD_Result http_exchange_take_upload(struct http_exchange *exchange, const char *upload, size_t length);

/** Lets the routes answer or defer a request that has come completely, unless they did so before. */
void http_exchange_route(struct http_exchange *exchange);

/** Logs that the request is invalid. Its reply is decided. */
void http_exchange_offend(struct http_exchange *exchange, const char *reason);

/** Queues the decided reply (http/reply.c). */
enum MHD_Result http_exchange_queue_reply(struct http_exchange *exchange);

/** Writes the decided reply, which is a body, to the socket directly, because the library accepts no reply
 * while a request still arrives. Bytes that the socket has no room for are lost. */
void http_exchange_write_reply(struct http_exchange *exchange);

/** Writes the head of an event stream and its greeting to the socket directly. The connection can then be
 * handed over. */
void http_exchange_write_stream(struct http_exchange *exchange);

/** Suspends and resumes the connection. */
void http_exchange_suspend(struct http_exchange *exchange);
void http_exchange_resume(struct http_exchange *exchange);

#endif
