/* Keeps the process within memory_max_bytes.
 *
 * A worker that finds memory tight wakes the keeper, which runs on the main thread in bounded pieces, until
 * it is below the low mark or finds nothing more to free. A worker that finds memory full helps at once,
 * since the thread that makes memory grow must not outrun the keeper. Nothing here waits. */
#include "server/memory_keeper.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/metrics.h"

/* How often it looks again when it could not make room. */
#define LOOK_MS 100
/* How often it looks anyway: at what the allocator keeps, and at what the kernel counts. */
#define IDLE_LOOK_MS 1000
/* No report comes sooner after the one before. */
#define REPORT_MS 10000
/* What a log of a session with a run has in any case: so much of a stream that the viewers who keep up miss
 * nothing. */
#define CAP_BYTES_MIN (16 * 1024)

/* ---- reporting ----------------------------------------------------------------------------------- */

static uint64_t since_last(enum metric metric, uint64_t *last) {
    uint64_t now = metrics_get(metric), count = now - *last;
    *last = now;
    return count;
}

static void report_level(struct memory_keeper *keeper) {
    int64_t now_ms = clock_mono_ms();
    if (now_ms - keeper->reported_mono_ms < REPORT_MS)
        return;
    uint64_t events = since_last(METRIC_MEMORY_EVENTS_TRIMMED, &keeper->events);
    uint64_t recordings = since_last(METRIC_MEMORY_RECORDINGS_DROPPED, &keeper->recordings);
    uint64_t refused = since_last(METRIC_MEMORY_REFUSED, &keeper->refused);
    uint64_t ended = since_last(METRIC_MEMORY_RUNS_ENDED, &keeper->ended);
    uint64_t forgotten = since_last(METRIC_MEMORY_FORGOTTEN, &keeper->forgotten);
    uint64_t closed = since_last(METRIC_MEMORY_SUBSCRIBERS_CLOSED, &keeper->closed);
    if (events + recordings + forgotten + refused + ended + closed == 0)
        return;
    keeper->reported_mono_ms = now_ms;
    log_warn(refused + ended > 0 ? "memory_full" : "memory_trimmed", LOG_INT("refused", refused),
             LOG_INT("runs_ended", ended), LOG_INT("events_trimmed", events),
             LOG_INT("recordings_dropped", recordings), LOG_INT("forgotten", forgotten),
             LOG_INT("subscribers_closed", closed), LOG_INT("bytes", memory_total()),
             LOG_INT("max_bytes", memory_limit()),
             LOG_STR("memory_level", memory_level_name(memory_level())));
}

/* ---- making room --------------------------------------------------------------------------------- */

/* What each log of a session with a run may take, so that all of them together stay below the low mark. */
static uint64_t share_of_a_run(struct memory_keeper *keeper) {
    uint64_t events = memory_used(MEMORY_EVENTS), held = memory_held(), low = memory_low_mark();
    uint64_t others = held > events ? held - events : 0;
    uint64_t running = broadcaster_count_running(keeper->broadcaster);
    uint64_t share = low > others ? (low - others) / (running > 0 ? running : 1) : 0;
    return share > CAP_BYTES_MIN ? share : CAP_BYTES_MIN;
}

/* Makes some room. False: there is nothing more to be had just now. */
static bool keeper_make_room(struct memory_keeper *keeper) {
    uint64_t held = memory_held(), low = memory_low_mark();
    if (held <= low)
        return false;
    uint64_t wanted = held - low;
    if (keeper->cache != NULL && cache_trim(keeper->cache, wanted) > 0)
        return true;
    if (broadcaster_trim(keeper->broadcaster, wanted) > 0)
        return true;
    atomic_store(&keeper->is_capped, true);
    if (broadcaster_cap_logs(keeper->broadcaster, share_of_a_run(keeper)) > 0)
        return true;
    bool is_nearly_full = memory_held() + MEMORY_RUN_BYTES > memory_limit() / 16 * 15;
    return is_nearly_full && broadcaster_forget(keeper->broadcaster) > 0;
}

static void keeper_on_timer(uv_timer_t *timer);

static void rest_keeper(struct memory_keeper *keeper) {
    if (atomic_exchange(&keeper->is_capped, false))
        broadcaster_cap_logs(keeper->broadcaster, UINT64_MAX);
    atomic_store_explicit(&keeper->is_through, false, memory_order_relaxed);
    atomic_store(&keeper->is_awake, false); /* who finds memory tight from now on wakes it */
}

void memory_keeper_relieve(void *context) {
    struct memory_keeper *keeper = context;
    if (!atomic_load_explicit(&keeper->is_through, memory_order_relaxed))
        keeper_make_room(keeper);
}

static void tidy_memory(void) {
    memory_measure(true);
    if (memory_is_loose())
        memory_give_back();
}

static void work_piece(struct memory_keeper *keeper) {
    tidy_memory();
    bool has_more = keeper_make_room(keeper);
    atomic_store_explicit(&keeper->is_through, !has_more, memory_order_relaxed);
    enum memory_level level = memory_look();
    report_level(keeper);
    if (level != MEMORY_EASY)
        uv_timer_start(&keeper->timer, keeper_on_timer, has_more ? 0 : LOOK_MS, 0);
    else
        rest_keeper(keeper);
}

static void keeper_on_timer(uv_timer_t *timer) {
    work_piece(timer->data);
}

static void keeper_on_wake(struct inbox_item *item) {
    struct memory_keeper *keeper = CONTAINER_OF(item, struct memory_keeper, item);
    if (!keeper->is_closed)
        work_piece(keeper);
}

static void keeper_on_look(uv_timer_t *timer) {
    struct memory_keeper *keeper = timer->data;
    tidy_memory();
    report_level(keeper);
    if (memory_look() != MEMORY_EASY)
        memory_keeper_wake(keeper);
}

/* ---- its life ------------------------------------------------------------------------------------ */

void memory_keeper_init(struct memory_keeper *keeper, uv_loop_t *loop, struct inbox *inbox,
                        struct broadcaster *broadcaster, struct cache *cache) {
    *keeper = (struct memory_keeper){.broadcaster = broadcaster,
                                     .cache = cache,
                                     .inbox = inbox,
                                     .item.handle = keeper_on_wake,
                                     .reported_mono_ms = clock_mono_ms() - REPORT_MS};
    uv_timer_init(loop, &keeper->timer);
    uv_timer_init(loop, &keeper->look);
    keeper->timer.data = keeper->look.data = keeper;
    uv_timer_start(&keeper->look, keeper_on_look, IDLE_LOOK_MS, IDLE_LOOK_MS);
}

void memory_keeper_wake(struct memory_keeper *keeper) {
    if (!atomic_load_explicit(&keeper->is_awake, memory_order_relaxed) &&
        !atomic_exchange(&keeper->is_awake, true))
        inbox_post(keeper->inbox, &keeper->item);
}

void memory_keeper_close(struct memory_keeper *keeper) {
    keeper->is_closed = true;
    uv_close((uv_handle_t *)&keeper->timer, NULL);
    uv_close((uv_handle_t *)&keeper->look, NULL);
}
