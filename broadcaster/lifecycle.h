/* The gateway's own events: run.start, run.end, run.retry, gap, session.end, server.drain and ping. This is
 * their one home: each name stands once, in lifecycle.c, and each event has one maker, which is declared here.
 *
 * A maker takes values and knows neither tasks nor sessions, so that every other file may use it. Makers may
 * be called on any thread. What they return is not stamped yet, and the caller owns the one reference.
 */
#ifndef SLUICE_BROADCASTER_LIFECYCLE_H
#define SLUICE_BROADCASTER_LIFECYCLE_H

#include "broadcaster/frame.h"

/** Stands before the name of an agent's event that bears a name of the gateway's. */
#define LIFECYCLE_AGENT_PREFIX "upstream."

/** Whether only the gateway may send events of this type, in valid UTF-8. Blanks around it do not count: some
 * clients strip them from a name, and it would be another one then. Any thread. */
bool lifecycle_owns_type(const char *type, size_t length);

/** An event of the agent. It may name its events as it likes; one with a name of the gateway's would look to
 * every viewer as if the gateway had sent it, so it is renamed to upstream.<type>. NULL: out of memory, or
 * over 4 GiB. */
struct frame *lifecycle_make_agent_event(uint64_t task_serial, const char *type, size_t type_length,
                                         const char *data, size_t data_length) MUST_CHECK;

/** A text that need not be NUL-terminated. */
struct lifecycle_text {
    const char *bytes; /* UTF-8; NULL: there is none */
    size_t length;
};

struct lifecycle_run_start {
    const char *task_id;
    struct lifecycle_text app, user, session;
    const char *label; /* "" is shown as null */
    struct lifecycle_text input;
    bool input_is_cut;
    bool cached, canned;
};

/** NULL: out of memory. */
struct frame *lifecycle_make_run_start(uint64_t task_serial,
                                       const struct lifecycle_run_start *start) MUST_CHECK;

struct lifecycle_run_retry {
    const char *task_id;
    unsigned attempt;
    int64_t delay_ms;
    const char *reason;
    const char *upstream; /* NULL: what answers is canned */
    bool is_fallback, is_resumption;
    const char *cause, *message; /* NULL: none is shown */
};

/** NULL: out of memory. */
struct frame *lifecycle_make_run_retry(uint64_t task_serial,
                                       const struct lifecycle_run_retry *retry) MUST_CHECK;

/** What a run.end says. Every text is one that plain_text_copy() made, or a word of the gateway's. */
struct lifecycle_run_end {
    const char *task_id, *status;
    const char *reason; /* NULL is shown as null */
    uint64_t events, bytes;
    int64_t duration_ms;
    const char *finish_reason; /* "": none */
    bool has_usage;
    uint64_t input_tokens, output_tokens, total_tokens;
    const char *warning; /* "": none */
    int upstream_status; /* 0: it is not shown */
    bool cached, canned;
    const char *cause;   /* NULL: none is shown */
    const char *message; /* "": none is shown */
};

/** A run.end that is filled later, with room for all that it may say: a run must be able to end without
 * memory. NULL: out of memory. */
struct frame *lifecycle_reserve_run_end(uint64_t task_serial) MUST_CHECK;

/** Says how the run ended. Once, before it is stamped; allocates nothing, so a lock may be held. */
void lifecycle_fill_run_end(struct frame *frame, const struct lifecycle_run_end *end);

/** A gap for one subscriber, stamped with `to`: it has passed `from` (0-0: nothing yet), and what follows up
 * to `to` is lost. NULL: out of memory. */
struct frame *lifecycle_make_gap(struct event_id from, struct event_id to) MUST_CHECK;

/** The last event of a session; `reason` is a word. NULL: out of memory. */
struct frame *lifecycle_make_session_end(const char *reason) MUST_CHECK;

/** Events of one connection have no id, since nobody can go on after them: static text, as an HTTP/1.1 chunk
 * or bare. */
struct frame_span lifecycle_server_drain(bool chunked);
struct frame_span lifecycle_ping(bool chunked);

#endif
