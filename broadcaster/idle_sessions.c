/* The lists of sessions by their use: see idle_sessions.h.
 *
 * A session is in a list only while it is open, and then its table has a reference to it; the thread that
 * closes it takes it out of its list under its lock, and has a reference for as long. So what stands in a
 * list can be referenced.
 */
#include "broadcaster/idle_sessions.h"

#include "broadcaster/session.h"

#include <assert.h>

void idle_sessions_init(struct idle_sessions *idle) {
    lock_init(&idle->lock);
    for (int i = 0; i < IDLENESS_COUNT; i++) {
        TAILQ_INIT(&idle->lists[i]);
        idle->counts[i] = 0;
    }
}

void idle_sessions_finish(struct idle_sessions *idle) {
    for (int i = 0; i < IDLENESS_COUNT; i++)
        assert(TAILQ_EMPTY(&idle->lists[i]));
    lock_finish(&idle->lock);
}

void idle_sessions_place_locked(struct idle_sessions *idle, struct session *session, enum idleness idleness) {
    lock_assert_held(&session->lock);
    lock_acquire(&idle->lock);
    if (session->idleness != SESSION_IN_USE) {
        TAILQ_REMOVE(&idle->lists[session->idleness], session, idle_entry);
        idle->counts[session->idleness]--;
    }
    if (idleness != SESSION_IN_USE) {
        TAILQ_INSERT_TAIL(&idle->lists[idleness], session, idle_entry);
        idle->counts[idleness]++;
    }
    session->idleness = idleness;
    lock_release(&idle->lock);
}

uint64_t idle_sessions_count(struct idle_sessions *idle, enum idleness idleness) {
    lock_acquire(&idle->lock);
    uint64_t count = idle->counts[idleness];
    lock_release(&idle->lock);
    return count;
}

struct session *idle_sessions_oldest(struct idle_sessions *idle, enum idleness idleness) {
    lock_acquire(&idle->lock);
    struct session *session = TAILQ_FIRST(&idle->lists[idleness]);
    if (session != NULL)
        session_ref(session);
    lock_release(&idle->lock);
    return session;
}
