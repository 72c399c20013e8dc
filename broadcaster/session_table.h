/* The table of sessions by key, in shards with a lock each. Private to this room.
 *
 * It has the open sessions and those that are only waited for (see session.h); the open ones alone count.
 *
 * No session's lock is taken while a shard's is held, nor the other way round. All functions may be called on
 * any thread with no lock held.
 */
#ifndef SLUICE_BROADCASTER_SESSION_TABLE_H
#define SLUICE_BROADCASTER_SESSION_TABLE_H

#include "broadcaster/session.h"

struct session_table;

/** NULL: out of memory. */
struct session_table *session_table_create(void) MUST_CHECK;

/** It must be empty. Takes NULL. */
void session_table_destroy(struct session_table *table);

/** The session of that key, open or waited for, referenced; NULL: there is none, or it was closed. */
struct session *session_table_find(struct session_table *table, const char *key);

/** Puts a new session in, with a reference of the table's own, unless one of that key is there that was not
 * closed. Its ids begin after those of a session that stood there before. 0 or -EEXIST; -ESHUTDOWN: the table
 * was shut; -ENOMEM. */
int session_table_insert(struct session_table *table, struct session *session) MUST_CHECK;

/** Opens a session that is waited for: it counts from now on. 0; -ENOSPC: `sessions_max` are open;
 * -ESHUTDOWN. The session's lock is held, and it was not closed. */
int session_table_open_locked(struct session_table *table, struct session *session,
                              uint64_t sessions_max) MUST_CHECK;

/** Takes a closed session out, if it is still there. */
void session_table_remove(struct session_table *table, struct session *session);

/** From now on no session can be put in; session_table_for_each() that begins later sees all there are. */
void session_table_shut(struct session_table *table);

/** Calls `visit` with each session, no lock held, until it returns false. What comes or goes meanwhile may be
 *  seen or not. */
void session_table_for_each(struct session_table *table,
                            bool (*visit)(void *context, struct session *session), void *context);

/** Of the open ones; of those that are waited for. */
uint64_t session_table_count(const struct session_table *table);
uint64_t session_table_count_awaited(const struct session_table *table);

#endif
