/* What the files of the upstream client share: the client, and a transfer, the common half of a stream and an
 * passage.
 *
 * libcurl allows hardly anything inside its callbacks, and users may start, cancel or resume anything in
 * theirs. So nothing of that touches curl where it is called: it marks the transfer and queues it
 * (transfer_touch()); client_settle() does the work each time curl has been left:
 *
 *     uv_poll, uv_timer -> curl_multi_socket_action() -> curl's callbacks -> the user's -> transfer_touch()
 *                       -> client_settle(): what has ended, then the queue
 */
#ifndef SLUICE_UPSTREAM_CLIENT_INTERNAL_H
#define SLUICE_UPSTREAM_CLIENT_INTERNAL_H

#include "base/buffer.h"
#include "upstream/client.h"

#include <curl/curl.h>
#include <sys/queue.h>

struct transfer;

TAILQ_HEAD(transfer_queue, transfer);

/** The sockets of all connections, those that are kept included. Zeroed: none. */
struct connections {
    struct connection *items;
    size_t count, capacity;
};

struct upstream_client {
    uv_loop_t *loop;
    struct connections connections;
    uint64_t connections_max;
    CURLM *multi;                    /* NULL: given up for want of memory, see client_open() */
    uv_timer_t timer;                /* curl's; due at once while the queue waits for the loop */
    struct transfer_queue transfers; /* all that are not released */
    struct transfer_queue queue;     /* those to be settled */
    struct transfer_queue resting;   /* those that go on in a later turn */
    size_t resting_count;
    bool has_turn;         /* the next two are known */
    uint64_t turn_ms;      /* when the turn began that answers are read in, on the loop's clock */
    int64_t until_mono_ms; /* so long it reads on */
    uv_idle_t idle;        /* keeps the loop awake while some rest */
    bool queue_rests;      /* until then: enough of it was settled in this turn */
    size_t active;         /* streams and passages whose end is still to be told */
    size_t handles;        /* uv handles that are not closed yet */
    bool closing;
    bool is_shut;                   /* closed but for its uv handles */
    bool in_timer;                  /* client_on_timer() is running */
    void (*on_turn)(void *context); /* NULL: nobody asked */
    void *turn_context;
    void (*on_closed)(void *context);
    void *context;
};

/** Makes the multi handle anew if it was given up. False: out of memory. */
bool client_open(struct upstream_client *client) MUST_CHECK;

/** The queue is settled in the loop's next turn, or before. */
void client_wake(struct upstream_client *client);

/** The transfers that rest go on in the loop's next turn. */
void client_wake_resting(struct upstream_client *client);

/** One uv handle has gone; the client goes with the last one. */
void client_forget_handle(struct upstream_client *client);

/* ---- connections.c: the sockets of the connections ------------------------------------------------------
 */

/** Opens one. -1: it cannot be. */
int connections_open(struct connections *connections, const struct curl_sockaddr *address) MUST_CHECK;

void connections_close(struct connections *connections, int fd);

/** All have been closed. */
void connections_finish(struct connections *connections);

/** The socket of the connection with these ports; -1: unknown. Should two have the same ports, at different
 * addresses, either may be returned. */
int connections_find(struct connections *connections, int local_port, int remote_port) MUST_CHECK;

/** Whether nothing has come: no byte, no end and no reset. A connection that is kept between two requests is
 * of no use otherwise. */
bool connection_is_quiet(int fd) MUST_CHECK;

enum transfer_taken { TRANSFER_TAKEN, TRANSFER_PAUSE, TRANSFER_ABORT };

/** How a transfer's owner hears of it. Nothing but destroy() is called once the transfer is released. */
struct transfer_role {
    void (*on_sent)(struct transfer *transfer); /* the connection stands and the request goes out */
    bool (*on_header_line)(struct transfer *transfer, const char *line,
                           size_t length);      /* or NULL; of the head */
    bool (*on_head)(struct transfer *transfer); /* status and headers are there; false: abort */
    enum transfer_taken (*on_body)(struct transfer *transfer, const char *bytes, size_t length);
    void (*on_done)(struct transfer *transfer, CURLcode code); /* the request has ended, one way or another */
    void (*destroy)(struct transfer *transfer);                /* frees the owner */
    /** Copies what is to be sent through a tunnel, at most `size` bytes. 0: nothing now, transfer_resume()
     * follows; -1: nothing any more. NULL: it makes no tunnels. */
    ssize_t (*on_upload)(struct transfer *transfer, char *bytes, size_t size);
    bool takes_rest; /* asks headers by transfer_header() alone: see transfer_rest.c */
};

/* libcurl's sentence, and ours before it. */
#define TRANSFER_ERROR_SIZE (CURL_ERROR_SIZE + 256)

