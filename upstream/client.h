/* The agent's side of a worker: HTTP requests by one libcurl multi handle, driven by the worker's loop
 * (curl_multi_socket_action). All functions are called on the loop's thread, and call back on it.
 *
 * Two shapes of request:
 *   - a stream: one run; POST, then events until the end, which is told truthfully and once;
 *   - a passage: any other request (sessions, passthrough), its body handed on as it comes.
 */
#ifndef SLUICE_UPSTREAM_CLIENT_H
#define SLUICE_UPSTREAM_CLIENT_H

#include "base/attributes.h"
#include "upstream/cause.h"
#include "upstream/request.h"
#include "upstream/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct upstream_client;

/** `connections_max`: as many connections are kept, to all upstreams together; an idle one above it is
 * closed. NULL: out of memory or libcurl failed. */
struct upstream_client *upstream_client_create(uv_loop_t *loop, uint64_t connections_max) MUST_CHECK;

void upstream_client_set_connections_max(struct upstream_client *client, uint64_t connections_max);

/** `on_turn` is called whenever libcurl has told all that one socket had for it. */
void upstream_client_on_turn(struct upstream_client *client, void (*on_turn)(void *context), void *context);

/** Everything still open is cancelled without a callback, handles are closed. `on_closed` is called from the
 *  loop when the last handle has gone; the client is freed right after it. */
void upstream_client_close(struct upstream_client *client, void (*on_closed)(void *context), void *context);

/** Requests under way, those included that are still to be sent. */
size_t upstream_client_active(const struct upstream_client *client);

/* ---- streams ------------------------------------------------------------------------------------ */

/* How a stream or a call ends: X(end, reason), where `reason` is the task_reason that clients read. What an end
 * brings about is in the table of outcome.c. */
/* clang-format off */
#define UPSTREAM_ENDS(X)                                                                                     \
    X(COMPLETED, NONE)                                                                                       \
    X(CONNECT, UPSTREAM_CONNECT)     /* no connection: refused, unreachable, unresolved, TLS, out of time */ \
    X(STATUS, UPSTREAM_STATUS)       /* an answer other than 200 */                                          \
    X(ERROR, UPSTREAM_ERROR)         /* the stream said so */                                                \
    X(TRUNCATED, UPSTREAM_TRUNCATED) /* it broke off without the end that its framing promises */            \
    X(PROTOCOL, UPSTREAM_PROTOCOL)   /* not an event stream, or not HTTP */                                  \
    X(IDLE, UPSTREAM_IDLE)           /* no first byte in time, silence after it, or no event in time */      \
    X(LIMIT, LIMIT)                  /* an event over a limit of ours */                                     \
    X(REFUSED, CIRCUIT_OPEN)         /* a call: the breaker kept it from being made */                       \
    X(CROWDED, UPSTREAM_LIMITED)     /* a call: the limiter's queue is full, or its pause too long */        \
    X(NO_DESCRIPTOR, LIMIT)          /* no connection, since this process has no descriptor left */          \
    X(INTERNAL, INTERNAL)            /* out of memory and the like, on our side */
/* clang-format on */

#define UPSTREAM_END(end, reason) UPSTREAM_##end,
enum upstream_end { UPSTREAM_ENDS(UPSTREAM_END) UPSTREAM_END_COUNT };
#undef UPSTREAM_END

/** What the stream of a run said of its own end. */
struct upstream_outcome {
    bool is_told;                          /* of a failure: an event that was delivered says so */
    char warning[ADAPTER_WORD_SIZE];       /* why a completed run may be less than it seems; "": it is not */
    char finish_reason[ADAPTER_WORD_SIZE]; /* as the upstream wrote it; "": it said none */
    struct adapter_usage usage;
};

struct upstream_result {
    enum upstream_end end;
    enum upstream_cause cause; /* which failure of that kind; CAUSE_NONE: it has not failed */
    int http_status;           /* 0: there was no answer */
    const char *message; /* one sentence for people, "" if there is nothing to say; valid in the callback */
    bool is_unsettled;   /* see struct adapter_reading */
    bool is_unanswered;  /* a run was sent, and not a byte of an answer came */
    const char *bare_id; /* see sse_parser_bare_id(); valid in the callback */
    const struct upstream_outcome *outcome; /* valid in the callback; NULL: it said nothing */
    int64_t retry_after_ms; /* what a refusal's Retry-After, or a stream's `retry:`, asked for; 0: nothing */
};

struct upstream_stream_callbacks {
    /** A request goes out: the run's, or the one that creates its session. At most once. NULL: nobody asks.
     */
    void (*on_request)(void *context);
    /** The connection stands and the run's request goes out. At most once. */
    void (*on_sent)(void *context);
    /** The run was refused because its session does not exist; the run is posted again once that has been
     * created. At most once. May cancel the stream. NULL: nobody asks. */
    void (*on_again)(void *context, const struct upstream_result *refusal);
    /** The head of an event stream has come. At most once. NULL: nobody asks. */
    void (*on_open)(void *context);
    /** One event, in order, and what it means for the run. Returning false ends the stream as if it were
     * cancelled: no further callback. */
    bool (*on_event)(void *context, const struct sse_event *event, enum adapter_verdict verdict);
    /** Whether more events may come now: asked before bytes of the stream are looked at. False: not before
     *  upstream_stream_resume(). NULL: always. */
    bool (*may_read)(void *context);
    /** The end, once; the stream is freed right after it. Not called after upstream_stream_cancel(). */
    void (*on_end)(void *context, const struct upstream_result *result);
};

