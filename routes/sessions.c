/* Sessions as a resource: POST, GET and DELETE S, POST and GET .../sessions.
 *
 * An upstream of kind adk keeps sessions of its own: there they are created, shown and deleted, and here only
 * what Sluice adds (log, runs, subscribers). With other kinds they are Sluice's alone.
 */
#include "base/json_parse.h"
#include "base/json_writer.h"
#include "base/log.h"
#include "base/percent.h"
#include "base/random_id.h"
#include "routes/access.h"
#include "routes/collect.h"
#include "routes/handlers.h"
#include "routes/json_body.h"
#include "routes/passthrough.h"
#include "routes/request.h"
#include "routes/tunnels.h"
#include "routes/upstream_choice.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES_MAX (16 * 1024)
#define SESSION_JSON_BYTES_MAX 2048 /* a quote or a backslash takes two bytes */
#define LISTED_MAX 1000
#define MADE_NAME_DIGITS 32 /* of a session that the gateway names */
#define VISITED_MAX 20000

/* The upstream that keeps this app's sessions; UPSTREAM_NONE: none does. Asked once for a request: breakers,
 * pauses and health checks may change the answer at any moment. */
static size_t keeper_of(const struct request *request) {
    char key[SESSION_KEY_SIZE];
    snprintf(key, sizeof(key), "%s/%s/%s", request->app, request->user, request->session);
    size_t index = upstream_choose_for_app(request, request->app, key);
    bool keeps_sessions = index != UPSTREAM_NONE && upstream_at(request, index)->adapter->session_url != NULL;
    return keeps_sessions ? index : UPSTREAM_NONE;
}

static void set_session(struct request *request, const char *session) {
    snprintf(request->session, sizeof(request->session), "%s", session);
    request_note_session(request);
}

static void write_session(struct json_writer *json, const char *app, const char *user, const char *session) {
    json_begin_object(json, NULL);
    json_add_string(json, "id", session);
    json_add_string(json, "appName", app);
    json_add_string(json, "userId", user);
    json_end_object(json);
}

static void reply_session(struct request *request) {
    struct json_writer json;
    json_writer_init(&json, SESSION_JSON_BYTES_MAX);
    write_session(&json, request->app, request->user, request->session);
    reply_json(request, 200, &json);
}

static void refuse_unknown_session(struct request *request) {
    reply_error(request, 404, "unknown_session", "There is no such session.");
}

/* ---- at the upstream ----------------------------------------------------------------------------- */

static void ask_upstream(struct request *request, size_t keeper, const char *method, const char *body,
                         size_t length,
                         void (*done)(struct request *request, const struct collected *answer)) {
    struct buffer path;
    buffer_init(&path, PATH_BYTES_MAX);
    bool named = request->session[0] != '\0';
    if (percent_append_part(&path, "/apps/", request->app) &&
        percent_append_part(&path, "/users/", request->user) && buffer_append_text(&path, "/sessions") &&
        (!named || percent_append_part(&path, "/", request->session)))
        collect_start(request, keeper, method, path.bytes, body, length, done);
    else
        reply_no_memory(request);
    buffer_finish(&path);
}

/* ---- creating ------------------------------------------------------------------------------------ */

/* The session that the upstream named by itself. False: no session of ours can have that name. */
static bool take_given_name(struct request *request, const struct collected *answer) {
    cJSON *body = json_parse(answer->body, answer->length, JSON_UPSTREAM_VALUES_MAX, NULL);
    const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(body, "id"));
    bool valid = id != NULL && path_name_is_valid(id, SESSION_PART_MAX);
    if (valid)
        set_session(request, id);
    cJSON_Delete(body);
    return valid;
}

/* ADK answers 400 or 409, depending on its language and age, and says in words that the session is there
 * already. */
static bool says_exists(const struct collected *answer) {
    return answer->complete &&
           (answer->status == 409 ||
            (answer->status == 400 && strcasestr(answer->body, "already exists") != NULL));
}

static void refuse_create(struct request *request, const struct collected *answer) {
    if (says_exists(answer))
        reply_error(request, 409, "session_exists", "The session already exists.");
    else if (answer->complete && answer->status >= 400 && answer->status < 500)
        collect_refuse_as(request, answer, answer->status, "The upstream refused to create the session");
    else
        collect_refuse(request, answer);
}

/* It is there upstream, whatever comes of it here: if it cannot be opened now it is when it is used. */
static void session_on_created(struct request *request, const struct collected *answer) {
    bool created = answer->complete && answer->status >= 200 && answer->status < 300;
    if (!created) {
        refuse_create(request, answer);
        return;
    }
    bool is_named = request->session[0] != '\0' || take_given_name(request, answer);
    struct session *session = is_named ? access_try_open_session(request) : NULL;
    if (session != NULL)
        session_note_known_by(session, (uint32_t)answer->upstream);
    session_unref(session);
    collect_pass_on(request, answer);
}

