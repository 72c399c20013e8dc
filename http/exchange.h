/* One HTTP request and its answer between libmicrohttpd and the routes. Private to the listener. */
#ifndef SLUICE_HTTP_EXCHANGE_H
#define SLUICE_HTTP_EXCHANGE_H

#include "base/buffer.h"
#include "http/acceptor.h"
#include "http/chunks.h"
#include "http/connection.h"
#include "http/lingering.h"
#include "http/listener.h"
#include "http/offence.h"
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
    struct MHD_Connection *handle; /* the library's name for the connection */
    LIST_ENTRY(http_exchange) entry;
    char *uri;           /* as it came; request.path and request.query point into it */
    uintptr_t uri_place; /* where the library has it */
    size_t uri_length;
    struct buffer body;
    size_t memory;       /* that it takes, its parts not included that are charged by themselves */
    bool begun;          /* the head has been looked at */
    bool arrived;        /* all of it has come, or no more of it is wanted */
    bool asked_to_close; /* after the answer, by the client */
    bool offends;        /* it is no proper one, and logged as such */
    bool has_own_body;   /* the library does not see its end: see http/own_body.h */
    struct chunks chunks;
    bool cut_off;     /* answered while it still came; the connection is to be closed */
    bool suspended;   /* libmicrohttpd waits for us */
    bool has_no_room; /* the head leaves the library no memory to write an answer */
    bool is_stuck;    /* cut off because the library has no room to read on */
    unsigned probes;  /* of its buffer: see http/progress.c, as for the next one */
    bool leaves_input;
    struct tunnel *tunnel; /* that its connection has become; NULL: none */
    /* of an event stream: */
    char greeting[GREETING_SIZE];
    size_t greeting_length, greeting_sent;
    bool is_greeted; /* head and greeting are in the kernel: the stream can be taken over */
    int handed_fd;   /* our own descriptor of the connection, before the stream's head is sent; else -1 */
};

LIST_HEAD(http_exchange_list, http_exchange);

struct http_listener {
    struct routes_context *context;
    struct http_listener_settings settings;
    struct MHD_Daemon *daemon;
    struct acceptor *acceptor; /* NULL once quiesced */
    struct lingering lingering;
    struct address_limits *limits;
    struct address *arriving; /* of the connection that the library is being given */
    struct log_limit offences;
    struct http_progress progress;
    struct tunnels tunnels;
    struct http_connection_list awaited; /* those of which a request, or the rest of one, is awaited */
    uv_poll_t poll;
    uv_timer_t timer;
    int open_handles;
    bool ready;   /* libmicrohttpd has something to do */
    bool is_left; /* a stream has just made the library leave: it calls that an error in the log */
    bool closing; /* nothing may be suspended any more */
    struct http_exchange_list exchanges;
};

/** A new exchange for a request line; NULL: out of memory. */
struct http_exchange *http_exchange_create(struct http_listener *listener, const char *uri,
                                           struct MHD_Connection *handle);

/** Connects or destroys a subscriber that was answered with, frees everything. `ended_well`: all of the
 * answer was sent. */
void http_exchange_finish(struct http_exchange *exchange, bool ended_well);

/** Gives up an exchange that libmicrohttpd waits for: its answer breaks off. */
void http_exchange_abandon(struct http_exchange *exchange);

/** Answers one that did not arrive in time; then its connection is to be closed. */
void http_exchange_time_out(struct http_exchange *exchange);

/** Answers one that the library has no room to read on, and has the library close its connection. */
void http_exchange_end_stuck(struct http_exchange *exchange);

/** libmicrohttpd's access handler for an exchange. */
enum MHD_Result http_exchange_handle(struct http_exchange *exchange, const char *method, const char *version,
                                     const char *upload, size_t *upload_length);

/** Takes in more of the body, or answers that there is no room for it and returns MHD_NO. */
enum MHD_Result http_exchange_take_upload(struct http_exchange *exchange, const char *upload, size_t length);

/** All of the request has come: has the routes answer it or defer that, if that was not done yet. */
void http_exchange_route(struct http_exchange *exchange);

/** Logs that the request, whose reply is decided, is no proper one. */
void http_exchange_offend(struct http_exchange *exchange, const char *reason);

/** Queues the decided reply (http/reply.c). */
enum MHD_Result http_exchange_queue_reply(struct http_exchange *exchange);

/** Writes the decided reply, which is a body, to the socket itself: the library takes none while a request
 * still arrives. What the socket has no room for is lost. */
void http_exchange_write_reply(struct http_exchange *exchange);

/** The same with the head of an event stream and its greeting; then its connection can be handed over. */
void http_exchange_write_stream(struct http_exchange *exchange);

/** Suspends and resumes the connection. */
void http_exchange_suspend(struct http_exchange *exchange);
void http_exchange_resume(struct http_exchange *exchange);

#endif
