/* A worker, and the whole turn of its loop.
 *
 *     wait        in epoll, unless there is more to do at once (`idle` is active)
 *     sockets     the listening socket        --> a few connections are accepted
 *                 libmicrohttpd's             --> the listener is marked ready, and no more
 *                 an upstream's: libcurl --> parser --> runner --> log --> watches are marked dirty;
 *                                then worker_on_upstream_turn() writes, before the next socket is read
 *                 a subscriber's              --> its client has gone, or has room again
 *     inbox       from other threads: runs to start and to stop, watches to write, sockets handed over;
 *                 and one turn of each line of long requests and long answers (base/turns.h)
 *     timers      deadlines of requests and calls, heartbeats and stalls (worker_on_tick())
 *     the end     worker_on_prepare():
 *                 fanout_flush()       writes what the logs have for this worker's subscribers
 *                 http_listener_turn() runs libmicrohttpd: requests are handled, answers are sent
 *                   ... both again while one makes work for the other, ROUNDS_MAX times at most
 *                 memory is measured, and room is made if it is tight
 *                 a worker that stops closes all, when nothing is under way any more
 *
 * Callbacks of sockets only change state and mark what is to be written. All writing is in worker_on_prepare(),
 * and after a read from an upstream: so what arrived together leaves together, by one send for each
 * subscriber. */
#include "server/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "http/listener.h"
#include "relay/runner.h"
#include "upstream/health_check.h"
#include "upstream/query.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* How long clients have at the end to take their last bytes. */
#define STOP_MS 1000
/* How often it is looked then whether all is done: another worker that gives up what it was about to send
 * here wakes nobody. */
#define STOP_LOOK_MS 20
/* Turns of the listener and the fan-out in one turn of the loop, when each makes work for the other. */
#define ROUNDS_MAX 16

struct worker {
    struct worker_shared *shared;
    pthread_t thread;
    bool started;
    uv_loop_t loop;
    struct inbox inbox;
    uv_prepare_t prepare;
    uv_idle_t idle;  /* active while there is more to do at once: keeps the loop from waiting */
    uv_timer_t tick; /* of the fan-out */
    uv_timer_t stop_timer;
    struct fanout *fanout;
    struct upstream_worker upstream_worker;
    struct health_checks *health_checks; /* NULL: another worker has them */
    struct cache_worker *cache;          /* NULL: no upstream caches */
    struct runner *runner;
    struct http_listener *listener;
    struct routes_context context;
    bool stopping, stop_now, closed;
    int64_t stop_mono_ms; /* when stop_now is due */

    struct inbox_item drain_item, stop_item, reload_item;
    const struct config *next_config;
    struct inbox_item stopped_item, reloaded_item; /* to main */
};

/* ---- the loop ------------------------------------------------------------------------------------ */

static void worker_on_idle(uv_idle_t *idle) {
    (void)idle;
}

static void worker_on_tick(uv_timer_t *timer) {
    struct worker *worker = timer->data;
    fanout_tick(worker->fanout);
    uv_timer_start(timer, worker_on_tick, (uint64_t)fanout_tick_ms(worker->fanout), 0);
}

static void worker_on_client_closed(void *context) {
    struct worker *worker = context;
    worker->upstream_worker.client = NULL;
}

/* Everything that would keep the loop alive is closed; the loop ends when the last handle has gone. A worker
 * that was never finished lacks the parts that come last. */
static void close_all(struct worker *worker) {
    worker->closed = true;
    if (worker->listener != NULL)
        http_listener_close(worker->listener);
    if (worker->fanout != NULL)
        fanout_abort(worker->fanout);
    cache_worker_close(worker->cache);
    worker->cache = NULL;
    health_checks_close(worker->health_checks);
    worker->health_checks = NULL;
    if (worker->upstream_worker.client != NULL)
        upstream_client_close(worker->upstream_worker.client, worker_on_client_closed, worker);
    uv_close((uv_handle_t *)&worker->prepare, NULL);
    uv_close((uv_handle_t *)&worker->idle, NULL);
    uv_close((uv_handle_t *)&worker->tick, NULL);
    uv_close((uv_handle_t *)&worker->stop_timer, NULL);
    inbox_drain(&worker->inbox);
    inbox_close(&worker->inbox);
}

