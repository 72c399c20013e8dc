/* What the handlers of one worker work with. One a worker; used on its thread only. */
#ifndef SLUICE_ROUTES_CONTEXT_H
#define SLUICE_ROUTES_CONTEXT_H

#include "broadcaster/broadcaster.h"
#include "broadcaster/fanout.h"
#include "upstream/client.h"

#include <uv.h>

/** Settings of this room; a reload hands in another one. */
struct routes_settings {
    const char *const *cors_origins; /* exact origins, or the one item "*" */
    size_t cors_origins_count;
    bool cors_credentials;
    bool demo; /* serve /demo */
    uint64_t request_body_bytes_max;
    int64_t run_timeout_ms; /* of a run that asks for no other, and the most that one may ask for */
};

struct routes_context {
    struct broadcaster *broadcaster;
    struct fanout *fanout;
    struct upstream_client *client;
    const struct upstream_settings *upstream;
    const struct routes_settings *settings;
    struct runner *runner;
    struct inbox *inbox;
    uv_loop_t *loop;
    const char *version;
    size_t workers;
    int64_t started_unix_ms;
    uint64_t memory_warn_bytes;
    uint64_t (*connections)(void); /* HTTP connections of all workers; any thread */
};

#endif
