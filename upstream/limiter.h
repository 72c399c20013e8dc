/* A rate limiter: a token bucket and concurrency slots in front of an upstream. If it is adaptive, answers of
 * 429 and 503, and latencies above a target, halve the slots, and good answers add to them again, one by one.
 *
 * One is shared by all workers. Whoever wants to call enters with a ticket, which is embedded in what waits;
 * tickets are served in the order in which they came.
 *
 *     ticket.inbox = &worker->inbox;
 *     ticket.item.handle = on_granted;
 *     switch (limiter_enter(limiter, &ticket)) {
 *     case LIMITER_GRANTED: break;  // call now
 *     case LIMITER_WAITS: return;   // poll, see below; on_granted() will be called on the inbox's thread
 *     case LIMITER_FULL: return;    // too many wait, or the pause is too long; the ticket holds nothing
 *     }
 *     ...
 *     // exactly once for each ticket that was granted or waits:
 *     if (limiter_leave(limiter, &ticket, &report))
 *         ...;  // the ticket may be freed, or enter again
 *
 *     static void on_granted(struct inbox_item *item) {
 *         if (limiter_receive(limiter, ticket))
 *             ...;  // call now
 *         else
 *             ...;  // it had left, and limiter_leave() was false: now it may be freed, or enter again;
 *                   // or it has not, and was refused, since a pause began that is too long
 *     }
 *
 * A ticket belongs to the thread of its inbox, which alone enters, receives and leaves with it; all else may
 * be called on any thread, and everything with no lock held. Another thread may grant a ticket that waits,
 * and posts its item after that: in between the owner cannot know of it. So an owner that gives up waiting
 * leaves with a report that says `unused`, and limiter_leave() tells whether the item is on its way. If it
 * is, the ticket and the limiter stay until it was received, in the loop or by inbox_drain(). As always, an
 * inbox is closed when no thread posts any more.
 *
 * Tokens come with time, and nothing here has a timer: whoever has a ticket that waits calls limiter_poll()
 * after limiter_poll_in_ms(), and asks for the next time then, until its ticket was received or has left.
 */
#ifndef SLUICE_UPSTREAM_LIMITER_H
#define SLUICE_UPSTREAM_LIMITER_H

#include "base/attributes.h"
#include "base/inbox.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/** Nobody who waits goes longer than this without a poll: a call that leaves may bring a pause. */
#define LIMITER_POLL_MAX_MS 1000

/** The calls that were granted before a cut, or within this time behind it, do not cut again: they may tell
 * of the same overload. */
#define LIMITER_CUT_INTERVAL_MS 1000

/** A Retry-After of more than this is read as this. */
#define LIMITER_PAUSE_MAX_MS (60 * 60 * INT64_C(1000))

struct limiter_settings {
    uint64_t rate_calls;       /* so many calls in rate_per_ms, and as many at once after a pause; 0: any */
    int64_t rate_per_ms;       /* rate_calls * rate_per_ms fits 63 bits */
    uint64_t concurrency_max;  /* slots; 0: any */
    uint64_t concurrency_min;  /* adaptive: it never has fewer; 0 is taken as 1 */
    int64_t latency_target_ms; /* adaptive: a first event that comes later cuts the slots; 0: none does */
    bool adaptive;             /* says nothing without slots: configuration refuses it then */
    uint64_t waiting_max;      /* 0: who cannot be served at once is refused */
    int64_t pause_wait_max_ms; /* who would wait longer for the end of a pause is refused; 0: nobody is */
};

enum limiter_result { LIMITER_GRANTED, LIMITER_WAITS, LIMITER_FULL };

enum limiter_ticket_state {
    LIMITER_TICKET_OUT,
    LIMITER_TICKET_WAITING,
    LIMITER_TICKET_GRANTED,
    LIMITER_TICKET_REFUSED /* out of the line; it has still to leave */
};

/** Zeroed before it first enters. */
struct limiter_ticket {
    struct inbox *inbox;             /* set by the owner, */
    struct inbox_item item;          /* with its handle */
    enum limiter_ticket_state state; /* limiter's lock, as all below */
    bool posted;                     /* the item is on its way, until limiter_receive() */
    int64_t granted_mono_ms;
    TAILQ_ENTRY(limiter_ticket) link;
};

/** How a call went. */
struct limiter_report {
    bool unused;            /* it was never made: its token comes back as well, and nothing else counts */
    bool overloaded;        /* 429 or 503 */
    bool completed;         /* a good one, if it was neither overloaded nor late */
    int64_t latency_ms;     /* to the first event; -1: there was none */
    int64_t retry_after_ms; /* what the upstream asked for: nobody calls for so long; 0: nothing */
};

struct limiter_info {
    uint64_t slots; /* as many as may be in use now; 0: no limit */
    uint64_t slots_used;
    uint64_t tokens; /* whole ones at hand; 0 also if there is no bucket */
    uint64_t waiting;
    uint64_t waited, refused, throttled; /* ever: tickets that waited, that were refused, cuts of the slots */
    int64_t paused_ms;                   /* a Retry-After still holds; 0: no */
};

struct limiter;

/** NULL: out of memory. `settings` are copied; one of the two limits is set. */
struct limiter *limiter_create(const struct limiter_settings *settings) MUST_CHECK;

/** Nothing waits, nothing is in use and nothing is on its way any more. Takes NULL. */
void limiter_destroy(struct limiter *limiter);

/** Asks for one call. */
enum limiter_result limiter_enter(struct limiter *limiter, struct limiter_ticket *ticket) MUST_CHECK;

/** The first thing that the item's handle() does. True: the ticket is granted. False: it had left before, or
 * was refused while it waited, and then it has still to leave. */
bool limiter_receive(struct limiter *limiter, struct limiter_ticket *ticket) MUST_CHECK;

/** Gives back what the ticket holds: its place in the line, or its slot. False: its item is on its way and
 * will still be handled; the ticket must live until it was received, and may not enter before. */
bool limiter_leave(struct limiter *limiter, struct limiter_ticket *ticket,
                   const struct limiter_report *report) MUST_CHECK;

/** In how many ms to poll for the first that waits: when its token comes or the pause ends, and at the latest
 *  in LIMITER_POLL_MAX_MS; at least 1. -1: none waits. */
int64_t limiter_poll_in_ms(struct limiter *limiter);

/** Serves whoever can be served now. */
void limiter_poll(struct limiter *limiter);

/** When one more call would have a chance, for Retry-After: by the pause, by the tokens that those before it
 *  need, and by how long calls have kept their slots. 0: now. */
int64_t limiter_retry_after_ms(struct limiter *limiter);

/** False: a pause holds that is longer than one may wait for; *ret_retry_after_ms says for how long. Also
 * with a lock held. */
bool limiter_would_take(struct limiter *limiter, int64_t *ret_retry_after_ms) MUST_CHECK;

void limiter_get_info(struct limiter *limiter, struct limiter_info *ret_info);

#endif