/* The end of each turn of the loop: answers what was asked, writes what came. */
static void worker_on_prepare(uv_prepare_t *prepare) {
    struct worker *worker = prepare->data;
    bool more = true;
    for (int round = 0; more && round < ROUNDS_MAX; round++) {
        fanout_flush(worker->fanout);
        more = http_listener_turn(worker->listener) || fanout_is_dirty(worker->fanout);
    }
    if (more)
        uv_idle_start(&worker->idle, worker_on_idle);
    else
        uv_idle_stop(&worker->idle);
    memory_measure(false);
    if (memory_level() >= MEMORY_FULL)
        memory_keeper_relieve(worker->shared->memory_keeper); /* whoever makes it grow has to help */
    if (memory_level() != MEMORY_EASY)
        memory_keeper_wake(worker->shared->memory_keeper);
    if (worker->stop_now) {
        fanout_abort(worker->fanout);
        upstream_queries_abort(&worker->upstream_worker);
    }
    /* Idle, not only without subscribers: another thread may still be about to post to our inbox. */
    bool idle = fanout_is_idle(worker->fanout) && runner_active(worker->runner) == 0 &&
                worker->upstream_worker.calls == 0 && worker->context.awaits == 0 &&
                (worker->cache == NULL || cache_worker_active(worker->cache) == 0);
    if (worker->stopping && idle && (worker->stop_now || !http_listener_is_busy(worker->listener)))
        close_all(worker);
}

static void *run_thread(void *argument) {
    struct worker *worker = argument;
    inbox_adopt(&worker->inbox);
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    assert(worker->closed);
    inbox_post(worker->shared->main_inbox, &worker->stopped_item);
    return NULL;
}

/* ---- what main asks for -------------------------------------------------------------------------- */

static void worker_on_drain(struct inbox_item *item) {
    struct worker *worker = CONTAINER_OF(item, struct worker, drain_item);
    http_listener_quiesce(worker->listener);
}

static void worker_on_stop_timer(uv_timer_t *timer) {
    struct worker *worker = timer->data;
    worker->stop_now = clock_mono_ms() >= worker->stop_mono_ms;
}

static void worker_on_stop(struct inbox_item *item) {
    struct worker *worker = CONTAINER_OF(item, struct worker, stop_item);
    worker->stopping = true;
    fanout_shut(worker->fanout);
    worker->stop_mono_ms = clock_mono_ms() + STOP_MS;
    uv_timer_start(&worker->stop_timer, worker_on_stop_timer, STOP_LOOK_MS, STOP_LOOK_MS);
}

static void take_settings(struct worker *worker, const struct config *config) {
    worker->context.settings = &config->routes;
    worker->context.relay.settings = &config->relay;
    worker->upstream_worker.settings = config->upstreams;
}

static void worker_on_reload(struct inbox_item *item) {
    struct worker *worker = CONTAINER_OF(item, struct worker, reload_item);
    take_settings(worker, worker->next_config);
    upstream_client_set_connections_max(worker->upstream_worker.client,
                                        worker->next_config->upstream.connections_max);
    if (worker->health_checks != NULL)
        health_checks_reload(worker->health_checks);
    inbox_post(worker->shared->main_inbox, &worker->reloaded_item);
}

static void worker_on_stopped(struct inbox_item *item) {
    struct worker *worker = CONTAINER_OF(item, struct worker, stopped_item);
    worker->shared->on_stopped(worker->shared);
}

static void worker_on_reloaded(struct inbox_item *item) {
    struct worker *worker = CONTAINER_OF(item, struct worker, reloaded_item);
    worker->shared->on_reloaded(worker->shared);
}

void worker_drain(struct worker *worker) {
    inbox_post(&worker->inbox, &worker->drain_item);
}

void worker_stop(struct worker *worker) {
    inbox_post(&worker->inbox, &worker->stop_item);
}

void worker_reload(struct worker *worker, const struct config *config) {
    worker->next_config = config;
    inbox_post(&worker->inbox, &worker->reload_item);
}

/* ---- what upstreams and Redis report ------------------------------------------------------------- */

/* Their room does not log, so it hands each notice to its worker. */
static void worker_on_notice(const struct upstream_notice *notice) {
    switch (notice->kind) {
    case NOTICE_BREAKER_OPENED:
        log_warn("breaker_opened", LOG_STR("upstream", notice->upstream), LOG_INT("calls", notice->calls),
                 LOG_INT("failures", notice->failures), LOG_INT("retry_after_ms", notice->retry_after_ms));
        return;
    case NOTICE_BREAKER_CLOSED:
        log_info("breaker_closed", LOG_STR("upstream", notice->upstream));
        return;
    case NOTICE_UNHEALTHY:
        log_warn("upstream_unhealthy", LOG_STR("upstream", notice->upstream),
                 LOG_INT("status", notice->status), LOG_STR("message", notice->message));
        return;
    case NOTICE_HEALTHY:
        log_info("upstream_healthy", LOG_STR("upstream", notice->upstream));
        return;
    case NOTICE_REDIS_AWAY:
        log_warn("redis_away", LOG_STR("message", notice->message));
        return;
    case NOTICE_REDIS_BACK:
        log_info("redis_back", {0});
        return;
    }
}

