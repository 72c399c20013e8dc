/* Finding and opening the session that a request speaks of: see access.h. */
#include "routes/access.h"

#include "routes/refusal.h"

#include <errno.h>
#include <stdio.h>

struct session *session_open(struct request *request, const char *key) {
    struct session *session;
    int result = broadcaster_open_session(request->context->broadcaster, key, &session);
    if (result == 0)
        return session;
    if (result == -ENOSPC) {
        refusal_log(request, LOG_LEVEL_WARN, "session_refused", LOG_STR("session", key));
        reply_limit(request, 429, "too_many_sessions", "The session limit has been reached", "sessions_max",
                    atomic_load(&broadcaster_limits(request->context->broadcaster)->sessions_max), NULL);
    } else if (result == -ENOBUFS) {
        reply_memory_full(request);
    } else if (result == -ESHUTDOWN) {
        reply_error(request, 503, "draining", "The gateway is shutting down and opens no sessions.");
    } else {
        reply_no_memory(request);
    }
    return NULL;
}

struct session *session_find(struct request *request) {
    return broadcaster_find_session(request->context->broadcaster, request->session_key);
}

/* Two runs of one session at once would mix up its history. */
bool session_refuse_conflict(struct request *request, const struct passed_owner *owner) {
    bool is_current = false;
    snprintf(request->session_key, sizeof(request->session_key), "%s/%s/%s", owner->app, owner->user,
             owner->session);
    struct session *session = session_find(request);
    struct task *task = session != NULL ? broadcaster_session_task(session, &is_current) : NULL;
    if (is_current)
        reply_error_about(request, 409, "run_in_progress", "task_id", task->id,
                          "A run is under way in this session.");
    task_unref(task);
    session_unref(session);
    return is_current;
}
