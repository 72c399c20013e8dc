/* Queries: see query.h.
 *
 * The passage is made at once, for it keeps the request, and is sent when the guards let it through.
 */
#include "upstream/query.h"

#include "base/clock.h"
#include "base/memory_budget.h"
#include "upstream/guard.h"
#include "upstream/outcome.h"
#include "upstream/retry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct upstream_query {
    struct upstream_worker *upstream_worker;
    LIST_ENTRY(upstream_query) link; /* of the caller's queries, until it has ended */
    struct upstream_passage_callbacks callbacks;
    void *context;
    struct upstream_passage *passage; /* NULL once it has ended */
    struct guard guard;
    uv_timer_t timer; /* the guard's in the line, then that of the whole query */
    size_t index;
    int64_t timeout_ms;
    const char *timeout_key;
    struct upstream_result refusal; /* to be told in the loop */
    char refusal_message[GUARD_MESSAGE_SIZE];
    int status;                 /* of the answer; 0: none yet */
    int64_t retry_after_ms;     /* of the answer */
    bool is_waiting, is_active; /* counted as such in the upstream */
    bool is_sent;
    bool has_ended; /* nothing more is told */
    bool is_closed; /* the timer is */
};

static struct upstream_query *query_of(uv_timer_t *timer) {
    return CONTAINER_OF(timer, struct upstream_query, timer);
}

static struct upstream *query_upstream(const struct upstream_query *query) {
    return &query->upstream_worker->upstreams->items[query->index];
}

