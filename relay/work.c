/* The work of a run: what comes of its feed, and the end. See runner_internal.h.
 *
 * Each event passes the budgets and the memory limit, becomes a frame, and is published through the fence of
 * its task. Whatever a callback finds wrong, it ends the task with a reason and closes the feed: the end itself
 * is the broadcaster's.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "broadcaster/lifecycle.h"
#include "relay/runner_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_LOGGED_MAX 64

static const struct upstream_settings *settings_of(const struct work *work) {
    return &work->runner->context->upstream_worker->settings.items[atomic_load(&work->task->upstream)];
}

/* ---- what comes of it: the callbacks of a call or a follower -------------------------------------- */

static void work_on_sent(void *context) {
    struct work *work = context;
    int64_t now_ms = clock_mono_ms();
    atomic_store(&work->task->sent_mono_ms, now_ms);
    metrics_observe_ms(HISTOGRAM_EXECUTION_DELAY, now_ms - work->task->due_mono_ms);
}

static bool is_over(uint64_t used, uint64_t used_max) {
    return used_max > 0 && used > used_max;
}

/* Ends a run that has used up a budget of this room's settings. Always false: the run does not go on. */
static bool end_at_budget(const struct work *work, const char *key, const char *what, uint64_t used_max,
                          const char *unit) {
    char message[128];
    snprintf(message, sizeof(message), "The run has reached its limit of %s: %s (%" PRIu64 "%s).", what, key,
             used_max, unit);
    const struct task_fault fault = {.cause = key, .message = message};
    task_end_for(work->task, TASK_FAILED, REASON_LIMIT, &fault);
    return false;
}

/* The default type is never written. */
static uint64_t bytes_of(const struct sse_event *event) {
    static const char default_type[] = "message";
    bool has_type = event->type_length != strlen(default_type) ||
                    memcmp(event->type, default_type, event->type_length) != 0;
    return event->data_length + (has_type ? event->type_length : 0);
}

/* Whether the event may be published. */
static bool fits_budgets(struct work *work, const struct sse_event *event) {
    const struct relay_settings *settings = work->runner->context->settings;
    work->events++;
    work->bytes += bytes_of(event);
    if (is_over(work->events, settings->run_events_max))
        return end_at_budget(work, "run_events_max", "events", settings->run_events_max, "");
    if (is_over(work->bytes, settings->run_bytes_max))
        return end_at_budget(work, "run_bytes_max", "bytes", settings->run_bytes_max, " bytes");
    return true;
}

/* Tokens are told by an event after they were spent: it is published before the run ends for them. They are
 * looked for only if there is a budget: the search is 4 % of the instructions of a relayed event. */
static bool fits_token_budget(struct work *work, const struct sse_event *event) {
    const struct relay_settings *settings = work->runner->context->settings;
    const struct adapter *adapter = settings_of(work)->adapter;
    if (settings->run_tokens_max == 0 || adapter->count_tokens == NULL ||
        !adapter->count_tokens(event->data, event->data_length, &work->tokens))
        return true;
    atomic_store(&work->task->tokens, work->tokens);
    if (!is_over(work->tokens, settings->run_tokens_max))
        return true;
    return end_at_budget(work, "run_tokens_max", "tokens", settings->run_tokens_max, "");
}

static enum follower_source note_source(const struct work *work) {
    enum follower_source source = upstream_feed_source(&work->feed);
    if (follower_source_is_cached(source))
        atomic_store(&work->task->cached, true);
    return source;
}

static void work_note_first_event(const struct work *work) {
    struct task *task = work->task;
    if (note_source(work) == FOLLOWER_UPSTREAM &&
        !atomic_load(&task->canned)) /* else it heard of another session, or none */
        session_note_known_by(task->session, atomic_load(&task->upstream));
    metrics_observe_ms(HISTOGRAM_FIRST_EVENT_DELAY, clock_mono_ms() - task->due_mono_ms);
}

/* Counts each, and logs the first one of a run: an agent may send any number of them. */
static void note_renaming(struct work *work, const struct sse_event *event) {
    const struct task *task = work->task;
    char type[NAME_LOGGED_MAX + 1];
    metrics_add(METRIC_EVENTS_RENAMED, 1);
    if (work->logged_renaming)
        return;
    work->logged_renaming = true;
    snprintf(type, sizeof(type), "%.*s", (int)event->type_length, event->type);
    log_warn("event_renamed", LOG_STR("task_id", task->id), LOG_STR("session", task->session->key),
             LOG_STR("trace_id", task->trace_id), LOG_STR("upstream", settings_of(work)->name),
             LOG_STR("type", type));
}

