/* The process: composing the parts, signals, reload, shutdown.
 *
 *     main: read the configuration --> open sockets --> make the parts and the workers --> loop
 *     SIGHUP ---> read it anew --> each worker takes the new settings --> the old ones are freed
 *     SIGTERM --> drain: no new connections and runs --> the runs have ended, or drain_ms are over --> stop
 *     stop -----> workers end --> tear down, in reverse order
 *
 * The main thread does no I/O for clients. Workers report back through its inbox, so only this thread
 * changes the state of the process. */
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "config/config.h"
#include "routes/tunnels.h"
#include "server/listen_socket.h"
#include "server/worker.h"
#include "upstream/library_memory.h"

#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TUNNELS_LOOK_MS 50

struct process {
    uv_loop_t loop;
    struct inbox inbox;
    uv_signal_t terminate, interrupt, hangup;
    uv_timer_t clean_up, drain, tunnels;
    struct broadcaster *broadcaster;
    struct address_limits *address_limits;
    struct upstreams upstreams;
    struct cache *cache; /* NULL: no upstream caches */
    struct memory_keeper memory_keeper;
    struct fanout_settings fanout;
    struct config *config;
    struct config *old_config; /* while the workers take their settings from `config` */
    struct worker_shared shared;
    struct worker *workers[WORKERS_MAX];
    size_t worker_count;
    size_t pending; /* workers that have not answered yet: to a reload, or to the stop */
    bool draining, drained, stopping, reload_again;
    struct idle_waiter idle; /* the last run has ended */
};

static struct process *process_of(struct worker_shared *shared) {
    return CONTAINER_OF(shared, struct process, shared);
}

/* ---- shutdown ------------------------------------------------------------------------------------ */

static void stop_workers(struct process *process) {
    process->stopping = true;
    size_t cancelled = broadcaster_cancel_all(process->broadcaster, REASON_SHUTDOWN);
    live_cancel_all();
    log_info("stopping", LOG_INT("runs_cancelled", cancelled));
    uv_timer_stop(&process->drain);
    uv_timer_stop(&process->tunnels);
    process->pending = process->worker_count;
    for (size_t i = 0; i < process->worker_count; i++)
        worker_stop(process->workers[i]);
}

/* While a reload is under way, `pending` counts its answers: then the workers are stopped after that. */
static void consider_stopping(struct process *process) {
    if (process->drained && !process->stopping && process->old_config == NULL)
        stop_workers(process);
}

/* No run is left, or the time for them is up: what comes first. */
static void end_drain(struct process *process) {
    process->drained = true;
    consider_stopping(process);
}

static void process_on_drain_timer(uv_timer_t *timer) {
    end_drain(timer->data);
}

/* A tunnel is no run, but has as much time. */
static void process_on_tunnels_timer(uv_timer_t *timer) {
    struct process *process = timer->data;
    if (!process->drained && live_count() == 0)
        end_drain(process);
}

static void process_on_idle(struct inbox_item *item) {
    struct process *process = CONTAINER_OF(item, struct process, idle.item);
    uv_timer_start(&process->tunnels, process_on_tunnels_timer, 0, TUNNELS_LOOK_MS);
}

static void begin_drain(struct process *process) {
    process->draining = true;
    log_info("draining", LOG_INT("drain_ms", process->config->drain_ms));
    for (size_t i = 0; i < process->worker_count; i++)
        worker_drain(process->workers[i]);
    broadcaster_drain(process->broadcaster);
    uv_timer_start(&process->drain, process_on_drain_timer, (uint64_t)process->config->drain_ms, 0);
    process->idle = (struct idle_waiter){.inbox = &process->inbox, .item = {.handle = process_on_idle}};
    scheduler_wait_idle(broadcaster_scheduler(process->broadcaster), &process->idle);
}

static void process_on_terminate(uv_signal_t *signal, int number) {
    struct process *process = signal->data;
    (void)number;
    if (process->draining) {
        log_warn("killed", LOG_STR("reason", "a second signal came while draining"));
        _exit(1);
    }
    begin_drain(process);
}

/* Signals are the main thread's alone. */
static void block_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void close_handles(struct process *process) {
    block_signals(); /* or one that comes now would kill the process, with a status that says so */
    uv_close((uv_handle_t *)&process->terminate, NULL);
    uv_close((uv_handle_t *)&process->interrupt, NULL);
    uv_close((uv_handle_t *)&process->hangup, NULL);
    uv_close((uv_handle_t *)&process->clean_up, NULL);
    uv_close((uv_handle_t *)&process->drain, NULL);
    uv_close((uv_handle_t *)&process->tunnels, NULL);
    memory_keeper_close(&process->memory_keeper);
    inbox_close(&process->inbox);
}

