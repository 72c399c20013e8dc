/* The hand-over of an event stream's connection from the worker that accepted it to a subscriber on any
 * worker. The subscriber then writes to the connection. */
#ifndef SLUICE_HTTP_HANDOVER_H
#define SLUICE_HTTP_HANDOVER_H

#include "base/attributes.h"
#include "broadcaster/subscriber.h"
#include "http/address_limits.h"
#include "routes/context.h"

#include <uv.h>

/** The parts of a hand-over. */
struct handover {
    struct subscriber *subscriber; /* prepared */
    int fd;                        /* the connected socket */
    bool chunked;                  /* see subscriber_connect() */
    uint64_t send_buffer_bytes;    /* for SO_SNDBUF; 0 leaves the size to the kernel */
    struct address_limits *limits;
    struct address *address;
};

/** Connects the subscriber to the fan-out of its session's worker, if the subscriber is gathered there, and
 * otherwise to the fan-out of `context`. Takes over all of `handover` in any case; without memory the
 * connection is closed. On the thread of `context`. */
void hand_over(struct routes_context *context, const struct handover *handover);

/** Returns the number of open connections that were handed over or are on their way. Any thread. */
uint64_t handed_over_open(void);

#endif
