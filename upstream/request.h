/* What a run asks of one upstream. Made once, when the run is accepted; all attempts at that upstream post the
 * same one, and a flight for several runs does as well.
 *
 *     upstream_request_create()  ->  plan  ->  prepare()  ->  stream  ->  upstream_request_unref()
 *                                     |            one more reference each attempt
 *                                     +-- until the run, or the flight that took its plan over, has ended
 *
 * Immutable, and shared by references: any thread.
 */
#ifndef SLUICE_UPSTREAM_REQUEST_H
#define SLUICE_UPSTREAM_REQUEST_H

#include "base/attributes.h"
#include "base/traceparent.h"
#include "upstream/adapter.h"

#include <stdatomic.h>

struct upstream_request {
    atomic_uint references;
    const struct adapter *adapter;
    char *url;
    char *session_url; /* where its session is created; NULL: there is no session to create */
    char *body;
    size_t body_length;
    size_t memory; /* that was charged for it */
};

/** Takes the strings over (malloc'd) in any case. The one reference is the caller's. NULL: out of memory. */
struct upstream_request *upstream_request_create(const struct adapter *adapter, char *url, char *session_url,
                                                 char *body, size_t body_length) MUST_CHECK;

struct upstream_request *upstream_request_ref(struct upstream_request *request);
void upstream_request_unref(struct upstream_request *request); /* takes NULL */

/** What one attempt sends: the request, and what differs from attempt to attempt. The strings are only
 * borrowed: of the run that prepared it, or of the call that resumes. */
struct upstream_post {
    struct upstream_request *request;    /* a reference, which is handed on with the post */
    bool session_exists;                 /* upstream: create the session only if the run gets a 404 */
    int64_t wait_ms;                     /* a call: it is not to be sent before */
    char traceparent[TRACE_PARENT_SIZE]; /* header of W3C Trace Context; "": none */
    const char *tracestate;              /* the other header; NULL: none. Valid as long as the call */
    const char *last_event_id; /* sent as Last-Event-ID; NULL: none. Valid while the stream starts */
    const char *resume_url; /* a GET of it goes on where the run broke off; NULL: the run is posted. Valid as
                               long as the stream */
};

/** What prepares the posts of a call: embedded in whatever knows what the run asks. It lives as long as the
 * call, and is used on the call's thread. */
struct upstream_preparer {
    /** What an attempt at the upstream of that index posts; its reference is the call's then. False: the run
     * cannot be made for this upstream; *ret_message says why (static). */
    bool (*prepare)(struct upstream_preparer *preparer, size_t upstream, struct upstream_post *ret_post,
                    const char **ret_message);
    /** Called by the owner that took it over, not by the call. */
    void (*destroy)(struct upstream_preparer *preparer);
};

#endif
