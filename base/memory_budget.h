/* The memory that clients and upstreams can make the process take, counted by kind and held to one limit.
 *
 *     struct thing *thing = malloc(size);
 *     memory_charge(MEMORY_TASKS, size);
 *     ...
 *     memory_release(MEMORY_TASKS, size);    // the same number
 *     free(thing);
 *
 * Code that allocates memory on behalf of the outside charges it here, and releases it when it frees the
 * memory, on any thread. Each call adds to a counter of its own thread. The sum decides the level:
 *
 *     sixteenths of the limit:   0 ......... 13 14 15 16 17 18
 *                                EASY            |     |     |        below the first mark
 *                                           <----TIGHT |     |        logs are trimmed, down to 13
 *                                                 <----FULL  |        no new runs and sessions, down to 15
 *                                                       <----OVER     nothing may grow, down to 17
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
    X(TASKS, "runs", "runs, remembered ended runs included")                                                 \
    X(KEYS, "idempotency_keys", "idempotency keys")                                                          \
    X(SUBSCRIBERS, "subscribers", "subscribers and their connections")                                       \
    X(CONNECTIONS, "connections", "HTTP connections and the heads of their requests")                        \
    X(BODIES, "request_bodies", "bodies of requests")                                                        \
    X(ANSWERS, "answers", "answers that are being made or sent")                                             \
    X(PASSED, "passed_answers",                                                                              \
      "answers of upstreams that are passed on, and events that are read for answers")                       \
    X(REQUESTS, "upstream_requests", "requests to upstreams, with a copy for each attempt and fallback")     \
    X(STREAMS, "upstream_streams", "calls to upstreams and the data read from them")                         \
    X(UPSTREAM_CONNECTIONS, "upstream_connections",                                                          \
      "memory of libcurl and OpenSSL: connections to upstreams, idle ones included, and authorities")        \
    X(RECORDINGS, "recordings", "runs that are kept in the cache, or recorded for it")

enum memory_kind {
    MEMORY_UNCOUNTED, /* charges to this kind count nowhere */
#define X(symbol, name, help) MEMORY_##symbol,
    MEMORY_KINDS(X)
#undef X
        MEMORY_KIND_COUNT
};

/** A kind's name, as /stats and /metrics show it, and its meaning. MEMORY_UNCOUNTED has neither. */
const char *memory_kind_name(enum memory_kind kind);
const char *memory_kind_help(enum memory_kind kind);

/** malloc() takes blocks of at least this size directly from the kernel and returns them at once. See
 * memory_tune_allocator(). */
#define MEMORY_LARGE_BYTES ((size_t)256 * 1024)

/** Sets up malloc() so that freed memory returns to the kernel: large blocks at once, and no more arenas than
 * working threads. Once, at start. */
void memory_tune_allocator(uint64_t workers);

/** Returns the memory that malloc() takes for `bytes`. */
static inline size_t memory_block(size_t bytes) {
    if (bytes >= MEMORY_LARGE_BYTES)
        return (bytes + 16 + 4095) & ~(size_t)4095;
    return bytes <= 24 ? 32 : (bytes + 8 + 15) & ~(size_t)15;
}

/** Counts one block of `bytes`, the size given to malloc(). Any thread, also under a lock. */
void memory_charge(enum memory_kind kind, size_t bytes);

/** Counts the block no more, before it is freed. Any thread, also under a lock. */
void memory_release(enum memory_kind kind, size_t bytes);

enum memory_level { MEMORY_EASY, MEMORY_TIGHT, MEMORY_FULL, MEMORY_OVER };

/** "easy", "tight", "full", "over" */
const char *memory_level_name(enum memory_level which);

/** Sets the limit; 0, the initial value, sets none. Any thread. */
void memory_set_limit(uint64_t bytes);
uint64_t memory_limit(void);

/** Returns the level at the last look. Each thread looks after each 64 KiB that it charges. Any thread, also
 * under a lock. */
enum memory_level memory_level(void);

/** Looks: sums up all charges, and returns the level. Any thread, also under a lock. */
enum memory_level memory_look(void);

/** Sets the function that makes some room before anything is refused. It is called on the thread that needs
 * room, with no lock held. NULL sets none. Once, before other threads start. */
void memory_set_relief(void (*relieve)(void *context), void *context);

/** Returns whether something new may take `bytes`: the level is below MEMORY_FULL, and the sum stays within
 * the limit. Looks. Any thread, no lock held. */
bool memory_has_room(uint64_t bytes) MUST_CHECK;

/** Memory of a new run, without its body and the upstream's copy of that body. Without room for it no run is
 * accepted. */
#define MEMORY_RUN_BYTES ((uint64_t)64 * 1024)

/** Blocks up to this size may grow at any level, so that accepted work can continue. */
#define MEMORY_SMALL_BYTES ((size_t)16 * 1024)

#define MEMORY_MESSAGE_SIZE 128

/** Writes and returns one sentence for refused requests and for runs that memory_may_grow() ends. Any thread.
 */
const char *memory_full_message(char out[MEMORY_MESSAGE_SIZE]);

/** Returns whether existing work may take a block of `bytes`. False: the block is larger than
 * MEMORY_SMALL_BYTES and the level is MEMORY_OVER. Any thread, no lock held. */
bool memory_may_grow(size_t bytes) MUST_CHECK;

/** Returns whether a kind that has a share of the limit may take a block of `bytes` within its share.
 * MEMORY_PASSED and MEMORY_ANSWERS have a quarter each, because a slow client keeps such memory for as long
 * as it likes. Small blocks may always be taken. Any thread. */
bool memory_share_may_grow(enum memory_kind kind, size_t bytes) MUST_CHECK;

/** The memory down to which logs are trimmed. */
uint64_t memory_low_mark(void);

/** The memory that counts against the limit: the sum of all charges, or two thirds of the process's memory if
 * that is more. Any thread. */
uint64_t memory_held(void);

/** The charges of a kind, and of all kinds. A charge that another thread makes meanwhile may be missing. Any
 * thread. */
uint64_t memory_used(enum memory_kind kind);
uint64_t memory_total(void);

/* ---- the kernel's count ------------------------------------------------------------------------- */

/** Asks the kernel for the process's resident memory, if `now` is set or much was charged since the last
 * call. Two thirds of that memory count for the level. So it cannot stay above one and a half of the limit
 * for long, whatever the allocator does. One system call. Any thread, no lock held. */
void memory_measure(bool now);

/** Returns whether the process had far more memory than is charged at the last measurement, because the
 * allocator keeps freed memory. memory_give_back() may help. Any thread. */
bool memory_is_loose(void);

/** Returns the allocator's free memory to the kernel. The call takes about 0.2 ms for each MiB of the
 * process, and other threads may wait for memory meanwhile. So the next call does nothing until fifty times
 * its duration has passed, or ten times while the process's memory counts more than the charges. Main
 * thread. */
void memory_give_back(void);

#endif
