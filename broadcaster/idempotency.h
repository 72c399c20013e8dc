/* Idempotency keys of one session: the same key with the same body gets the same run. Session's lock.
 *
 * An entry does not keep its run: `tasks_kept` bounds the runs that are remembered, whatever keys they have.
 * What an answer needs of a run that was forgotten is copied when the run ends.
 */
#ifndef SLUICE_BROADCASTER_IDEMPOTENCY_H
#define SLUICE_BROADCASTER_IDEMPOTENCY_H

#include "broadcaster/task.h"

#define IDEMPOTENCY_KEY_MAX 255

/** One key: made before the lock is taken, so that nothing is allocated under it. */
struct idempotency_entry {
    TAILQ_ENTRY(idempotency_entry) entry;
    struct task
        *task; /* while it has not ended; no reference, for the session has one then. NULL: it has ended */
    struct run_receipt receipt;
    uint64_t body_hash;
    int64_t expires_mono_ms;
    char key[];
};

TAILQ_HEAD(idempotency, idempotency_entry);

/** NULL: out of memory. */
struct idempotency_entry *idempotency_entry_create(const char *key, uint64_t body_hash) MUST_CHECK;
void idempotency_entry_destroy(
    struct idempotency_entry *entry); /* takes NULL; its run has ended, or it has none */

/** The entry is for that run, which is about to be registered. */
void idempotency_entry_tie(struct idempotency_entry *entry, struct task *task);

/** The run has ended, as its status says: its entry, if it has one, keeps what there is to know. */
void idempotency_note_end(struct task *task);

/** The live entry of this key, or NULL. */
struct idempotency_entry *idempotency_find(struct idempotency *table, const char *key, int64_t now_ms);

/** Adds an entry that is not there. Returns one that had to go for it (expired, or the oldest of more than
 *  `keys_max`), untied from its run, for the caller to destroy once the lock is released, or NULL. */
struct idempotency_entry *idempotency_add(struct idempotency *table, struct idempotency_entry *entry,
                                          int64_t now_ms, uint32_t keys_max);

#endif
