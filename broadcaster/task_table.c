/* All tracked runs: see task_table.h. */
#include "broadcaster/task_table.h"

#include "base/lock.h"

#include <stdlib.h>
#include <string.h>

/* One task of so many is a mark, or fewer are between two. */
#define MARK_DISTANCE 128

/* cppcheck-suppress unusedStructMember ; the macros of sys/queue.h use them */
TAILQ_HEAD(task_list, task);

struct task_table {
    struct lock lock;
    struct task *by_id;
    struct task_list all;       /* newest first */
    struct task_list marks;     /* some of them, in the same order: where a search for a serial begins */
    uint64_t unmarked;          /* newer than the newest mark */
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
    TAILQ_INIT(&table->marks);
    TAILQ_INIT(&table->under_way);
    TAILQ_INIT(&table->ended);
    return table;
}

/* Only the newest becomes one, so their order is that of serials. */
static void mark_locked(struct task_table *table, struct task *task) {
    lock_assert_held(&table->lock);
    if (++table->unmarked < MARK_DISTANCE || task != TAILQ_FIRST(&table->all))
        return;
    task->is_mark = true;
    table->unmarked = 0;
    TAILQ_INSERT_HEAD(&table->marks, task, mark_entry);
}

/* A mark that goes leaves its place to the next older task, so marks never get further apart. */
static void unmark_locked(struct task_table *table, struct task *task) {
    lock_assert_held(&table->lock);
    if (!task->is_mark)
        return;
    struct task *older = TAILQ_NEXT(task, all_entry);
    if (older != NULL && !older->is_mark) {
        older->is_mark = true;
        TAILQ_INSERT_AFTER(&table->marks, task, older, mark_entry);
    }
    TAILQ_REMOVE(&table->marks, task, mark_entry);
    task->is_mark = false;
}

static void unlink_locked(struct task_table *table, struct task *task) {
    lock_assert_held(&table->lock);
    unmark_locked(table, task);
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
        mark_locked(table, task);
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

/* The newest task with a serial below `before`; 0: of all. NULL: there is none. */
static struct task *newest_before_locked(struct task_table *table, uint64_t before) {
    lock_assert_held(&table->lock);
    if (before == 0)
        return TAILQ_FIRST(&table->all);
    struct task *task = TAILQ_FIRST(&table->marks);
    while (task != NULL && task->serial >= before)
        task = TAILQ_NEXT(task, mark_entry);
    if (task == NULL)
        task = TAILQ_LAST(&table->all, task_list);
    if (task == NULL || task->serial >= before)
        return NULL;
    struct task *newer;
    while ((newer = TAILQ_PREV(task, task_list, all_entry)) != NULL && newer->serial < before)
        task = newer;
    return task;
}

size_t task_table_list(struct task_table *table, uint64_t before, struct task **tasks, size_t count) {
    size_t found = 0;
    lock_acquire(&table->lock);
    struct task *task = newest_before_locked(table, before);
    for (; task != NULL && found < count; task = TAILQ_NEXT(task, all_entry)) {
        if (atomic_load(&task->registered))
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
