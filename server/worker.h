/* A worker: one thread with one loop that does all I/O of a listener, its subscribers, its runs and their
 * connections to the upstream.
 *
 *   worker_create() ... worker_start() ... worker_drain() ... worker_stop()
 *                                            ... on_stopped() ... worker_destroy()
 *
 * All functions are called on the main thread; they post to the worker's inbox.
 */
#ifndef SLUICE_SERVER_WORKER_H
#define SLUICE_SERVER_WORKER_H

#include "base/inbox.h"
#include "broadcaster/fanout.h"
#include "config/config.h"
#include "http/address_limits.h"
#include "server/memory_keeper.h"
#include "upstream/cache.h"

#define WORKERS_MAX 256

/** The state that all workers share. It outlives them. */
struct worker_shared {
    struct broadcaster *broadcaster;
    struct fanout_settings *fanout;
    struct address_limits *address_limits;
    struct memory_keeper *memory_keeper;
    struct upstreams *upstreams;
    struct cache *cache;                          /* NULL: no upstream caches */
    bool has_health_checks;                       /* the first worker runs the health checks */
    struct routes_context *contexts[WORKERS_MAX]; /* contexts of the created workers */
    size_t context_count;
    struct inbox *main_inbox;
    int64_t started_unix_ms;
    void (*on_stopped)(struct worker_shared *shared);  /* main thread: a worker's thread is about to end */
    void (*on_reloaded)(struct worker_shared *shared); /* main thread: a worker has taken its new settings */
};

struct worker;

/** Builds the worker on the calling thread. `socket` listens and is taken over on success. NULL: out of
 * memory, or a library could not start. */
struct worker *worker_create(struct worker_shared *shared, const struct config *config,
                             int socket) MUST_CHECK;

/** Starts the thread. 0 or a negative errno. */
int worker_start(struct worker *worker) MUST_CHECK;

/** Stops accepting connections. */
void worker_drain(struct worker *worker);

/** Ends the worker after all runs have ended. Clients get at most a second to take their last bytes; then
 * on_stopped() is called. */
void worker_stop(struct worker *worker);

/** Applies the settings of `config` that may change at run time, then calls on_reloaded(). The old
 * configuration must live until then, and the new one as long as the worker. One reload at a time. */
void worker_reload(struct worker *worker, const struct config *config);

/** Joins the thread, if it was started, after on_stopped(). Then frees the worker. */
void worker_destroy(struct worker *worker);

#endif
