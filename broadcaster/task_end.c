/* How a run ends, and what its run.end says: see task.h. */
#include "base/plain_text.h"
#include "broadcaster/broadcaster.h"
#include "broadcaster/lifecycle.h"
#include "broadcaster/task.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void task_note_outcome(struct task *task, const struct task_outcome *outcome) {
    lock_acquire(&task->session->lock);
    if (!task_status_is_end(task->status)) {
        task->outcome = *outcome;
        plain_text_copy(task->outcome.finish_reason, TASK_WORD_SIZE, outcome->finish_reason);
        plain_text_copy(task->outcome.warning, TASK_WORD_SIZE, outcome->warning);
    }
    lock_release(&task->session->lock);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

bool task_end_for(struct task *task, enum task_status status, enum task_reason reason,
                  const struct task_fault *fault) {
    struct session *session = task->session;
    struct session_effects effects = {0};
    lock_acquire(&session->lock);
    bool ends = atomic_load(&task->registered) && !task_status_is_end(task->status);
    if (ends) {
        task->http_status = fault->http_status;
        task->cause = fault->cause;
        plain_text_copy(task->message, TASK_MESSAGE_SIZE, fault->message != NULL ? fault->message : "");
        session_end_task_locked(session, task, status, reason, &effects);
        session_start_next_locked(session, &effects);
        session_settle_locked(session);
    }
    lock_release(&session->lock);
    session_apply(&effects);
    return ends;
}

bool task_end(struct task *task, enum task_status status, enum task_reason reason, int http_status,
              const char *message) {
    const struct task_fault fault = {.http_status = http_status, .message = message};
    return task_end_for(task, status, reason, &fault);
}

bool task_cancel(struct task *task, enum task_reason reason) {
    return task_end(task, TASK_CANCELLED, reason, 0, NULL);
}

void task_note_queue_timeout_locked(struct task *task, int64_t limit_ms) {
    lock_assert_held(&task->session->lock);
    task->cause = "queue_timeout_ms";
    snprintf(task->message, TASK_MESSAGE_SIZE,
             "The run waited too long in the queue: queue_timeout_ms (%" PRId64 " ms).", limit_ms);
}

/* ---- what viewers see ------------------------------------------------------------------------------- */

const char *task_reason_sentence(enum task_reason reason) {
    static const char *const sentences[REASON_COUNT] = {
        [REASON_UPSTREAM_CONNECT] = "The agent could not be reached.",
        [REASON_UPSTREAM_STATUS] = "The agent refused the run.",
        [REASON_UPSTREAM_ERROR] = "The agent reported an error.",
        [REASON_UPSTREAM_TRUNCATED] = "The agent's answer broke off.",
        [REASON_UPSTREAM_PROTOCOL] = "The agent's answer could not be read.",
        [REASON_UPSTREAM_IDLE] = "The agent did not answer in time.",
        [REASON_LIMIT] = "The run reached a limit.",
        [REASON_INTERNAL] = "The gateway could not execute the run.",
        [REASON_CIRCUIT_OPEN] = "The agent is not available at the moment.",
        [REASON_UPSTREAM_LIMITED] = "The agent is busy at the moment.",
        [REASON_RUN_TIME] = "The run took too long.",
        [REASON_QUEUE_TIME] = "The run waited too long in the queue.",
    };
    return sentences[reason];
}

/* ADK's code is a word of the agent's; the gateway's own words say nothing of it. */
static const char *warning_for_viewers(const struct task_options *options, const char *warning) {
    bool is_ours =
        strcmp(warning, "") == 0 || strcmp(warning, "empty") == 0 || strcmp(warning, "partial") == 0;
    return options->hides_words && !is_ours ? "error_code" : warning;
}

const char *task_viewer_message_locked(const struct task *task) {
    lock_assert_held(&task->session->lock);
    const char *sentence = task_reason_sentence(task->reason);
    if (!task->options.hides_words)
        return task->message;
    return sentence != NULL ? sentence : "";
}

void task_get_viewer_info(struct task *task, struct task_info *ret_info) {
    task_get_info(task, ret_info);
    if (!task->options.hides_words)
        return;
    const char *sentence = task_reason_sentence(ret_info->reason);
    ret_info->http_status = 0;
    ret_info->cause = NULL;
    snprintf(ret_info->message, TASK_MESSAGE_SIZE, "%s", sentence != NULL ? sentence : "");
}

/* ---- its run.end ------------------------------------------------------------------------------------- */

void task_fill_end_locked(struct task *task) {
    lock_assert_held(&task->session->lock);
    const struct task_outcome *outcome = &task->outcome;
    bool hides_words = task->options.hides_words;
    const struct lifecycle_run_end end = {
        .task_id = task->id,
        .status = task_status_name(task->status),
        .reason = task_reason_name(task->reason),
        .events = task->events,
        .bytes = task->bytes,
        .duration_ms = task_duration_locked(task),
        .finish_reason = outcome->finish_reason,
        .has_usage = outcome->has_usage,
        .input_tokens = outcome->input_tokens,
        .output_tokens = outcome->output_tokens,
        .total_tokens = outcome->total_tokens,
        .warning = warning_for_viewers(&task->options, outcome->warning),
        .upstream_status = hides_words ? 0 : task->http_status,
        .cached = atomic_load(&task->cached),
        .canned = atomic_load(&task->canned),
        .cause = hides_words ? NULL : task->cause,
        .message = task_viewer_message_locked(task),
    };
    lifecycle_fill_run_end(task->end_frame, &end);
}
