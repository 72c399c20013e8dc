/* The hand-over of an event stream's connection: from the worker that took it to the subscriber that writes
 * to it from then on, on whatever worker that one is. */
#ifndef SLUICE_HTTP_HANDOVER_H
#define SLUICE_HTTP_HANDOVER_H

#include "http/address_limits.h"
#include "routes/context.h"

/** What changes hands. */
struct handover {
    struct subscriber *subscriber; /* prepared */
    int fd;                        /* the connected socket */
    bool chunked;                  /* as of subscriber_connect() */
    uint64_t send_buffer_bytes;    /* as of socket_sink_create(), as the next two */
    struct address_limits *limits;
    struct address *address;
};

/** Connects the subscriber to the fan-out of its session's worker, if it is gathered there, else to that of
 * `context`. All of `handover` is taken over in any case; without memory the connection is closed. On the
 * thread of `context`. */
void hand_over(struct routes_context *context, const struct handover *handover);

/** Connections that were handed over and are open still, those that are on their way included. Any thread. */
uint64_t handed_over_open(void);

#endif
