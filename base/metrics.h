/* Counters and histograms of the whole process, without a lock. Gauges are not here: their owners
 * report them when they are shown.
 *
 *     metrics_add(METRIC_GAPS, 1);
 *     metrics_observe_ms(HISTOGRAM_RUN_DURATION, 1250);
 */
#ifndef SLUICE_BASE_METRICS_H
#define SLUICE_BASE_METRICS_H

#include <stdint.h>

/** X(symbol, Prometheus name, help): every counter, once. */
#define METRICS(X)                                                                                           \
    X(HTTP_REQUESTS, "sluice_http_requests_total", "HTTP requests that reached a handler")                   \
    X(HTTP_ERRORS, "sluice_http_errors_total", "HTTP answers with a status of 400 or above")                 \
    X(RUNS_ACCEPTED, "sluice_runs_accepted_total", "Runs accepted")                                          \
    X(RUNS_REFUSED, "sluice_runs_refused_total", "Runs refused by a limit, a conflict or a shutdown")        \
    X(RUNS_DELAYED_REFUSED, "sluice_runs_delayed_refused_total", "Delayed runs refused by a limit")          \
    X(EVENTS_IN, "sluice_events_in_total", "Events read from upstreams and appended to a log")               \
    X(EVENT_BYTES_IN, "sluice_event_bytes_in_total", "Bytes of data in the events read from upstreams")      \
    X(EVENTS_FENCED, "sluice_events_fenced_total", "Events dropped because their run was no longer current") \
    X(EVENTS_RENAMED, "sluice_events_renamed_total",                                                         \
      "Agents' events with a reserved name of the gateway, delivered as upstream.<name>")                    \
    X(EVENTS_TRIMMED, "sluice_events_trimmed_total", "Events dropped from a full log")                       \
    X(MEMORY_EVENTS_TRIMMED, "sluice_memory_events_trimmed_total",                                           \
      "Events dropped from a log because memory was short; they also count as trimmed")                      \
    X(MEMORY_RECORDINGS_DROPPED, "sluice_memory_recordings_dropped_total",                                   \
      "Runs dropped from the cache because memory was short")                                                \
    X(MEMORY_FORGOTTEN, "sluice_memory_forgotten_total",                                                     \
      "Idle sessions closed and ended runs forgotten because memory was full")                               \
    X(MEMORY_REFUSED, "sluice_memory_refused_total",                                                         \
      "Requests and connections refused because memory was full")                                            \
    X(MEMORY_RUNS_ENDED, "sluice_memory_runs_ended_total",                                                   \
      "Runs that failed as limit because memory was full")                                                   \
    X(MEMORY_SHARE_REFUSED, "sluice_memory_share_refused_total",                                             \
      "Answers broken off because all answers together held their share of memory")                          \
    X(MEMORY_SUBSCRIBERS_CLOSED, "sluice_memory_subscribers_closed_total",                                   \
      "Slow subscribers closed while memory was short, because they held an event that its log had dropped") \
    X(SUBSCRIBERS_OPENED, "sluice_subscribers_opened_total", "Subscribers connected")                        \
    X(SUBSCRIBERS_GATHERED, "sluice_subscribers_gathered_total",                                             \
      "Subscribers moved to the worker of their session")                                                    \
    X(SUBSCRIBERS_REFUSED, "sluice_subscribers_refused_total", "Subscribers refused by a limit")             \
    X(SUBSCRIBERS_WAITING_REFUSED, "sluice_subscribers_waiting_refused_total",                               \
      "Subscribers refused by a limit of waiting subscribers")                                               \
    X(SUBSCRIBERS_STALLED, "sluice_subscribers_stalled_total",                                               \
      "Subscribers closed because they took no byte for stall_timeout_ms")                                   \
    X(GAPS, "sluice_gaps_total", "Gap events written to subscribers")                                        \
    X(EVENTS_OUT, "sluice_events_out_total", "Events written to subscribers")                                \
    X(BYTES_OUT, "sluice_bytes_out_total", "Bytes written to subscribers")                                   \
    X(HEARTBEATS, "sluice_heartbeats_total", "Heartbeat comments written")                                   \
    X(SESSIONS_OPENED, "sluice_sessions_opened_total", "Sessions opened")                                    \
    X(SESSIONS_REFUSED, "sluice_sessions_refused_total", "Sessions refused by the limit")                    \
    X(SESSIONS_EXPIRED, "sluice_sessions_expired_total",                                                     \
      "Sessions closed after session_ttl_ms or session_empty_ttl_ms without use")                            \
    X(SESSIONS_EVICTED, "sluice_sessions_evicted_total",                                                     \
      "Sessions without a run or a subscriber, closed to make room for others")                              \
    X(TUNNELS_OPENED, "sluice_tunnels_opened_total", "WebSockets requested from an upstream")                \
    X(TUNNELS_REFUSED, "sluice_tunnels_refused_total", "WebSockets refused by a limit")                      \
    X(CONNECTIONS_REFUSED, "sluice_connections_refused_total",                                               \
      "Connections refused by the connection limit")                                                         \
    X(CONNECTIONS_OF_ADDRESS_REFUSED, "sluice_connections_of_address_refused_total",                         \
      "Connections refused by the limit of their address")                                                   \
    X(REQUESTS_OF_ADDRESS_REFUSED, "sluice_requests_of_address_refused_total",                               \
      "Requests refused by the request rate of their address")                                               \
    X(JSON_REFUSED, "sluice_json_refused_total", "JSON texts refused because they hold too many values")     \
    X(REQUESTS_LONG, "sluice_requests_long_total",                                                           \
      "Requests that may take long and waited for a turn of their worker's loop")                            \
    X(REQUESTS_OFFENDING, "sluice_requests_offending_total",                                                 \
      "Requests that were malformed, too large or too slow")                                                 \
    X(REQUESTS_CROSS_SITE, "sluice_requests_cross_site_total",                                               \
      "Requests refused because they came from a page of another origin")                                    \
    X(REQUESTS_OF_OTHER_HOST, "sluice_requests_of_other_host_total",                                         \
      "Requests refused because their Host header does not name this gateway")                               \
    X(TURNS_WITHOUT_PROGRESS, "sluice_turns_without_progress_total",                                         \
      "HTTP listener turns without progress, counted from the 256th in a row")                               \
    X(BROKEN_STATES, "sluice_broken_states_total",                                                           \
      "Impossible states found; each ended its connection or run and is a fault of the gateway")

