/* The table of all routes, and the way of a request to its handler. The first file to read in this room.
 *
 *     head has come --> router_begin():  path --> route --> site --> names --> gate --> query --> body's form
 *     body has come --> router_handle(): the handler at once
 *                           '--------->  a line, if it may take long; its turn of the loop --> the handler
 *
 * What the headers alone decide is decided before the body is read, so a refused client does not send it in
 * vain. Requests that look at many runs, and those with long bodies, stand in two lines: in each turn of the
 * loop they get a few milliseconds, and all other requests pass them. */
#include "routes/router.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "routes/access.h"
#include "routes/cors.h"
#include "routes/handlers.h"
#include "routes/header_value.h"
#include "routes/path.h"
#include "routes/request.h"
#include "routes/site.h"
#include "routes/upstream_choice.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A body from here on may take long to read: some 0.5 ms for this many bytes, if they are all values. */
#define LONG_BODY_BYTES 4096
/* In one turn of the loop long requests are begun for so long. */
#define LONG_TURN_MS 2

/* What a route does with a request's body. */
enum body_rule { BODY_IGNORED, BODY_OPTIONAL, BODY_REQUIRED };

/* How a request says whose it is, and so where it passes the gate: see access.h. */
enum naming {
    BY_PATH, /* by the names of its path, or it is about no session: router_begin() checks it */
    BY_REST, /* by its body, its query, an id, or a path that is read by its handler, which checks it */
};

struct route {
    enum request_method method;
    const char *pattern; /* {name}: a segment that is decoded and checked; a last * stands for one or more */
    void (*handle)(struct request *request);
    enum body_rule body;
    enum access_right right; /* that it needs: see access.h */
    enum naming naming;
    bool is_adk_api;          /* of ADK's own API, which is passed on: only if an upstream answers it */
    const char *const *query; /* its parameters; NULL: any, if they are passed on */
};

#define USER "/apps/{app}/users/{user}"
#define SESSION USER "/sessions/{session}"
#define ADK true
#define ANY false

static const char *const no_query[] = {NULL};
static const char *const run_query[] = {"events", "heartbeat", NULL};
static const char *const stream_query[] = {"from",   "until",     "last_event_id", "lastEventId",
                                           "events", "heartbeat", "wait",          NULL};
static const char *const events_query[] = {"last_event_id", "lastEventId", "events", "heartbeat", NULL};
static const char *const list_query[] = {"app", "user", "session", "status", "limit", "cursor", NULL};
static const char *const cancel_query[] = {"app", "user", "session", "status", "all", NULL};
static const char *const history_query[] = {"limit", NULL};
static const char *const task_query[] = {"wait_ms", NULL};
#define UI "/dev-ui"

