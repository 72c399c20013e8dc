/* All tracked runs: see task_table.h. */
#include "broadcaster/task_table.h"

#include "base/lock.h"

#include <stdlib.h>
#include <string.h>

/* cppcheck-suppress unusedStructMember ; the macros of sys/queue.h use them */
TAILQ_HEAD(task_list, task);

struct task_table {
    struct lock lock;
    struct task *by_id;
    struct task_list all;       /* newest first */
    struct task_list under_way; /* all but those that have ended, in the order in which they came */
    struct task_list ended;     /* longest ended first */
    uint64_t count;
    uint64_t ended_count;
};

struct task_table *task_table_create(void) {
    struct task_table *table = calloc(1, sizeof(*table));
    if (table == NULL)
        return NULL;
    lock_init(&table->lock);
    TAILQ_INIT(&table->all);
    TAILQ_INIT(&table->under_way);
    TAILQ_INIT(&table->ended);
    return table;
}

static void unlink_locked(struct task_table *table, struct task *task) {
    lock_assert_held(&table->lock);
    HASH_DEL(table->by_id, task);
    TAILQ_REMOVE(&table->all, task, all_entry);
    TAILQ_REMOVE(task->ended_listed ? &table->ended : &table->under_way, task, state_entry);
    table->ended_count -= task->ended_listed;
    table->count--;
}

void task_table_destroy(struct task_table *table) {
    if (table == NULL)
        return;
    struct task *task;
    while ((task = TAILQ_FIRST(&table->all)) != NULL)
        task_table_remove(table, task);
    lock_finish(&table->lock);
    free(table);
}

bool task_table_add(struct task_table *table, struct task *task) {
    bool out_of_memory = false;
    lock_acquire(&table->lock);
    HASH_ADD_STR(table->by_id, id, task);
    if (!out_of_memory) {
        /* The order of serials, though two threads may come here the other way round. */
        struct task *before = TAILQ_FIRST(&table->all);
        while (before != NULL && before->serial > task->serial)
            before = TAILQ_NEXT(before, all_entry);
        if (before != NULL)
            TAILQ_INSERT_BEFORE(before, task, all_entry);
        else
            TAILQ_INSERT_TAIL(&table->all, task, all_entry);
        TAILQ_INSERT_TAIL(&table->under_way, task, state_entry);
        table->count++;
        task_ref(task);
    }
    lock_release(&table->lock);
    return !out_of_memory;
}

void task_table_remove(struct task_table *table, struct task *task) {
    lock_acquire(&table->lock);
    unlink_locked(table, task);
    lock_release(&table->lock);
    task_unref(task);
}

/* The longest ended task, unlinked, if more than `kept_max` have ended, and it has not after `mono_ms`. */
static struct task *forget_one(struct task_table *table, uint64_t kept_max, int64_t mono_ms) {
    lock_acquire(&table->lock);
    struct task *oldest = table->ended_count > kept_max ? TAILQ_FIRST(&table->ended) : NULL;
    if (oldest != NULL && oldest->ended_mono_ms > mono_ms) /* written before it was put into the list */
        oldest = NULL;
    if (oldest != NULL)
        unlink_locked(table, oldest);
    lock_release(&table->lock);
    return oldest;
}

void task_table_note_end(struct task_table *table, struct task *task, uint64_t kept_max) {
    lock_acquire(&table->lock);
    TAILQ_REMOVE(&table->under_way, task, state_entry);
    TAILQ_INSERT_TAIL(&table->ended, task, state_entry);
    task->ended_listed = true;
    table->ended_count++;
    lock_release(&table->lock);
    struct task *forgotten;
    while ((forgotten = forget_one(table, kept_max, INT64_MAX)) != NULL)
        task_unref(forgotten);
}

size_t task_table_forget(struct task_table *table, size_t count, int64_t mono_ms) {
    struct task *forgotten;
    size_t done = 0;
    for (; done < count && (forgotten = forget_one(table, 0, mono_ms)) != NULL; done++)
        task_unref(forgotten);
    return done;
}

struct task *task_table_find(struct task_table *table, const char *id) {
    struct task *task;
    lock_acquire(&table->lock);
    HASH_FIND_STR(table->by_id, id, task);
    if (task != NULL && atomic_load(&task->registered))
        task_ref(task);
    else
        task = NULL;
    lock_release(&table->lock);
    return task;
}

size_t task_table_list(struct task_table *table, uint64_t before, struct task **tasks, size_t count) {
    size_t found = 0;
    lock_acquire(&table->lock);
    struct task *task;
    TAILQ_FOREACH(task, &table->all, all_entry) {
        if (found == count)
            break;
        if ((before == 0 || task->serial < before) && atomic_load(&task->registered))
            tasks[found++] = task_ref(task);
    }
    lock_release(&table->lock);
    return found;
}

struct task **task_table_under_way(struct task_table *table, size_t *ret_count) {
    /* Room for them is made without the lock; those that come meanwhile are not looked at. */
    lock_acquire(&table->lock);
    size_t room = table->count - table->ended_count;
    lock_release(&table->lock);
    struct task **tasks = calloc(room + 1, sizeof(struct task *));
    if (tasks == NULL)
        return NULL;
    size_t count = 0;
    lock_acquire(&table->lock);
    struct task *task;
    TAILQ_FOREACH(task, &table->under_way, state_entry) {
        if (count == room)
            break;
        if (atomic_load(&task->registered))
            tasks[count++] = task_ref(task);
    }
    lock_release(&table->lock);
    *ret_count = count;
    return tasks;
}

uint64_t task_table_count(struct task_table *table) {
    lock_acquire(&table->lock);
    uint64_t count = table->count;
    lock_release(&table->lock);
    return count;
}
