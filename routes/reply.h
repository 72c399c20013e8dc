/* The answer to a request: text, a subscriber's stream, or bytes from a source as they come. */
#ifndef SLUICE_ROUTES_REPLY_H
#define SLUICE_ROUTES_REPLY_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct json_writer;
struct request;
struct subscriber;

#define REPLY_HEADERS_MAX 48
#define REPLY_CODE_SIZE 48

struct reply_header {
    char *name;
    char *value;
};

enum reply_kind {
    REPLY_NONE,       /* not decided yet */
    REPLY_BODY,       /* status, headers, body */
    REPLY_SUBSCRIBER, /* an event stream: the connection is handed over to the subscriber */
    REPLY_SOURCE,     /* a body that is read from a source */
    REPLY_TUNNEL,     /* 101: bytes both ways, from a source and to it, until either breaks off */
};

/** A body that comes piece by piece. */
struct reply_source {
    /** Copies at most `size` bytes. 0: nothing now, request's operations->source_ready() will be called;
     *  -1: the end; -2: it broke off, and the connection is closed so that the client can tell. With a `size`
     *  of 0, of a tunnel, it only says whether it broke off: -2 then, whatever it still holds, else 0. */
    ssize_t (*read)(void *context, char *bytes, size_t size);
    /** The answer is sent, or the client has gone: nothing is read any more. Once. */
    void (*finished)(void *context);
    void *context;
    int64_t content_length; /* -1: unknown */
    /** Of a tunnel: takes bytes of the client and returns how many. If it were not all, the rest is given
     * when operations->source_ready() was called. */
    size_t (*write)(void *context, const char *bytes, size_t length);
    /** Of a tunnel: the client has ended its side. Once, after the last write(). */
    void (*write_end)(void *context);
};

/** Room for the refusal of a request for which there is no memory. */
#define REPLY_SMALL_SIZE 192

struct reply {
    enum reply_kind kind;
    int status;
    char code[REPLY_CODE_SIZE]; /* of an error; else "" */
    const char *cause;          /* of an error, a static word: the key of the limit that refuses; or NULL */
    struct reply_header headers[REPLY_HEADERS_MAX];
    size_t header_count;
    int64_t retry_after_ms; /* for a 429 or 503; 0: the usual */
    bool is_logged;         /* a line in the log says that it refuses */
    bool is_mutilated;      /* there was no memory for one of the headers, or the request is broken: the
                             * connection is closed instead */
    char *body;
    size_t body_length;
    bool body_is_static;
    char small[REPLY_SMALL_SIZE];  /* room for a body that needs no memory */
    size_t memory;                 /* charged for headers and body */
    struct subscriber *subscriber; /* prepared; the listener connects or destroys it */
    bool greeting;                 /* a first comment and `retry:` begin the stream */
    struct reply_source source;
};

/** Adds a header. False: the header is left out, because its value has a control character, there are too
 * many headers, or memory ran out. Without memory the whole reply is not sent. */
bool reply_header(struct request *request, const char *name, const char *value);

/** Answers with the text of a writer, and takes that text over. A writer that failed becomes a 503. */
void reply_json(struct request *request, int status, struct json_writer *json);

/** Answers with the contract's error object. `code` is snake_case, the message one sentence. */
void reply_error(struct request *request, int status, const char *code, const char *format, ...)
    PRINTF_LIKE(4, 5);

/** Does the same for a limit that was reached: "what: key (number unit)."; `unit` may be NULL. */
void reply_limit(struct request *request, int status, const char *code, const char *what, const char *key,
                 uint64_t number, const char *unit);

/** Does the same with one more member, such as "task_id", which names the object of the error. */
void reply_error_about(struct request *request, int status, const char *code, const char *name,
                       const char *value, const char *format, ...) PRINTF_LIKE(6, 7);

/** Sets Retry-After for the error that follows, with status 429 or 503. The header has whole seconds, rounded
 * up, at least one. */
void reply_retry_after(struct request *request, int64_t retry_after_ms);

/** Answers that the memory limit has been reached, and counts it. */
void reply_memory_full(struct request *request);

/** Answers that memory ran out, the machine's or that of the limit. */
void reply_no_memory(struct request *request);

/** Answers with a body. reply_body() takes over `body`, which is malloc'd. */
void reply_body(struct request *request, int status, const char *content_type, char *body, size_t length);
void reply_static(struct request *request, int status, const char *content_type, const char *body,
                  size_t length);

/** Answers with headers alone, for example 204. */
void reply_empty(struct request *request, int status);

/** Answers with an event stream, and takes over the prepared subscriber. NULL, for a HEAD request, sends the
 * headers alone. */
void reply_stream(struct request *request, struct subscriber *subscriber, bool greeting);

/** Answers with bytes as they come. */
void reply_from_source(struct request *request, int status, const struct reply_source *source);

/** Answers 101: the connection becomes a tunnel. */
void reply_tunnel(struct request *request, const struct reply_source *source);

/** Charges memory of an answer other than its headers and its body. reply_finish() releases it. */
void reply_charge(struct reply *reply, size_t bytes);

/** Frees what the reply holds: headers, body, and a subscriber or source that was not taken over. */
void reply_finish(struct reply *reply);

#endif
