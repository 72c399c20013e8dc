/* Requests that are passed on to an upstream of kind adk, and answered as its answer comes.
 *
 *   upstream --> passthrough_on_body() --> [ held ] --> passthrough_read() --> client
 *
 * At most HELD_HIGH and one piece are held. A client that reads slowly fills `held`; then
 * passthrough_on_body() refuses, and the upstream waits until half is read.
 *
 * A body goes on byte for byte, after it was read as JSON: it may not name another app, user or session than
 * the path. POST /run has no names in its path; there the body says whose it is, as for /run_sse.
 *
 * A client follows a redirect by itself, with the method and the body of its request if the status says so.
 * It is its page of the gateway's own origin that asks then: so an upstream could have it cancel all runs,
 * delete a session or start a run for another app. It may send a client to what is passed on to that same
 * upstream alone.
 */
#include "routes/passthrough.h"
#include "base/metrics.h"
#include "routes/access.h"
#include "routes/adk_body.h"
#include "routes/handlers.h"
#include "routes/identity.h"
#include "routes/json_body.h"
#include "routes/passthrough_internal.h"
#include "routes/refusal.h"
#include "routes/router.h"
#include "routes/upstream_choice.h"
#include "upstream/query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- where an answer may send its client --------------------------------------------------------- */

/* Of a path that is longer no Location passes. */
#define PATH_BYTES_MAX 8192

/* Whether the client may repeat its request there (RFC 9110, section 15.4); after all others it asks by GET.
 */
static bool may_be_repeated(int status) {
    return status >= 300 && status < 400 && status != 303;
}

/* Whether the gateway itself would ask for this path as it is written. A client resolves dots before it asks,
 * drops tabs, and so may come to another path than the one that was looked up. */
static bool is_passable(const struct path *path) {
    char storage[PATH_BYTES_MAX];
    struct buffer target;
    buffer_init_fixed(&target, storage, sizeof(storage));
    return passed_path_is_plain(path) && passed_path_append(path, &target) == 0;
}

/* What names no app is asked of the first upstream of its kind. */
static bool is_of_upstream(const struct passthrough *passthrough, const char *path) {
    const struct request *request = passthrough->request;
    struct path split;
    struct session_names owner = {.app = ""};
    if (path_split(path, &split) && (!is_passable(&split) || !passed_path_read_names(&split, &owner)))
        return false;
    if (owner.app[0] == '\0')
        return upstream_choose_for_app(request, "", "") == passthrough->upstream;
    return upstreams_app_fits(upstream_at(request, passthrough->upstream)->apps, owner.app);
}

static bool passthrough_leads_on(const void *context, int status, const char *path) {
    const struct passthrough *passthrough = context;
    const struct request *request = passthrough->request;
    return (!may_be_repeated(status) || router_passes_on(request, request->method, path)) &&
           router_passes_on(request, METHOD_GET, path) && is_of_upstream(passthrough, path);
}

#define TARGET_BYTES_MAX (64u * 1024u)
#define STATUS_MAX 599 /* RFC 9110, section 15 */

/* Those that wait for it are not told otherwise. */
static void leave_slot(struct passthrough *passthrough) {
    if (!passthrough->has_slot)
        return;
    passthrough->has_slot = false;
    scheduler_dismiss_guest(broadcaster_scheduler(passthrough->broadcaster), &passthrough->guest);
    broadcaster_poll_queue(passthrough->broadcaster);
}

void passthrough_destroy(void *context) {
    struct passthrough *passthrough = context;
    if (passthrough->query != NULL)
        upstream_query_cancel(passthrough->query);
    leave_slot(passthrough);
    live_close(passthrough->live);
    buffer_finish(&passthrough->up);
    buffer_finish(&passthrough->held);
    free(passthrough);
}

/* ---- to the client ------------------------------------------------------------------------------- */

void passthrough_wake(struct passthrough *passthrough) {
    if (!passthrough->starved && passthrough->end != END_BROKEN)
        return;
    passthrough->starved = false;
    passthrough->request->operations->source_ready(passthrough->request);
}

void passthrough_break_off(struct passthrough *passthrough) {
    if (passthrough->query != NULL)
        upstream_query_cancel(passthrough->query);
    passthrough->query = NULL;
    leave_slot(passthrough);
    passthrough->end = END_BROKEN;
    buffer_clear(&passthrough->held);
    passthrough_wake(passthrough);
}

