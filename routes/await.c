/* Answering when a run has ended: see await.h.
 *
 * Three things may come first: the end, the time being up, and the request being abandoned. Whichever it is
 * settles the request and closes the timer; but as long as the waiter is with the task, or on its way in the
 * inbox, nothing is freed.
 */
#include "routes/await.h"

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

static void on_time_up(uv_timer_t *timer) {
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
    uv_timer_start(&await->timer, on_time_up, (uint64_t)wait_ms, 0);
    request_defer(request, await_on_abandoned, await);
}
