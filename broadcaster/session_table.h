/* The table of sessions by key, in shards with a lock each. Private to this room.
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

/** The open session of that key, referenced, or NULL. */
struct session *session_table_find(struct session_table *table, const char *key);

/** Puts a new session in, with a reference of the table's own, unless an open one of that key is there. Its
 * ids begin after those of a session that stood there before. 0 or -EEXIST; -ENOSPC: `sessions_max` are
 * there; -ESHUTDOWN: the table was shut; -ENOMEM. */
int session_table_insert(struct session_table *table, struct session *session,
                         uint64_t sessions_max) MUST_CHECK;

/** Takes a closed session out, if it is still there. */
void session_table_remove(struct session_table *table, struct session *session);

/** From now on no session can be put in; session_table_for_each() that begins later sees all there are. */
void session_table_shut(struct session_table *table);

/** Calls `visit` with each session, no lock held, until it returns false. What comes or goes meanwhile may be
 *  seen or not. */
void session_table_for_each(struct session_table *table,
                            bool (*visit)(void *context, struct session *session), void *context);

uint64_t session_table_count(const struct session_table *table);

#endif
