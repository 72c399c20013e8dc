/* One HTTP request as the handlers see it: validated input, and a place for the answer.
 *
 * A handler answers by one of the functions of reply.h, at once or, after request_defer(), later. Everything
 * happens on the thread of the request's worker.
 */
#ifndef SLUICE_ROUTES_REQUEST_H
#define SLUICE_ROUTES_REQUEST_H

#include "routes/context.h"
#include "routes/reply.h"

#include <netinet/in.h>

enum request_method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_PATCH,
    METHOD_DELETE,
    METHOD_OPTIONS,
    METHOD_OTHER
};

struct request;

/** What the listener does for a request. */
struct request_operations {
    /** The value of a header (case-insensitive; the first one), or NULL. Valid as long as the request. */
    const char *(*header)(const struct request *request, const char *name);
    /** Calls `visit` with each value of a header, in the order in which they came. */
    void (*each_header)(const struct request *request, const char *name,
                        void (*visit)(void *context, const char *value), void *context);
    /** Writes the client's address; NULL: it is not known. */
    void (*peer)(const struct request *request, char out[INET6_ADDRSTRLEN]);
    /** Takes what an answer by reply_stream() needs that might be missing later, a descriptor. False: it is
     * missing now. Again is fine. NULL: nothing is needed. */
    bool (*reserve_stream)(struct request *request);
    /** The answer of a deferred request has been decided. */
    void (*answer)(struct request *request);
    /** A reply source has bytes, or its end, after it had none. */
    void (*source_ready)(struct request *request);
};

struct request {
    const struct request_operations *operations;
    struct routes_context *context;
    enum request_method method; /* a HEAD is METHOD_GET with `head` set, so handlers need no case for it */
    bool head;
    bool http_1_0;
    const char *path;  /* as it came, undecoded, without the query */
    const char *query; /* as it came, undecoded, without the question mark; "" if there is none */
    bool has_body;
    int64_t content_length; /* -1: the request has no Content-Length */
    const char *body;       /* complete when the handler is called; NUL-terminated */
    size_t body_length;

    struct in6_addr address; /* of the client: an IPv4 address as IPv6 writes it, or the first 64 bits of an
                                IPv6 address */

    const struct route *route; /* set by router_begin() */
    enum access_right right;   /* that the route needs */
    bool let_in;               /* access_check() has allowed it; no other request is answered with success */
    char app[SESSION_PART_MAX + 1];
    char user[SESSION_USER_MAX + 1];
    char session[SESSION_PART_MAX + 1];
    char id[SESSION_PART_MAX + 1];      /* {id} of the path */
    char session_key[SESSION_KEY_SIZE]; /* "app/user/session", if all three are named */

    struct turn turn; /* if it is a long one: see router_handle() */
    struct reply reply;
    bool deferred;
    void (*abandoned)(void *context);
    void *deferred_context;
};

/** The value of a header, or NULL. */
const char *request_header(const struct request *request, const char *name);

/** All values of a header with commas between them (RFC 9110, section 5.3), malloc'd; "" if it is absent.
 * NULL: out of memory. */
char *request_header_joined(const struct request *request, const char *name) MUST_CHECK;

/** The decoded value of a query parameter, malloc'd; "" if it has none. Names are decoded, too. 0, *ret_value
 *  NULL if it is absent; -EINVAL: there twice, badly encoded or no UTF-8; -ENOMEM. */
int request_query(const struct request *request, const char *name, char **ret_value) MUST_CHECK;

/** Finds a parameter of the query that has none of these names; a NULL ends them. *ret_name points to its
 * name as it came, *ret_length bytes. False: there is none. */
bool request_query_find_other(const struct request *request, const char *const *names, const char **ret_name,
                              size_t *ret_length);

/** Refuses a parameter of the query that has none of these names; a NULL ends them. NULL instead of names:
 * any is fine. False: the reply is decided. */
bool query_check_names(struct request *request, const char *const *names) MUST_CHECK;

/** The whole number that a query parameter holds, if it is there; else *value stays as it was. 0; -EINVAL: it
 *  is none from `minimum` (not negative) to `maximum`; -ENOMEM. */
int request_query_number(const struct request *request, const char *name, int64_t minimum, int64_t maximum,
                         int64_t *value) MUST_CHECK;

/** The names of app, user and session are there: makes the session's key of them, if it is named. */
void request_note_session(struct request *request);

/** Notes a state that cannot be, and has the connection closed: no answer of this request is sent any more.
 */
void request_break(struct request *request, const char *what);

/** The answer comes later, by reply_...() and then request_answer(), on this thread. Should the request go
 *  before that (the program stops), `abandoned` is called with `context`, and the request may not be used any
 *  more. */
void request_defer(struct request *request, void (*abandoned)(void *context), void *context);

/** Sends the reply of a deferred request, which may not be used any more by the handler. */
void request_answer(struct request *request);

#endif