/* The first one that fits path and method counts: those with a * stand last. */
/* clang-format off */
static const struct route routes[] = {
    {METHOD_POST,   SESSION "/run",         handle_run_post,       BODY_REQUIRED, ACCESS_RUN,    BY_PATH, ANY, run_query},
    {METHOD_GET,    SESSION "/run",         handle_stream_session, BODY_IGNORED,  ACCESS_READ,   BY_PATH, ANY, stream_query},
    {METHOD_DELETE, SESSION "/run",         handle_run_delete,     BODY_IGNORED,  ACCESS_CANCEL, BY_PATH, ANY, no_query},
    {METHOD_GET,    SESSION "/task-status", handle_status_session, BODY_IGNORED,  ACCESS_READ,   BY_PATH, ANY, no_query},
    {METHOD_GET,    SESSION "/history",     handle_history,        BODY_IGNORED,  ACCESS_READ,   BY_PATH, ANY, history_query},
    {METHOD_POST,   SESSION,                handle_session_create, BODY_OPTIONAL, ACCESS_RUN,    BY_PATH, ANY, no_query},
    {METHOD_GET,    SESSION,                handle_session_get,    BODY_IGNORED,  ACCESS_READ,   BY_PATH, ANY, NULL},
    {METHOD_DELETE, SESSION,                handle_session_delete, BODY_IGNORED,  ACCESS_CANCEL, BY_PATH, ANY, no_query},
    {METHOD_POST,   USER "/sessions",       handle_session_create, BODY_OPTIONAL, ACCESS_RUN,    BY_PATH, ANY, no_query},
    {METHOD_GET,    USER "/sessions",       handle_session_list,   BODY_IGNORED,  ACCESS_READ,   BY_PATH, ANY, NULL},

    {METHOD_GET,    "/task-status",         handle_status_all,     BODY_IGNORED,  ACCESS_READ,   BY_PATH, ANY, no_query},
    {METHOD_GET,    "/tasks",               handle_task_list,      BODY_IGNORED,  ACCESS_READ,   BY_PATH, ANY, list_query},
    {METHOD_DELETE, "/tasks",               handle_tasks_cancel,   BODY_IGNORED,  ACCESS_CANCEL, BY_PATH, ANY, cancel_query},
    {METHOD_GET,    "/tasks/{id}",          handle_task_get,       BODY_IGNORED,  ACCESS_READ,   BY_REST, ANY, task_query},
    {METHOD_DELETE, "/tasks/{id}",          handle_task_delete,    BODY_IGNORED,  ACCESS_CANCEL, BY_REST, ANY, no_query},
    {METHOD_GET,    "/tasks/{id}/result",   handle_task_result,    BODY_IGNORED,  ACCESS_READ,   BY_REST, ANY, no_query},
    {METHOD_GET,    "/tasks/{id}/events",   handle_stream_task,    BODY_IGNORED,  ACCESS_READ,   BY_REST, ANY, events_query},

    {METHOD_GET,    "/healthz",             handle_healthz,        BODY_IGNORED,  ACCESS_PUBLIC, BY_PATH, ANY, no_query},
    {METHOD_GET,    "/readyz",              handle_readyz,         BODY_IGNORED,  ACCESS_PUBLIC, BY_PATH, ANY, no_query},
    {METHOD_GET,    "/health",              handle_health,         BODY_IGNORED,  ACCESS_ADMIN,  BY_PATH, ANY, no_query},
    {METHOD_GET,    "/metrics",             handle_metrics,        BODY_IGNORED,  ACCESS_ADMIN,  BY_PATH, ANY, no_query},
    {METHOD_GET,    "/stats",               handle_stats,          BODY_IGNORED,  ACCESS_ADMIN,  BY_PATH, ANY, no_query},
    {METHOD_GET,    "/demo",                handle_demo,           BODY_IGNORED,  ACCESS_PUBLIC, BY_PATH, ANY, no_query},

    {METHOD_POST,   "/run_sse",             handle_run_sse,        BODY_REQUIRED, ACCESS_RUN,    BY_REST, ADK, no_query},
    {METHOD_POST,   "/run",                 handle_passed_run,     BODY_REQUIRED, ACCESS_RUN,    BY_REST, ADK, NULL},
    {METHOD_GET,    "/run_live",            handle_run_live,       BODY_IGNORED,  ACCESS_RUN,    BY_REST, ADK, NULL},
    {METHOD_GET,    "/tunnels",             handle_tunnel_list,    BODY_IGNORED,  ACCESS_READ,   BY_PATH, ADK, no_query},
    {METHOD_DELETE, "/tunnels/{id}",        handle_tunnel_delete,  BODY_IGNORED,  ACCESS_CANCEL, BY_REST, ADK, no_query},
    {METHOD_PATCH,  SESSION,                handle_passed_write,   BODY_REQUIRED, ACCESS_RUN,    BY_PATH, ADK, NULL},
    {METHOD_PATCH,  USER "/memory",         handle_passed_memory,  BODY_REQUIRED, ACCESS_RUN,    BY_PATH, ADK, NULL},
    {METHOD_POST,   SESSION "/artifacts",   handle_passed_write,   BODY_REQUIRED, ACCESS_RUN,    BY_PATH, ADK, NULL},
    {METHOD_DELETE, SESSION "/artifacts/*", handle_passthrough,    BODY_IGNORED,  ACCESS_RUN,    BY_PATH, ADK, NULL},
    {METHOD_GET,    "/dev/apps/*",          handle_passthrough,    BODY_IGNORED,  ACCESS_ADMIN,  BY_REST, ADK, NULL},
    {METHOD_GET,    "/config/*",            handle_passthrough,    BODY_IGNORED,  ACCESS_ADMIN,  BY_PATH, ADK, NULL},
    {METHOD_POST,   "/config/*",            handle_passed_write,   BODY_REQUIRED, ACCESS_ADMIN,  BY_PATH, ADK, NULL},
    {METHOD_GET,    "/list-apps",           handle_passthrough,    BODY_IGNORED,  ACCESS_READ,   BY_PATH, ADK, NULL},
    {METHOD_GET,    "/version",             handle_passthrough,    BODY_IGNORED,  ACCESS_ADMIN,  BY_PATH, ADK, NULL},
    {METHOD_GET,    "/debug/trace/*",       handle_passthrough,    BODY_IGNORED,  ACCESS_ADMIN,  BY_PATH, ADK, NULL},
    {METHOD_GET,    "/apps/*",              handle_passthrough,    BODY_IGNORED,  ACCESS_READ,   BY_REST, ADK, NULL},
    {METHOD_GET,    UI,                     handle_passed_ui,      BODY_IGNORED,  ACCESS_ADMIN,  BY_PATH, ADK, NULL},
    {METHOD_GET,    UI "/*",                handle_passed_ui,      BODY_IGNORED,  ACCESS_ADMIN,  BY_PATH, ADK, NULL},
};
/* clang-format on */

