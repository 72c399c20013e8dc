/* W3C Trace Context, level 1: the trace that a request belongs to is taken from its headers, or begun, and
 * passed on to the upstream with a parent id of our own.
 *
 *     struct trace trace;
 *     trace_read(&trace, TRACE_TRUST_PARENT, traceparent, tracestate);
 *     if (!trace_make_parent(trace.id, trace.sampled, parent))  // for each request to the upstream
 *         ...;
 *
 * The gateway records nothing. It passes on the flag `sampled` of trusted clients. A request without a valid
 * trace is passed on without one, unless the settings let the gateway begin a trace. An agent with the usual
 * sampler records nothing under a parent without the flag, and everything under a parent with it.
 */
#ifndef SLUICE_BASE_TRACEPARENT_H
#define SLUICE_BASE_TRACEPARENT_H

#include "base/attributes.h"

#include <stdbool.h>

#define TRACE_ID_SIZE 33     /* 32 hexadecimal digits and a NUL */
#define TRACE_PARENT_SIZE 56 /* 00-<trace id>-<parent id>-<flags> */
#define TRACE_STATE_MAX 512

/** Trust in the two headers. A client that sets the flag `sampled` can have every request recorded, at the
 * operator's cost. A client that chooses the id can put its requests into another client's trace. */
enum trace_trust {
    TRACE_TRUST_NONE,   /* both headers are ignored */
    TRACE_TRUST_PARENT, /* the trace goes on, without the flag */
    TRACE_TRUST_ALL     /* the trace goes on, with the flag */
};

/** The beginner of the trace of a request that has none. */
enum trace_begin {
    TRACE_BEGIN_AGENT,     /* the agent: nothing is sent, and the agent samples by its own rule */
    TRACE_BEGIN_UNSAMPLED, /* the gateway, without the flag */
    TRACE_BEGIN_SAMPLED    /* the gateway, with the flag */
};

struct trace_rules {
    enum trace_trust trust;
    enum trace_begin begin;
};

struct trace {
    char id[TRACE_ID_SIZE]; /* for log lines too; "" without a trace, or without randomness to begin one */
    bool sampled;
    char state[TRACE_STATE_MAX + 1]; /* the tracestate to send; "" sends none */
};

/** Reads the two headers; an absent one is NULL. Without a valid traceparent the tracestate is ignored. An
 * invalid tracestate is left out; a tracestate that is too long loses whole members. */
void trace_read(struct trace *ret_trace, const struct trace_rules *rules, const char *traceparent,
                const char *tracestate);

/** Writes a traceparent of the trace with this id and with a new parent id. False: there is no randomness, or
 * no trace. */
bool trace_make_parent(const char *trace_id, bool sampled, char out[TRACE_PARENT_SIZE]) MUST_CHECK;

#endif