/* Ends a run that would take more, when nothing may grow. Small events go on: the log of the session lets as
 * much go for each. */
static bool has_memory(struct work *work, const struct sse_event *event) {
    if (memory_may_grow(event->data_length))
        return true;
    char message[MEMORY_MESSAGE_SIZE];
    const struct task_fault fault = {.cause = "memory_max_bytes", .message = memory_full_message(message)};
    if (task_end_for(work->task, TASK_FAILED, REASON_LIMIT, &fault))
        metrics_add(METRIC_MEMORY_RUNS_ENDED, 1);
    return false;
}

static const struct task_fault no_memory = {.cause = "memory", .message = "Memory ran out."};

static bool publish_event(struct work *work, const struct sse_event *event) {
    struct task *task = work->task;
    struct frame *frame = lifecycle_make_agent_event(task->serial, event->type, event->type_length,
                                                     event->data, event->data_length);
    bool is_renamed = frame != NULL && frame_is_renamed(frame);
    if (frame == NULL)
        task_end_for(task, TASK_FAILED, REASON_INTERNAL, &no_memory);
    bool is_published = frame != NULL && task_publish(task, frame);
    if (is_renamed && is_published)
        note_renaming(work, event);
    return is_published;
}

/* Whether the event reports that the run fails, in words that are the upstream's. */
static bool reports_failure(const struct work *work, const struct sse_event *event) {
    const struct upstream_settings *settings = settings_of(work);
    struct adapter_reading reading = {.rules = &settings->rules};
    return settings->adapter->judge(&reading, event) == ADAPTER_FAILED;
}

/* Publishes an event in the form of its kind that says no more than the reason does. */
static bool publish_hidden(struct work *work, const struct sse_event *event) {
    char data[TASK_ERROR_DATA_MAX];
    struct sse_event hidden = *event;
    hidden.data = data;
    hidden.data_length =
        error_form_write(task_error_form(work->task), task_reason_sentence(REASON_UPSTREAM_ERROR),
                         task_reason_name(REASON_UPSTREAM_ERROR), data, sizeof(data));
    return publish_event(work, &hidden);
}

static bool show_event(struct work *work, const struct sse_event *event) {
    bool hides = work->task->options.hides_words && reports_failure(work, event);
    return hides ? publish_hidden(work, event) : publish_event(work, event);
}

static bool work_on_event(void *context, const struct sse_event *event) {
    struct work *work = context;
    if (work->events == 0)
        work_note_first_event(work);
    bool goes_on = fits_budgets(work, event) && has_memory(work, event) && show_event(work, event) &&
                   fits_token_budget(work, event);
    if (!goes_on)
        upstream_feed_close(&work->feed);
    return goes_on;
}

/* A burst from the upstream must not push events out of the log that a worker had no time yet to write. Ours
 * writes at once; for the others the stream takes a breath. */
static bool work_may_read(void *context) {
    struct work *work = context;
    if (!task_is_ahead(work->task))
        return true;
    fanout_flush(work->runner->context->fanout);
    if (!task_is_ahead(work->task))
        return true;
    runner_hold(work);
    return false;
}

static enum task_reason reason_of(enum upstream_end end) {
#define REASON_OF_END(end, reason) [UPSTREAM_##end] = REASON_##reason,
    static const enum task_reason reasons[UPSTREAM_END_COUNT] = {UPSTREAM_ENDS(REASON_OF_END)};
#undef REASON_OF_END
    return reasons[end];
}

static const char *word_of(enum upstream_cause cause) {
    const char *word = upstream_cause_word(cause);
    return word != NULL ? word : "";
}

static struct frame *make_retry_frame(const struct task *task, const struct upstream_retry *retry) {
    enum task_reason reason = reason_of(retry->failure.end);
    bool hides_words = task->options.hides_words;
    const struct lifecycle_run_retry said = {
        .task_id = task->id,
        .attempt = retry->attempt,
        .delay_ms = retry->delay_ms,
        .reason = task_reason_name(reason),
        .upstream = retry->upstream,
        .is_fallback = retry->is_fallback,
        .is_resumption = retry->is_resumption,
        .cause = hides_words ? NULL : upstream_cause_word(retry->failure.cause),
        .message = hides_words ? task_reason_sentence(reason) : retry->failure.message,
    };
    return lifecycle_make_run_retry(task->serial, &said);
}

