/* The memory that the outside can make the process take: see memory_budget.h.
 *
 * Each thread adds to a shard of its own, so that threads do not wait for each other's caches. What one
 * thread charged another one may release: a shard's number may be negative, the sum of all of them is right.
 */
#include "base/memory_budget.h"

#include <stdatomic.h>

/* More threads than shards share them. */
#define SHARDS 16

/* A thread that has charged this much looks at the level. */
#define LOOK_BYTES ((size_t)64 * 1024)

struct shard {
    _Alignas(128) _Atomic int64_t bytes[MEMORY_KIND_COUNT];
};

static struct shard shards[SHARDS];
static atomic_uint threads;
static _Atomic uint64_t limit;
static _Atomic enum memory_level level;

static _Thread_local struct shard *own_shard;
static _Thread_local size_t unlooked; /* bytes that were charged since the last look */

static const char *const names[MEMORY_KIND_COUNT] = {
#define X(symbol, name, help) [MEMORY_##symbol] = name,
    MEMORY_KINDS(X)
#undef X
};

static const char *const helps[MEMORY_KIND_COUNT] = {
#define X(symbol, name, help) [MEMORY_##symbol] = help,
    MEMORY_KINDS(X)
#undef X
};

const char *memory_kind_name(enum memory_kind kind) {
    return names[kind];
}

const char *memory_kind_help(enum memory_kind kind) {
    return helps[kind];
}

/* ---- counting ------------------------------------------------------------------------------------ */

static void add(enum memory_kind kind, int64_t bytes) {
    struct shard *shard = own_shard;
    if (shard == NULL)
        shard = own_shard = &shards[atomic_fetch_add(&threads, 1) % SHARDS];
    atomic_fetch_add_explicit(&shard->bytes[kind], bytes, memory_order_relaxed);
}

void memory_charge(enum memory_kind kind, size_t bytes) {
    size_t block = memory_block(bytes);
    add(kind, (int64_t)block);
    unlooked += block;
    if (unlooked >= LOOK_BYTES)
        memory_look();
}

void memory_release(enum memory_kind kind, size_t bytes) {
    add(kind, -(int64_t)memory_block(bytes));
}

static int64_t sum(enum memory_kind kind) {
    int64_t bytes = 0;
    for (size_t i = 0; i < SHARDS; i++)
        bytes += atomic_load_explicit(&shards[i].bytes[kind], memory_order_relaxed);
    return bytes;
}

/* While somebody charges on one thread and releases on another, a sum may seem to be below nothing. */
static uint64_t at_least_nothing(int64_t bytes) {
    return bytes > 0 ? (uint64_t)bytes : 0;
}

uint64_t memory_used(enum memory_kind kind) {
    return at_least_nothing(sum(kind));
}

uint64_t memory_total(void) {
    int64_t bytes = 0;
    for (int kind = MEMORY_UNCOUNTED + 1; kind < MEMORY_KIND_COUNT; kind++)
        bytes += sum((enum memory_kind)kind);
    return at_least_nothing(bytes);
}

/* ---- the level ----------------------------------------------------------------------------------- */

const char *memory_level_name(enum memory_level which) {
    static const char *const level_names[] = {"easy", "tight", "full", "over"};
    return level_names[which];
}

/* `count` sixteenths of the limit. */
static uint64_t mark(uint64_t count) {
    uint64_t bytes = atomic_load_explicit(&limit, memory_order_relaxed);
    return bytes / 16 * count;
}

void memory_set_limit(uint64_t bytes) {
    atomic_store(&limit, bytes);
    memory_look();
}

uint64_t memory_limit(void) {
    return atomic_load(&limit);
}

uint64_t memory_low_mark(void) {
    return memory_limit() == 0 ? UINT64_MAX : mark(13);
}

enum memory_level memory_level(void) {
    return atomic_load_explicit(&level, memory_order_relaxed);
}

/* The highest level that was reached, or was reached before and has not been left. */
static enum memory_level judge(uint64_t total, enum memory_level before) {
    static const uint64_t reached[] = {0, 14, 16, 18}, left[] = {0, 13, 15, 17};
    for (int which = MEMORY_OVER; which > MEMORY_EASY; which--) {
        if (total >= mark((int)before >= which ? left[which] : reached[which]))
            return (enum memory_level)which;
    }
    return MEMORY_EASY;
}

/* Two threads may look at the same time, and the one that saw less may come last: the next look mends it. */
enum memory_level memory_look(void) {
    unlooked = 0;
    enum memory_level before = memory_level(), now = MEMORY_EASY;
    if (memory_limit() > 0)
        now = judge(memory_total(), before);
    if (now != before)
        atomic_store_explicit(&level, now, memory_order_relaxed);
    return now;
}

/* ---- asking before taking -------------------------------------------------------------------------- */

static void (*relieve_hook)(void *context);
static void *relieve_context;

void memory_set_relief(void (*relieve)(void *context), void *context) {
    relieve_hook = relieve;
    relieve_context = context;
}

static void relieve(void) {
    if (relieve_hook != NULL)
        relieve_hook(relieve_context);
}

static bool has_room_now(uint64_t bytes) {
    uint64_t bytes_max = memory_limit(), total = memory_total();
    return memory_look() < MEMORY_FULL && total <= bytes_max && bytes <= bytes_max - total;
}

bool memory_has_room(uint64_t bytes) {
    if (memory_limit() == 0 || has_room_now(bytes))
        return true;
    relieve();
    return has_room_now(bytes);
}

bool memory_may_grow(size_t bytes) {
    if (bytes <= MEMORY_SMALL_BYTES || memory_level() < MEMORY_OVER)
        return true;
    relieve();
    return memory_look() < MEMORY_OVER;
}
