/* A call: what one run asks of the agents, whatever it takes. It passes the upstream's breaker and limiter,
 * makes a stream, tries again what may pass, resumes what broke off, goes to the fallbacks, and last to a
 * canned answer.
 *
 *     breaker, limiter -> stream -> events -> the end
 *        ^       |           |        |
 *        |       |           |        +-- broke off, and the upstream is resumable: resumed
 *        |       |           +-- failed before its first event: again, later
 *        |       +-- refused, or the attempts are used up: the next upstream of the chain
 *        +-------+-----------+--------+
 *
 * On the loop's thread, as all of the client (client.h). An attempt ends by one function, whatever way it
 * does, and that gives back its pass of the breaker and its ticket of the limiter.
 *
 * As long as no event was delivered, it is tried again:
 *   - at the same upstream, within its retry settings, if the failure may pass, or, if the settings allow it, for
 * an error that the stream reports and for a run that was sent and not answered;
 *   - at the next upstream of the chain, each once: when that is used up, when breaker or limiter refuse
 * (also one that waits in the line, if the upstream asks for a pause longer than retry.total_ms), when the
 * run cannot be built for this one, and for what another one may do better (outcome.h): no
 * connection, no answer in time or none that is whole, an error that the stream reports, 429, and 500 and
 * above. Any other answer of 4xx speaks of the request, and an event over the limit of our settings: both end
 * the call;
 *   - where the chain ends, by the canned answer of the first in the chain that has one, as an event of the
 *     kind of upstream that the call was started at.
 *
 * A stream of kind sse from a resumable upstream, which broke off or fell silent behind an event with an id,
 * is asked for again with that id as Last-Event-ID. As many attempts in a row as retry.attempts_max may bring
 * no new event, in retry.total_ms; the stream's own `retry:` is obeyed like a Retry-After. An answer of 204
 * means that there was nothing more, so the call has completed. What comes twice is skipped, and an upstream
 * that does not go on as before ends the call: see resume_point.h.
 *
 * Lifetime of a call. Of the public functions resume() and cancel() are valid in each phase but the last;
 * resume() does something only while the call streams.
 *
 *     phase         holds                    begins with                      goes on with
 *     limiter       ticket, if it waits      start(), or a delay is over      granted: connect; refused: *
 *     connect       pass, ticket, stream     prepare()                        sent: first byte; failed: *
 *     first byte    pass, ticket, stream     on_sent(), the first time        head of a stream: streaming; failed: *
 *     streaming     pass, ticket, stream     the head of a stream             whole: over; failed: *
 *     retry         nothing but the timer    on_retry(): again, or resume     delay is over: limiter
 *     (canned)      nothing but the timer    on_retry(): upstream NULL        the answer is told: over
 *     over          its memory alone         on_end(), cancel(), or a         the timer is closed and the guard
 *                                            callback that returned false     unused: it is freed
 *
 *     * call_attempt_failed() decides: retry, the next upstream (retry there), canned, or over.
 */
#ifndef SLUICE_UPSTREAM_CALL_H
#define SLUICE_UPSTREAM_CALL_H

#include "upstream/client.h"
#include "upstream/notice.h"
#include "upstream/upstreams.h"

#include <sys/queue.h>

struct upstream_call;
struct upstream_query;

/** Why the next attempt is made, and when. */
struct upstream_retry {
    unsigned attempt; /* the one that will be made, from 2 on; counted over all upstreams */
    int64_t delay_ms;
    const char *upstream;           /* that is asked next; NULL: the canned answer */
    struct upstream_result failure; /* of the attempt before; its message is valid in the callback */
    bool is_fallback, is_resumption;
};

struct upstream_call_callbacks {
    /** The first attempt's request goes out. At most once. */
    void (*on_sent)(void *context);
    /** Another attempt will be made. False: it is not wanted any more, and the call ends without a callback.
     */
    bool (*on_retry)(void *context, const struct upstream_retry *retry);
    /** As those of a stream: see client.h. The events of a canned answer do not ask may_read(). */
    bool (*on_event)(void *context, const struct sse_event *event);
    bool (*may_read)(void *context);
    /** The end, once. If several attempts failed, it is the end of the last that was made; if none was, why
     * it could not be. */
    void (*on_end)(void *context, const struct upstream_result *result);
};

/** The part of the upstreams that belongs to one worker: what its calls work with. It outlives them. `settings` may be replaced by a reload. */
struct upstream_worker {
    struct upstream_client *client; /* closed after all calls have ended */
    struct inbox *inbox;            /* of the worker, for the limiter */
    uv_loop_t *loop;
    struct upstreams *upstreams;
    struct upstreams_settings settings;
    upstream_notify *notify;
    LIST_HEAD(, upstream_query) queries; /* that have not ended, see query.h */
    size_t calls; /* and queries, whose memory is not freed yet: loop and inbox go on until it is 0 */
};

/** Starts a call at the upstream of that index; `preparer` outlives it. No callback before it returns. NULL:
 * out of memory. */
struct upstream_call *upstream_call_start(struct upstream_worker *upstream_worker, size_t index,
                                          struct upstream_preparer *preparer,
                                          const struct upstream_call_callbacks *callbacks,
                                          void *context) MUST_CHECK;

/** Lets a call go on that may_read() has held. */
void upstream_call_resume(struct upstream_call *call);

/** Ends it without a callback; `call` may not be used again. Also from within its own callbacks. */
void upstream_call_cancel(struct upstream_call *call);

/** The index of the upstream that serves it now; UPSTREAM_NONE: the canned answer. */
size_t upstream_call_upstream(const struct upstream_call *call);

#endif
