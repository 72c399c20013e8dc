/* Tunnels: GET /run_live, which is ADK's WebSocket, GET /tunnels and DELETE /tunnels/{id}.
 *
 * After the upstream's own 101 a tunnel is bytes both ways. From the upstream to the client it is as any
 * other answer that is passed on (passthrough.c); the other way:
 *
 *   client --> tunnel_write() --> [ up: at most HELD_HIGH ] --> passthrough_upload() --> upstream
 *
 * An upstream that reads slowly fills `up`; then the client is not read until half is sent.
 *
 * A tunnel holds what a run that is passed on holds, and a place among tunnels_max. All workers' tunnels
 * are in one list, under a lock of its own. To end one is a message to its worker, which alone may free it:
 * one that has ended while a message was on its way is freed when that comes.
 *
 * A WebSocket is under no rule of CORS: a page of another origin may open one to any server. So the router
 * refuses it as it refuses a foreign write. */
#include "routes/tunnels.h"

#include "base/clock.h"
#include "base/inbox.h"
#include "base/json_writer.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "routes/access.h"
#include "routes/handlers.h"
#include "routes/passthrough.h"
#include "routes/passthrough_internal.h"
#include "routes/request.h"
#include "routes/upstream_choice.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

/* ---- all tunnels --------------------------------------------------------------------------------- */

/* Of one tunnel in the list: three names, each byte escaped, and the rest. */
#define LIVE_JSON_BYTES_MAX (6 * SESSION_KEY_SIZE + 256)
#define ANSWER_BYTES_MAX 4096

/* What is shown of one; it never changes. */
struct live_view {
    char id[TASK_ID_SIZE];
    struct session_names owner;
    int64_t started_unix_ms;
};

struct live {
    LIST_ENTRY(live) entry;
    struct live_view view;
    struct inbox *inbox; /* of its worker */
    struct inbox_item item;
    bool is_posted; /* under the lock, as the list */
    bool is_closed; /* its worker's alone, as the next two */
    void (*cancel)(void *context);
    void *context;
};

static LIST_HEAD(, live) tunnels = LIST_HEAD_INITIALIZER(tunnels);
static struct lock tunnels_lock = LOCK_INITIALIZER;
static _Atomic uint64_t tunnel_count;

uint64_t live_count(void) {
    return atomic_load(&tunnel_count);
}

static void live_free(struct live *live) {
    memory_release(MEMORY_CONNECTIONS, sizeof(*live));
    free(live);
}

/* Somebody wants it to end. */
static void tunnel_on_cancel(struct inbox_item *item) {
    struct live *live = CONTAINER_OF(item, struct live, item);
    lock_acquire(&tunnels_lock);
    live->is_posted = false;
    lock_release(&tunnels_lock);
    if (live->is_closed)
        live_free(live);
    else
        live->cancel(live->context); /* may close it */
}

/* False: there are as many as may be. */
static bool enter_list(struct live *live, uint64_t tunnels_max) {
    lock_acquire(&tunnels_lock);
    bool has_room = tunnel_count < tunnels_max;
    if (has_room) {
        LIST_INSERT_HEAD(&tunnels, live, entry);
        tunnel_count++;
    }
    lock_release(&tunnels_lock);
    return has_room;
}

struct live *live_open(struct request *request, void (*cancel)(void *context), void *context) {
    uint64_t tunnels_max = request->context->settings->tunnels_max;
    struct live *live = calloc(1, sizeof(*live));
    if (live == NULL || !task_make_id(live->view.id)) {
        free(live);
        reply_no_memory(request);
        return NULL;
    }
    memory_charge(MEMORY_CONNECTIONS, sizeof(*live));
    memcpy(live->view.owner.app, request->app, sizeof(request->app));
    memcpy(live->view.owner.user, request->user, sizeof(request->user));
    memcpy(live->view.owner.session, request->session, sizeof(request->session));
    live->view.started_unix_ms = clock_unix_ms();
    live->inbox = request->context->relay.inbox;
    live->item.handle = tunnel_on_cancel;
    live->cancel = cancel;
    live->context = context;
    if (enter_list(live, tunnels_max)) {
        metrics_add(METRIC_TUNNELS_OPENED, 1);
        return live;
    }
    live_free(live);
    metrics_add(METRIC_TUNNELS_REFUSED, 1);
    reply_limit(request, 503, "too_many_tunnels", "The tunnel limit has been reached", "tunnels_max",
                tunnels_max, NULL);
    return NULL;
}

