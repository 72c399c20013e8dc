/* A call: its life, and the next attempt after one that failed. See call.h for the contract and the phases.
 *
 * call_attempt_failed() is the one place that decides what comes next, from the row of the result in the table
 * of outcome.c. Each further attempt is announced by on_retry() in try_later() before its timer is left to the
 * loop, so no attempt is made that its run does not want.
 */
#include "upstream/call_internal.h"

#include "base/clock.h"
#include "base/memory_budget.h"
#include "upstream/outcome.h"
#include "upstream/retry.h"

#include <stdlib.h>
#include <string.h>

/* How often a session's agent is asked again that has not settled; each wait is twice the one before. */
#define UNSETTLED_MAX 5
/* The wait does not double more often. */
#define BREAKS_MAX 32

static struct upstream_call *call_of(uv_timer_t *timer) {
    return CONTAINER_OF(timer, struct upstream_call, timer);
}

void call_set_phase(struct upstream_call *call, size_t index, enum upstream_phase phase) {
    if (call->phase != UPSTREAM_PHASE_COUNT)
        atomic_fetch_sub_explicit(&call_upstream(call)->in_phase[call->phase], 1, memory_order_relaxed);
    call->index = index;
    call->phase = phase;
    if (phase != UPSTREAM_PHASE_COUNT)
        call_count(&call_upstream(call)->in_phase[phase]);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

void call_free_if_unused(struct upstream_call *call) {
    if (!call->is_closed || !guard_is_unused(&call->attempt.guard))
        return;
    call->upstream_worker->calls--;
    resume_point_finish(&call->point);
    free(call->failure_message);
    free(call->resume_url);
    memory_release(MEMORY_STREAMS, sizeof *call);
    free(call);
}

static void call_on_timer_closed(uv_handle_t *handle) {
    struct upstream_call *call = CONTAINER_OF(handle, struct upstream_call, timer);
    call->is_closed = true;
    call_free_if_unused(call);
}

/** Nothing is told any more. The call stays until the loop has closed its timer, whoever is still in it. */
static void close_call(struct upstream_call *call) {
    call->has_ended = true;
    call_drop_held(call);
    upstream_request_unref(call->waiting.request);
    call->waiting.request = NULL;
    attempt_end(call, NULL);
    call_set_phase(call, call->index, UPSTREAM_PHASE_COUNT);
    uv_close((uv_handle_t *)&call->timer, call_on_timer_closed);
}

static void end_call(struct upstream_call *call, const struct upstream_result *result) {
    close_call(call);
    call->callbacks.on_end(call->context, result);
}

void upstream_call_cancel(struct upstream_call *call) {
    if (!call->has_ended)
        close_call(call);
}

/** Keeps why it failed, for the case that nothing better comes. What was refused says less than what was
 * tried. */
static void keep_failure(struct upstream_call *call, const struct upstream_result *result, bool was_made) {
    if (call->has_failed && !was_made)
        return;
    free(call->failure_message);
    call->failure_message = strdup(result->message);
    call->failure = *result;
    call->failure.message = call->failure_message != NULL ? call->failure_message : "";
    call->failure.outcome = NULL;
    call->failure.bare_id = NULL;
    if (result->outcome != NULL) {
        call->failure_outcome = *result->outcome;
        call->failure.outcome = &call->failure_outcome;
    }
    call->has_failed = true;
}

/* ---- the canned answer ------------------------------------------------------------------------------- */

static bool tell_event(struct upstream_call *call, const char *data) {
    static const char type[] = "message";
    const struct sse_event event = {.type = type,
                                    .type_length = strlen(type),
                                    .data = data,
                                    .data_length = strlen(data),
                                    .last_event_id = ""};
    if (!call->callbacks.on_event(call->context, &event))
        upstream_call_cancel(call);
    return !call->has_ended;
}

static void call_on_canned_due(uv_timer_t *timer) {
    static const struct upstream_result completed = {.end = UPSTREAM_COMPLETED, .message = ""};
    struct upstream_call *call = call_of(timer);
    const struct upstreams_settings *settings = &call->upstream_worker->settings;
    const struct adapter *adapter = settings->items[call->first].adapter;
    size_t index = upstream_chain_canned(settings, call->first); /* a reload may have taken it away */
    char *data = index != UPSTREAM_NONE ? adapter->say(settings->items[index].canned_answer) : NULL;
    if (data == NULL) {
        end_call(call, &call->failure);
        return;
    }
    call_count(&call->upstream_worker->upstreams->items[index].canned);
    if (tell_event(call, data) && (adapter->done_data == NULL || tell_event(call, adapter->done_data)))
        end_call(call, &completed);
    free(data);
}

/* ---- what comes next --------------------------------------------------------------------------------- */

static void call_on_attempt_due(uv_timer_t *timer) {
    attempt_begin(call_of(timer));
}

/** Tells of the next attempt, counts it, if it is to be counted, and leaves it to the loop. The callback may
 * cancel the call, or want no further attempt. */
static void try_later(struct upstream_call *call, struct upstream_retry *retry, uv_timer_cb on_due,
                      _Atomic uint64_t *counter) {
    call_drop_held(call);
    call->failure_outcome.is_told = false; /* an event that said so was held back, or comes no more */
    uv_timer_start(&call->timer, on_due, (uint64_t)retry->delay_ms, 0);
    retry->attempt = call->attempts + 1;
    bool is_wanted = call->callbacks.on_retry(call->context, retry);
    if (!is_wanted)
        upstream_call_cancel(call);
    else if (counter != NULL)
        call_count(counter);
}

/* A stream broke off after a new event. One that lasted has got on, so that it is resumed soon. Otherwise
 * each wait may be longer than the one before: an upstream that breaks off after one event each time is asked
 * about every retry_max_ms at last, and not as often as it likes. */
static void note_break(struct upstream_call *call) {
    const struct attempt *attempt = &call->attempt;
    int64_t lasted_ms = attempt->sent_mono_ms >= 0 ? clock_mono_ms() - attempt->sent_mono_ms : 0;
    if (lasted_ms >= call_settings(call)->retry.max_ms)
        call->breaks = 0;
    if (call->breaks < BREAKS_MAX)
        call->breaks++;
}

/** When to ask the same upstream again, or -1. A stream that broke off brought events: that it did is not one
 * of the attempts without any, but the wait grows with each break that comes soon. */
static int64_t again_in_ms(const struct upstream_call *call, const struct upstream_result *result) {
    struct retry_settings bounds = call_settings(call)->retry;
    int64_t elapsed_ms = clock_mono_ms() - call->tries_mono_ms;
    unsigned failed = call->tries;
    if (call->has_event) {
        bounds.attempts_max += call->breaks;
        failed += call->breaks;
    }
    return retry_delay_ms(&bounds, failed, elapsed_ms, result->retry_after_ms);
}

/** A session's agent was asked before it had written what a cut makes it write: it is asked again after a
 * while, whatever the retry settings are, for it has refused before it did anything. */
static bool ask_unsettled_again(struct upstream_call *call, const struct upstream_result *result) {
    int64_t settle_ms = call_settings(call)->settle_ms;
    if (!result->is_unsettled || settle_ms == 0 || call->has_event || call->unsettled == UNSETTLED_MAX)
        return false;
    struct upstream_retry retry = {.delay_ms = settle_ms << call->unsettled++,
                                   .upstream = call_settings(call)->name,
                                   .failure = *result};
    call_set_phase(call, call->index, UPSTREAM_PHASE_RETRY);
    try_later(call, &retry, call_on_attempt_due, &call_upstream(call)->retries);
    return true;
}

/** Whether a stream that began with an error is asked for again: a call of chat completions only answers, but
 * an agent's may have had effects. */
static bool repeats_stream_errors(const struct upstream_settings *settings) {
    return settings->retry.stream_errors == RETRY_STREAM_ERRORS_ON ||
           (settings->retry.stream_errors == RETRY_STREAM_ERRORS_BY_KIND &&
            settings->adapter->is_without_effects);
}

/** Whether the same upstream may be asked from the beginning. */
static bool may_retry(const struct upstream_settings *settings, const struct upstream_result *result) {
    switch (outcome_of(result)->retry) {
    case OUTCOME_NO_RETRY:
        break;
    case OUTCOME_RETRY:
        return true;
    case OUTCOME_RETRY_STREAM_ERRORS:
        return repeats_stream_errors(settings);
    case OUTCOME_RETRY_RESEND:
        return settings->resend == UPSTREAM_RESEND_UNANSWERED && result->is_unanswered;
    }
    return false;
}

bool call_is_resumable(const struct upstream_call *call) {
    const struct upstream_settings *settings = call_settings(call);
    return settings->resumable && settings->adapter->can_resume;
}

static bool may_ask_again(const struct upstream_call *call, const struct upstream_result *result,
                          bool was_made) {
    const struct upstream_settings *settings = call_settings(call);
    if (!call->has_event)
        return was_made && may_retry(settings, result);
    bool has_place = settings->resume_by != RESUME_BY_LOCATION || call->resume_url != NULL;
    return call_is_resumable(call) && has_place && resume_point_id(&call->point) != NULL &&
           outcome_of(result)->resumes;
}

static bool ask_again(struct upstream_call *call, const struct upstream_result *result) {
    if (call->tries == 0) {
        call->tries_mono_ms = clock_mono_ms();
        note_break(call);
    }
    struct upstream_retry retry = {.delay_ms = again_in_ms(call, result),
                                   .upstream = call_settings(call)->name,
                                   .failure = *result,
                                   .is_resumption = call->has_event};
    if (retry.delay_ms < 0)
        return false;
    struct upstream *upstream = call_upstream(call);
    call_set_phase(call, call->index, UPSTREAM_PHASE_RETRY);
    try_later(call, &retry, call_on_attempt_due,
              call->has_event ? &upstream->resumptions : &upstream->retries);
    return true;
}

static bool fall_back(struct upstream_call *call, const struct upstream_result *result) {
    const struct upstreams_settings *settings = &call->upstream_worker->settings;
    upstream_chain_advance(&call->chain, settings);
    size_t next = call->chain.index;
    bool is_canned = next == UPSTREAM_NONE;
    if (is_canned && upstream_chain_canned(settings, call->first) == UPSTREAM_NONE)
        return false;
    struct upstream_retry retry = {
        .upstream = is_canned ? NULL : settings->items[next].name, .failure = *result, .is_fallback = true};
    _Atomic uint64_t *counter = is_canned ? NULL : &call_upstream(call)->fallbacks;
    call->tries = 0;
    call_set_phase(call, next, is_canned ? UPSTREAM_PHASE_COUNT : UPSTREAM_PHASE_RETRY);
    try_later(call, &retry, is_canned ? call_on_canned_due : call_on_attempt_due, counter);
    return true;
}

void call_attempt_completed(struct upstream_call *call, const struct upstream_result *result) {
    if (!call_release_held(call))
        return;
    attempt_end(call, result);
    end_call(call, result);
}

void call_attempt_failed(struct upstream_call *call, const struct upstream_result *result) {
    bool was_made = call->attempt.was_made;
    bool has_nothing_more = call->has_event && result->end == UPSTREAM_STATUS && result->http_status == 204;
    if (has_nothing_more) {
        const struct upstream_result completed = {
            .end = UPSTREAM_COMPLETED, .http_status = 204, .message = ""};
        call_attempt_completed(call, &completed);
        return;
    }
    if (was_made && call->has_event && result->bare_id != NULL)
        resume_point_note_id(&call->point, result->bare_id, strlen(result->bare_id));
    attempt_end(call, result);
    keep_failure(call, result, was_made);
    if (ask_unsettled_again(call, result))
        return;
    if (may_ask_again(call, result, was_made) && ask_again(call, result))
        return;
    bool may_go_on = !call->has_event && (!was_made || outcome_of(result)->falls_back);
    if (may_go_on && fall_back(call, result))
        return;
    if (call_release_held(call))
        end_call(call, &call->failure);
}

/* ---- the public half --------------------------------------------------------------------------------- */

struct upstream_call *upstream_call_start(struct upstream_worker *upstream_worker, size_t index,
                                          struct upstream_preparer *preparer,
                                          const struct upstream_call_callbacks *callbacks, void *context) {
    struct upstream_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    memory_charge(MEMORY_STREAMS, sizeof *call);
    call->upstream_worker = upstream_worker;
    call->preparer = preparer;
    call->callbacks = *callbacks;
    call->context = context;
    call->first = call->index = index;
    call->chain = upstream_chain_begin(index);
    call->phase = UPSTREAM_PHASE_COUNT;
    resume_point_init(&call->point);
    guard_init(&call->attempt.guard, upstream_worker, &call->timer, attempt_on_settled, attempt_on_unused);
    upstream_worker->calls++;
    call_set_phase(call, index, UPSTREAM_PHASE_LIMITER);
    uv_timer_init(upstream_worker->loop, &call->timer);
    uv_timer_start(&call->timer, call_on_attempt_due, 0, 0);
    return call;
}

void upstream_call_resume(struct upstream_call *call) {
    if (call->attempt.stream != NULL)
        upstream_stream_resume(call->attempt.stream);
}

size_t upstream_call_upstream(const struct upstream_call *call) {
    return call->index;
}
