/* The limits of the broadcaster, each once: the struct and the copy of it are made from this table.
 *
 * A limit is a line here and a key of the same name in config/keys.c, where `.limit = true` shows it in
 * /stats and /metrics. Nothing else lists limits.
 */
#ifndef SLUICE_BROADCASTER_LIMITS_H
#define SLUICE_BROADCASTER_LIMITS_H

#include <stdatomic.h>
#include <stdint.h>

/** X(type, name): every limit. Times are in milliseconds. "of a user" means a user within an app. */
#define BROADCASTER_LIMITS(X)                                                                                \
    X(uint64_t, runs_max)                                                                                    \
    X(uint64_t, runs_per_app_max)  /* 0: no such limit */                                                    \
    X(uint64_t, runs_per_user_max) /* of a user; 0: no such limit */                                         \
    X(uint64_t, runs_queued_max)                                                                             \
    X(uint64_t, runs_queued_per_session_max)                                                                 \
    X(uint64_t, runs_delayed_max)          /* with a delay, until they start */                              \
    X(uint64_t, runs_delayed_per_user_max) /* of a user; 0: no such limit */                                 \
    X(uint64_t, subscribers_max)                                                                             \
    X(uint64_t, subscribers_per_session_max)                                                                 \
    X(uint64_t, subscribers_gathered_max)            /* see subscriber_is_gathered() */                      \
    X(uint64_t, subscribers_waiting_max)             /* for sessions that are not open yet */                \
    X(uint64_t, subscribers_waiting_per_address_max) /* 0: no such limit */                                  \
    X(uint64_t, sessions_max)                                                                                \
    X(uint64_t, log_events_max)                                                                              \
    X(uint64_t, log_bytes_max)                                                                               \
    X(uint64_t, tasks_kept)                                                                                  \
    X(uint64_t, idempotency_keys_per_session_max)                                                            \
    X(int64_t, idempotency_ttl_ms)                                                                           \
    X(int64_t, session_ttl_ms)       /* of a session that had a run */                                       \
    X(int64_t, session_empty_ttl_ms) /* of one that never had one, if it is shorter */                       \
    X(int64_t, queue_timeout_ms)     /* 0: runs wait for as long as it takes */                              \
    X(int64_t, queue_aging_ms)       /* waiting this long counts as one step of priority */

/** Limits that may be changed while the program runs: each is read at the moment that it is needed. */
struct broadcaster_limits {
#define X(type, name) _Atomic type name;
    BROADCASTER_LIMITS(X)
#undef X
};

/** Sets each limit of `to`, one by one. Any thread; others may read `to` meanwhile. */
static inline void broadcaster_limits_copy(struct broadcaster_limits *to,
                                           const struct broadcaster_limits *from) {
#define X(type, name) atomic_store(&to->name, from->name);
    BROADCASTER_LIMITS(X)
#undef X
}

#endif
