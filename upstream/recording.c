/* A recording: the list of a stream's events with their times. See recording.h for the contract.
 *
 * The writer appends, and readers keep a place of their own in the list; all of it is under the recording's
 * lock. Readers copy references in batches and look at the entries without the lock. A recording that has
 * outgrown its bound is not whole any more: it forgets what all readers have had.
 */
#include "upstream/recording.h"

#include "base/broken_state.h"
#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/refcount.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_SIZE 512

/* cppcheck-suppress unusedStructMember ; the macros of sys/queue.h use them */
STAILQ_HEAD(entry_list, recording_entry);
/* cppcheck-suppress unusedStructMember ; the macros of sys/queue.h use them */
TAILQ_HEAD(reader_list, recording_reader);

struct recording {
    atomic_uint references;
    size_t bytes_max;
    int64_t began_mono_ms; /* the writer's */
    struct lock lock;
    /* lock */
    struct entry_list entries;
    uint64_t first; /* number of the first entry that is there; those before it are forgotten */
    uint64_t count; /* entries ever */
    size_t bytes;   /* of those that are there */
    size_t memory;  /* that malloc() takes for them */
    bool is_whole;
    bool is_replay;
    bool writer_waits;
    bool has_ended;
    struct reader_list readers;
    /* does not change any more once it has ended */
    struct upstream_result result;
    struct upstream_outcome outcome;
    char message[MESSAGE_SIZE];
};

struct recording *recording_create(size_t bytes_max) {
    struct recording *recording = calloc(1, sizeof(*recording));
    if (recording == NULL)
        return NULL;
    memory_charge(MEMORY_RECORDINGS, sizeof(*recording));
    recording->references = 1;
    recording->bytes_max = bytes_max;
    recording->began_mono_ms = clock_mono_ms();
    recording->is_whole = true;
    lock_init(&recording->lock);
    STAILQ_INIT(&recording->entries);
    TAILQ_INIT(&recording->readers);
    return recording;
}

struct recording *recording_ref(struct recording *recording) {
    refcount_add(&recording->references);
    return recording;
}

static void entry_destroy(struct recording_entry *entry) {
    memory_release(MEMORY_RECORDINGS, entry->bytes);
    free(entry);
}

void recording_unref(struct recording *recording) {
    if (recording == NULL || !refcount_drop(&recording->references))
        return;
    assert(TAILQ_EMPTY(&recording->readers));
    struct recording_entry *entry;
    while ((entry = STAILQ_FIRST(&recording->entries)) != NULL) {
        STAILQ_REMOVE_HEAD(&recording->entries, link);
        entry_destroy(entry);
    }
    lock_finish(&recording->lock);
    memory_release(MEMORY_RECORDINGS, sizeof(*recording));
    free(recording);
}

/* ---- forgetting ---------------------------------------------------------------------------------- */

/** Forgets what all readers have had. True: the writer waits, and may go on. */
static bool forget_read_locked(struct recording *recording) {
    lock_assert_held(&recording->lock);
    if (recording->is_whole)
        return false;
    uint64_t needed = recording->count;
    struct recording_reader *reader;
    TAILQ_FOREACH(reader, &recording->readers, link) {
        if (reader->kept < needed)
            needed = reader->kept;
    }
    while (recording->first < needed) {
        struct recording_entry *entry = STAILQ_FIRST(&recording->entries);
        STAILQ_REMOVE_HEAD(&recording->entries, link);
        recording->bytes -= entry->bytes;
        recording->memory -= memory_block(entry->bytes);
        recording->first++;
        entry_destroy(entry);
    }
    /* Not at the first byte: the writer would be told again and again. */
    bool has_room = recording->writer_waits && recording->bytes <= recording->bytes_max / 2;
    recording->writer_waits = recording->writer_waits && !has_room;
    return has_room;
}

bool recording_may_append(struct recording *recording) {
    lock_acquire(&recording->lock);
    forget_read_locked(recording);
    recording->writer_waits = recording->bytes > recording->bytes_max;
    bool may_append = !recording->writer_waits;
    lock_release(&recording->lock);
    return may_append;
}

