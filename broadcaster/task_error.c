/* How a bad end is reported in a stream of the agent's events alone: see task.h. */
#include "broadcaster/session.h"
#include "broadcaster/task.h"

#include <stdio.h>

const struct error_form *task_error_form(const struct task *task) {
    static const struct error_form as_adk = {.type = "", .data = "{\"error\":\"" ERROR_FORM_MESSAGE "\"}"};
    return task != NULL && task->options.error_form != NULL ? task->options.error_form : &as_adk;
}

bool task_ends_unheard_locked(const struct task *task) {
    lock_assert_held(&task->session->lock);
    bool is_heard = task->reason == REASON_UPSTREAM_ERROR && task->outcome.is_told;
    return task->status != TASK_COMPLETED && !is_heard;
}

size_t task_format_error_locked(const struct task *task, char out[TASK_ERROR_DATA_MAX]) {
    lock_assert_held(&task->session->lock);
    char message[2 * TASK_MESSAGE_SIZE];
    const char *said = task_viewer_message_locked(task);
    const char *status = task_status_name(task->status), *reason = task_reason_name(task->reason);
    snprintf(message, sizeof(message), "run %s%s%s%s%s", status, reason != NULL ? ": " : "",
             reason != NULL ? reason : "", said[0] != '\0' ? ": " : "", said);
    bool is_failed = task->status == TASK_FAILED && reason != NULL;
    return error_form_write(task_error_form(task), message, is_failed ? reason : status, out,
                            TASK_ERROR_DATA_MAX);
}