void live_close(struct live *live) {
    if (live == NULL)
        return;
    lock_acquire(&tunnels_lock);
    LIST_REMOVE(live, entry);
    tunnel_count--;
    bool is_posted = live->is_posted;
    lock_release(&tunnels_lock);
    live->is_closed = true;
    if (!is_posted)
        live_free(live);
}

/* An inbox's lock may be taken under this one: it takes no other. */
static void cancel_locked(struct live *live) {
    lock_assert_held(&tunnels_lock);
    if (!live->is_posted)
        inbox_post(live->inbox, &live->item);
    live->is_posted = true;
}

size_t live_cancel_session(const char *app, const char *user, const char *session) {
    struct live *live;
    size_t cancelled = 0;
    lock_acquire(&tunnels_lock);
    LIST_FOREACH(live, &tunnels, entry) {
        if (strcmp(live->view.owner.app, app) != 0 || strcmp(live->view.owner.user, user) != 0 ||
            strcmp(live->view.owner.session, session) != 0)
            continue;
        cancel_locked(live);
        cancelled++;
    }
    lock_release(&tunnels_lock);
    return cancelled;
}

void live_cancel_all(void) {
    struct live *live;
    lock_acquire(&tunnels_lock);
    LIST_FOREACH(live, &tunnels, entry)
    cancel_locked(live);
    lock_release(&tunnels_lock);
}

/* ---- GET /tunnels, DELETE /tunnels/{id} ---------------------------------------------------------- */

static void write_live(struct json_writer *json, const struct live_view *view) {
    json_begin_object(json, NULL);
    json_add_string(json, "id", view->id);
    json_add_string(json, "kind", "live");
    json_add_string(json, "app", view->owner.app);
    json_add_string(json, "user", view->owner.user);
    json_add_string(json, "session", view->owner.session);
    json_add_time(json, "started_at", view->started_unix_ms);
    json_end_object(json);
}

/* What is shown of them, copied under the lock. NULL: out of memory. */
static struct live_view *copy_all(size_t *ret_count) {
    const struct live *live;
    size_t room = live_count() + 16, copied = 0;
    struct live_view *copies = calloc(room, sizeof(*copies));
    lock_acquire(&tunnels_lock);
    LIST_FOREACH(live, &tunnels, entry) {
        if (copies != NULL && copied < room)
            copies[copied++] = live->view;
    }
    lock_release(&tunnels_lock);
    *ret_count = copied;
    return copies;
}

void handle_tunnel_list(struct request *request) {
    size_t copied;
    struct live_view *copies = copy_all(&copied);
    struct json_writer json;
    if (copies == NULL) {
        reply_no_memory(request);
        return;
    }
    json_writer_init(&json, (copied + 1) * LIVE_JSON_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_begin_array(&json, "tunnels");
    for (size_t i = 0; i < copied; i++) {
        if (access_shows(request, &copies[i].owner))
            write_live(&json, &copies[i]);
    }
    json_end_array(&json);
    json_end_object(&json);
    free(copies);
    reply_json(request, 200, &json);
}

/* Copies whose the tunnel of this id is; with `cancels`, asks it to end. False: there is none. */
static bool find_live(const char *id, bool cancels, struct session_names *ret_owner) {
    struct live *live;
    bool is_found = false;
    lock_acquire(&tunnels_lock);
    LIST_FOREACH(live, &tunnels, entry) {
        if (strcmp(live->view.id, id) != 0)
            continue;
        *ret_owner = live->view.owner;
        is_found = true;
        if (cancels)
            cancel_locked(live);
    }
    lock_release(&tunnels_lock);
    return is_found;
}

void handle_tunnel_delete(struct request *request) {
    struct session_names owner;
    if (!find_live(request->id, false, &owner) || !access_enter_item(request, &owner) ||
        !find_live(request->id, true, &owner)) {
        reply_error(request, 404, "unknown_tunnel", "There is no tunnel with this id, or it has ended.");
        return;
    }
    log_info("tunnel_cancelled", LOG_STR("id", request->id));
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_bool(&json, "success", true);
    json_add_string(&json, "id", request->id);
    json_add_string(&json, "message", "The tunnel is being closed.");
    json_end_object(&json);
    reply_json(request, 202, &json);
}

/* ---- the client's side --------------------------------------------------------------------------- */

static const char *const of_handshake[HANDSHAKE_HEADERS_MAX] = {
    "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"};

bool handshake_collect(const struct request *request, struct upstream_header *headers, size_t *count) {
    for (size_t i = 0; i < HANDSHAKE_HEADERS_MAX; i++) {
        if (request_header(request, of_handshake[i]) == NULL)
            continue;
        char *value = request_header_joined(request, of_handshake[i]);
        if (value == NULL)
            return false;
        headers[(*count)++] = (struct upstream_header){of_handshake[i], value};
    }
    return true;
}

static bool is_of_handshake(const char *name) {
    for (size_t i = 0; i < HANDSHAKE_HEADERS_MAX; i++) {
        if (name == of_handshake[i])
            return true;
    }
    return false;
}

void handshake_free(struct upstream_header *headers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (is_of_handshake(headers[i].name))
            free((char *)(uintptr_t)headers[i].value);
    }
}