/** The length that the header lines of an answer state, as far as they have come. Zeroed: none has. */
struct answer_length {
    int64_t value;
    bool is_stated;
    bool is_bad;       /* it is malformed, or stated in two ways */
    bool is_in_length; /* the last line was one of these headers, and may go on */
    bool is_coded;     /* a transfer coding besides chunks, which libcurl would undo; interim answers count */
};

/** One request, or several one after the other, on one easy handle and under one deadline. */
struct transfer {
    const struct transfer_role *role;
    struct upstream_client *client;
    TAILQ_ENTRY(transfer) link;
    TAILQ_ENTRY(transfer) queue_link;
    CURL *easy;
    struct curl_slist *headers; /* of each of its requests */
    uv_timer_t timer;
    uint64_t deadline_ms; /* on the loop's clock; UINT64_MAX: none */
    uint64_t timer_due_ms;
    int64_t connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms; /* see struct upstream_settings */
    int64_t keepalive_ms;
    struct ca_bundle *ca; /* a reference; NULL: without TLS */
    int status;           /* of the answer; 0: none yet */
    size_t header_bytes;  /* of the answer, so far */
    size_t header_lines;
    struct answer_length length;
    CURLcode failure;      /* to be told as the request's end; CURLE_OK: none */
    bool is_repeatable;    /* to send the request twice does no harm */
    bool is_sent;          /* or may be: libcurl has begun to send it */
    bool is_awaited;       /* libcurl has waited for its socket since */
    bool is_unanswered;    /* its connection ended, and libcurl was kept from sending it again */
    bool lacks_descriptor; /* there was none for a socket */
    bool is_tunnel;        /* an answer with status 101 makes a tunnel of its connection */
    int tunnel_fd;         /* of a tunnel: its socket */
    bool is_held;          /* its answer is not read now: there is no room, or it rests */
    bool is_over;          /* a tunnel, whose upstream has ended its side */
    bool is_stale;         /* not sent: the kept connection for it is of no use */
    bool wants_rest;       /* of the connection, should libcurl give it up */
    int spare_fd;          /* of the connection, while the rest is wanted; -1: none */
    struct buffer rest;    /* what was left unread */
    char *rest_headers;    /* in it, each line ended by NULs; NULL: no answer was left */
    char *rest_body;
    uint64_t turn_ms; /* when the turn began that `turn_bytes` of its answer came in */
    size_t turn_bytes;
    TAILQ_ENTRY(transfer) rest_link;
    bool is_resting;                 /* in client->resting */
    bool is_queued;                  /* in client->queue */
    bool is_wanted;                  /* to be added to the multi handle */
    bool is_added;                   /* in the multi handle */
    bool is_resumed;                 /* to be unpaused */
    bool is_released;                /* to be destroyed */
    char error[TRANSFER_ERROR_SIZE]; /* of libcurl's, and what it becomes for people */
};

/** A request; what it points to must stay as long as it runs. */
struct transfer_request {
    const char *method;
    const char *url;
    const char *body; /* NULL: none */
    size_t body_length;
    bool is_repeatable; /* to send it twice does no harm */
    bool is_tunnel;     /* it asks for one: see transfer_tunnel.c */
};

/* ---- transfer.c: the life of a transfer ------------------------------------------------------------ */

/** Readies a transfer, zeroed before. False: out of memory, nothing is left to free. After success
 *  transfer_release() is the only way to get rid of it and of its owner. */
bool transfer_init(struct transfer *transfer, struct upstream_client *client,
                   const struct upstream_settings *settings, const struct transfer_role *role) MUST_CHECK;

/** Sets up the next request and queues it. False: out of memory. */
bool transfer_send(struct transfer *transfer, const struct transfer_request *request) MUST_CHECK;

/** Queues a request anew that could not be sent on a kept connection: on a new one. */
void transfer_send_on_new_connection(struct transfer *transfer);

/** Bytes of one answer that are read in a turn of the loop, but for the last piece: other clients of the
 * worker wait meanwhile. */
#define TRANSFER_TURN_BYTES ((size_t)32 * 1024)

/** For so long the pieces of all answers together are read in a turn, one piece at least: a hundred floods
 * cost other clients no more than one. */
#define TRANSFERS_TURN_MS 2

/** Hands a piece of the answer on. TRANSFER_PAUSE also if the answer, or all together, have had their share
 * of this turn: then the transfer rests until a later one, and libcurl keeps the piece. */
enum transfer_taken transfer_take(struct transfer *transfer, const char *bytes, size_t length) MUST_CHECK;

/** Lets those that rest go on, the first one first, as far as a turn goes. */
void transfers_go_on(struct upstream_client *client);

/** Lets a paused transfer go on. */
void transfer_resume(struct transfer *transfer);

