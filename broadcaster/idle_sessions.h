/* The open sessions by how much they are needed at the moment, and in the order of their last use: they make
 * room for others, and their logs are trimmed when memory is short.
 *
 * A session is idle while it has no run, neither a current one nor one that waits, and no subscribers. There
 * are three lists of idle sessions, and two of those in use; in each the session that was not used for the
 * longest time comes first. Private to this room.
 */
#ifndef SLUICE_BROADCASTER_IDLE_SESSIONS_H
#define SLUICE_BROADCASTER_IDLE_SESSIONS_H

#include "base/lock.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct session;

enum idleness {
    SESSION_IN_USE,  /* in no list: it is closed, or has subscribers and nothing to trim */
    SESSION_RUNNING, /* it has a current run */
    SESSION_WATCHED, /* it has none, but subscribers or a run that waits, and its log retains events */
    SESSION_EMPTY,   /* it never had a run */
    SESSION_TRIMMED, /* it had one, and its log retains nothing */
    SESSION_IDLE,    /* it had one, and its log retains events */
    IDLENESS_COUNT
};

TAILQ_HEAD(session_list, session);

/** Whether nobody uses a session of that kind. */
static inline bool idleness_is_idle(enum idleness idleness) {
    return idleness >= SESSION_EMPTY;
}

struct idle_sessions {
    struct lock lock; /* taken under a session's lock; nothing is taken under it */
    struct session_list lists[IDLENESS_COUNT];
    uint64_t counts[IDLENESS_COUNT];
};

void idle_sessions_init(struct idle_sessions *idle);

/** The lists must be empty. */
void idle_sessions_finish(struct idle_sessions *idle);

/** Moves the session to the end of that list, or out of all. The session's lock is held. */
void idle_sessions_place_locked(struct idle_sessions *idle, struct session *session, enum idleness idleness);

/** The session of that list that was not used for the longest time, referenced; NULL: there is none. It may
 * be in use again already: take its lock and look. Any thread, no lock of a session held. */
struct session *idle_sessions_oldest(struct idle_sessions *idle, enum idleness idleness);

/** How many sessions a list has. Any thread, no lock of a session held. */
uint64_t idle_sessions_count(struct idle_sessions *idle, enum idleness idleness);

#endif
