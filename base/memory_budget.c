/* The memory that the outside can make the process take.
 *
 * Each thread adds to a shard of its own, so that threads do not wait for each other's caches. What one
 * thread charged another one may release: a shard's number may be negative, the sum of all of them is right.
 */
#include "base/memory_budget.h"

#include "base/helgrind.h"
#include "base/metrics.h"

#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* More threads than shards share them. */
#define SHARDS 16

/* A thread that has charged this much looks at the level. */
#define LOOK_BYTES ((size_t)64 * 1024)

/* What an arena keeps at its end. */
#define TOP_BYTES_MAX (1024 * 1024)

struct shard {
    _Alignas(128) _Atomic int64_t bytes[MEMORY_KIND_COUNT];
};

static struct shard shards[SHARDS];
static atomic_uint threads;
static _Atomic uint64_t limit;
static _Atomic uint64_t unmeasured; /* bytes that were charged since the kernel was asked */
static _Atomic uint64_t resident;   /* its last answer, less the memory at start; 0: never asked */
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

static void add_bytes(enum memory_kind kind, int64_t bytes) {
    struct shard *shard = own_shard;
    if (shard == NULL)
        shard = own_shard = &shards[atomic_fetch_add(&threads, 1) % SHARDS];
    atomic_fetch_add_explicit(&shard->bytes[kind], bytes, memory_order_relaxed);
}

void memory_charge(enum memory_kind kind, size_t bytes) {
    size_t block = memory_block(bytes);
    add_bytes(kind, (int64_t)block);
    unlooked += block;
    if (unlooked >= LOOK_BYTES)
        memory_look();
}

void memory_release(enum memory_kind kind, size_t bytes) {
    add_bytes(kind, -(int64_t)memory_block(bytes));
}

static int64_t sum_of_kind(enum memory_kind kind) {
    int64_t bytes = 0;
    for (size_t i = 0; i < SHARDS; i++)
        bytes += atomic_load_explicit(&shards[i].bytes[kind], memory_order_relaxed);
    return bytes;
}

/* While bytes are charged on one thread and released on another, a sum may seem to be below zero. */
static uint64_t at_least_nothing(int64_t bytes) {
    return bytes > 0 ? (uint64_t)bytes : 0;
}

uint64_t memory_used(enum memory_kind kind) {
    return at_least_nothing(sum_of_kind(kind));
}

uint64_t memory_total(void) {
    int64_t bytes = 0;
    for (int kind = MEMORY_UNCOUNTED + 1; kind < MEMORY_KIND_COUNT; kind++)
        bytes += sum_of_kind((enum memory_kind)kind);
    return at_least_nothing(bytes);
}

/* ---- the level ----------------------------------------------------------------------------------- */

const char *memory_level_name(enum memory_level which) {
    static const char *const level_names[] = {"easy", "tight", "full", "over"};
    return level_names[which];
}

/* `count` sixteenths of the limit. */
static uint64_t mark_bytes(uint64_t count) {
    uint64_t bytes = atomic_load_explicit(&limit, memory_order_relaxed);
    return bytes / 16 * count;
}

/* Each of these is an atomic that orders nothing. */
static void explain_to_helgrind(void) {
    VALGRIND_HG_DISABLE_CHECKING(&limit, sizeof limit);
    VALGRIND_HG_DISABLE_CHECKING(&unmeasured, sizeof unmeasured);
    VALGRIND_HG_DISABLE_CHECKING(&resident, sizeof resident);
    VALGRIND_HG_DISABLE_CHECKING(&level, sizeof level);
}

void memory_set_limit(uint64_t bytes) {
    explain_to_helgrind();
    atomic_store(&limit, bytes);
    memory_look();
}

uint64_t memory_limit(void) {
    return atomic_load_explicit(&limit, memory_order_relaxed);
}

uint64_t memory_low_mark(void) {
    return memory_limit() == 0 ? UINT64_MAX : mark_bytes(13);
}

enum memory_level memory_level(void) {
    return atomic_load_explicit(&level, memory_order_relaxed);
}

/* The highest level that was reached, or was reached before and has not been left. */
static enum memory_level judge_level(uint64_t total, enum memory_level before) {
    static const uint64_t reached[] = {0, 14, 16, 18}, left[] = {0, 13, 15, 17};
    for (int which = MEMORY_OVER; which > MEMORY_EASY; which--) {
        if (total >= mark_bytes((int)before >= which ? left[which] : reached[which]))
            return (enum memory_level)which;
    }
    return MEMORY_EASY;
}

uint64_t memory_held(void) {
    uint64_t total = memory_total(), least = atomic_load_explicit(&resident, memory_order_relaxed) / 3 * 2;
    return total > least ? total : least;
}