struct upstream_stream;

/** Starts a run: creates the session if need be (a POST of {} to session_url; 2xx, 400 and 409 are fine, so
 * is anything else but 429 and 503: the run's own answer tells), posts, parses. A creation that is answered
 * 429 or 503 ends the stream as the run's answer would. If the session was said to exist and the run is
 * answered 404, the session is created and the run posted once more, once. Of `settings` it keeps nothing.
 * The post's reference is
 * taken over in any case. NULL: out of memory. No callback before it returns. */
struct upstream_stream *upstream_stream_start(struct upstream_client *client,
                                              const struct upstream_settings *settings,
                                              const struct upstream_post *post,
                                              const struct upstream_stream_callbacks *callbacks,
                                              void *context) MUST_CHECK;

/** Where the answer says that the run is: its Location or Content-Location, as it came; NULL: neither. Valid
 * in on_open(). */
const char *upstream_stream_location(const struct upstream_stream *stream);

/** Lets a stream go on that may_read() has held. */
void upstream_stream_resume(struct upstream_stream *stream);

/** Ends it without a callback; `stream` may not be used again. Also from within its own callbacks. */
void upstream_stream_cancel(struct upstream_stream *stream);

/* ---- passages ---------------------------------------------------------------------------------- */

struct upstream_header {
    const char *name;
    const char *value;
};

struct upstream_passage_callbacks {
    /** The connection stands and the request goes out. NULL: nobody asks. */
    void (*on_sent)(void *context);
    /** Status and headers, hop-by-hop ones (RFC 9110, section 7.6.1) and Content-Length removed, valid in the
     *  callback. Once, before any body. `content_length` is -1 if unknown. */
    void (*on_head)(void *context, int status, const struct upstream_header *headers, size_t count,
                    int64_t content_length);
    /** The next bytes of the body. False: no room now; the same bytes come again after
     *  upstream_passage_resume(). */
    bool (*on_body)(void *context, const char *bytes, size_t length);
    /** Of a tunnel (upstream_passage_make_tunnel()): copies at most `size` bytes for the upstream. 0: none
     * now, upstream_passage_resume_upload() follows; -1: none any more. NULL: it is no tunnel. */
    ssize_t (*on_upload)(void *context, char *bytes, size_t size);
    /** The end, once; the passage is freed right after it. `end` is COMPLETED (whatever the status),
     * CONNECT, TRUNCATED, PROTOCOL, IDLE or INTERNAL. Without on_head() before it, there was no answer. */
    void (*on_end)(void *context, const struct upstream_result *result);
};

struct upstream_passage;

/** Makes one that is not sent yet. `method` and `body` as given; `path` is the raw path and query behind the
 * settings' base_url; Content-Type application/json if there is a body; `headers` end-to-end ones to send
 * along (Host, Expect, Content-Type, Content-Length and hop-by-hop ones among them are left out). All are
 * copied; of `settings` it keeps nothing. NULL: out of memory. */
struct upstream_passage *upstream_passage_create(struct upstream_client *client,
                                                 const struct upstream_settings *settings, const char *method,
                                                 const char *path, const struct upstream_header *headers,
                                                 size_t header_count, const char *body, size_t body_length,
                                                 const struct upstream_passage_callbacks *callbacks,
                                                 void *context) MUST_CHECK;

/** Before it is sent: another time for the first byte than the settings have. */
void upstream_passage_set_first_byte_timeout(struct upstream_passage *passage, int64_t timeout_ms);

/** Before it is sent: it asks for an upgrade to `protocol`. If the answer's status is 101, its body is what
 * comes through the tunnel, and on_upload() is asked what goes into it. The end of the client's side is
 * passed on, but not through TLS. False: out of memory, and it must be cancelled. */
bool upstream_passage_make_tunnel(struct upstream_passage *passage, const char *protocol) MUST_CHECK;

/** There is something for the tunnel, or no more. */
void upstream_passage_resume_upload(struct upstream_passage *passage);

/** Sends it. No callback before it returns. False: out of memory, and it must be cancelled. */
bool upstream_passage_send(struct upstream_passage *passage) MUST_CHECK;

/** Makes one and sends it. NULL: out of memory. */
struct upstream_passage *upstream_passage_start(struct upstream_client *client,
                                                const struct upstream_settings *settings, const char *method,
                                                const char *path, const struct upstream_header *headers,
                                                size_t header_count, const char *body, size_t body_length,
                                                const struct upstream_passage_callbacks *callbacks,
                                                void *context) MUST_CHECK;

/** There is room for the body again. */
void upstream_passage_resume(struct upstream_passage *passage);

/** Ends it without a callback. Also from within its own callbacks. */
void upstream_passage_cancel(struct upstream_passage *passage);

#endif