/* ---- a tunnel's other direction ------------------------------------------------------------------ */

static size_t tunnel_write(void *context, const char *bytes, size_t length) {
    struct passthrough *passthrough = context;
    size_t room = passthrough->up.length < HELD_HIGH ? HELD_HIGH - passthrough->up.length : 0;
    size_t count = length < room ? length : room;
    passthrough->up_is_full = count < length;
    if (passthrough->query == NULL)
        return length; /* nobody takes it any more */
    if (count > 0 && !buffer_append(&passthrough->up, bytes, count)) {
        passthrough_break_off(passthrough);
        return length;
    }
    if (count > 0)
        upstream_query_resume_upload(passthrough->query);
    return count;
}

static void tunnel_write_end(void *context) {
    struct passthrough *passthrough = context;
    passthrough->up_ended = true;
    if (passthrough->query != NULL)
        upstream_query_resume_upload(passthrough->query);
}

ssize_t passthrough_upload(void *context, char *bytes, size_t size) {
    struct passthrough *passthrough = context;
    struct buffer *up = &passthrough->up;
    size_t count = up->length < size ? up->length : size;
    if (count == 0)
        return passthrough->up_ended ? -1 : 0;
    memcpy(bytes, up->bytes, count);
    buffer_consume(up, count);
    if (passthrough->up_is_full && up->length <= HELD_LOW) {
        passthrough->up_is_full = false;
        passthrough->request->operations->source_ready(passthrough->request);
    }
    return (ssize_t)count;
}

/* Somebody wants the tunnel to end. */
void passthrough_cancel(void *context) {
    struct passthrough *passthrough = context;
    struct request *request = passthrough->request;
    if (passthrough->answered) {
        passthrough_break_off(passthrough);
    } else if (!passthrough->is_done) {
        reply_error(request, 503, "tunnel_cancelled", "The tunnel was cancelled before it was open.");
        passthrough_destroy(passthrough);
        request_answer(request);
    }
}

/* ---- the upstream's own answer to the handshake -------------------------------------------------- */

static const char *const of_answer[] = {"Sec-WebSocket-Accept", "Sec-WebSocket-Protocol",
                                        "Sec-WebSocket-Extensions"};

/* The name as we write it; NULL: the header is not passed on. */
static const char *find_of_answer(const char *name) {
    for (size_t i = 0; i < sizeof(of_answer) / sizeof(of_answer[0]); i++) {
        if (strcasecmp(name, of_answer[i]) == 0)
            return of_answer[i];
    }
    return NULL;
}

/* Whether the headers fit into what the library has for an answer, and are few enough. A handshake without
 * one of them is no handshake, so none is left out. */
static bool answer_fits(const struct request *request, const struct upstream_header *headers, size_t count) {
    size_t length = 0, passed = 0;
    for (size_t i = 0; i < count; i++) {
        if (find_of_answer(headers[i].name) == NULL)
            continue;
        length += strlen(headers[i].name) + strlen(headers[i].value) + strlen(": \r\n");
        passed++;
    }
    return passed < REPLY_HEADERS_MAX / 2 && length <= request->context->request_header_bytes_max / 2;
}

static void refuse_answer(struct passthrough *passthrough) {
    static const struct upstream_result too_long = {
        .end = UPSTREAM_PROTOCOL,
        .cause = CAUSE_HTTP,
        .http_status = 101,
        .message = "The upstream's answer to the handshake has headers that are too long or too many."};
    struct request *request = passthrough->request;
    upstream_refuse_query(request, &too_long);
    passthrough_destroy(passthrough);
    request_answer(request);
}

