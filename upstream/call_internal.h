/* What the files of a call share: the call itself, and one attempt of it (call_attempt.c). */
#ifndef SLUICE_UPSTREAM_CALL_INTERNAL_H
#define SLUICE_UPSTREAM_CALL_INTERNAL_H

#include "upstream/call.h"
#include "upstream/guard.h"
#include "upstream/resume_point.h"

/** Events that are held back at most. An answer of chat completions opens with one or two. */
#define CALL_HELD_MAX 4

struct held_event {
    struct sse_event event; /* in `bytes` */
    char *bytes;
    size_t size; /* of `bytes` */
};

/** What an attempt holds. All of it is given back by attempt_end(). */
struct attempt {
    struct upstream_stream *stream; /* NULL: not started, or it has ended */
    struct guard guard;
    bool was_used;          /* a request went out, be it only for the session */
    bool was_made;          /* a stream was started */
    int64_t sent_mono_ms;   /* -1: it was not sent */
    int64_t first_event_ms; /* since then; -1: there was none */
};

struct upstream_call {
    struct upstream_worker *upstream_worker;
    struct upstream_preparer *preparer;
    struct upstream_call_callbacks callbacks;
    void *context;
    uv_timer_t timer;          /* the next attempt, the canned answer, or the next look at the limiter */
    size_t first;              /* the upstream that it was started at */
    size_t index;              /* the one that serves it; UPSTREAM_NONE: the canned answer */
    enum upstream_phase phase; /* at `index`; UPSTREAM_PHASE_COUNT: in none */
    struct attempt attempt;
    struct upstream_post waiting; /* prepared, and not to be sent yet; no request: there is none */
    unsigned unsettled;           /* attempts that were refused because a cut had not settled */
    unsigned attempts;            /* begun, over all upstreams */
    unsigned tries;               /* of those, at this upstream and since the last event */
    unsigned breaks;              /* of the stream, in a row, since it last went on for retry_max_ms */
    int64_t tries_mono_ms;        /* when the first of them was made, or the stream to be resumed broke off */
    struct upstream_chain chain;  /* of `first`: up to the one that serves it */
    struct resume_point point;
    char *resume_url;                      /* where the run is, as its first answer said; NULL: nowhere */
    struct held_event held[CALL_HELD_MAX]; /* in order; see call_attempt.c */
    size_t held_count;
    struct upstream_result failure; /* of the last attempt that was made, else of the first refusal */
    char *failure_message;
    struct upstream_outcome failure_outcome;
    bool has_failed; /* there is a failure */
    bool has_event;  /* one was delivered */
    bool told_sent;
    bool has_ended; /* nothing more is told */
    bool is_closed; /* the timer is */
};

static inline const struct upstream_settings *call_settings(const struct upstream_call *call) {
    return &call->upstream_worker->settings.items[call->index];
}

static inline struct upstream *call_upstream(const struct upstream_call *call) {
    return &call->upstream_worker->upstreams->items[call->index];
}

static inline void call_count(_Atomic uint64_t *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/** Moves the call to another upstream and phase; UPSTREAM_NONE and UPSTREAM_PHASE_COUNT: to none. */
void call_set_phase(struct upstream_call *call, size_t index, enum upstream_phase phase);

/** Whether a stream of the upstream that serves it may be resumed. */
bool call_is_resumable(const struct upstream_call *call);

/** The stream has ended as it should. */
void call_attempt_completed(struct upstream_call *call, const struct upstream_result *result);

/** The stream has failed, or none was made: goes on as call.h says. */
void call_attempt_failed(struct upstream_call *call, const struct upstream_result *result);

/** The guard is unused after the call had ended: frees the call, if its timer has gone, too. */
void call_free_if_unused(struct upstream_call *call);

/* ---- call_attempt.c ---------------------------------------------------------------------------------- */

/** Asks breaker and limiter, then makes the stream. */
void attempt_begin(struct upstream_call *call);

/** What the attempt's guard calls back. */
void attempt_on_settled(struct guard *guard, enum guard_result result);
void attempt_on_unused(struct guard *guard);

/** Gives back all that the attempt holds. `result` says how it went; NULL: it was cancelled. Harmless if it
 * holds nothing. */
void attempt_end(struct upstream_call *call, const struct upstream_result *result);

/** Delivers an event, if it is not one that a resumed stream repeats. The call may have ended after it. */
void attempt_deliver(struct upstream_call *call, const struct sse_event *event);

/** Keeps a copy of the event, if it may still be taken back. False: it is to be delivered now. */
bool call_hold(struct upstream_call *call, const struct sse_event *event,
               enum adapter_verdict verdict) MUST_CHECK;

/** Delivers what was held back. False: the call has ended in here. */
bool call_release_held(struct upstream_call *call) MUST_CHECK;

/** Frees what was held back. */
void call_drop_held(struct upstream_call *call);

#endif
