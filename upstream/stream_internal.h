/* What the files of a stream share: the stream itself, and how its end is judged (stream_end.c). */
#ifndef SLUICE_UPSTREAM_STREAM_INTERNAL_H
#define SLUICE_UPSTREAM_STREAM_INTERNAL_H

#include "upstream/client_internal.h"

#define ANSWER_BYTES_MAX 1024        /* of an answer that is no stream, that are read */
#define STREAM_DRAIN_TIMEOUT_MS 1000 /* for the connection's own end after the stream's */

enum stream_phase { STREAM_CREATE, STREAM_RUN };

struct upstream_stream {
    struct transfer transfer;
    struct upstream_stream_callbacks callbacks;
    void *context;
    struct upstream_request *request; /* a reference */
    bool session_exists;
    const char *resume_url; /* borrowed; NULL: the run is posted */
    struct sse_parser *parser;
    struct adapter_rules rules; /* copies */
    struct adapter_reading reading;
    struct buffer answer;   /* what a refusal says */
    struct buffer message;  /* what the stream or a refusal says went wrong */
    struct buffer creation; /* why its session could not be created; empty: it was, or need not be */
    uint64_t event_bytes_max, event_type_bytes_max;
    int64_t event_timeout_ms; /* 0: no limit */
    uint64_t event_due_ms;    /* the next event, on the loop's clock, if there is a limit */
    enum stream_phase phase;
    enum upstream_end fault; /* why we stopped reading; UPSTREAM_COMPLETED: we did not */
    enum upstream_cause fault_cause;
    const char *fault_message;
    int creation_status; /* that its session's creation was answered with; 0: none */
    bool told_request;
    bool told_sent;
    bool has_retried;  /* the run was posted again after a 404 */
    bool has_failed;   /* an event said that the run failed */
    bool told_failure; /* such an event was delivered, or held back by the call */
    bool has_last;     /* an event said that the run is complete */
    bool is_open;      /* an event stream has begun */
    bool awaits_event; /* its deadline is that of the next event, not that of the next byte */
    bool is_foreign;   /* the answer is no event stream: what it says is read like a refusal */
    bool has_ended;    /* nothing more is told */
};

/* ---- stream_end.c ------------------------------------------------------------------------------------ */

/** Whether the session could not be created for want of room, so that the run is not posted. */
bool stream_is_creation_refused(const struct upstream_stream *stream);

/** Whether the answer is none that a run can be read from, by its status. */
bool stream_is_refusal(const struct upstream_stream *stream);

/** Keeps what the first failed event says. */
void stream_note_failure(struct upstream_stream *stream, const struct sse_event *event);

/** The stream has said that it is complete: reports it, and lets the connection come to its own end, so that
 * it can be used again. */
void stream_conclude_early(struct upstream_stream *stream);

/** The run's request has ended: reports how. */
void stream_conclude(struct upstream_stream *stream, CURLcode code);

/** What a refusal says, in a sentence; valid until the stream says another one. */
const char *stream_refusal(struct upstream_stream *stream);

/** Reports a refusal, with what it says. */
void stream_finish_refused(struct upstream_stream *stream);

/** Reports that end. */
void stream_finish(struct upstream_stream *stream, enum upstream_end end, enum upstream_cause cause,
                   const char *message);

/* ---- stream_answer.c: what an answer that is no event stream says ------------------------------------- */

/** Keeps the beginning of such an answer's body. False: there is no room for more of it. */
bool stream_keep_answer(struct upstream_stream *stream, const char *bytes, size_t length) MUST_CHECK;

/** Appends what a refusal says to a sentence about it; without words for people, its type and its first
 * bytes, those of a page without markup. False: memory ran out, or the message is full. */
bool stream_append_refusal(const struct upstream_stream *stream, struct buffer *message) MUST_CHECK;

/** The same of an answer that is no refusal, with its type in any case, and its first bytes as they are. */
bool stream_append_foreign_answer(const struct upstream_stream *stream, struct buffer *message) MUST_CHECK;

/** The creation of the session has ended: keeps why it failed, for the case that the run fails after it. */
void stream_note_creation(struct upstream_stream *stream, enum upstream_end end, const char *message);

/** Whether the failure of the creation explains that the run was refused. */
bool stream_is_creation_to_blame(const struct upstream_stream *stream, enum upstream_end end);

#endif
