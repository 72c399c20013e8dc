/* What is configured of one upstream. config/ fills it in; a reload hands in another one, and what is read at
 * each attempt takes effect at the next. Nothing here is ever written to by the upstream's side.
 */
#ifndef SLUICE_UPSTREAM_SETTINGS_H
#define SLUICE_UPSTREAM_SETTINGS_H

#include "upstream/adapter.h"
#include "upstream/breaker.h"
#include "upstream/ca_bundle.h"
#include "upstream/limiter.h"

#include <stdbool.h>
#include <stdint.h>

/** Whether a stream whose first visible event is an error is asked for again. */
enum retry_stream_errors {
    RETRY_STREAM_ERRORS_BY_KIND, /* if calls of that kind have no effects (adapter.h) */
    RETRY_STREAM_ERRORS_ON,
    RETRY_STREAM_ERRORS_OFF,
};

/** Which runs may be sent to an upstream again that it may have received. */
enum upstream_resend {
    UPSTREAM_RESEND_NEVER,
    UPSTREAM_RESEND_UNANSWERED, /* those of which not a byte of an answer came */
};

/** Calls that failed before their first event are made again. */
struct retry_settings {
    enum retry_stream_errors stream_errors;
    uint64_t attempts_max; /* 1: never again */
    int64_t base_ms;
    int64_t max_ms;   /* of one wait */
    int64_t total_ms; /* since the first attempt: none begins later */
};

/** Which runs of an upstream are kept for others that ask the same. */
struct cache_policy {
    bool on;
    int64_t ttl_ms;
    bool per_user; /* the key holds the user */
    bool paced;    /* a hit is replayed as fast as it was recorded, else at full speed */
    char *ignore;  /* comma-separated names of members that do not count, at any depth; NULL: none */
};

/** How a stream that broke off is asked for again. */
enum resume_by {
    RESUME_BY_POST,     /* the run's request is posted again */
    RESUME_BY_LOCATION, /* by GET of what the first answer's Location or Content-Location named */
};

/** One upstream: where it is, how it is spoken to, and what guards it. Read when a call starts; a reload may
 * bring other values, never another number of upstreams. */
struct upstream_settings {
    char *name; /* letters, digits, _ and - */
    const struct adapter *adapter;
    char *base_url;       /* http:// or https://, no trailing slash */
    char *model;          /* openai: used if a run names none; NULL: none */
    char *ca_file;        /* PEM file of the authorities that are accepted; NULL: those of the system */
    struct ca_bundle *ca; /* of that file or the system; NULL: http */
    char *authorization;  /* value of an Authorization header for every request; NULL: none */
    char *headers; /* of every request: "Name: value", a line each; NULL: none. A secret, as the one before */
    char *body_template; /* kind sse: JSON that a run's body is made of (placeholders.h); NULL: it is the
                            client's */
    int64_t connect_timeout_ms;
    int64_t first_byte_timeout_ms; /* from the request sent to the answer's first byte */
    int64_t idle_timeout_ms;       /* silence of the connection after that */
    int64_t event_timeout_ms;      /* the time without an event; 0: no limit */
    int64_t keepalive_ms;          /* an idle connection older than this is not used again */
    uint64_t event_bytes_max;
    uint64_t event_type_bytes_max;
    uint64_t connections_max; /* a worker's; an idle one above it is closed */

    char *apps;          /* comma-separated patterns of app names, * is any text; which runs it may get */
    uint64_t weight;     /* among those that may get a run; 0: only as a fallback */
    char *fallback;      /* name of the upstream that takes what this one cannot; NULL: none */
    char *canned_answer; /* text that is answered when all else has failed; NULL: none */
    bool resumable;      /* kind sse: sends ids, and goes on behind a Last-Event-ID */
    enum resume_by resume_by;
    struct adapter_rules rules;
    int64_t settle_ms; /* kind adk: a session is left alone for so long after a cut; 0: not at all */
    char *health_path; /* asked by GET, 2xx is healthy; NULL: not asked */
    int64_t health_interval_ms;
    struct retry_settings retry;
    enum upstream_resend resend; /* within what `retry` allows */
    struct breaker_settings breaker;
    struct limiter_settings limiter;
    uint64_t queries_waiting_max; /* for the limiter: queries (query.h) at once, */
    int64_t queries_wait_ms;      /* and for how long each */
    struct cache_policy cache;
};

#endif
