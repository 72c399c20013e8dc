/* The memory that clients and upstreams can make the process take: counted by kind, held against one limit.
 *
 *     struct thing *thing = malloc(size);
 *     memory_charge(MEMORY_TASKS, size);
 *     ...
 *     memory_release(MEMORY_TASKS, size);    // the same number
 *     free(thing);
 *
 * Whatever allocates what the outside can make grow charges it here, and releases it when it is freed, on
 * whatever thread. That costs one addition to a counter of the thread's own. How full the budget is follows
 * from the sum, in four levels:
 *
 *     sixteenths of the limit:   0 ......... 13 14 15 16 17 18
 *                                EASY            |     |     |        below the first mark
 *                                           <----TIGHT |     |        logs are trimmed, down to 13
 *                                                 <----FULL  |        no new runs and sessions, until it is
 * below 15
 *                                                       <----OVER     nothing may grow, until it is below 17
 */
#ifndef SLUICE_BASE_MEMORY_BUDGET_H
#define SLUICE_BASE_MEMORY_BUDGET_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** X(symbol, name, help): every kind, once. */
#define MEMORY_KINDS(X)                                                                                      \
    X(EVENTS, "events", "events, in logs, on their way to slow clients, and in answers")                     \
    X(SESSIONS, "sessions", "sessions and the rings of their logs")                                          \
    X(TASKS, "runs", "runs, those that have ended and are remembered included")                              \
    X(KEYS, "idempotency_keys", "idempotency keys")                                                          \
    X(SUBSCRIBERS, "subscribers", "subscribers and their connections")                                       \
    X(CONNECTIONS, "connections", "HTTP connections and the heads of their requests")                        \
    X(BODIES, "request_bodies", "bodies of requests")                                                        \
    X(ANSWERS, "answers", "answers that are being made or sent")                                             \
    X(PASSED, "passed_answers", "answers of upstreams that are passed on, and events that are read out")     \
    X(REQUESTS, "upstream_requests", "requests to upstreams, with a copy for each attempt and fallback")     \
    X(STREAMS, "upstream_streams", "calls of upstreams and what is read from them")                          \
    X(UPSTREAM_CONNECTIONS, "upstream_connections",                                                          \
      "what libcurl and OpenSSL take: connections to upstreams, idle ones included, and authorities")        \
    X(RECORDINGS, "recordings", "runs that are kept in the cache, or recorded for it")

enum memory_kind {
    MEMORY_UNCOUNTED, /* charges of it count nowhere */
#define X(symbol, name, help) MEMORY_##symbol,
    MEMORY_KINDS(X)
#undef X
        MEMORY_KIND_COUNT
};

/** A kind's name, as /stats and /metrics show it, and what it is. MEMORY_UNCOUNTED has none. */
const char *memory_kind_name(enum memory_kind kind);
const char *memory_kind_help(enum memory_kind kind);

/** malloc() takes blocks of at least this size from the kernel and returns them to it at once: see
 * memory_tune_allocator(). */
#define MEMORY_LARGE_BYTES ((size_t)256 * 1024)

/** Sets up malloc() so that freed memory goes back to the kernel: large blocks at once, and no more arenas
 * than there are threads that work. Once, at start. */
void memory_tune_allocator(uint64_t workers);

/** What malloc() takes for `bytes`. */
static inline size_t memory_block(size_t bytes) {
    if (bytes >= MEMORY_LARGE_BYTES)
        return (bytes + 16 + 4095) & ~(size_t)4095;
    return bytes <= 24 ? 32 : (bytes + 8 + 15) & ~(size_t)15;
}

/** Counts one block of `bytes`, the size that malloc() was asked for. Any thread, also under a lock. */
void memory_charge(enum memory_kind kind, size_t bytes);

/** The block is about to be freed. Any thread, also under a lock. */
void memory_release(enum memory_kind kind, size_t bytes);

enum memory_level { MEMORY_EASY, MEMORY_TIGHT, MEMORY_FULL, MEMORY_OVER };

/** "easy", "tight", "full", "over" */
const char *memory_level_name(enum memory_level which);

/** Sets the limit; 0: there is none, which is so at first. Any thread. */
void memory_set_limit(uint64_t bytes);
uint64_t memory_limit(void);

/** The level when somebody looked last: each thread looks after it has charged 64 KiB. Any thread, also under
 * a lock. */
enum memory_level memory_level(void);

/** Sums up what is charged, and returns the level. Any thread, also under a lock. */
enum memory_level memory_look(void);

/** Sets what is called before anything is refused, to make some room: on the thread that asks, with no lock
 * held. Once, before there are threads; NULL: nothing. */
void memory_set_relief(void (*relieve)(void *context), void *context);

/** Whether something new may take `bytes`: the level is below MEMORY_FULL, and the sum stays within the
 * limit. Looks. Any thread, no lock held. */
bool memory_has_room(uint64_t bytes) MUST_CHECK;

/** What a run takes at first, beside its body and the copy of it that goes to the upstream: without room for
 * it, no run is accepted. */
#define MEMORY_RUN_BYTES ((uint64_t)64 * 1024)

/** Blocks up to this size may grow whatever the level is: work that was accepted goes on with them. */
#define MEMORY_SMALL_BYTES ((size_t)16 * 1024)

#define MEMORY_MESSAGE_SIZE 128

/** Writes one sentence for a run that ends because of memory_may_grow(), and for requests that are refused;
 * returns it. Any thread. */
const char *memory_full_message(char out[MEMORY_MESSAGE_SIZE]);

/** Whether what there is already may take a block of `bytes`: not if the block is larger than small, and the
 * level is MEMORY_OVER. Any thread, no lock held. */
bool memory_may_grow(size_t bytes) MUST_CHECK;

/** Whether a kind that has a share of the limit may take a block of `bytes` within it. What is read out for
 * answers has a quarter, and what is made for them another one: a client that reads slowly keeps it for as
 * long as it likes. Small blocks may always be taken. Any thread. */
bool memory_share_may_grow(enum memory_kind kind, size_t bytes) MUST_CHECK;

/** Down to where logs are trimmed once that was begun. */
uint64_t memory_low_mark(void);

/** What counts against the limit: what is charged, or two thirds of what the process has, if that is more.
 * Any thread. */
uint64_t memory_held(void);

/** What is charged of a kind, and in all. A moment in which others charge is seen in part. Any thread. */
uint64_t memory_used(enum memory_kind kind);
uint64_t memory_total(void);

/* ---- what the kernel counts ---------------------------------------------------------------------- */

/** Asks the kernel for the resident memory of the process, if much was charged since it was asked last, or if
 * `now`. It counts for the level, with two thirds: so that it cannot grow beyond one and a half of the limit
 * for long, whatever the allocator does. One system call. Any thread, no lock held. */
void memory_measure(bool now);

/** Whether the process has far more memory than is charged, when it was measured last: the allocator keeps
 * what was freed. memory_give_back() may help. Any thread. */
bool memory_is_loose(void);

/** Returns free memory of the allocator to the kernel. It takes some 0.2 ms for each MiB that the
 * process has, in which other threads may have to wait for memory. So not again before fifty times as long
 * has passed; ten times, while what the process has counts more than what is charged. Main thread. */
void memory_give_back(void);

#endif