/* Two threads may look at the same time, and the one that saw less may come last: the next look mends it. */
enum memory_level memory_look(void) {
    if (unlooked > 0)
        atomic_fetch_add_explicit(&unmeasured, unlooked, memory_order_relaxed);
    unlooked = 0;
    enum memory_level before = memory_level(), now = MEMORY_EASY;
    if (memory_limit() > 0)
        now = judge_level(memory_held(), before);
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

static void relieve_memory(void) {
    if (relieve_hook != NULL)
        relieve_hook(relieve_context);
}

static bool has_room_now(uint64_t bytes) {
    uint64_t bytes_max = memory_limit(), total = memory_held();
    return memory_look() < MEMORY_FULL && total <= bytes_max && bytes <= bytes_max - total;
}

bool memory_has_room(uint64_t bytes) {
    if (memory_limit() == 0 || has_room_now(bytes))
        return true;
    relieve_memory();
    return has_room_now(bytes);
}

bool memory_may_grow(size_t bytes) {
    if (bytes <= MEMORY_SMALL_BYTES || memory_level() < MEMORY_OVER)
        return true;
    relieve_memory();
    return memory_look() < MEMORY_OVER;
}

/* In sixteenths of the limit. */
#define ANSWERS_SHARE 4

bool memory_share_may_grow(enum memory_kind kind, size_t bytes) {
    bool has_share = kind == MEMORY_PASSED || kind == MEMORY_ANSWERS;
    if (!has_share || bytes <= MEMORY_SMALL_BYTES || memory_limit() == 0)
        return true;
    bool has_room = memory_used(kind) + memory_block(bytes) <= mark_bytes(ANSWERS_SHARE);
    metrics_add(METRIC_MEMORY_SHARE_REFUSED, !has_room);
    return has_room;
}

/* ---- what the kernel counts ---------------------------------------------------------------------- */

/* The memory of a sanitizer or of valgrind is not what this is about. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SLUICE_HELGRIND)
#define IS_MEASURED false
#elif defined(__has_feature)
#define IS_MEASURED (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define IS_MEASURED true
#endif

/* How much may be charged between two questions: this part of the limit. */
#define MEASURE_SHARE 64
/* How far apart two times of giving back are, by how long the last one took. */
#define GIVE_BACK_PAUSES 50
#define GIVE_BACK_PAUSES_URGENT 10

static int statm = -1; /* /proc/self/statm, open */
static atomic_bool is_loose;
static uint64_t resident_at_start;
/* The last time of giving back; main thread. */
static int64_t gave_back_mono_us, gave_back_for_us;

/* Anonymous pages: those that are not mapped from files. 0: the kernel does not report them. */
static uint64_t read_resident(void) {
    char text[128];
    unsigned long long all, resident_pages, shared_pages;
    ssize_t length = statm >= 0 ? pread(statm, text, sizeof(text) - 1, 0) : -1;
    if (length <= 0)
        return 0;
    text[length] = '\0';
    /* The kernel writes numbers. NOLINTNEXTLINE(cert-err34-c) */
    if (sscanf(text, "%llu %llu %llu", &all, &resident_pages, &shared_pages) != 3)
        return 0;
    return (uint64_t)(resident_pages - shared_pages) * (uint64_t)sysconf(_SC_PAGESIZE);
}

void memory_measure(bool now) {
    uint64_t charged = atomic_load_explicit(&unmeasured, memory_order_relaxed), bytes_max = memory_limit();
    if (bytes_max == 0 || (!now && charged < bytes_max / MEASURE_SHARE))
        return;
    atomic_store_explicit(&unmeasured, 0, memory_order_relaxed);
    uint64_t bytes = read_resident(), total = memory_total();
    bytes = bytes > resident_at_start ? bytes - resident_at_start : 0;
    atomic_store_explicit(&resident, bytes, memory_order_relaxed);
    atomic_store_explicit(&is_loose, bytes > total + total / 4 + bytes_max / 8, memory_order_relaxed);
}

bool memory_is_loose(void) {
    return atomic_load_explicit(&is_loose, memory_order_relaxed);
}

static int64_t mono_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void memory_give_back(void) {
    bool is_urgent = memory_held() > memory_total();
    int64_t pauses = is_urgent ? GIVE_BACK_PAUSES_URGENT : GIVE_BACK_PAUSES, from_us = mono_us();
    if (from_us - gave_back_mono_us < pauses * gave_back_for_us)
        return;
    malloc_trim(0);
    gave_back_mono_us = mono_us();
    gave_back_for_us = gave_back_mono_us - from_us;
    metrics_observe_ms(HISTOGRAM_MEMORY_GIVE_BACK, gave_back_for_us / 1000);
    memory_measure(true);
}

/* Without this glibc raises its own threshold up to 32 MiB with the largest block that was freed: after that,
 * blocks of a megabyte leave holes in the heap that nothing else fits. Logs of such events took twice the
 * memory that was charged. */
void memory_tune_allocator(uint64_t workers) {
    /* No other thread runs yet. NOLINTBEGIN(concurrency-mt-unsafe) */
    mallopt(M_MMAP_THRESHOLD, (int)MEMORY_LARGE_BYTES);
    mallopt(M_TRIM_THRESHOLD, TOP_BYTES_MAX);
    mallopt(M_ARENA_MAX, (int)workers + 1); /* the main thread's, too */
    /* NOLINTEND(concurrency-mt-unsafe) */
    if (IS_MEASURED)
        statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    resident_at_start = read_resident();
}

const char *memory_full_message(char out[MEMORY_MESSAGE_SIZE]) {
    snprintf(out, MEMORY_MESSAGE_SIZE,
             "The gateway's memory limit has been reached: memory_max_bytes (%" PRIu64 " bytes).",
             memory_limit());
    return out;
}