static void create_here(struct request *request) {
    char name[SESSION_PART_MAX + 1];
    if (request->session[0] == '\0' && !random_id(name, MADE_NAME_DIGITS)) {
        reply_no_memory(request);
        return;
    }
    if (request->session[0] == '\0')
        set_session(request, name);
    struct session *session = access_open_session(request);
    if (session != NULL)
        reply_session(request);
    session_unref(session);
}

void handle_session_create(struct request *request) {
    if (broadcaster_is_draining(request->context->broadcaster)) {
        reply_error(request, 503, "draining", "The gateway is shutting down and opens no sessions.");
        return;
    }
    cJSON *body = NULL;
    if (request->body_length > 0 && !json_body_read(request, &body))
        return;
    cJSON_Delete(body);
    size_t keeper = keeper_of(request);
    if (keeper == UPSTREAM_NONE)
        create_here(request);
    else if (request->body_length > 0)
        ask_upstream(request, keeper, "POST", request->body, request->body_length, session_on_created);
    else
        ask_upstream(request, keeper, "POST", "{}", strlen("{}"), session_on_created);
}

/* ---- deleting ------------------------------------------------------------------------------------ */

static void reply_deleted(struct request *request) {
    struct json_writer json;
    json_writer_init(&json, SESSION_JSON_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_bool(&json, "success", true);
    json_add_string(&json, "session_id", request->session);
    json_end_object(&json);
    reply_json(request, 200, &json);
}

static void finish_delete(struct request *request, const struct collected *answer, bool was_open) {
    bool deleted = answer->complete && answer->status >= 200 && answer->status < 300;
    bool was_unknown = answer->complete && (answer->status == 404 || answer->status == 410);
    if (!deleted && !was_unknown)
        collect_refuse(request, answer); /* to be asked again: upstream it is still there */
    else if (deleted || was_open)
        reply_deleted(request);
    else
        refuse_unknown_session(request);
}

static void session_on_deleted_known(struct request *request, const struct collected *answer) {
    finish_delete(request, answer, true);
}

static void session_on_deleted_unknown(struct request *request, const struct collected *answer) {
    finish_delete(request, answer, false);
}

void handle_session_delete(struct request *request) {
    struct session *session = access_find_session(request);
    bool was_open = session != NULL && broadcaster_close_session(session, REASON_SESSION_DELETED);
    session_unref(session);
    live_cancel_session(request->app, request->user, request->session);
    if (was_open)
        log_info("session_deleted", LOG_STR("session", request->session_key));
    size_t keeper = keeper_of(request);
    if (keeper != UPSTREAM_NONE)
        ask_upstream(request, keeper, "DELETE", NULL, 0,
                     was_open ? session_on_deleted_known : session_on_deleted_unknown);
    else if (was_open)
        reply_deleted(request);
    else
        refuse_unknown_session(request);
}

/* ---- showing ------------------------------------------------------------------------------------- */

static void pass_creation_on(struct request *request, size_t keeper) {
    const struct passing passing = {.upstream = keeper};
    passthrough_to(request, &passing);
}

static const char *const no_query[] = {NULL}; /* if they are not passed on */

void handle_session_get(struct request *request) {
    size_t keeper = keeper_of(request);
    if (keeper != UPSTREAM_NONE) {
        pass_creation_on(request, keeper);
        return;
    }
    if (!query_check_names(request, no_query))
        return;
    struct session *session = access_find_session(request);
    if (session != NULL)
        reply_session(request);
    else
        refuse_unknown_session(request);
    session_unref(session);
}

struct listing {
    struct json_writer json;
    const struct request *request;
    char prefix[SESSION_KEY_SIZE]; /* "app/user/" */
    size_t listed, visited;
    bool truncated;
};

static bool visit_session(void *context, struct session *session) {
    struct listing *listing = context;
    size_t length = strlen(listing->prefix);
    bool listed = strncmp(session->key, listing->prefix, length) == 0 &&
                  access_shows_session(listing->request, session);
    listing->truncated = ++listing->visited > VISITED_MAX || (listed && listing->listed == LISTED_MAX);
    if (listed && !listing->truncated) {
        write_session(&listing->json, listing->request->app, listing->request->user, session->key + length);
        listing->listed++;
    }
    return !listing->truncated;
}

void handle_session_list(struct request *request) {
    size_t keeper = keeper_of(request);
    if (keeper != UPSTREAM_NONE) {
        pass_creation_on(request, keeper);
        return;
    }
    if (!query_check_names(request, no_query))
        return;
    struct listing listing = {.request = request};
    snprintf(listing.prefix, sizeof(listing.prefix), "%s/%s/", request->app, request->user);
    json_writer_init(&listing.json, (LISTED_MAX + 1) * SESSION_JSON_BYTES_MAX);
    json_begin_object(&listing.json, NULL);
    json_begin_array(&listing.json, "sessions");
    broadcaster_for_each_session(request->context->broadcaster, visit_session, &listing);
    json_end_array(&listing.json);
    if (listing.truncated)
        json_add_bool(&listing.json, "truncated", true);
    json_end_object(&listing.json);
    reply_json(request, 200, &listing.json);
}
