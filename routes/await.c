/* Answering when a run has ended.
 *
 * Three things may come first: the end, the time being up, and the request being abandoned. Whichever it is
 * settles the request and closes the timer. As long as the waiter is with the task, or on its way in the
 * inbox, nothing is freed.
 */
#include "routes/await.h"

#include "base/json_writer.h"
#include "base/log.h"

#include <stdlib.h>

struct await {
    struct task_waiter waiter;
    uv_timer_t timer;
    struct routes_context *context;
    struct request *request; /* NULL: settled */
    struct task *task;       /* a reference */
    void (*answer)(struct request *request, struct task *task);
};

static void await_on_timer_closed(uv_handle_t *handle) {
    struct await *await = handle->data;
    await->context->awaits--;
    task_unref(await->task);
    free(await);
}

/* The waiter is nobody's any more. */
static void settle_await(struct await *await) {
    struct request *request = await->request;
    await->request = NULL;
    if (request != NULL) {
        await->answer(request, await->task);
        request_answer(request);
    }
    uv_close((uv_handle_t *)&await->timer, await_on_timer_closed);
}

static void await_on_end(struct inbox_item *item) {
    settle_await(CONTAINER_OF(item, struct await, waiter.item));
}

static void await_on_time_up(uv_timer_t *timer) {
    struct await *await = timer->data;
    if (task_unwait(await->task, &await->waiter))
        settle_await(await);
    /* else the end is in the inbox already */
}

static void await_on_abandoned(void *context) {
    struct await *await = context;
    await->request = NULL;
    if (task_unwait(await->task, &await->waiter))
        settle_await(await);
}

void await_end(struct request *request, struct task *task, int64_t wait_ms,
               void (*answer)(struct request *request, struct task *task)) {
    struct task_info info;
    task_get_info(task, &info);
    if (wait_ms <= 0 || task_status_is_end(info.status)) {
        answer(request, task);
        return;
    }
    struct await *await = calloc(1, sizeof(*await));
    if (await == NULL) {
        reply_no_memory(request);
        return;
    }
    await->context = request->context;
    await->context->awaits++;
    await->task = task_ref(task);
    await->answer = answer;
    await->waiter.inbox = request->context->relay.inbox;
    await->waiter.item.handle = await_on_end;
    uv_timer_init(request->context->relay.loop, &await->timer);
    await->timer.data = await;
    if (!task_wait(task, &await->waiter)) {
        settle_await(await);
        answer(request, task);
        return;
    }
    await->request = request;
    uv_timer_start(&await->timer, await_on_time_up, (uint64_t)wait_ms, 0);
    request_defer(request, await_on_abandoned, await);
}

/* ---- cancelling ---------------------------------------------------------------------------------- */

/* How long a client waits for the end of what it cancelled. */
#define WAIT_MS 5000
#define ANSWER_BYTES_MAX 4096

static void answer_cancel(struct request *request, struct task *task) {
    struct task_info info;
    task_get_info(task, &info);
    bool ended = task_status_is_end(info.status);
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_bool(&json, "success", true);
    json_add_string(&json, "task_id", task->id);
    json_add_string(&json, "status", task_status_name(info.status));
    json_add_string(&json, "reason", task_reason_name(info.reason));
    json_add_string(&json, "message", ended ? "The run has ended." : "The run is being cancelled.");
    json_end_object(&json);
    reply_json(request, ended ? 200 : 202, &json);
}

bool cancel_and_reply(struct request *request, struct task *task) {
    if (!task_cancel(task, REASON_REQUESTED))
        return false;
    log_info("run_cancelled", LOG_STR("task_id", task->id), LOG_STR("session", task->session->key),
             LOG_STR("trace_id", task->trace_id));
    await_end(request, task, WAIT_MS, answer_cancel);
    return true;
}