/* ---- the writer ---------------------------------------------------------------------------------- */

static void tell_locked(struct recording_reader *reader) {
    lock_assert_held(&reader->recording->lock);
    if (reader->is_told)
        return;
    reader->is_told = true;
    reader->on_more(reader);
}

static void append_entry(struct recording *recording, struct recording_entry *entry) {
    struct recording_reader *reader;
    lock_acquire(&recording->lock);
    if (recording->has_ended) {
        lock_release(&recording->lock);
        broken_state_note("upstream/recording.c: an entry after its end");
        entry_destroy(entry);
        return;
    }
    STAILQ_INSERT_TAIL(&recording->entries, entry, link);
    recording->count++;
    recording->bytes += entry->bytes;
    recording->memory += memory_block(entry->bytes);
    TAILQ_FOREACH(reader, &recording->readers, link) {
        if (reader->next == NULL)
            reader->next = entry;
        tell_locked(reader);
    }
    if (recording->bytes > recording->bytes_max || memory_level() >= MEMORY_FULL)
        recording->is_whole = false;
    forget_read_locked(recording);
    lock_release(&recording->lock);
}

static struct recording_entry *entry_create(enum recording_kind kind, int64_t at_ms, size_t text_length) {
    size_t bytes = sizeof(struct recording_entry) + text_length;
    struct recording_entry *entry = memory_may_grow(bytes) ? malloc(bytes) : NULL;
    if (entry == NULL)
        return NULL;
    memory_charge(MEMORY_RECORDINGS, bytes);
    *entry = (struct recording_entry){.kind = kind, .at_ms = at_ms, .bytes = bytes};
    return entry;
}

int64_t recording_now_ms(const struct recording *recording) {
    return clock_mono_ms() - recording->began_mono_ms;
}

bool recording_append_event(struct recording *recording, const struct sse_event *event, int64_t at_ms) {
    struct recording_entry *entry =
        entry_create(RECORDING_EVENT, at_ms, event->type_length + event->data_length);
    if (entry == NULL)
        return false;
    char *type = (char *)(entry + 1), *data = type + event->type_length;
    memcpy(type, event->type, event->type_length);
    memcpy(data, event->data, event->data_length);
    entry->event = (struct sse_event){.type = type,
                                      .type_length = event->type_length,
                                      .data = data,
                                      .data_length = event->data_length,
                                      .last_event_id = ""};
    append_entry(recording, entry);
    return true;
}

bool recording_append_sent(struct recording *recording) {
    struct recording_entry *entry = entry_create(RECORDING_SENT, 0, 0);
    if (entry == NULL)
        return false;
    recording->began_mono_ms = clock_mono_ms();
    append_entry(recording, entry);
    return true;
}

bool recording_append_retry(struct recording *recording, const struct upstream_retry *retry) {
    size_t message_size = strlen(retry->failure.message) + 1;
    size_t upstream_size = retry->upstream != NULL ? strlen(retry->upstream) + 1 : 0;
    struct recording_entry *entry = entry_create(RECORDING_RETRY, recording_now_ms(recording),
                                                 sizeof(*retry) + message_size + upstream_size);
    if (entry == NULL)
        return false;
    struct upstream_retry *kept = (struct upstream_retry *)(entry + 1);
    char *message = (char *)(kept + 1), *upstream = message + message_size;
    memcpy(message, retry->failure.message, message_size);
    *kept = *retry;
    kept->failure.message = message;
    kept->failure.outcome = NULL;
    kept->failure.bare_id = NULL;
    if (retry->upstream != NULL)
        kept->upstream = memcpy(upstream, retry->upstream, upstream_size);
    entry->retry = kept;
    append_entry(recording, entry);
    return true;
}

