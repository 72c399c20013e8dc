/* Trimming logs when memory is short: whose events are missed least go first. See broadcaster.h. */
#include "base/clock.h"
#include "base/metrics.h"
#include "broadcaster/broadcaster.h"

/* In one call at most: so many sessions are looked at, and no more are once so many bytes were freed. */
#define SESSIONS_MAX 1024
#define BYTES_MAX (4u << 20)

/* Sessions and runs that are forgotten in one call. */
#define FORGET_SESSIONS_MAX 128
#define FORGET_TASKS_MAX 256

struct trim {
    struct idle_sessions *idle;
    uint64_t bytes_wanted;
    uint64_t bytes; /* that left logs so far */
};

/* Trims a session's log to `bytes_kept`, if the session still is of that kind. One whose log has been trimmed
 * as far as may be gives its place in the list to the next one. */
static void trim_session(struct trim *trim, struct session *session, enum idleness idleness,
                         uint64_t bytes_kept) {
    struct session_effects effects = {0};
    lock_acquire(&session->lock);
    if (session->idleness == idleness) {
        uint64_t bytes = session_shed_locked(session, bytes_kept, &effects);
        bool has_more = bytes > 0 && session->log.bytes > bytes_kept;
        trim->bytes += bytes;
        if (session->log.bytes == 0)
            session_settle_locked(session);
        if (session->idleness == idleness && !has_more)
            idle_sessions_place_locked(trim->idle, session, idleness);
    }
    lock_release(&session->lock);
    session_apply(&effects);
}

static void trim_list(struct trim *trim, enum idleness idleness, uint64_t bytes_kept) {
    for (int i = 0; i < SESSIONS_MAX && trim->bytes < trim->bytes_wanted; i++) {
        struct session *session = idle_sessions_oldest(trim->idle, idleness);
        if (session == NULL)
            return;
        trim_session(trim, session, idleness, bytes_kept);
        session_unref(session);
    }
}

static struct trim trim_of(struct broadcaster *broadcaster, uint64_t bytes) {
    return (struct trim){.idle = broadcaster_idle_sessions(broadcaster),
                         .bytes_wanted = bytes < BYTES_MAX ? bytes : BYTES_MAX};
}

uint64_t broadcaster_trim(struct broadcaster *broadcaster, uint64_t bytes) {
    struct trim trim = trim_of(broadcaster, bytes);
    trim_list(&trim, SESSION_IDLE, 0);
    trim_list(&trim, SESSION_WATCHED, 0);
    return trim.bytes;
}

size_t broadcaster_forget(struct broadcaster *broadcaster) {
    size_t sessions = 0;
    while (sessions < FORGET_SESSIONS_MAX && broadcaster_end_unneeded(broadcaster))
        sessions++;
    size_t tasks = task_table_forget(broadcaster_tasks(broadcaster), FORGET_TASKS_MAX,
                                     clock_mono_ms() - BROADCASTER_FORGET_MS);
    metrics_add(METRIC_MEMORY_FORGOTTEN, sessions + tasks);
    return sessions + tasks;
}

uint64_t broadcaster_count_running(struct broadcaster *broadcaster) {
    return idle_sessions_count(broadcaster_idle_sessions(broadcaster), SESSION_RUNNING);
}

uint64_t broadcaster_cap_logs(struct broadcaster *broadcaster, uint64_t bytes) {
    struct trim trim = trim_of(broadcaster, UINT64_MAX);
    atomic_store(&broadcaster_counts(broadcaster)->log_bytes_cap, bytes);
    if (bytes != UINT64_MAX)
        trim_list(&trim, SESSION_RUNNING, bytes);
    return trim.bytes;
}
