/* Tunnels that are open: see tunnels.h. */
#include "routes/tunnels.h"

#include "base/clock.h"
#include "base/inbox.h"
#include "base/json_writer.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "routes/access.h"
#include "routes/handlers.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* Of one tunnel in the list: three names, each byte escaped, and the rest. */
#define LIVE_JSON_BYTES_MAX (6 * SESSION_KEY_SIZE + 256)
#define ANSWER_BYTES_MAX 4096

/* What is shown of one; it never changes. */
struct live_view {
    char id[TASK_ID_SIZE];
    struct passed_owner owner;
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
static struct lock lock = LOCK_INITIALIZER;
static _Atomic uint64_t count;

uint64_t live_count(void) {
    return atomic_load(&count);
}

static void live_free(struct live *live) {
    memory_release(MEMORY_CONNECTIONS, sizeof(*live));
    free(live);
}

/* Somebody wants it to end. */
static void on_cancel(struct inbox_item *item) {
    struct live *live = CONTAINER_OF(item, struct live, item);
    lock_acquire(&lock);
    live->is_posted = false;
    lock_release(&lock);
    if (live->is_closed)
        live_free(live);
    else
        live->cancel(live->context); /* may close it */
}

/* False: there are as many as may be. */
static bool enter_list(struct live *live, uint64_t tunnels_max) {
    lock_acquire(&lock);
    bool has_room = count < tunnels_max;
    if (has_room) {
        LIST_INSERT_HEAD(&tunnels, live, entry);
        count++;
    }
    lock_release(&lock);
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
    live->item.handle = on_cancel;
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
    lock_acquire(&lock);
    LIST_REMOVE(live, entry);
    count--;
    bool is_posted = live->is_posted;
    lock_release(&lock);
    live->is_closed = true;
    if (!is_posted)
        live_free(live);
}

/* An inbox's lock may be taken under this one: it takes no other. */
static void cancel_locked(struct live *live) {
    lock_assert_held(&lock);
    if (!live->is_posted)
        inbox_post(live->inbox, &live->item);
    live->is_posted = true;
}

size_t live_cancel_session(const char *app, const char *user, const char *session) {
    struct live *live;
    size_t cancelled = 0;
    lock_acquire(&lock);
    LIST_FOREACH(live, &tunnels, entry) {
        if (strcmp(live->view.owner.app, app) != 0 || strcmp(live->view.owner.user, user) != 0 ||
            strcmp(live->view.owner.session, session) != 0)
            continue;
        cancel_locked(live);
        cancelled++;
    }
    lock_release(&lock);
    return cancelled;
}

void live_cancel_all(void) {
    struct live *live;
    lock_acquire(&lock);
    LIST_FOREACH(live, &tunnels, entry)
    cancel_locked(live);
    lock_release(&lock);
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
    lock_acquire(&lock);
    LIST_FOREACH(live, &tunnels, entry) {
        if (copies != NULL && copied < room)
            copies[copied++] = live->view;
    }
    lock_release(&lock);
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
static bool find_live(const char *id, bool cancels, struct passed_owner *ret_owner) {
    struct live *live;
    bool is_found = false;
    lock_acquire(&lock);
    LIST_FOREACH(live, &tunnels, entry) {
        if (strcmp(live->view.id, id) != 0)
            continue;
        *ret_owner = live->view.owner;
        is_found = true;
        if (cancels)
            cancel_locked(live);
    }
    lock_release(&lock);
    return is_found;
}

void handle_tunnel_delete(struct request *request) {
    struct passed_owner owner;
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
