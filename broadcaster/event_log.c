/* The event log, a bounded ring of frames: see event_log.h. */
#include "broadcaster/event_log.h"

#include "base/memory_budget.h"

#include <assert.h>
#include <stdlib.h>

#define CAPACITY_MIN 16u

/* A ring without frames. NULL: out of memory. */
static struct frame **ring_create(uint32_t capacity) {
    struct frame **ring = calloc(capacity, sizeof(struct frame *));
    if (ring != NULL)
        memory_charge(MEMORY_SESSIONS, capacity * sizeof(struct frame *));
    return ring;
}

static void ring_destroy(struct frame **ring, uint32_t capacity) {
    if (ring != NULL)
        memory_release(MEMORY_SESSIONS, capacity * sizeof(struct frame *));
    free(ring);
}

bool event_log_init(struct event_log *log, int64_t now_ms) {
    struct event_id floor = {.ms = now_ms >= 0 ? (uint64_t)now_ms : 0, .n = 0};
    *log = (struct event_log){.first_sequence = 1, .next_sequence = 1, .floor_id = floor, .last_id = floor};
    log->ring = ring_create(CAPACITY_MIN);
    log->capacity = CAPACITY_MIN;
    return log->ring != NULL;
}

void event_log_finish(struct event_log *log) {
    frame_unref_list(event_log_clear(log));
}

void event_log_begin_after(struct event_log *log, struct event_id id) {
    assert(log->next_sequence == 1);
    if (event_id_compare(id, log->last_id) > 0)
        log->floor_id = log->last_id = id;
}

static uint64_t count_of_events(const struct event_log *log) {
    return log->next_sequence - log->first_sequence;
}

static struct frame **slot_of(const struct event_log *log, uint64_t sequence) {
    return &log->ring[sequence & (log->capacity - 1)];
}

/* Doubles the ring, if there is memory. */
static void grow_ring(struct event_log *log) {
    uint32_t capacity = log->capacity * 2;
    struct frame **ring = ring_create(capacity);
    if (ring == NULL)
        return;
    for (uint64_t sequence = log->first_sequence; sequence < log->next_sequence; sequence++)
        ring[sequence & (capacity - 1)] = *slot_of(log, sequence);
    ring_destroy(log->ring, log->capacity);
    log->ring = ring;
    log->capacity = capacity;
}

/* Takes the oldest frame out and puts it in front of the list. */
static void evict_oldest(struct event_log *log, struct frame **list) {
    struct frame *oldest = *slot_of(log, log->first_sequence);
    log->first_sequence++;
    log->bytes -= frame_memory(oldest);
    log->floor_id = oldest->id;
    oldest->next = *list;
    *list = oldest;
}

/* The limits for an append now: wider as long as the oldest event has not been written by every worker. */
static struct event_log_limits widen_limits(const struct event_log *log,
                                            const struct event_log_limits *limits) {
    struct event_log_limits wide = *limits;
    if (limits->unwritten_from != 0 && log->first_sequence >= limits->unwritten_from) {
        wide.events_max += EVENT_LOG_BURST_MAX;
        wide.bytes_max *= 2;
    }
    return wide;
}

static bool log_has_room(const struct event_log *log, const struct event_log_limits *limits, size_t memory) {
    struct event_log_limits wide = widen_limits(log, limits);
    return count_of_events(log) < wide.events_max && count_of_events(log) < log->capacity &&
           log->bytes + memory <= wide.bytes_max;
}

void event_log_append(struct event_log *log, const struct event_log_limits *limits, struct frame *frame,
                      int64_t now_ms, struct frame **ret_evicted) {
    assert(log->ring != NULL);
    if (count_of_events(log) == log->capacity && log->capacity < widen_limits(log, limits).events_max)
        grow_ring(log);
    struct frame *evicted = NULL;
    size_t memory = frame_memory(frame);
    while (count_of_events(log) > 0 && !log_has_room(log, limits, memory))
        evict_oldest(log, &evicted);
    log->last_id = event_id_next(log->last_id, now_ms);
    frame_stamp(frame, log->last_id);
    *slot_of(log, log->next_sequence) = frame;
    log->next_sequence++;
    log->bytes += memory;
    log->bytes_ever += memory;
    *ret_evicted = evicted;
}

struct frame *event_log_trim(struct event_log *log, const struct event_log_limits *limits) {
    struct frame *evicted = NULL;
    while (count_of_events(log) > 1 &&
           (count_of_events(log) > limits->events_max || log->bytes > limits->bytes_max))
        evict_oldest(log, &evicted);
    return evicted;
}

/* Without memory for a smaller ring, the log keeps the one that it has. */
static void shrink_ring(struct event_log *log) {
    struct frame **ring = log->capacity > CAPACITY_MIN ? ring_create(CAPACITY_MIN) : NULL;
    if (ring == NULL)
        return;
    ring_destroy(log->ring, log->capacity);
    log->ring = ring;
    log->capacity = CAPACITY_MIN;
}

struct frame *event_log_shed(struct event_log *log, uint64_t bytes_kept, uint64_t until,
                             uint32_t events_max) {
    struct frame *evicted = NULL;
    for (uint32_t events = 0; events < events_max && count_of_events(log) > 0 && log->bytes > bytes_kept &&
                              log->first_sequence < until;
         events++)
        evict_oldest(log, &evicted);
    if (count_of_events(log) == 0)
        shrink_ring(log);
    return evicted;
}

struct frame *event_log_clear(struct event_log *log) {
    struct frame *all = NULL;
    while (count_of_events(log) > 0)
        evict_oldest(log, &all);
    ring_destroy(log->ring, log->capacity);
    log->ring = NULL;
    log->capacity = 0;
    return all;
}

struct frame *event_log_at(const struct event_log *log, uint64_t sequence) {
    assert(sequence >= log->first_sequence && sequence < log->next_sequence);
    return *slot_of(log, sequence);
}

/* The first retained sequence whose id is not before `id`. */
static uint64_t lower_bound(const struct event_log *log, struct event_id id) {
    uint64_t low = log->first_sequence, high = log->next_sequence;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (event_id_compare(event_log_at(log, middle)->id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct event_log_position event_log_find(const struct event_log *log, struct event_id id) {
    if (event_id_compare(id, log->floor_id) == 0)
        return (struct event_log_position){.sequence = log->first_sequence, .known = true};
    if (event_id_compare(id, log->floor_id) < 0 || event_id_compare(id, log->last_id) > 0)
        return (struct event_log_position){.sequence = log->first_sequence, .lost_to = log->floor_id};
    uint64_t sequence = lower_bound(log, id);
    if (sequence < log->next_sequence && event_id_compare(event_log_at(log, sequence)->id, id) == 0)
        return (struct event_log_position){.sequence = sequence + 1, .known = true};
    return (struct event_log_position){.sequence = sequence, .lost_to = id};
}
