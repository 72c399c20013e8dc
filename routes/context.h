/* What the handlers of one worker work with. One a worker; used on its thread only, but for what other
 * workers send there: see context_home(). */
#ifndef SLUICE_ROUTES_CONTEXT_H
#define SLUICE_ROUTES_CONTEXT_H

#include "base/log_limit.h"
#include "base/traceparent.h"
#include "base/turns.h"
#include "broadcaster/broadcaster.h"
#include "broadcaster/fanout.h"
#include "relay/runner.h"
#include "upstream/follower.h"

#include <uv.h>

/** Of what the user sent, what run.start and /tasks/{id} show. */
enum run_input { RUN_INPUT_NONE, RUN_INPUT_TEXT, RUN_INPUT_BODY };

/** What viewers of a run see of its failure. */
enum errors_to_viewers {
    ERRORS_TO_VIEWERS_FULL, /* its cause and its message, with the upstream's words */
    ERRORS_TO_VIEWERS_CODE, /* its reason, and a sentence that says no more */
};

/** What a request needs to be allowed to do: see access.h. */
enum access_right {
    ACCESS_UNSAID, /* the route names no right: refused */
    ACCESS_PUBLIC, /* what is answered to everybody, since it holds nothing of anybody's */
    ACCESS_RUN,    /* start runs, and write what belongs to a session */
    ACCESS_READ,   /* see sessions, runs and their events */
    ACCESS_CANCEL, /* end runs, tunnels and sessions */
    ACCESS_ADMIN,  /* what belongs to no user: the gateway's state, the agent's own pages and settings */
};

struct request;

/** A limit that is in force, by the key that sets it. */
struct limit_in_force {
    const char *key;
    uint64_t value;
};

/** Settings of this room; a reload hands in another one. */
struct routes_settings {
    const struct limit_in_force *limits; /* all that /stats and /metrics show */
    size_t limits_count;
    const char *const *cors_origins; /* exact origins, or the one item "*" */
    size_t cors_origins_count;
    bool cors_credentials;
    const char *const *cors_headers; /* names of request headers that are allowed, too */
    size_t cors_headers_count;
    const char *const *allowed_hosts; /* names of this gateway: see site.h */
    size_t allowed_hosts_count;
    bool listens_on_loopback;
    const char *listen_address; /* NULL: not known */
    bool demo;                  /* serve /demo */
    bool passthrough_ui;        /* serve the agent's own pages */
    char *default_app;          /* of a body that names none; NULL: it has to name one */
    uint64_t tunnels_max;       /* at once, in all */
    int64_t tunnel_timeout_ms;  /* the longest that one may last */
    struct trace_rules trace;
    enum errors_to_viewers errors_to_viewers;
    uint64_t request_body_bytes_max;
    uint64_t request_json_values_max;         /* in a JSON body */
    enum on_disconnect run_sse_on_disconnect; /* of POST /run_sse, if it says nothing */
    int64_t disconnect_grace_ms; /* `cancel` waits so long for a client that comes back; 0: no wait */
    enum run_input run_input;
    uint64_t run_input_bytes_max;
    uint64_t health_queue_percent; /* fuller is degraded */
    uint64_t health_sessions_percent;
    uint64_t memory_warn_bytes; /* more is degraded */
};

struct routes_context {
    struct broadcaster *broadcaster;
    struct relay_context relay;
    struct runner *runner;
    struct cache *cache; /* NULL: no upstream caches */
    const struct routes_settings *settings;
    struct log_limit refusals;         /* of lines about them */
    uint64_t request_header_bytes_max; /* the head of an answer has at least as much room */
    struct turns turns;                /* of the answers that are made piece by piece: see json_answer.h */
    struct turns long_lists;           /* of the requests that take long to handle: see router_handle() */
    struct turns long_bodies;          /* likewise */
    const char *version;
    struct routes_context *const *peers; /* of all workers, this one's among them */
    size_t workers;
    int64_t started_unix_ms;
    /** Whether a request may use this right: see access_check(), which alone calls it. NULL: everything is
     * allowed. */
    bool (*allows)(const struct request *request, const char *app, const char *user, const char *session,
                   enum access_right right);
    size_t awaits; /* of runs' ends, each of which may still be told through the inbox: see await.h */
    uint64_t (*connections)(void); /* HTTP connections of all workers; any thread */
};

/** The worker where the session's runs and its subscribers are gathered, so that an event need not go from
 * one thread to another. Each worker finds the same one. Of another worker's context only `runner`
 * and the pointers in `relay` may be looked at. */
static inline struct routes_context *context_home(const struct routes_context *context,
                                                  const struct session *session) {
    return context->peers[session_hash(session) % context->workers];
}

#endif