void passthrough_open_tunnel(struct passthrough *passthrough, const struct upstream_header *headers,
                             size_t count) {
    struct request *request = passthrough->request;
    const struct reply_source source = {.read = passthrough_read,
                                        .finished = passthrough_destroy,
                                        .context = passthrough,
                                        .content_length = -1,
                                        .write = tunnel_write,
                                        .write_end = tunnel_write_end};
    if (!answer_fits(request, headers, count)) {
        refuse_answer(passthrough);
        return;
    }
    reply_header(request, "Upgrade", "websocket");
    for (size_t i = 0; i < count; i++) {
        const char *name = find_of_answer(headers[i].name);
        if (name != NULL)
            reply_header(request, name, headers[i].value);
    }
    passthrough->answered = true;
    reply_tunnel(request, &source);
    request_answer(request);
}

/* ---- GET /run_live ------------------------------------------------------------------------------- */

static const char *const query_names[] = {"app_name",
                                          "user_id",
                                          "session_id",
                                          "modalities",
                                          "proactive_audio",
                                          "enable_affective_dialog",
                                          "enable_session_resumption",
                                          "save_live_blob",
                                          "explicit_vad_signal",
                                          NULL};

static bool read_live_name(struct request *request, const char *name, size_t bytes_max, char *out) {
    char *value = NULL;
    int result = request_query(request, name, &value);
    if (result == -ENOMEM)
        reply_no_memory(request);
    else if (result < 0 || value == NULL || !path_name_is_valid(value, bytes_max))
        reply_error(request, 400, "invalid_query", "\"%s\" must be 1 to %zu " PATH_NAME_IS ".", name,
                    bytes_max);
    else
        snprintf(out, bytes_max + 1, "%s", value);
    free(value);
    return request->reply.kind == REPLY_NONE;
}

static bool read_live_owner(struct request *request, struct session_names *ret_owner) {
    if (strchr(request->query, ';') != NULL) { /* which ends a parameter for some servers */
        reply_error(request, 400, "invalid_query", "The query must not contain a semicolon.");
        return false;
    }
    return query_check_names(request, query_names) &&
           read_live_name(request, "app_name", SESSION_PART_MAX, ret_owner->app) &&
           read_live_name(request, "user_id", SESSION_USER_MAX, ret_owner->user) &&
           read_live_name(request, "session_id", SESSION_PART_MAX, ret_owner->session);
}

static bool has_value(const struct request *request, const char *name, const char *wanted) {
    const char *value = request_header(request, name);
    return value != NULL && strcasecmp(value, wanted) == 0;
}

/* RFC 6455, section 4.2.1. */
static bool check_handshake(struct request *request) {
    const char *option = request_header(request, "Connection");
    bool is_asked = !request->http_1_0 && !request->head && !request->has_body && option != NULL &&
                    strcasestr(option, "upgrade") != NULL && has_value(request, "Upgrade", "websocket");
    if (!is_asked) {
        reply_header(request, "Upgrade", "websocket");
        reply_error(request, 426, "upgrade_required",
                    "This path needs a WebSocket handshake over HTTP/1.1 with Upgrade: websocket.");
        return false;
    }
    if (!has_value(request, "Sec-WebSocket-Version", "13")) {
        reply_header(request, "Sec-WebSocket-Version", "13");
        reply_error(request, 426, "websocket_version", "The Sec-WebSocket-Version must be 13.");
    } else if (request_header(request, "Sec-WebSocket-Key") == NULL) {
        reply_error(request, 400, "invalid_header", "A WebSocket handshake needs a Sec-WebSocket-Key.");
    }
    return request->reply.kind == REPLY_NONE;
}

void handle_run_live(struct request *request) {
    struct session_names owner = {.app = ""};
    if (broadcaster_is_draining(request->context->broadcaster)) {
        reply_error(request, 503, "draining", "The gateway is shutting down and starts no runs.");
        return;
    }
    if (!check_handshake(request) || !read_live_owner(request, &owner) || !access_enter(request, &owner) ||
        access_refuse_conflict(request))
        return;
    const struct passing passing = {
        .upstream = passthrough_choose(request), .is_run = true, .is_tunnel = true};
    if (passing.upstream != UPSTREAM_NONE)
        passthrough_to(request, &passing);
}