/** Ends the request under way; on_done() tells of it by `code`. */
void transfer_fail(struct transfer *transfer, CURLcode code);

/** Its owner hears nothing more and is destroyed in the loop. */
void transfer_release(struct transfer *transfer);

/** Fails the request by CURLE_OPERATION_TIMEDOUT in `timeout_ms` from now. Cheap to push back. */
void transfer_set_deadline(struct transfer *transfer, int64_t timeout_ms);
void transfer_clear_deadline(struct transfer *transfer);

/** Does what is pending; for client_settle(). */
void transfer_settle(struct transfer *transfer);

/** Takes the request out of the multi handle; for client_settle(). */
void transfer_detach(struct transfer *transfer);

/* ---- transfer_easy.c: its easy handle ---------------------------------------------------------------- */

/** Adds a header to all of its requests. False: out of memory. */
bool transfer_add_header(struct transfer *transfer, const char *name, const char *value) MUST_CHECK;

/** Adds lines of "Name: value"; NULL has none. False: out of memory. */
bool transfer_add_lines(struct transfer *transfer, const char *lines) MUST_CHECK;
/** Keeps libcurl from adding a header of its own making. False: out of memory. */
bool transfer_omit_header(struct transfer *transfer, const char *name) MUST_CHECK;

/** Sets all options of the easy handle for one request. False: out of memory. */
bool transfer_set_options(struct transfer *transfer, const struct transfer_request *request) MUST_CHECK;

/* ---- transfer_tls.c: its TLS ------------------------------------------------------------------------- */

/** libcurl's CURLOPT_SSL_CTX_FUNCTION; `context` is the ca_bundle. */
CURLcode transfer_on_tls(CURL *easy, void *tls, void *context);

/* ---- answer_form.c: the form of an answer's body
 * -------------------------------------------------- */

#define ANSWER_LENGTH_IS_BAD                                                                                 \
    "The length that the upstream's answer states is malformed or contradicts itself."

#define ANSWER_IS_COMPRESSED "The upstream compressed its answer without being asked."

/** Takes the next line of a head, with its line end. */
void answer_length_take_line(struct answer_length *stated, const char *line, size_t size);

struct transfer_fault;

/** Whether the body must not be read, by what the head says of its framing. */
bool answer_find_fault(const struct answer_length *stated, struct transfer_fault *ret_fault);

/** Whether it may have a body, and that is an event stream. */
bool answer_is_event_stream(const struct transfer *transfer);

/** Whether its body has a coding that is one. */
bool answer_is_compressed(const struct transfer *transfer);

/* ---- transfer_rest.c: what is left unread on a connection -------------------------------------------------
 */

/** Another request begins. */
void rest_reset(struct transfer *transfer, const struct transfer_request *request);

/** The request goes out on that socket. */
void rest_begin(struct transfer *transfer, int fd);

/** The rest is not wanted any more. */
void rest_end(struct transfer *transfer);

/** libcurl could not write: reports an answer that was left unread to the role, as libcurl would have. */
void rest_tell(struct transfer *transfer);

/** The value of a header of that answer, or NULL. */
const char *rest_header(const struct transfer *transfer, const char *name);

/** The value of the answer's first header `name`, or NULL. */
const char *transfer_header(const struct transfer *transfer, const char *name);

/** The value of the answer's header `name` that comes after `index` others of that name, or NULL. */
const char *transfer_header_at(const struct transfer *transfer, const char *name, size_t index);

/** Whether `name` is in `list`, a header's comma-separated value; case is ignored. */
bool header_list_has(const char *list, const char *name);

/** The answer's Content-Length, or -1. */
int64_t transfer_content_length(const struct transfer *transfer);

/** Whether the answer says where its body ends. */
bool transfer_is_framed(const struct transfer *transfer);

/* ---- transfer_tunnel.c: requests that make a tunnel of their connection --------------------------------
 */

/** The status of a tunnel: bytes in both directions follow its head. */
#define STATUS_SWITCHING 101

/** Sets the options of a request that asks for one. */
bool tunnel_set_options(struct transfer *transfer) MUST_CHECK;

/** libcurl waits for `what` of a socket of the transfer: notices that the upstream has ended its side. Takes
 * NULL. */
void tunnel_note_wait(struct transfer *transfer, int fd, int what);

/* ---- transfer_judge.c: what a result means ----------------------------------------------------------- */

/** Whether the request was sent, and has had no answer, not even the first header of one. */
bool transfer_is_unanswered(const struct transfer *transfer);

/** Why a request failed. */
struct transfer_fault {
    enum upstream_cause cause;
    const char *message; /* one sentence with libcurl's words, valid until the next request */
};

/** What a curl result means. Once for each request. */
enum upstream_end transfer_judge(struct transfer *transfer, CURLcode code, struct transfer_fault *ret_fault);

#endif