enum metric {
#define X(symbol, name, help) METRIC_##symbol,
    METRICS(X)
#undef X
        METRIC_COUNT
};

/** Adds to a counter. Any thread, also under a lock. */
void metrics_add(enum metric metric, uint64_t count);

/** Returns a counter's value. Any thread. */
uint64_t metrics_get(enum metric metric);

/** A counter's Prometheus name and help. */
const char *metrics_name(enum metric metric);
const char *metrics_help(enum metric metric);

/* ---- histograms ---------------------------------------------------------------------------------- */

/** X(symbol, Prometheus name, help): every histogram, once. All histograms are of durations and have the
 * same bounds. A run is due when it is accepted, or its delay_ms after that. */
#define HISTOGRAMS(X)                                                                                        \
    X(QUEUE_WAIT, "sluice_queue_wait_seconds", "Time from when a run was due to its start")                  \
    X(EXECUTION_DELAY, "sluice_execution_delay_seconds",                                                     \
      "Time from when a run was due until its request was sent to the upstream")                             \
    X(FIRST_EVENT_DELAY, "sluice_first_event_delay_seconds",                                                 \
      "Time from when a run was due to its first event")                                                     \
    X(RUN_DURATION, "sluice_run_duration_seconds", "Time from a run's start to its end")                     \
    X(MEMORY_GIVE_BACK, "sluice_memory_give_back_seconds", "Time to return free memory to the kernel")

enum histogram {
#define X(symbol, name, help) HISTOGRAM_##symbol,
    HISTOGRAMS(X)
#undef X
        HISTOGRAM_COUNT
};

#define HISTOGRAM_BOUNDS 17

/** The upper bounds of the buckets, in growing order. One bucket more is above the last bound. */
extern const int64_t histogram_bounds_ms[HISTOGRAM_BOUNDS];

/** Counts one duration. A negative duration is unknown and is not counted. Any thread, also under a lock. */
void metrics_observe_ms(enum histogram histogram, int64_t ms);

/** A histogram's values. The count fits the buckets; the sum may be a moment newer. */
struct histogram_reading {
    uint64_t up_to[HISTOGRAM_BOUNDS]; /* the durations up to each bound */
    uint64_t count;                   /* all durations */
    uint64_t sum_ms;
};
void metrics_read_histogram(enum histogram histogram, struct histogram_reading *ret_reading);

/** A histogram's Prometheus name and help. */
const char *histogram_name(enum histogram histogram);
const char *histogram_help(enum histogram histogram);

#endif