bool router_describe(size_t index, struct route_description *ret_description) {
    if (index >= sizeof(routes) / sizeof(routes[0]))
        return false;
    const struct route *route = &routes[index];
    *ret_description = (struct route_description){.method = route->method,
                                                  .pattern = route->pattern,
                                                  .right = route->right,
                                                  .takes_body = route->body != BODY_IGNORED};
    return true;
}

/* ---- matching ------------------------------------------------------------------------------------ */

/* Steps to the next segment of a pattern and returns its length; 0: there is none. */
static size_t next_segment(const char **pattern) {
    *pattern += **pattern == '/';
    return strcspn(*pattern, "/");
}

/* Whether the path has the pattern's shape, whatever its names are. *ret_misspelled is set if one of the
 * words is percent-encoded: a word never needs to be. */
static bool route_fits(const struct route *route, const struct path *path, bool *ret_misspelled) {
    bool misspelled = false;
    const char *at = route->pattern;
    size_t i = 0, length;
    for (; (length = next_segment(&at)) > 0 && *at != '*'; at += length, i++) {
        if (i == path->count)
            return false;
        if (*at == '{')
            continue;
        if (!path_segment_is(&path->segments[i], at, length))
            return false;
        misspelled = misspelled || path->segments[i].length != length;
    }
    if (*at == '*' ? i == path->count : i != path->count)
        return false;
    *ret_misspelled = *ret_misspelled || misspelled;
    return true;
}

struct match {
    const struct route *route; /* NULL: none for this method */
    unsigned methods;          /* that the path has, a bit each; 0: nobody knows the path */
    bool misspelled;           /* a word of it is percent-encoded */
};

static bool is_served(const struct request *request, const struct route *route) {
    bool is_on = route->handle != handle_passed_ui || request->context->settings->passthrough_ui;
    return is_on && (!route->is_adk_api || upstream_has_adk_api(request));
}

static struct match find_route(const struct request *request, const struct path *path) {
    struct match match = {0};
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *route = &routes[i];
        if (!is_served(request, route) || !route_fits(route, path, &match.misspelled))
            continue;
        match.methods |= 1u << route->method;
        if (route->method == request->method && match.route == NULL)
            match.route = route;
    }
    return match;
}

/* Decodes the names in the path. False: one is none, and the reply says so. */
static bool read_names(struct request *request, const struct path *path) {
    const struct {
        const char *part;
        const char *name;
        char *out;
        size_t bytes_max;
    } names[] = {{"{app}", "app", request->app, SESSION_PART_MAX},
                 {"{user}", "user", request->user, SESSION_USER_MAX},
                 {"{session}", "session", request->session, SESSION_PART_MAX}};
    const char *at = request->route->pattern;
    size_t length;
    for (size_t i = 0; (length = next_segment(&at)) > 0; at += length, i++) {
        for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
            if (strncmp(at, names[k].part, length) != 0 ||
                path_decode_name(&path->segments[i], names[k].bytes_max, names[k].out))
                continue;
            char code[32];
            snprintf(code, sizeof(code), "invalid_%s", names[k].name);
            reply_error(request, 400, code, "The %s in the path must be 1 to %zu " PATH_NAME_IS ".",
                        names[k].name, names[k].bytes_max);
            return false;
        }
        if (strncmp(at, "{id}", length) == 0 && !path_decode_id(&path->segments[i], request->id)) {
            reply_error(request, 400, "invalid_id",
                        "The id in the path must be 1 to %d letters, digits and ._~@:+-.", SESSION_PART_MAX);
            return false;
        }
    }
    request_note_session(request);
    return true;
}

