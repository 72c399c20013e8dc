/* A subscriber: a cursor into a session's log, and the sink that it writes to. While it is prepared it
 * belongs to whoever prepared it, from subscriber_connect() on to the worker of its fan-out: all functions
 * are called on its owner's thread, with no lock held.
 *
 *            subscriber_connect()               caught up
 *   PREPARED --------------------> CATCHING_UP <----------> LIVE (plain ones)
 *      |                             |  ^ behind: blocked, or fell out of step
 *      | subscriber_destroy()        |
 *      v                             v end of its stream, disconnect, stall
 *    freed                         freed
 */
#ifndef SLUICE_BROADCASTER_SUBSCRIBER_H
#define SLUICE_BROADCASTER_SUBSCRIBER_H

#include "broadcaster/broadcaster.h"

#include <netinet/in.h>
#include <sys/types.h>
#include <sys/uio.h>

struct fanout;
struct subscriber;

/** Where a subscriber writes to. The worker provides it; nothing of it is called with a lock held. */
struct sink {
    const struct sink_operations *operations;
    struct subscriber *subscriber; /* set by subscriber_connect(); NULL again once the subscriber has gone */
};

struct sink_operations {
    /** Writes what it can without waiting: bytes written, -EAGAIN, or another negative errno. */
    ssize_t (*send)(struct sink *sink, const struct iovec *parts, int count);
    /** Calls subscriber_on_writable() when there is room again (once asked for, until told otherwise). */
    void (*wait_writable)(struct sink *sink, bool wait);
    /** What is sent from now on may wait for close(), which follows: the end of a stream and that of its
     * connection then reach the client together. NULL: it goes out as ever. */
    void (*hold)(struct sink *sink);
    /** Closes and frees the sink; `abort`: what the kernel still holds is thrown away. No further call. */
    void (*close)(struct sink *sink, bool abort);
};

enum subscriber_from {
    SUBSCRIBE_FROM_RUN,   /* the newest run's first event */
    SUBSCRIBE_FROM_START, /* all that is retained */
    SUBSCRIBE_FROM_NOW,   /* only what comes */
};

struct subscriber_spec {
    enum subscriber_from from;
    bool resume; /* go on after last_id; wins over `from` */
    struct event_id last_id;
    bool until_run;     /* end after the newest run's run.end */
    struct task *run;   /* only this run's events, and end after its run.end; NULL: the session's */
    bool stays;         /* it is not to be gathered: see subscriber_is_gathered() */
    bool agent_framing; /* only the agent's own events; a bad end or a loss is reported in the agent's form */
    bool pings;         /* its heartbeats are events, for who cannot see comments */
    bool expects_now;   /* complete if no run is under way and nothing is retained */
    struct in6_addr
        address; /* where it comes from: it counts for that address while it waits for a session */
};

enum subscriber_result {
    SUBSCRIBER_OK,
    SUBSCRIBER_COMPLETE,     /* nothing is left to send: asked for from its end, or a blank run */
    SUBSCRIBER_GONE,         /* the run's events are no longer retained */
    SUBSCRIBER_CLOSED,       /* the session was closed meanwhile: open it again */
    SUBSCRIBER_SESSION_FULL, /* as many subscribers of this session as may be */
    SUBSCRIBER_FULL,         /* as many subscribers as may be */
    SUBSCRIBER_WAITING_FULL, /* the limit of those that wait for sessions which are not open has been reached
                              */
    SUBSCRIBER_ADDRESS_FULL, /* the same, of its address */
    SUBSCRIBER_DRAINING,     /* the program is about to stop */
    SUBSCRIBER_NO_MEMORY,
};

/** Decides where the subscriber begins, and counts it. It must be connected or destroyed. */
enum subscriber_result subscriber_prepare(struct session *session, const struct subscriber_spec *spec,
                                          struct subscriber **ret_subscriber);

/** Aims a prepared subscriber anew: at a run that was registered after it was prepared. Its place was taken
 * before, so that it cannot be refused for want of one. SUBSCRIBER_OK, SUBSCRIBER_COMPLETE or
 * SUBSCRIBER_GONE; it must be connected, destroyed or released all the same. */
enum subscriber_result subscriber_aim(struct subscriber *subscriber,
                                      const struct subscriber_spec *spec) MUST_CHECK;

/** subscriber_prepare() for the session of that key. If it is not open, the subscriber waits for it, which
 * takes a place until the session is opened or the subscriber leaves. */
enum subscriber_result subscriber_await(struct broadcaster *broadcaster, const char *key,
                                        const struct subscriber_spec *spec,
                                        struct subscriber **ret_subscriber);

/** Whose events it is to be told. */
struct session *subscriber_session(const struct subscriber *subscriber);

/** Whether it is to be connected to the fan-out of its session's worker: so are the first
 * `subscribers_gathered_max` of a session, but for those that stay where they are. */
bool subscriber_is_gathered(const struct subscriber *subscriber);

/** A prepared subscriber whose client has gone. */
void subscriber_destroy(struct subscriber *subscriber);

/** A prepared subscriber that was never to be one, because its request was refused: no run ends for it. Takes
 * NULL. */
void subscriber_release(struct subscriber *subscriber);

/** Starts writing to `sink`, which it owns from now on; `chunked`: HTTP/1.1 chunks, else bare text. The
 * subscriber may have ended when this returns. */
void subscriber_connect(struct subscriber *subscriber, struct fanout *fanout, struct sink *sink,
                        bool chunked);

/** The sink has room again. */
void subscriber_on_writable(struct subscriber *subscriber);

/** The client has gone. The sink is closed. */
void subscriber_on_disconnect(struct subscriber *subscriber);

#endif
