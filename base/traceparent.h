/* W3C Trace Context, level 1: the trace that a request belongs to is taken from its headers, or begun, and
 * passed on to the upstream with a parent id of our own.
 *
 *     struct trace trace;
 *     trace_read(&trace, TRACE_TRUST_PARENT, traceparent, tracestate);
 *     if (!trace_make_parent(trace.id, trace.sampled, parent))  // for each request to the upstream
 *         ...;
 *
 * A gateway records nothing: it takes the flag `sampled` as it came, from clients that are trusted. A request
 * without a valid trace is passed on without one, unless the settings say that the gateway begins it: an
 * agent with the usual sampler records nothing under a parent without the flag, and everything under one with
 * it.
 */
#ifndef SLUICE_BASE_TRACEPARENT_H
#define SLUICE_BASE_TRACEPARENT_H

#include "base/attributes.h"

#include <stdbool.h>

#define TRACE_ID_SIZE 33     /* 32 hexadecimal digits and a NUL */
#define TRACE_PARENT_SIZE 56 /* 00-<trace id>-<parent id>-<flags> */
#define TRACE_STATE_MAX 512

/** What is believed of the two headers. A client that could set the flag `sampled` could have every request
 * recorded, at the cost of those who trace; one that chooses the id can put its requests into another's
 * trace. */
enum trace_trust {
    TRACE_TRUST_NONE,   /* nothing: each request is one without a trace */
    TRACE_TRUST_PARENT, /* the trace goes on, without the flag */
    TRACE_TRUST_ALL     /* the flag, too */
};

/** What begins the trace of a request that has none. */
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
    char id[TRACE_ID_SIZE]; /* for log lines too; "" if there is none, or no randomness to make one of */
    bool sampled;
    char state[TRACE_STATE_MAX + 1]; /* what is to be sent as tracestate; "": nothing */
};

/** Reads the two headers, NULL if absent. Without a valid traceparent tracestate is not looked at; an invalid
 * tracestate is left out, of one that is too long whole members are. */
void trace_read(struct trace *ret_trace, const struct trace_rules *rules, const char *traceparent,
                const char *tracestate);

/** Writes a traceparent of the trace of this id with a new parent id. False: there is no randomness, or no
 * trace. */
bool trace_make_parent(const char *trace_id, bool sampled, char out[TRACE_PARENT_SIZE]) MUST_CHECK;

#endif
