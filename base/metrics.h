/* Counters of the whole process. Gauges are not here: they are asked of their owners when they are shown. */
#ifndef SLUICE_BASE_METRICS_H
#define SLUICE_BASE_METRICS_H

#include <stdint.h>

/** X(symbol, Prometheus name, help): every counter, once. */
#define METRICS(X)                                                                                           \
    X(HTTP_REQUESTS, "sluice_http_requests_total", "HTTP requests that reached a handler")                   \
    X(HTTP_ERRORS, "sluice_http_errors_total", "HTTP answers with a status of 400 or above")                 \
    X(RUNS_ACCEPTED, "sluice_runs_accepted_total", "Runs that were accepted")                                \
    X(RUNS_REFUSED, "sluice_runs_refused_total", "Runs refused by a limit, a conflict or a shutdown")        \
    X(EVENTS_IN, "sluice_events_in_total", "Events read from upstreams and appended to a log")               \
    X(EVENT_BYTES_IN, "sluice_event_bytes_in_total", "Bytes of data of those events")                        \
    X(EVENTS_FENCED, "sluice_events_fenced_total",                                                           \
      "Events of runs that were no longer current, not appended")                                            \
    X(EVENTS_TRIMMED, "sluice_events_trimmed_total", "Events that left a full log")                          \
    X(SUBSCRIBERS_OPENED, "sluice_subscribers_opened_total", "Subscribers that were connected")              \
    X(SUBSCRIBERS_REFUSED, "sluice_subscribers_refused_total", "Subscribers refused by a limit")             \
    X(SUBSCRIBERS_STALLED, "sluice_subscribers_stalled_total",                                               \
      "Subscribers closed because they took no byte")                                                        \
    X(GAPS, "sluice_gaps_total", "Gap events told to subscribers")                                           \
    X(EVENTS_OUT, "sluice_events_out_total", "Events written to subscribers")                                \
    X(BYTES_OUT, "sluice_bytes_out_total", "Bytes written to subscribers")                                   \
    X(HEARTBEATS, "sluice_heartbeats_total", "Heartbeat comments written")                                   \
    X(SESSIONS_OPENED, "sluice_sessions_opened_total", "Sessions that were opened")                          \
    X(SESSIONS_REFUSED, "sluice_sessions_refused_total", "Sessions refused by the limit")                    \
    X(SESSIONS_EXPIRED, "sluice_sessions_expired_total", "Sessions ended because nobody used them")          \
    X(CONNECTIONS_REFUSED, "sluice_connections_refused_total", "Connections closed by the limit")            \
    X(CONNECTIONS_OF_ADDRESS_REFUSED, "sluice_connections_of_address_refused_total",                         \
      "Connections refused because their address had as many as it may")                                     \
    X(REQUESTS_OF_ADDRESS_REFUSED, "sluice_requests_of_address_refused_total",                               \
      "Requests refused because their address asked too often")                                              \
    X(REQUESTS_OFFENDING, "sluice_requests_offending_total",                                                 \
      "Requests that were malformed, too large or too slow to arrive")

enum metric {
#define X(symbol, name, help) METRIC_##symbol,
    METRICS(X)
#undef X
        METRIC_COUNT
};

/** Adds to a counter. Any thread, also under a lock. */
void metrics_add(enum metric metric, uint64_t count);

/** What a counter stands at. Any thread. */
uint64_t metrics_get(enum metric metric);

/** A counter's Prometheus name and help. */
const char *metrics_name(enum metric metric);
const char *metrics_help(enum metric metric);

#endif
