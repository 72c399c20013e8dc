/* Idempotency keys of one session: see idempotency.h. */
#include "broadcaster/idempotency.h"

#include "base/memory_budget.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct idempotency_entry *idempotency_entry_create(const char *key, uint64_t body_hash) {
    size_t size = strlen(key) + 1;
    struct idempotency_entry *entry = calloc(1, sizeof(*entry) + size);
    if (entry == NULL)
        return NULL;
    memory_charge(MEMORY_KEYS, sizeof(*entry) + size);
    entry->body_hash = body_hash;
    memcpy(entry->key, key, size);
    return entry;
}

void idempotency_entry_destroy(struct idempotency_entry *entry) {
    if (entry == NULL)
        return;
    assert(entry->task == NULL);
    memory_release(MEMORY_KEYS, sizeof(*entry) + strlen(entry->key) + 1);
    free(entry);
}

static void untie_entry(struct idempotency_entry *entry) {
    if (entry->task != NULL)
        entry->task->idempotency = NULL;
    entry->task = NULL;
}

void idempotency_entry_tie(struct idempotency_entry *entry, struct task *task) {
    assert(entry->task == NULL && task->idempotency == NULL);
    entry->task = task;
    task->idempotency = entry;
    memcpy(entry->receipt.task_id, task->id, sizeof(task->id));
    entry->receipt.status = task->status;
    entry->receipt.created_unix_ms = task->created_unix_ms;
}

void idempotency_note_end(struct task *task) {
    struct idempotency_entry *entry = task->idempotency;
    if (entry == NULL)
        return;
    entry->receipt.status = task->status;
    untie_entry(entry);
}

struct idempotency_entry *idempotency_find(struct idempotency *table, const char *key, int64_t now_ms) {
    struct idempotency_entry *entry;
    TAILQ_FOREACH(entry, table, entry) {
        if (entry->expires_mono_ms > now_ms && strcmp(entry->key, key) == 0)
            return entry;
    }
    return NULL;
}

struct idempotency_entry *idempotency_add(struct idempotency *table, struct idempotency_entry *entry,
                                          int64_t now_ms, uint32_t keys_max) {
    uint32_t count = 0;
    struct idempotency_entry *other, *gone = NULL;
    TAILQ_FOREACH(other, table, entry) {
        if (gone == NULL && other->expires_mono_ms <= now_ms)
            gone = other;
        count++;
    }
    /* One leaves for each that comes once one has expired, so the table shrinks back by itself only as far as
     * it must. */
    if (gone == NULL && count >= keys_max)
        gone = TAILQ_FIRST(table);
    if (gone != NULL) {
        TAILQ_REMOVE(table, gone, entry);
        untie_entry(gone);
    }
    TAILQ_INSERT_TAIL(table, entry, entry);
    return gone;
}