static void count_query(_Atomic uint64_t *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/** Counts or uncounts it in one of its upstream's gauges. */
static void set_counted(bool *is_counted, _Atomic uint64_t *gauge, bool shall_count) {
    if (*is_counted == shall_count)
        return;
    *is_counted = shall_count;
    atomic_fetch_add_explicit(gauge, shall_count ? 1 : UINT64_MAX, memory_order_relaxed);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

static void free_if_unused(struct upstream_query *query) {
    if (!query->is_closed || !guard_is_unused(&query->guard))
        return;
    query->upstream_worker->calls--;
    memory_release(MEMORY_STREAMS, sizeof *query);
    free(query);
}

static void query_on_unused(struct guard *guard) {
    free_if_unused(CONTAINER_OF(guard, struct upstream_query, guard));
}

static void query_on_timer_closed(uv_handle_t *handle) {
    struct upstream_query *query = CONTAINER_OF(handle, struct upstream_query, timer);
    query->is_closed = true;
    free_if_unused(query);
}

/** What the end means for breaker and limiter: an answer that is a refusal says so by its status alone. */
static struct upstream_result judge_end(const struct upstream_query *query,
                                        const struct upstream_result *result) {
    struct upstream_result judged = *result;
    if (query->status >= 400)
        judged = (struct upstream_result){.end = UPSTREAM_STATUS,
                                          .cause = CAUSE_STATUS,
                                          .http_status = query->status,
                                          .message = result->message,
                                          .retry_after_ms = query->retry_after_ms};
    else if (query->status == 101) /* a tunnel: its end says nothing of the upstream */
        judged.end = UPSTREAM_COMPLETED;
    return judged;
}

static void leave_guards(struct upstream_query *query, const struct upstream_result *result) {
    struct guard_report report = {.was_sent = query->is_sent, .latency_ms = -1};
    struct upstream_result judged;
    if (result != NULL) {
        judged = judge_end(query, result);
        report.result = &judged;
        if (query->is_active &&
            (outcome_for_breaker(&judged) == BREAKER_FAILURE || outcome_of(&judged)->is_overload))
            count_query(&query_upstream(query)->query_failures);
    }
    guard_leave(&query->guard, &report);
}

/** Nothing is told any more. The query stays until the loop has closed its timer. `result`: NULL if it was
 * cancelled. */
static void close_query(struct upstream_query *query, const struct upstream_result *result) {
    query->has_ended = true;
    if (query->passage != NULL)
        upstream_passage_cancel(query->passage);
    query->passage = NULL;
    leave_guards(query, result);
    set_counted(&query->is_waiting, &query_upstream(query)->queries_waiting, false);
    set_counted(&query->is_active, &query_upstream(query)->queries_active, false);
    LIST_REMOVE(query, link);
    uv_close((uv_handle_t *)&query->timer, query_on_timer_closed);
}

static void end_query(struct upstream_query *query, const struct upstream_result *result) {
    close_query(query, result);
    query->callbacks.on_end(query->context, result);
}

/* ---- the passage ------------------------------------------------------------------------------------ */

static void query_on_sent(void *context) {
    struct upstream_query *query = context;
    query->is_sent = true;
    if (query->callbacks.on_sent != NULL)
        query->callbacks.on_sent(query->context);
}

static void note_retry_after(struct upstream_query *query, const struct upstream_header *headers,
                             size_t header_count) {
    for (size_t i = 0; i < header_count; i++) {
        if (strcasecmp(headers[i].name, "Retry-After") == 0)
            query->retry_after_ms = retry_after_parse(headers[i].value, clock_unix_ms());
    }
}

static void query_on_head(void *context, int status, const struct upstream_header *headers,
                          size_t header_count, int64_t content_length) {
    struct upstream_query *query = context;
    query->status = status;
    note_retry_after(query, headers, header_count);
    if (status < 500 && status != 429)
        guard_succeed_early(&query->guard);
    query->callbacks.on_head(query->context, status, headers, header_count, content_length);
}

static bool query_on_body(void *context, const char *bytes, size_t length) {
    struct upstream_query *query = context;
    return query->callbacks.on_body(query->context, bytes, length);
}

static ssize_t query_on_upload(void *context, char *bytes, size_t size) {
    struct upstream_query *query = context;
    return query->callbacks.on_upload(query->context, bytes, size);
}

static void query_on_end(void *context, const struct upstream_result *result) {
    struct upstream_query *query = context;
    query->passage = NULL;
    end_query(query, result);
}

/* ---- the guards -------------------------------------------------------------------------------------- */

static void query_on_refusal_due(uv_timer_t *timer) {
    struct upstream_query *query = query_of(timer);
    end_query(query, &query->refusal);
}

/** Leaves the end to the loop. */
static void refuse_later(struct upstream_query *query, const struct upstream_result *refusal) {
    query->refusal = *refusal;
    snprintf(query->refusal_message, sizeof(query->refusal_message), "%s", refusal->message);
    query->refusal.message = query->refusal_message;
    uv_timer_start(&query->timer, query_on_refusal_due, 0, 0);
}

static void refuse_now(struct upstream_query *query, const struct upstream_result *refusal) {
    count_query(&query_upstream(query)->queries_refused);
    refuse_later(query, refusal);
}

static void refuse_query(struct upstream_query *query, enum guard_result refusal) {
    char message[GUARD_MESSAGE_SIZE];
    struct upstream_result result = guard_refusal(&query->guard, refusal, message);
    if (refusal == GUARD_LATE) {
        snprintf(message, sizeof(message),
                 "The upstream's limiter did not let the request through in time: limiter_requests_wait_ms "
                 "(%" PRId64 " ms).",
                 query->upstream_worker->settings.items[query->index].queries_wait_ms);
        result.cause = CAUSE_REQUESTS_LATE;
    }
    refuse_now(query, &result);
}

static void query_on_timeout(uv_timer_t *timer) {
    struct upstream_query *query = query_of(timer);
    char message[GUARD_MESSAGE_SIZE];
    snprintf(message, sizeof(message), "The upstream's answer took too long: %s (%" PRId64 " ms).",
             query->timeout_key, query->timeout_ms);
    const struct upstream_result too_long = {
        .end = UPSTREAM_LIMIT, .cause = CAUSE_RUN_TIMEOUT, .message = message};
    end_query(query, &too_long);
}

static void query_send_request(struct upstream_query *query) {
    if (!upstream_passage_send(query->passage)) {
        static const struct upstream_result no_memory = {
            .end = UPSTREAM_INTERNAL, .cause = CAUSE_MEMORY, .message = "Memory ran out."};
        refuse_later(query, &no_memory);
        return;
    }
    count_query(&query_upstream(query)->queries);
    set_counted(&query->is_active, &query_upstream(query)->queries_active, true);
    uv_timer_start(&query->timer, query_on_timeout, (uint64_t)query->timeout_ms, 0);
}

static void query_go_on(struct upstream_query *query, enum guard_result result) {
    switch (result) {
    case GUARD_PASSED:
        query_send_request(query);
        break;
    case GUARD_WAITS:
        break;
    case GUARD_OPEN:
    case GUARD_FULL:
    case GUARD_PAUSED:
    case GUARD_LATE:
        refuse_query(query, result);
        break;
    }
}

static void query_on_settled(struct guard *guard, enum guard_result result) {
    struct upstream_query *query = CONTAINER_OF(guard, struct upstream_query, guard);
    set_counted(&query->is_waiting, &query_upstream(query)->queries_waiting, false);
    query_go_on(query, result);
}

/** It is in the line, and stays there if no more queries wait than may. */
static void query_wait_in_line(struct upstream_query *query, uint64_t waiting_max) {
    static const struct guard_report unused = {.latency_ms = -1};
    struct upstream *upstream = query_upstream(query);
    set_counted(&query->is_waiting, &upstream->queries_waiting, true);
    if (atomic_load_explicit(&upstream->queries_waiting, memory_order_relaxed) <= waiting_max)
        return;
    set_counted(&query->is_waiting, &upstream->queries_waiting, false);
    guard_leave(&query->guard, &unused);
    query->guard.retry_after_ms = limiter_retry_after_ms(upstream->limiter);
    char message[GUARD_MESSAGE_SIZE];
    snprintf(message, sizeof(message),
             "Too many requests wait for the upstream's limiter: limiter_requests_waiting_max (%" PRIu64 ").",
             waiting_max);
    const struct upstream_result result = {.end = UPSTREAM_CROWDED,
                                           .cause = CAUSE_REQUESTS_FULL,
                                           .message = message,
                                           .retry_after_ms = query->guard.retry_after_ms};
    refuse_now(query, &result);
}

static void enter_query(struct upstream_query *query, const struct upstream_settings *settings) {
    int64_t wait_until_mono_ms = clock_mono_ms() + settings->queries_wait_ms;
    enum guard_result result = guard_enter(&query->guard, query->index, wait_until_mono_ms);
    if (result == GUARD_WAITS)
        query_wait_in_line(query, settings->queries_waiting_max);
    else
        query_go_on(query, result);
}

/* ---- the public half --------------------------------------------------------------------------------- */

struct upstream_query *upstream_query_start(struct upstream_worker *upstream_worker,
                                            const struct upstream_query_request *request,
                                            const struct upstream_passage_callbacks *callbacks,
                                            void *context) {
    static const struct upstream_passage_callbacks own = {.on_sent = query_on_sent,
                                                          .on_head = query_on_head,
                                                          .on_body = query_on_body,
                                                          .on_upload = query_on_upload,
                                                          .on_end = query_on_end};
    const struct upstream_settings *settings = &upstream_worker->settings.items[request->index];
    struct upstream_query *query = calloc(1, sizeof(*query));
    if (query == NULL)
        return NULL;
    query->passage = upstream_passage_create(upstream_worker->client, settings, request->method,
                                             request->path, request->headers, request->header_count,
                                             request->body, request->body_length, &own, query);
    if (query->passage != NULL && request->upgrade != NULL &&
        !upstream_passage_make_tunnel(query->passage, request->upgrade)) {
        upstream_passage_cancel(query->passage);
        query->passage = NULL;
    }
    if (query->passage == NULL) {
        free(query);
        return NULL;
    }
    if (request->first_byte_timeout_ms > 0)
        upstream_passage_set_first_byte_timeout(query->passage, request->first_byte_timeout_ms);
    query->upstream_worker = upstream_worker;
    query->callbacks = *callbacks;
    query->context = context;
    query->index = request->index;
    query->timeout_ms = request->timeout_ms;
    query->timeout_key = request->timeout_key != NULL ? request->timeout_key : "run_timeout_ms";
    upstream_worker->calls++;
    memory_charge(MEMORY_STREAMS, sizeof *query);
    LIST_INSERT_HEAD(&upstream_worker->queries, query, link);
    uv_timer_init(upstream_worker->loop, &query->timer);
    guard_init(&query->guard, upstream_worker, &query->timer, query_on_settled, query_on_unused);
    enter_query(query, settings);
    return query;
}

void upstream_query_resume(struct upstream_query *query) {
    if (query->passage != NULL)
        upstream_passage_resume(query->passage);
}

void upstream_query_resume_upload(struct upstream_query *query) {
    if (query->passage != NULL)
        upstream_passage_resume_upload(query->passage);
}

void upstream_query_cancel(struct upstream_query *query) {
    if (!query->has_ended)
        close_query(query, NULL);
}

void upstream_queries_abort(struct upstream_worker *upstream_worker) {
    static const struct upstream_result stopping = {
        .end = UPSTREAM_INTERNAL, .cause = CAUSE_STOPPING, .message = "The gateway is shutting down."};
    while (!LIST_EMPTY(&upstream_worker->queries))
        end_query(LIST_FIRST(&upstream_worker->queries), &stopping);
}
