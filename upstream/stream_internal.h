/* What the files of a stream share: the stream itself, and how its end is judged (stream_end.c). */
#ifndef SLUICE_UPSTREAM_STREAM_INTERNAL_H
#define SLUICE_UPSTREAM_STREAM_INTERNAL_H

#include "upstream/client_internal.h"

#define STREAM_DRAIN_TIMEOUT_MS 1000 /* for the connection's own end after the stream's */

enum stream_phase { STREAM_CREATE, STREAM_RUN };

struct upstream_stream {
    struct transfer transfer;
    struct upstream_stream_callbacks callbacks;
    void *context;
    struct upstream_run run;
    struct sse_parser *parser;
    struct adapter_rules rules; /* copies */
    struct adapter_reading reading;
    struct buffer answer;  /* what a refusal says */
    struct buffer message; /* what the stream or a refusal says went wrong */
    int64_t first_byte_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t event_timeout_ms; /* 0: no limit */
    uint64_t event_due_ms;    /* the next event, on the loop's clock, if there is a limit */
    enum stream_phase phase;
    enum upstream_end fault; /* why we stopped reading; UPSTREAM_COMPLETED: we did not */
    const char *fault_message;
    bool told_request;
    bool told_sent;
    bool has_retried;  /* the run was posted again after a 404 */
    bool has_failed;   /* an event said that the run failed */
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
void stream_finish(struct upstream_stream *stream, enum upstream_end end, const char *message);

#endif