/* ---- building and tearing down ------------------------------------------------------------------- */

static void init_handles(struct worker *worker) {
    uv_prepare_init(&worker->loop, &worker->prepare);
    uv_idle_init(&worker->loop, &worker->idle);
    uv_timer_init(&worker->loop, &worker->tick);
    uv_timer_init(&worker->loop, &worker->stop_timer);
    worker->prepare.data = worker->tick.data = worker->stop_timer.data = worker;
    uv_prepare_start(&worker->prepare, worker_on_prepare);
    uv_timer_start(&worker->tick, worker_on_tick, 0, 0);
    worker->drain_item.handle = worker_on_drain;
    worker->stop_item.handle = worker_on_stop;
    worker->reload_item.handle = worker_on_reload;
    worker->stopped_item.handle = worker_on_stopped;
    worker->reloaded_item.handle = worker_on_reloaded;
}

static void init_context(struct worker *worker, const struct config *config) {
    worker->upstream_worker = (struct upstream_worker){.inbox = &worker->inbox,
                                                       .loop = &worker->loop,
                                                       .upstreams = worker->shared->upstreams,
                                                       .notify = worker_on_notice};
    worker->context = (struct routes_context){
        .broadcaster = worker->shared->broadcaster,
        .relay = {.upstream_worker = &worker->upstream_worker,
                  .inbox = &worker->inbox,
                  .loop = &worker->loop},
        .request_header_bytes_max = config->http.listener.request_header_bytes_max,
        .version = SLUICE_VERSION,
        .peers = worker->shared->contexts,
        .workers = config->workers,
        .started_unix_ms = worker->shared->started_unix_ms,
        .connections = http_listener_connections,
    };
    turns_init(&worker->context.turns, &worker->inbox);
    turns_init(&worker->context.long_lists, &worker->inbox);
    turns_init(&worker->context.long_bodies, &worker->inbox);
    take_settings(worker, config);
}

/* At once: an event does not wait until all sockets that are ready have been read. */
static void worker_on_upstream_turn(void *context) {
    struct worker *worker = context;
    fanout_flush(worker->fanout);
}

static bool build_worker(struct worker *worker, const struct config *config, int socket) {
    struct routes_context *context = &worker->context;
    init_context(worker, config);
    context->relay.fanout = worker->fanout = fanout_create(&worker->inbox, worker->shared->fanout);
    context->runner = worker->runner = runner_create(&context->relay);
    worker->upstream_worker.client = upstream_client_create(&worker->loop, config->upstream.connections_max);
    if (worker->fanout == NULL || worker->upstream_worker.client == NULL || worker->runner == NULL)
        return false;
    upstream_client_on_turn(worker->upstream_worker.client, worker_on_upstream_turn, worker);
    if (worker->shared->cache != NULL) {
        context->cache = worker->shared->cache;
        context->relay.cache_worker = worker->cache =
            cache_worker_create(context->cache, &worker->upstream_worker);
        if (worker->cache == NULL)
            return false;
    }
    if (!worker->shared->has_health_checks) {
        worker->health_checks = health_checks_create(&worker->upstream_worker);
        worker->shared->has_health_checks = worker->health_checks != NULL;
        if (worker->health_checks == NULL)
            return false;
    }
    worker->listener =
        http_listener_create(context, socket, worker->shared->address_limits, &config->http.listener);
    return worker->listener != NULL;
}

struct worker *worker_create(struct worker_shared *shared, const struct config *config, int socket) {
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL)
        return NULL;
    worker->shared = shared;
    if (uv_loop_init(&worker->loop) < 0)
        goto no_loop;
    if (inbox_init(&worker->inbox, &worker->loop) < 0)
        goto no_inbox;
    init_handles(worker);
    if (!build_worker(worker, config, socket)) {
        worker_destroy(worker);
        return NULL;
    }
    shared->contexts[shared->context_count++] = &worker->context;
    return worker;
no_inbox:
    uv_loop_close(&worker->loop);
no_loop:
    free(worker);
    return NULL;
}

int worker_start(struct worker *worker) {
    int error = pthread_create(&worker->thread, NULL, run_thread, worker);
    worker->started = error == 0;
    return -error;
}

void worker_destroy(struct worker *worker) {
    if (worker == NULL)
        return;
    if (worker->started) {
        pthread_join(worker->thread, NULL);
    } else {
        close_all(worker);
        uv_run(&worker->loop, UV_RUN_DEFAULT);
    }
    runner_destroy(worker->runner);
    fanout_destroy(worker->fanout);
    inbox_finish(&worker->inbox);
    int result = uv_loop_close(&worker->loop);
    assert(result == 0);
    (void)result;
    free(worker);
}