ssize_t passthrough_read(void *context, char *bytes, size_t size) {
    struct passthrough *passthrough = context;
    struct buffer *held = &passthrough->held;
    if (size == 0)
        return passthrough->end == END_BROKEN ? -2 : 0;
    if (held->length == 0 && passthrough->end != END_OPEN)
        return passthrough->end == END_CLEAN ? -1 : -2;
    size_t count = held->length < size ? held->length : size;
    if (count > 0)
        memcpy(bytes, held->bytes, count);
    buffer_consume(held, count);
    passthrough->starved = count == 0;
    if (passthrough->paused && passthrough->query != NULL && held->length <= HELD_LOW) {
        passthrough->paused = false;
        upstream_query_resume(passthrough->query);
    }
    return (ssize_t)count;
}

/* ---- from the upstream --------------------------------------------------------------------------- */

/* A status that no client knows. Nobody wants what comes with it, and it might never end. */
static void refuse_status(struct passthrough *passthrough, int status) {
    struct request *request = passthrough->request;
    passthrough_destroy(passthrough);
    reply_error(request, 503, "upstream_error", "The upstream answered with status %d.", status);
    request_answer(request);
}

static void passthrough_on_head(void *context, int status, const struct upstream_header *headers,
                                size_t count, int64_t content_length) {
    struct passthrough *passthrough = context;
    struct request *request = passthrough->request;
    const struct reply_source source = {.read = passthrough_read,
                                        .finished = passthrough_destroy,
                                        .context = passthrough,
                                        .content_length = content_length};
    if (status > STATUS_MAX) {
        refuse_status(passthrough, status);
        return;
    }
    if (status == 101) {
        passthrough_open_tunnel(passthrough, headers, count);
        return;
    }
    const struct passed_rules rules = {.trust = passthrough->trust,
                                       .base_url = upstream_at(request, passthrough->upstream)->base_url,
                                       .bytes_max = request->context->request_header_bytes_max /
                                                    2, /* the gateway's own need room, too */
                                       .leads_on = passthrough_leads_on,
                                       .context = passthrough};
    passed_headers_reply(request, status, &rules, headers, count);
    passthrough->answered = true;
    if (status != 204 && status != 304) {
        reply_from_source(request, status, &source);
    } else {
        reply_empty(request, status); /* has no body by its nature; what is left comes to its own end */
        passthrough->is_done = true;
        passthrough->request = NULL;
        live_close(passthrough->live); /* there is nothing to cancel any more */
        passthrough->live = NULL;
    }
    request_answer(request);
}

static bool passthrough_on_body(void *context, const char *bytes, size_t length) {
    struct passthrough *passthrough = context;
    if (passthrough->is_done)
        return true;
    if (passthrough->held.length >= HELD_HIGH) {
        passthrough->paused = true;
        return false;
    }
    if (!buffer_append(&passthrough->held, bytes, length)) {
        upstream_query_cancel(passthrough->query);
        passthrough->query = NULL;
        leave_slot(passthrough); /* the client may take long for what is held */
        passthrough->end = END_BROKEN;
    }
    passthrough_wake(passthrough);
    return true;
}

static void passthrough_on_end(void *context, const struct upstream_result *result) {
    struct passthrough *passthrough = context;
    struct request *request = passthrough->request;
    passthrough->query = NULL;
    leave_slot(passthrough);
    passthrough->end = result->end == UPSTREAM_COMPLETED ? END_CLEAN : END_BROKEN;
    if (passthrough->is_done) {
        passthrough_destroy(passthrough);
        return;
    }
    if (passthrough->answered) {
        if (result->end != UPSTREAM_COMPLETED)
            refusal_log(request, LOG_LEVEL_WARN, "upstream_unavailable", LOG_STR("path", request->path),
                        LOG_STR("cause", upstream_cause_word(result->cause)),
                        LOG_STR("message", result->message));
        passthrough_wake(passthrough);
        return;
    }
    upstream_refuse_query(request, result);
    passthrough_destroy(passthrough);
    request_answer(request);
}

/* ---- asking -------------------------------------------------------------------------------------- */

static size_t collect_headers(const struct request *request, struct upstream_header *ret_headers) {
    static const char *const passed[] = {"Accept",        "Accept-Language",
                                         "If-None-Match", "If-Modified-Since",
                                         "Range",         "X-ADK-Telemetry-Request"};
    size_t count = 0;
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++) {
        const char *value = request_header(request, passed[i]);
        if (value != NULL)
            ret_headers[count++] = (struct upstream_header){passed[i], value};
    }
    return count;
}

static const char *method_name_of(const struct request *request) {
    switch (request->method) {
    case METHOD_POST:
        return "POST";
    case METHOD_PATCH:
        return "PATCH";
    case METHOD_DELETE:
        return "DELETE";
    default:
        return request->head ? "HEAD" : "GET";
    }
}