void recording_append_replay(struct recording *to, struct recording *from) {
    struct recording_reader *reader;
    assert(TAILQ_EMPTY(&from->readers));
    lock_acquire(&to->lock);
    if (to->has_ended) {
        lock_release(&to->lock);
        broken_state_note("upstream/recording.c: a replay after its end");
        return;
    }
    TAILQ_FOREACH(reader, &to->readers, link) {
        if (reader->next == NULL)
            reader->next = STAILQ_FIRST(&from->entries);
        tell_locked(reader);
    }
    STAILQ_CONCAT(&to->entries, &from->entries);
    to->count += from->count;
    to->bytes += from->bytes;
    to->memory += from->memory;
    to->is_replay = true;
    lock_release(&to->lock);
    from->count = from->bytes = from->memory = 0;
}

void recording_end(struct recording *recording, const struct upstream_result *result) {
    struct recording_reader *reader;
    lock_acquire(&recording->lock);
    if (recording->has_ended) {
        lock_release(&recording->lock);
        broken_state_note("upstream/recording.c: ended twice");
        return;
    }
    recording->result = *result;
    snprintf(recording->message, sizeof(recording->message), "%s", result->message);
    recording->result.message = recording->message;
    if (result->outcome != NULL)
        recording->outcome = *result->outcome;
    recording->result.outcome = &recording->outcome;
    recording->result.bare_id = NULL;
    recording->has_ended = true;
    recording->writer_waits = false;
    TAILQ_FOREACH(reader, &recording->readers, link)
    tell_locked(reader);
    lock_release(&recording->lock);
}

/* ---- what it is ---------------------------------------------------------------------------------- */

bool recording_is_whole(struct recording *recording) {
    lock_acquire(&recording->lock);
    bool is_whole = recording->is_whole;
    lock_release(&recording->lock);
    return is_whole;
}

size_t recording_bytes(struct recording *recording) {
    lock_acquire(&recording->lock);
    size_t bytes = recording->bytes;
    lock_release(&recording->lock);
    return bytes;
}

size_t recording_memory(struct recording *recording) {
    lock_acquire(&recording->lock);
    size_t bytes = memory_block(sizeof(*recording)) + recording->memory;
    lock_release(&recording->lock);
    return bytes;
}

const struct upstream_result *recording_result(const struct recording *recording) {
    assert(recording->has_ended);
    return &recording->result;
}

/* ---- readers ------------------------------------------------------------------------------------- */

bool recording_join(struct recording *recording, struct recording_reader *reader) {
    lock_acquire(&recording->lock);
    bool is_whole = recording->is_whole;
    if (is_whole) {
        *reader = (struct recording_reader){.on_more = reader->on_more,
                                            .recording = recording_ref(recording),
                                            .next = STAILQ_FIRST(&recording->entries)};
        TAILQ_INSERT_TAIL(&recording->readers, reader, link);
    }
    lock_release(&recording->lock);
    return is_whole;
}

void recording_heard(struct recording_reader *reader) {
    lock_acquire(&reader->recording->lock);
    reader->is_told = false;
    lock_release(&reader->recording->lock);
}

void recording_nudge(struct recording_reader *reader) {
    lock_acquire(&reader->recording->lock);
    tell_locked(reader);
    lock_release(&reader->recording->lock);
}

void recording_read(struct recording_reader *reader, struct recording_batch *ret_batch) {
    struct recording *recording = reader->recording;
    size_t count = 0;
    lock_acquire(&recording->lock);
    struct recording_entry *entry = reader->next;
    for (; entry != NULL && count < RECORDING_BATCH; entry = STAILQ_NEXT(entry, link))
        ret_batch->entries[count++] = entry;
    reader->next = entry;
    reader->kept = reader->position;
    reader->position += count;
    ret_batch->count = count;
    ret_batch->is_replay = recording->is_replay;
    ret_batch->is_end = count == 0 && recording->has_ended;
    ret_batch->has_room = forget_read_locked(recording);
    lock_release(&recording->lock);
}

bool recording_leave(struct recording_reader *reader, bool *ret_has_room) {
    struct recording *recording = reader->recording;
    lock_acquire(&recording->lock);
    TAILQ_REMOVE(&recording->readers, reader, link);
    bool is_told = reader->is_told;
    *ret_has_room = forget_read_locked(recording);
    lock_release(&recording->lock);
    recording_unref(recording);
    reader->recording = NULL;
    return is_told;
}
