/* The cause of an upstream's failure, as a word for programs. The reason of a run says what kind of failure
 * it was; the cause says which one. docs/api.md explains each word. */
#ifndef SLUICE_UPSTREAM_CAUSE_H
#define SLUICE_UPSTREAM_CAUSE_H

/** The words of limits are keys of the configuration, where there is one. */
#define UPSTREAM_CAUSES(X)                                                                                   \
    X(CAUSE_DNS, "dns")                                                                                      \
    X(CAUSE_REFUSED, "refused")                                                                              \
    X(CAUSE_UNREACHABLE, "unreachable")                                                                      \
    X(CAUSE_CONNECT_TIMEOUT, "connect_timeout")                                                              \
    X(CAUSE_TLS, "tls")                                                                                      \
    X(CAUSE_TLS_TIMEOUT, "tls_timeout")                                                                      \
    X(CAUSE_CERTIFICATE, "certificate")                                                                      \
    X(CAUSE_NO_DESCRIPTORS, "no_descriptors")                                                                \
    X(CAUSE_CLOSED, "closed")                                                                                \
    X(CAUSE_RESET, "reset")                                                                                  \
    X(CAUSE_FIRST_BYTE_TIMEOUT, "first_byte_timeout")                                                        \
    X(CAUSE_IDLE_TIMEOUT, "idle_timeout")                                                                    \
    X(CAUSE_EVENT_TIMEOUT, "event_timeout")                                                                  \
    X(CAUSE_STATUS, "status")                                                                                \
    X(CAUSE_SESSION, "session")                                                                              \
    X(CAUSE_ERROR_EVENT, "error_event")                                                                      \
    X(CAUSE_DOUBT, "doubt")                                                                                  \
    X(CAUSE_STRAY_TEXT, "stray_text")                                                                        \
    X(CAUSE_NOT_A_STREAM, "not_a_stream")                                                                    \
    X(CAUSE_COMPRESSED, "compressed")                                                                        \
    X(CAUSE_CONTENT_LENGTH, "content_length")                                                                \
    X(CAUSE_HTTP, "http")                                                                                    \
    X(CAUSE_NO_END, "no_end")                                                                                \
    X(CAUSE_WITHIN_EVENT, "within_event")                                                                    \
    X(CAUSE_NOT_RESUMED, "not_resumed")                                                                      \
    X(CAUSE_EVENT_BYTES, "event_bytes_max")                                                                  \
    X(CAUSE_EVENT_TYPE_BYTES, "event_type_bytes_max")                                                        \
    X(CAUSE_EVENT_LINES, "event_lines")                                                                      \
    X(CAUSE_MEMORY_LIMIT, "memory_max_bytes")                                                                \
    X(CAUSE_MEMORY, "memory")                                                                                \
    X(CAUSE_REQUEST, "request")                                                                              \
    X(CAUSE_BREAKER, "breaker")                                                                              \
    X(CAUSE_LIMITER_FULL, "limiter_waiting_max")                                                             \
    X(CAUSE_REQUESTS_FULL, "limiter_requests_waiting_max")                                                   \
    X(CAUSE_REQUESTS_LATE, "limiter_requests_wait_ms")                                                       \
    X(CAUSE_RETRY_AFTER, "retry_after")                                                                      \
    X(CAUSE_RETRY_TOTAL, "retry_total_ms")                                                                   \
    X(CAUSE_RUN_TIMEOUT, "run_timeout_ms")                                                                   \
    X(CAUSE_STOPPING, "stopping")

enum upstream_cause {
    CAUSE_NONE,
#define X(name, word) name,
    UPSTREAM_CAUSES(X)
#undef X
        CAUSE_COUNT
};

/** The word, static; NULL for CAUSE_NONE. */
const char *upstream_cause_word(enum upstream_cause cause);

#endif