/* False: the reply is decided. */
static bool take_slot(struct request *request, struct passthrough *passthrough) {
    struct scheduler *scheduler = broadcaster_scheduler(request->context->broadcaster);
    struct scheduler_info info;
    passthrough->broadcaster = request->context->broadcaster;
    passthrough->has_slot =
        scheduler_admit_guest(scheduler, request->app, request->user, &passthrough->guest);
    if (passthrough->has_slot)
        return true;
    scheduler_get_info(scheduler, &info);
    metrics_add(METRIC_RUNS_REFUSED, 1);
    reply_retry_after(request, info.retry_after_ms);
    reply_error(request, 429, "too_many_runs",
                "A limit of runs under way has been reached: of all runs, of this app or of this user.");
    return false;
}

/* Its places: of a run, and of a tunnel. False: the reply is decided. */
static bool take_places(struct request *request, const struct passing *passing,
                        struct passthrough *passthrough) {
    if (passing->is_run && !take_slot(request, passthrough))
        return false;
    if (!passing->is_tunnel)
        return true;
    passthrough->live = live_open(request, passthrough_cancel, passthrough);
    return passthrough->live != NULL;
}

static struct passthrough *passthrough_create(struct request *request, const struct passing *passing) {
    struct passthrough *passthrough = calloc(1, sizeof(*passthrough));
    if (passthrough == NULL) {
        reply_no_memory(request);
        return NULL;
    }
    buffer_init_counted(&passthrough->held, HELD_MAX, MEMORY_PASSED);
    buffer_init_counted(&passthrough->up, HELD_HIGH, MEMORY_PASSED);
    passthrough->request = request;
    passthrough->upstream = passing->upstream;
    passthrough->trust = passing->trust;
    if (take_places(request, passing, passthrough))
        return passthrough;
    passthrough_destroy(passthrough);
    return NULL;
}

static void start_passing(struct request *request, const struct passing *passing, const char *target) {
    static const struct upstream_passage_callbacks callbacks = {.on_head = passthrough_on_head,
                                                                .on_body = passthrough_on_body,
                                                                .on_upload = passthrough_upload,
                                                                .on_end = passthrough_on_end};
    const struct routes_settings *settings = request->context->settings;
    struct upstream_header headers[8 + HANDSHAKE_HEADERS_MAX];
    size_t count = collect_headers(request, headers);
    struct passthrough *passthrough = passthrough_create(request, passing);
    if (passthrough == NULL)
        return;
    bool is_complete = !passing->is_tunnel || handshake_collect(request, headers, &count);
    const struct upstream_query_request query = {
        .index = passing->upstream,
        .method = method_name_of(request),
        .path = target,
        .headers = headers,
        .header_count = count,
        .body = passing->body,
        .body_length = passing->body_length,
        .timeout_ms = passing->is_tunnel ? settings->tunnel_timeout_ms
                                         : request->context->relay.settings->run_timeout_ms,
        .timeout_key = passing->is_tunnel ? "tunnel_timeout_ms" : NULL,
        .first_byte_timeout_ms = passing->first_byte_timeout_ms,
        .upgrade = passing->is_tunnel ? "websocket" : NULL};
    if (is_complete)
        passthrough->query =
            upstream_query_start(request->context->relay.upstream_worker, &query, &callbacks, passthrough);
    if (passing->is_tunnel)
        handshake_free(headers, count);
    if (passthrough->query == NULL) {
        passthrough_destroy(passthrough);
        reply_no_memory(request);
        return;
    }
    request_defer(request, passthrough_destroy, passthrough);
}

/* The query that goes on. NULL: the reply is decided. Whose a request is, is said by its path alone. The web
 * UI keeps user and session in the address of its page for its own script; the upstream, which has files
 * there and no sessions, then gets no query. A tunnel's query names them, once each. */
static const char *choose_query(struct request *request, const struct passing *passing) {
    int names_identity = passing->is_tunnel ? 0 : identity_is_in_query(request->query);
    if (names_identity == 0)
        return request->query;
    if (names_identity > 0 && passing->trust == PASSED_AS_UI)
        return "";
    if (names_identity < 0)
        reply_no_memory(request);
    else
        reply_error(request, 400, "identity_in_query",
                    "The query must not have a parameter that could name another app, user or session.");
    return NULL;
}

static void refuse_path(struct request *request) {
    reply_error(request, 400, "invalid_path", "This path cannot be passed on to the upstream.");
}

/* A page's root ends in a slash, which no other path does. */
static int append_path(const struct request *request, const struct path *path, struct buffer *target) {
    if (router_is_ui_root(request))
        return buffer_append_text(target, request->path) ? 0 : -ENOMEM;
    return passed_path_append(path, target);
}