/* ---- what the headers say ------------------------------------------------------------------------ */

static void list_methods(unsigned methods, char out[64]) {
    snprintf(out, 64, "%s%s%s%sOPTIONS", methods & 1u << METHOD_GET ? "GET, HEAD, " : "",
             methods & 1u << METHOD_POST ? "POST, " : "", methods & 1u << METHOD_PATCH ? "PATCH, " : "",
             methods & 1u << METHOD_DELETE ? "DELETE, " : "");
}

static void answer_options(struct request *request, unsigned methods) {
    char list[64];
    list_methods(methods, list);
    reply_header(request, "Allow", list);
    if (cors_is_preflight(request))
        cors_add_preflight_headers(request, list);
    reply_empty(request, 204);
}

static void refuse_method(struct request *request, unsigned methods) {
    char list[64];
    list_methods(methods, list);
    reply_header(request, "Allow", list);
    reply_error(request, 405, "method_not_allowed", "This path takes %s.", list);
}

static void check_body(struct request *request) {
    const char *type = request_header(request, "Content-Type");
    const char *encoding = request_header(request, "Content-Encoding");
    enum body_rule rule = request->route->body;
    if (request->content_length > 0 &&
        (uint64_t)request->content_length > request->context->settings->request_body_bytes_max)
        router_refuse_body(request);
    else if (rule == BODY_IGNORED || (rule == BODY_OPTIONAL && !request->has_body))
        return;
    else if (!request->has_body && request->content_length < 0)
        reply_error(request, 411, "length_required", "This request needs a body and its Content-Length.");
    else if (type == NULL || !header_is_json(type))
        reply_error(request, 415, "unsupported_media_type", "The body must be application/json in UTF-8.");
    else if (encoding != NULL && strcasecmp(encoding, "identity") != 0)
        reply_error(request, 415, "unsupported_content_encoding", "The body must not be encoded.");
}

/* What shows how things are, or ends something, is answered however little memory there is. */
static bool is_always_answered(const struct route *route) {
    static void (*const handlers[])(struct request * request) = {
        handle_healthz,        handle_readyz,     handle_health,   handle_metrics,   handle_stats,
        handle_status_session, handle_status_all, handle_task_get, handle_task_list, handle_tunnel_list};
    bool is_answered = route->method == METHOD_DELETE;
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
        is_answered = is_answered || route->handle == handlers[i];
    return is_answered;
}

/* Refuses a body before it comes, if it is not a small one; when nothing may grow, everything that would. */
static void check_memory(struct request *request) {
    bool has_body = request->has_body && request->route->body != BODY_IGNORED;
    bool is_large = request->content_length < 0 || request->content_length > (int64_t)MEMORY_SMALL_BYTES;
    uint64_t bytes = request->content_length > 0 ? (uint64_t)request->content_length : 0;
    if ((has_body && is_large && !memory_has_room(bytes)) ||
        (memory_level() == MEMORY_OVER && !is_always_answered(request->route)))
        reply_memory_full(request);
}

bool router_streams_answer(const struct request *request) {
    const struct route *route = request->route;
    return route->handle == handle_passed_write || route->handle == handle_passed_run;
}

void router_refuse_body(struct request *request) {
    reply_limit(request, 413, "body_too_large", "The body is larger than the limit", "request_body_bytes_max",
                request->context->settings->request_body_bytes_max, "bytes");
}

/* ---- across sites -------------------------------------------------------------------------------- */

/* Whether the route opens or changes something: then a page of another origin may not use it. What is read, a
 * browser shows only to a page that may see it, and a link to it works. */
static bool is_guarded(const struct route *route) {
    return route->method != METHOD_GET || route->handle == handle_stream_session ||
           route->handle == handle_stream_task || route->handle == handle_run_live;
}

static bool refuse_foreign(struct request *request) {
    if (!is_guarded(request->route) || !site_is_foreign(request))
        return false;
    metrics_add(METRIC_REQUESTS_CROSS_SITE, 1);
    reply_error(request, 403, "cross_site",
                "Pages of this origin may not send this request; cors_origins and allowed_hosts list the "
                "allowed pages.");
    return true;
}

/* A request that is named later is checked then. */
static bool pass_gate(struct request *request) {
    const struct route *route = request->route;
    request->right = route->right;
    return route->naming == BY_REST ||
           access_check(request, request->app, request->user, request->session, route->right);
}

/* ---- the two steps ------------------------------------------------------------------------------- */