static void process_on_stopped(struct worker_shared *shared) {
    struct process *process = process_of(shared);
    if (--process->pending == 0)
        close_handles(process);
}

/* ---- reload -------------------------------------------------------------------------------------- */

static void warn_of_secrets(const struct config *config) {
    if (config->file_exposes_secret)
        log_warn("secrets_exposed", LOG_STR("file", config->file),
                 LOG_STR("message", "The file holds secrets, and other users of the machine can read it."));
}

static void process_on_clean_up(uv_timer_t *timer);

static void reload_process(struct process *process) {
    if (process->draining)
        return;
    process->reload_again = process->old_config != NULL;
    if (process->reload_again)
        return; /* when the workers are through with the last one */
    struct config_reload_report report;
    struct config *config = config_reload(process->config, &report);
    if (config == NULL) {
        log_error("reload_refused", LOG_STR("message", report.error.text));
        return;
    }
    process->old_config = process->config;
    process->config = config;
    log_set_level(config->log_level);
    broadcaster_limits_copy(broadcaster_limits(process->broadcaster), &config->limits);
    broadcaster_poll_queue(process->broadcaster);
    fanout_settings_copy(&process->fanout, &config->fanout);
    memory_set_limit(config->memory_max_bytes);
    uv_timer_start(&process->clean_up, process_on_clean_up, (uint64_t)config->cleanup_interval_ms,
                   (uint64_t)config->cleanup_interval_ms);
    process->pending = process->worker_count;
    for (size_t i = 0; i < process->worker_count; i++)
        worker_reload(process->workers[i], config);
    warn_of_secrets(config);
    log_info("reloaded", LOG_STR("changed", report.changed), LOG_STR("needs_restart", report.kept));
}

static void process_on_reloaded(struct worker_shared *shared) {
    struct process *process = process_of(shared);
    if (--process->pending > 0)
        return;
    config_destroy(process->old_config);
    process->old_config = NULL;
    if (process->reload_again)
        reload_process(process);
    consider_stopping(process);
}

static void process_on_hangup(uv_signal_t *signal, int number) {
    (void)number;
    reload_process(signal->data);
}

/* ---- clean-up ------------------------------------------------------------------------------------ */

static void process_on_clean_up(uv_timer_t *timer) {
    struct process *process = timer->data;
    size_t ended = broadcaster_clean_up(process->broadcaster);
    struct broadcaster_stats stats;
    broadcaster_get_stats(process->broadcaster, &stats);
    if (ended > 0)
        log_info("sessions_expired", LOG_INT("count", ended), LOG_INT("sessions", stats.sessions));
    uint64_t bytes = memory_total();
    uint64_t warn_bytes = process->config->routes.memory_warn_bytes;
    if (bytes > warn_bytes)
        log_warn("memory_high", LOG_INT("bytes", bytes), LOG_INT("log_bytes", stats.log_bytes),
                 LOG_INT("sessions", stats.sessions), LOG_INT("subscribers", stats.subscribers),
                 LOG_INT("tasks", stats.tasks));
}

/* ---- composing ----------------------------------------------------------------------------------- */

/* As many descriptors as this process may have: each subscriber is one. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void start_signal(struct process *process, uv_signal_t *handle, uv_signal_cb callback, int number) {
    uv_signal_init(&process->loop, handle);
    handle->data = process;
    uv_signal_start(handle, callback, number);
}

/* False: out of memory. */
static bool init_cache(struct process *process) {
    const struct config *config = process->config;
    bool is_wanted = false;
    for (size_t i = 0; i < config->upstreams.count; i++)
        is_wanted = is_wanted || config->upstreams.items[i].cache.on;
    if (is_wanted)
        process->cache = cache_create(&config->cache);
    return !is_wanted || process->cache != NULL;
}

static bool init_main(struct process *process) {
    const struct config *config = process->config;
    if (uv_loop_init(&process->loop) < 0 || inbox_init(&process->inbox, &process->loop) < 0)
        return false;
    start_signal(process, &process->terminate, process_on_terminate, SIGTERM);
    start_signal(process, &process->interrupt, process_on_terminate, SIGINT);
    start_signal(process, &process->hangup, process_on_hangup, SIGHUP);
    uv_timer_init(&process->loop, &process->clean_up);
    uv_timer_init(&process->loop, &process->drain);
    uv_timer_init(&process->loop, &process->tunnels);
    process->clean_up.data = process->drain.data = process->tunnels.data = process;
    uv_timer_start(&process->clean_up, process_on_clean_up, (uint64_t)config->cleanup_interval_ms,
                   (uint64_t)config->cleanup_interval_ms);
    fanout_settings_copy(&process->fanout, &config->fanout);
    process->broadcaster = broadcaster_create(&config->limits);
    process->address_limits = address_limits_create(&config->http.address);
    if (!upstreams_init(&process->upstreams, &config->upstreams) || !init_cache(process))
        return false;
    memory_set_limit(config->memory_max_bytes);
    memory_keeper_init(&process->memory_keeper, &process->loop, &process->inbox, process->broadcaster,
                       process->cache);
    memory_set_relief(memory_keeper_relieve, &process->memory_keeper);
    process->shared = (struct worker_shared){
        .broadcaster = process->broadcaster,
        .memory_keeper = &process->memory_keeper,
        .fanout = &process->fanout,
        .address_limits = process->address_limits,
        .upstreams = &process->upstreams,
        .cache = process->cache,
        .main_inbox = &process->inbox,
        .started_unix_ms = clock_unix_ms(),
        .on_stopped = process_on_stopped,
        .on_reloaded = process_on_reloaded,
    };
    return process->broadcaster != NULL && process->address_limits != NULL;
}