static void pass_request_on(struct request *request, const struct path *path, const struct passing *passing) {
    struct buffer target;
    buffer_init(&target, TARGET_BYTES_MAX);
    int result = path_query_is_safe(request->query) ? append_path(request, path, &target) : -EINVAL;
    const char *query = result == 0 ? choose_query(request, passing) : NULL;
    if (query != NULL && query[0] != '\0' && !buffer_printf(&target, "?%s", query))
        result = -ENOMEM;
    if (result == -EINVAL)
        refuse_path(request);
    else if (result < 0)
        reply_no_memory(request);
    else if (query != NULL)
        start_passing(request, passing, target.bytes);
    buffer_finish(&target);
}

void passthrough_to(struct request *request, const struct passing *passing) {
    struct path path;
    if (path_split(request->path, &path))
        pass_request_on(request, &path, passing);
    else
        refuse_path(request);
}

size_t passthrough_choose(struct request *request) {
    char key[SESSION_KEY_SIZE]; /* also of a request that names less than a session */
    snprintf(key, sizeof(key), "%s/%s/%s", request->app, request->user, request->session);
    size_t index = upstream_choose_for_app(request, request->app, key);
    if (index != UPSTREAM_NONE && upstream_at(request, index)->adapter->serves_adk_api)
        return index;
    reply_error(request, 404, "unknown_app", "No upstream of the kind adk serves this app.");
    return UPSTREAM_NONE;
}

/* What is an app's, and no user's of it, needs the right of an administrator. */
static bool enter_passed(struct request *request, const struct session_names *owner) {
    if (owner->app[0] != '\0' && owner->user[0] == '\0')
        request->right = ACCESS_ADMIN;
    return access_enter(request, owner);
}

void handle_passthrough(struct request *request) {
    struct path path;
    struct session_names owner;
    if (!path_split(request->path, &path) || !passed_path_is_plain(&path) ||
        !passed_path_read_names(&path, &owner)) {
        refuse_path(request);
        return;
    }
    if (!request->let_in && !enter_passed(request, &owner))
        return;
    const struct passing passing = {.upstream = passthrough_choose(request)};
    if (passing.upstream != UPSTREAM_NONE)
        pass_request_on(request, &path, &passing);
}

void handle_passed_ui(struct request *request) {
    struct path path = {.count = 0};
    if (!router_is_ui_root(request) && (!path_split(request->path, &path) || !passed_path_is_plain(&path))) {
        refuse_path(request);
        return;
    }
    const struct passing passing = {.upstream = passthrough_choose(request), .trust = PASSED_AS_UI};
    if (passing.upstream != UPSTREAM_NONE)
        pass_request_on(request, &path, &passing);
}

/* ---- with a body --------------------------------------------------------------------------------- */

static void pass_write_on(struct request *request) {
    const struct passing passing = {
        .upstream = passthrough_choose(request), .body = request->body, .body_length = request->body_length};
    if (passing.upstream != UPSTREAM_NONE)
        passthrough_to(request, &passing);
}

void handle_passed_write(struct request *request) {
    cJSON *body;
    if (!json_body_read(request, &body))
        return;
    if (!adk_body_refuse_identity(request, body, NULL))
        pass_write_on(request);
    cJSON_Delete(body);
}

void handle_passed_memory(struct request *request) {
    cJSON *body;
    if (!json_body_read(request, &body))
        return;
    if (adk_body_check_session(request, body))
        pass_write_on(request);
    cJSON_Delete(body);
}

/* ---- POST /run ----------------------------------------------------------------------------------- */

static void pass_run_on(struct request *request, const cJSON *body) {
    struct passing passing = {.upstream = passthrough_choose(request),
                              .body = request->body,
                              .body_length = request->body_length,
                              .first_byte_timeout_ms = request->context->relay.settings->run_timeout_ms,
                              .is_run = true};
    char *own = NULL;
    if (passing.upstream == UPSTREAM_NONE)
        return;
    if (!adk_body_make_text(request, body, request->app, false, &own, &passing.body_length)) {
        reply_no_memory(request);
        return;
    }
    if (own != NULL)
        passing.body = own;
    passthrough_to(request, &passing);
    free(own);
}

void handle_passed_run(struct request *request) {
    struct session_names owner;
    cJSON *body;
    if (broadcaster_is_draining(request->context->broadcaster)) {
        reply_error(request, 503, "draining", "The gateway is shutting down and starts no runs.");
        return;
    }
    if (!json_body_read(request, &body))
        return;
    if (adk_body_read_names(request, body, &owner) && access_enter(request, &owner) &&
        !access_refuse_conflict(request))
        pass_run_on(request, body);
    cJSON_Delete(body);
}