static void note_upstream(const struct work *work, const char *name) {
    size_t upstream = upstreams_find(&work->runner->context->upstream_worker->settings, name);
    if (upstream != UPSTREAM_NONE)
        atomic_store(&work->task->upstream, (uint32_t)upstream);
}

/* No attempt is made that its session's log does not report: neither without memory for that, nor when the
 * run has ended on another thread, of which this one has not heard yet. */
static bool announce_retry(const struct work *work, const struct upstream_retry *retry) {
    struct frame *frame = make_retry_frame(work->task, retry);
    if (frame == NULL)
        task_end_for(work->task, TASK_FAILED, REASON_INTERNAL, &no_memory);
    return frame != NULL && task_announce(work->task, frame);
}

static bool work_on_retry(void *context, const struct upstream_retry *retry) {
    struct work *work = context;
    struct task *task = work->task;
    if (!announce_retry(work, retry)) {
        upstream_feed_close(&work->feed);
        return false;
    }
    atomic_fetch_add(&task->retries, 1);
    if (retry->upstream != NULL) {
        note_upstream(work, retry->upstream);
    } else {
        atomic_store(&task->canned, true);
        atomic_store(&task->upstream, work->first_upstream); /* it is said in the way of that one's kind */
    }
    log_warn("run_retried", LOG_STR("task_id", task->id), LOG_STR("session", task->session->key),
             LOG_STR("trace_id", task->trace_id), LOG_INT("attempt", retry->attempt),
             LOG_INT("delay_ms", retry->delay_ms),
             LOG_STR("upstream", retry->upstream != NULL ? retry->upstream : ""),
             LOG_STR("reason", task_reason_name(reason_of(retry->failure.end))),
             LOG_STR("cause", word_of(retry->failure.cause)),
             LOG_INT("upstream_status", retry->failure.http_status),
             LOG_STR("message", retry->failure.message));
    return true;
}

static void note_outcome(const struct work *work, const struct upstream_outcome *said) {
    struct task_outcome outcome = {.is_told = said->is_told,
                                   .has_usage = said->usage.is_known,
                                   .input_tokens = said->usage.input_tokens,
                                   .output_tokens = said->usage.output_tokens,
                                   .total_tokens = said->usage.total_tokens};
    snprintf(outcome.finish_reason, sizeof(outcome.finish_reason), "%s", said->finish_reason);
    snprintf(outcome.warning, sizeof(outcome.warning), "%s", said->warning);
    task_note_outcome(work->task, &outcome);
}

static void work_on_end(void *context, const struct upstream_result *result) {
    struct work *work = context;
    note_source(work);
    if (result->outcome != NULL)
        note_outcome(work, result->outcome);
    upstream_feed_close(&work->feed);
    work->upstream_status = result->http_status;
    bool completed = result->end == UPSTREAM_COMPLETED;
    const struct task_fault fault = {.http_status = completed ? 0 : result->http_status,
                                     .cause = upstream_cause_word(result->cause),
                                     .message = result->message};
    task_end_for(work->task, completed ? TASK_COMPLETED : TASK_FAILED, reason_of(result->end), &fault);
}

static const struct upstream_call_callbacks callbacks = {.on_sent = work_on_sent,
                                                         .on_retry = work_on_retry,
                                                         .on_event = work_on_event,
                                                         .may_read = work_may_read,
                                                         .on_end = work_on_end};

bool work_start(struct work *work) {
    struct plan *plan = work->plan;
    const struct relay_context *context = work->runner->context;
    size_t upstream = plan->steps[0].upstream;
    const struct follower_start start = {
        .key = plan->cache_key,
        .upstream = upstream,
        .policy = &context->upstream_worker->settings.items[upstream].cache,
        .found = plan->found,
        .preparer = &plan->preparer,
        .callbacks = &callbacks,
        .context = work,
    };
    plan->found = NULL;
    work->plan = NULL;
    return upstream_feed_start(&work->feed, context->upstream_worker, context->cache_worker, &start);
}