static bool create_workers(struct process *process, const int *sockets) {
    const struct config *config = process->config;
    for (size_t i = 0; i < config->workers; i++) {
        process->workers[i] = worker_create(&process->shared, config, sockets[i]);
        if (process->workers[i] == NULL)
            return false;
        process->worker_count++;
    }
    sigset_t before;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    block_signals(); /* a thread inherits what is blocked */
    bool started = true;
    for (size_t i = 0; started && i < config->workers; i++)
        started = worker_start(process->workers[i]) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static bool start_workers(struct process *process) {
    const struct config *config = process->config;
    int sockets[WORKERS_MAX];
    uint16_t port;
    int result = listen_sockets_open(&config->listen, config->workers, sockets, &port);
    if (result < 0) {
        log_error("listen_failed", LOG_STR("address", config->listen.address),
                  /* glibc's strerror() has a buffer for each thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
                  LOG_INT("port", config->listen.port), LOG_STR("message", strerror(-result)));
        return false;
    }
    if (!create_workers(process, sockets)) {
        log_error(
            "start_failed",
            LOG_STR("message", "The workers cannot start: memory, descriptors or threads are missing."));
        return false;
    }
    /* Not its query, which may be a secret. */
    const char *url = config->upstreams.items[0].base_url;
    char shown[512];
    snprintf(shown, sizeof(shown), "%.*s", (int)strcspn(url, "?"), url);
    const struct log_field fields[] = {LOG_STR("address", config->listen.address),
                                       LOG_INT("port", port),
                                       LOG_STR("version", SLUICE_VERSION),
                                       LOG_INT("pid", getpid()),
                                       LOG_INT("workers", config->workers),
                                       LOG_STR("upstream", shown),
                                       LOG_STR("upstream_kind", config->upstreams.items[0].adapter->name),
                                       LOG_INT("upstreams", config->upstreams.count),
                                       LOG_INT("memory_max_bytes", config->memory_max_bytes),
                                       {0}};
    log_announce("listening", fields); /* whoever started us waits for it, whatever the level is */
    return true;
}

static void tear_down(struct process *process) {
    for (size_t i = 0; i < process->worker_count; i++)
        worker_destroy(process->workers[i]);
    address_limits_destroy(process->address_limits);
    cache_destroy(process->cache);
    upstreams_finish(&process->upstreams);
    broadcaster_destroy(process->broadcaster);
    inbox_finish(&process->inbox);
    uv_loop_close(&process->loop);
    config_destroy(process->old_config);
    config_destroy(process->config);
    curl_global_cleanup();
}

int main(int argc, char **argv) {
    static struct process process;
    bool has_libraries = library_memory_begin(); /* before the authorities are read */
    switch (config_load(argc, argv, &process.config)) {
    case CONFIG_DONE:
        return 0;
    case CONFIG_REFUSED:
        return 2;
    case CONFIG_LOADED:
        break;
    }
    log_init(process.config->log_level, process.config->log_format);
    warn_of_secrets(process.config);
    signal(SIGPIPE, SIG_IGN);
    memory_tune_allocator(process.config->workers);
    raise_descriptor_limit();
    srandom((unsigned)(clock_unix_ms() ^ getpid()));
    if (!hash_seed()) {
        log_error("start_failed",
                  LOG_STR("message", "The system has no random bytes to seed the hash tables."));
        return 1;
    }
    if (!has_libraries || !init_main(&process)) {
        log_error("start_failed",
                  LOG_STR("message", "The process cannot start: memory or descriptors are missing."));
        return 1;
    }
    if (!start_workers(&process))
        return 1; /* nothing was promised to anybody yet: the system takes back what there is */
    uv_run(&process.loop, UV_RUN_DEFAULT);
    tear_down(&process);
    log_info("stopped", LOG_INT("pid", getpid()));
    return 0;
}
