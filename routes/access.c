/* The gate of access, and the finding of what is behind it.
 *
 * A request learns its session in one of three ways: from its path, from its body or query, or from the run
 * that it names. All of them end in note_names() and is_allowed(), so there is one place that the judge is
 * asked from, and `let_in` of a request is set here alone. Sessions and runs are handed out to a request
 * that was let in, and to no other.
 */
#include "routes/access.h"

#include "routes/refusal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- the gate ------------------------------------------------------------------------------------ */

static bool is_allowed(const struct request *request, const char *app, const char *user, const char *session,
                       enum access_right right) {
    const struct routes_context *context = request->context;
    if (right == ACCESS_UNSAID)
        return false;
    return right == ACCESS_PUBLIC || context->allows == NULL ||
           context->allows(request, app, user, session, right);
}

bool access_check(struct request *request, const char *app, const char *user, const char *session,
                  enum access_right right) {
    request->let_in = is_allowed(request, app, user, session, right);
    if (!request->let_in)
        reply_error(request, 403, "insufficient_scope", "This request needs a right that it does not have.");
    return request->let_in;
}

static void note_names(struct request *request, const struct session_names *owner) {
    memcpy(request->app, owner->app, sizeof(request->app));
    memcpy(request->user, owner->user, sizeof(request->user));
    memcpy(request->session, owner->session, sizeof(request->session));
    request_note_session(request);
}

bool access_enter(struct request *request, const struct session_names *owner) {
    note_names(request, owner);
    return access_check(request, owner->app, owner->user, owner->session, request->right);
}

bool access_enter_item(struct request *request, const struct session_names *owner) {
    note_names(request, owner);
    request->let_in = access_shows(request, owner);
    return request->let_in;
}

bool access_shows(const struct request *request, const struct session_names *owner) {
    return is_allowed(request, owner->app, owner->user, owner->session, request->right);
}

static void read_session_names(const struct session *session, struct session_names *ret_owner) {
    struct session_parts parts = session_parts(session);
    snprintf(ret_owner->app, sizeof(ret_owner->app), "%.*s", parts.app_length, parts.app);
    snprintf(ret_owner->user, sizeof(ret_owner->user), "%.*s", parts.user_length, parts.user);
    snprintf(ret_owner->session, sizeof(ret_owner->session), "%.*s", parts.session_length, parts.session);
}

/* A list has up to thousands of items, so their names are copied only if there is a judge. */
bool access_shows_session(const struct request *request, const struct session *session) {
    struct session_names owner = {0};
    if (request->context->allows == NULL)
        return true;
    read_session_names(session, &owner);
    return access_shows(request, &owner);
}

/* ---- behind the gate ----------------------------------------------------------------------------- */

/* False: a handler has left the gate out. The request gets no answer, and its connection is closed. */
static bool is_let_in(struct request *request) {
    if (!request->let_in)
        request_break(request, "routes/access.c: a session for a request that was not let in");
    return request->let_in;
}

struct session *access_find_session(struct request *request) {
    if (!is_let_in(request))
        return NULL;
    return broadcaster_find_session(request->context->broadcaster, request->session_key);
}

static int open_let_in(struct request *request, struct session **ret_session) {
    if (!is_let_in(request))
        return -EACCES;
    return broadcaster_open_session(request->context->broadcaster, request->session_key, ret_session);
}

static void refuse_session(struct request *request, int result) {
    struct broadcaster *broadcaster = request->context->broadcaster;
    if (result == -ENOSPC) {
        refusal_log(request, LOG_LEVEL_WARN, "session_refused", LOG_STR("session", request->session_key));
        reply_limit(request, 429, "too_many_sessions", "The session limit has been reached", "sessions_max",
                    atomic_load(&broadcaster_limits(broadcaster)->sessions_max), NULL);
    } else if (result == -ENOBUFS) {
        reply_memory_full(request);
    } else if (result == -ESHUTDOWN) {
        reply_error(request, 503, "draining", "The gateway is shutting down and opens no sessions.");
    } else {
        reply_no_memory(request);
    }
}

struct session *access_open_session(struct request *request) {
    struct session *session;
    int result = open_let_in(request, &session);
    if (result == 0)
        return session;
    refuse_session(request, result);
    return NULL;
}

struct session *access_try_open_session(struct request *request) {
    struct session *session;
    return open_let_in(request, &session) == 0 ? session : NULL;
}

enum subscriber_result access_await_session(struct request *request, const struct subscriber_spec *spec,
                                            struct subscriber **ret_subscriber) {
    if (!is_let_in(request))
        return SUBSCRIBER_CLOSED;
    return subscriber_await(request->context->broadcaster, request->session_key, spec, ret_subscriber);
}

/* The answer for another user's run is that for an id which does not exist, byte for byte: else the ids of
 * others could be found by trying. */
struct task *access_find_task(struct request *request) {
    struct session_names owner = {0};
    struct task *task = task_table_find(broadcaster_tasks(request->context->broadcaster), request->id);
    if (task != NULL)
        read_session_names(task->session, &owner);
    if (task != NULL && access_enter_item(request, &owner))
        return task;
    task_unref(task);
    reply_error(request, 404, "unknown_task", "There is no such run, or it is no longer tracked.");
    return NULL;
}

bool access_refuse_conflict(struct request *request) {
    bool is_current = false;
    struct session *session = access_find_session(request);
    struct task *task = session != NULL ? broadcaster_session_task(session, &is_current) : NULL;
    if (is_current)
        reply_error_about(request, 409, "run_in_progress", "task_id", task->id,
                          "A run is under way in this session.");
    task_unref(task);
    session_unref(session);
    return is_current;
}
