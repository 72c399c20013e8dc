/* All tracked runs: by id, newest first, the ended ones beyond a number forgotten. Has a lock of its own,
 * taken after no other. */
#ifndef SLUICE_BROADCASTER_TASK_TABLE_H
#define SLUICE_BROADCASTER_TASK_TABLE_H

#include "broadcaster/task.h"

struct task_table;

struct task_table *task_table_create(void) MUST_CHECK;
void task_table_destroy(struct task_table *table); /* takes NULL; gives back all tasks */

/** Tracks the task, with a reference of its own. False: out of memory. */
bool task_table_add(struct task_table *table, struct task *task) MUST_CHECK;

/** Takes out a task that was added and then not registered. */
void task_table_remove(struct task_table *table, struct task *task);

/** The task has ended: it may be forgotten. Forgets the longest ended ones beyond `kept_max`. */
void task_table_note_end(struct task_table *table, struct task *task, uint64_t kept_max);

/** Forgets the longest ended tasks, at most `count`, that ended not after `mono_ms`. Returns how many. */
size_t task_table_forget(struct task_table *table, size_t count, int64_t mono_ms);

/** By id, referenced; NULL: unknown or forgotten. */
struct task *task_table_find(struct task_table *table, const char *id);

/** The newest tasks with a serial below `before` (0: all), newest first: fills `tasks` with at most `count`
 *  references, returns how many. */
size_t task_table_list(struct task_table *table, uint64_t before, struct task **tasks, size_t count);

/** The tasks that have not ended, the oldest first: a reference each, in an array that the caller frees.
 * NULL: out of memory. */
struct task **task_table_under_way(struct task_table *table, size_t *ret_count) MUST_CHECK;

uint64_t task_table_count(struct task_table *table);

#endif