static void answer_unknown_path(struct request *request) {
    reply_error(request, 404, "not_found", "There is nothing at this path.");
}

bool router_is_ui_root(const struct request *request) {
    return request->context->settings->passthrough_ui &&
           (strcmp(request->path, "/") == 0 || strcmp(request->path, UI "/") == 0);
}

bool router_passes_on(const struct request *request, enum request_method method, const char *path) {
    const struct request other = {.context = request->context, .method = method, .path = path};
    struct path split;
    if (!path_split(router_is_ui_root(&other) ? UI : path, &split))
        return false;
    struct match match = find_route(&other, &split);
    return match.route != NULL && !match.misspelled && match.route->query == NULL;
}

/* "*" stands for the server as a whole (RFC 9110, section 9.3.7): what its paths take, all in all. */
static void answer_options_of_server(struct request *request) {
    unsigned methods = 0;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        methods |= is_served(request, &routes[i]) ? 1u << routes[i].method : 0;
    answer_options(request, methods);
}

void router_begin(struct request *request) {
    struct path path;
    metrics_add(METRIC_HTTP_REQUESTS, 1);
    cors_add_headers(request);
    cors_log_refused(request);
    if (request->method == METHOD_OPTIONS && strcmp(request->path, "*") == 0) {
        answer_options_of_server(request);
        return;
    }
    if (!path_split(router_is_ui_root(request) ? UI : request->path, &path)) {
        answer_unknown_path(request);
        return;
    }
    struct match match = find_route(request, &path);
    request->route = match.route;
    if (match.methods == 0)
        answer_unknown_path(request);
    else if (match.misspelled) /* a rule of a proxy for this path would not have seen it */
        reply_error(request, 400, "invalid_path",
                    "The path percent-encodes characters that need no encoding.");
    else if (request->method == METHOD_OPTIONS)
        answer_options(request, match.methods);
    else if (match.route == NULL)
        refuse_method(request, match.methods);
    else if (!refuse_foreign(request) && read_names(request, &path) && pass_gate(request) &&
             query_check_names(request, match.route->query))
        check_body(request);
    if (request->reply.kind == REPLY_NONE)
        check_memory(request);
}

/* ---- those that take long ------------------------------------------------------------------------ */

static bool looks_at_many(const struct route *route) {
    static void (*const handlers[])(struct request * request) = {handle_task_list, handle_tasks_cancel,
                                                                 handle_status_all, handle_session_list};
    bool looks = false;
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
        looks = looks || route->handle == handlers[i];
    return looks;
}

/* The line of a request that may take milliseconds, which add up over all that arrive together: it looks at
 * many runs or sessions, or its body is not small. A list costs its client nothing, so those with bodies do
 * not stand in line with lists. NULL: it takes no time. */
static struct turns *waiting_line_of(const struct request *request) {
    const struct route *route = request->route;
    if (looks_at_many(route))
        return &request->context->long_lists;
    bool is_long = route->body != BODY_IGNORED && request->body_length >= LONG_BODY_BYTES;
    return is_long ? &request->context->long_bodies : NULL;
}

static void handle_request(struct request *request) {
    request->route->handle(request);
    if (request->reply.kind == REPLY_NONE && !request->deferred) {
        request_break(request, "routes/router.c: a handler without an answer");
        reply_error(request, 500, "internal", "The gateway has no answer to this request.");
    }
}

static void handle_later(struct request *request) {
    request->deferred = false; /* the handler may defer it again */
    handle_request(request);
    if (!request->deferred)
        request->operations->answer(request);
}

static void router_on_turn(struct turn *turn) {
    struct turns *line = waiting_line_of(CONTAINER_OF(turn, struct request, turn));
    int64_t until_mono_ms = clock_mono_ms() + LONG_TURN_MS;
    do {
        handle_later(CONTAINER_OF(turn, struct request, turn));
    } while (clock_mono_ms() < until_mono_ms && (turn = turns_next(line)) != NULL);
}

static void leave_line(void *context) {
    struct request *request = context;
    turns_leave(waiting_line_of(request), &request->turn);
}

void router_handle(struct request *request) {
    struct turns *line = waiting_line_of(request);
    if (line == NULL) {
        handle_request(request);
        return;
    }
    metrics_add(METRIC_REQUESTS_LONG, 1);
    request->turn.take = router_on_turn;
    request_defer(request, leave_line, request);
    turns_wait(line, &request->turn);
}
