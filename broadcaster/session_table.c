/* The table of sessions by key: see session_table.h. */
#include "broadcaster/session_table.h"

#include "base/helgrind.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_BITS 6
#define SHARDS (1u << SHARD_BITS)
#define VISIT_BATCH 256

struct shard {
    struct lock lock;
    struct session *sessions; /* uthash, in the order of their numbers; a reference each */
    uint64_t last_number;
    struct event_id last_id; /* the latest id of any session that stood here */
};

struct session_table {
    struct shard shards[SHARDS];
    _Atomic uint64_t count; /* of all */
    _Atomic uint64_t open;  /* of them */
    atomic_bool shut;
};

struct session_table *session_table_create(void) {
    struct session_table *table = calloc(1, sizeof(*table));
    if (table == NULL)
        return NULL;
    for (size_t i = 0; i < SHARDS; i++)
        lock_init(&table->shards[i].lock);
    return table;
}

void session_table_destroy(struct session_table *table) {
    if (table == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        assert(table->shards[i].sessions == NULL);
        lock_finish(&table->shards[i].lock);
    }
    free(table);
}

void session_table_shut(struct session_table *table) {
    atomic_store(&table->shut, true);
}

uint64_t session_table_count(const struct session_table *table) {
    return atomic_load(&table->open);
}

uint64_t session_table_count_awaited(const struct session_table *table) {
    uint64_t open = atomic_load(&table->open), count = atomic_load(&table->count);
    return count > open ? count - open : 0; /* they may change in between */
}

/* What is looked for, and where. */
struct place {
    struct shard *shard;
    const char *key;
    size_t length;
    unsigned hash;
};

static struct place place_of_key(struct session_table *table, const char *key) {
    struct place place = {.key = key, .length = strlen(key)};
    HASH_VALUE(key, place.length, place.hash);
    /* The high bits: the shard's own table goes by the low ones, which must not be the same for all of it. */
    place.shard = &table->shards[place.hash >> (32 - SHARD_BITS)];
    return place;
}

static struct session *find_session_locked(const struct place *place) {
    lock_assert_held(&place->shard->lock);
    struct session *session;
    HASH_FIND_BYHASHVALUE(hh, place->shard->sessions, place->key, place->length, place->hash, session);
    return session;
}

struct session *session_table_find(struct session_table *table, const char *key) {
    const struct place place = place_of_key(table, key);
    lock_acquire(&place.shard->lock);
    struct session *session = find_session_locked(&place);
    if (session != NULL && !atomic_load(&session->closed))
        session_ref(session);
    else
        session = NULL;
    lock_release(&place.shard->lock);
    return session;
}

/* Takes a closed session out; the caller gives back the table's reference. */
static void take_session_out_locked(struct session_table *table, struct shard *shard,
                                    struct session *session) {
    lock_assert_held(&shard->lock);
    assert(atomic_load(&session->closed)); /* so nobody appends to its log any more */
    ANNOTATE_HAPPENS_AFTER(&session->closed);
    if (event_id_compare(session->log.last_id, shard->last_id) > 0)
        shard->last_id = session->log.last_id;
    HASH_DEL(shard->sessions, session);
    session->number = 0;
    atomic_fetch_sub(&table->count, 1);
    atomic_fetch_sub(&table->open, session_is_open(session));
}

void session_table_remove(struct session_table *table, struct session *session) {
    struct shard *shard = place_of_key(table, session->key).shard;
    lock_acquire(&shard->lock);
    bool is_there = session->number != 0;
    if (is_there)
        take_session_out_locked(table, shard, session);
    lock_release(&shard->lock);
    if (is_there)
        session_unref(session);
}

static int add_session_locked(struct session_table *table, const struct place *place,
                              struct session *session) {
    lock_assert_held(&place->shard->lock);
    struct shard *shard = place->shard;
    bool out_of_memory = false;
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, shard->sessions, session->key, place->length, place->hash, session);
    if (out_of_memory)
        return -ENOMEM;
    atomic_fetch_add(&table->count, 1);
    session->number = ++shard->last_number;
    event_log_begin_after(&session->log, shard->last_id); /* nobody else has seen it yet */
    session_ref(session);
    return 0;
}

int session_table_open_locked(struct session_table *table, struct session *session, uint64_t sessions_max) {
    lock_assert_held(&session->lock);
    assert(!session_is_open(session) && !atomic_load(&session->closed));
    if (atomic_load(&table->shut))
        return -ESHUTDOWN;
    if (atomic_fetch_add(&table->open, 1) >= sessions_max) {
        atomic_fetch_sub(&table->open, 1);
        return -ENOSPC;
    }
    atomic_store(&session->opened, true);
    return 0;
}

int session_table_insert(struct session_table *table, struct session *session) {
    const struct place place = place_of_key(table, session->key);
    lock_acquire(&place.shard->lock);
    struct session *other = find_session_locked(&place);
    bool is_stale = other != NULL && atomic_load(&other->closed);
    if (is_stale) /* whoever closed it has not come round to removing it */
        take_session_out_locked(table, place.shard, other);
    int result;
    if (atomic_load(&table->shut))
        result = -ESHUTDOWN;
    else if (other != NULL && !is_stale)
        result = -EEXIST;
    else
        result = add_session_locked(table, &place, session);
    lock_release(&place.shard->lock);
    if (is_stale)
        session_unref(other);
    return result;
}

/* References to the sessions with a number above `last`, at most VISIT_BATCH. */
static size_t collect_batch(struct shard *shard, uint64_t last, struct session **batch, uint64_t *ret_last) {
    size_t count = 0;
    lock_acquire(&shard->lock);
    for (struct session *session = shard->sessions; session != NULL && count < VISIT_BATCH;
         session = session->hh.next) {
        if (session->number <= last)
            continue;
        batch[count++] = session_ref(session);
        *ret_last = session->number;
    }
    lock_release(&shard->lock);
    return count;
}

void session_table_for_each(struct session_table *table,
                            bool (*visit)(void *context, struct session *session), void *context) {
    struct session *batch[VISIT_BATCH];
    bool goes_on = true;
    for (size_t i = 0; goes_on && i < SHARDS; i++) {
        uint64_t last = 0;
        size_t count;
        do {
            count = collect_batch(&table->shards[i], last, batch, &last);
            for (size_t k = 0; k < count; k++) {
                goes_on = goes_on && visit(context, batch[k]);
                session_unref(batch[k]);
            }
        } while (goes_on && count == VISIT_BATCH);
    }
}
