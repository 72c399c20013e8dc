/* Runs as a resource: GET and DELETE /tasks, GET and DELETE /tasks/{id}. */
#include "base/json_writer.h"
#include "base/log.h"
#include "routes/access.h"
#include "routes/await.h"
#include "routes/handlers.h"
#include "routes/path.h"
#include "routes/task_access.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS_MAX 60000
#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000
#define BATCH 256
#define ANSWER_BYTES_MAX 4096
#define SCAN_MAX 10000 /* runs that one request looks at; the cursor goes on from there */

static void refuse_listing(struct request *request, const char *name, int result) {
    if (result == -ENOMEM)
        reply_no_memory(request);
    else
        reply_error(request, 400, "invalid_query", "The query parameter \"%s\" has an invalid value.", name);
}

/* ---- one run ------------------------------------------------------------------------------------- */

void handle_task_get(struct request *request) {
    int64_t wait_ms = 0;
    int result = request_query_number(request, "wait_ms", 0, WAIT_MS_MAX, &wait_ms);
    if (result < 0) {
        refuse_listing(request, "wait_ms", result);
        return;
    }
    struct task *task = access_find_task(request);
    if (task == NULL)
        return;
    await_end(request, task, wait_ms, task_reply);
    task_unref(task);
}

void handle_task_delete(struct request *request) {
    struct task *task = access_find_task(request);
    if (task == NULL)
        return;
    if (!cancel_and_reply(request, task)) {
        struct task_info info;
        task_get_info(task, &info);
        const char *status = task_status_name(info.status);
        reply_error_about(request, 409, "run_ended", "status", status, "The run has already ended: %s.",
                          status);
    }
    task_unref(task);
}

/* ---- the list ------------------------------------------------------------------------------------ */

struct filter {
    char *app, *user, *session; /* NULL: any */
    enum task_status status;    /* TASK_STATUS_COUNT: any */
    int64_t limit;
    int64_t before; /* serial of the last one of the page before; 0: from the newest on */
};

static bool read_filter_name(struct request *request, const char *name, size_t bytes_max, char **ret_value) {
    int result = request_query(request, name, ret_value);
    if (result == 0 && (*ret_value == NULL || path_name_is_valid(*ret_value, bytes_max)))
        return true;
    refuse_listing(request, name, result);
    return false;
}

static bool read_status(struct request *request, enum task_status *ret_status) {
    char *text;
    int result = request_query(request, "status", &text);
    *ret_status = text != NULL ? task_status_find(text) : TASK_STATUS_COUNT;
    bool fine = result == 0 && (text == NULL || *ret_status != TASK_STATUS_COUNT);
    free(text);
    if (!fine)
        refuse_listing(request, "status", result);
    return fine;
}

static bool read_filter_number(struct request *request, const char *name, int64_t maximum, int64_t *value) {
    int result = request_query_number(request, name, 1, maximum, value);
    if (result < 0)
        refuse_listing(request, name, result);
    return result == 0;
}

/* The strings are the caller's either way. */
static bool read_filter(struct request *request, struct filter *ret_filter) {
    *ret_filter = (struct filter){.limit = LIMIT_DEFAULT};
    return read_filter_name(request, "app", SESSION_PART_MAX, &ret_filter->app) &&
           read_filter_name(request, "user", SESSION_USER_MAX, &ret_filter->user) &&
           read_filter_name(request, "session", SESSION_PART_MAX, &ret_filter->session) &&
           read_status(request, &ret_filter->status) &&
           read_filter_number(request, "limit", LIMIT_MAX, &ret_filter->limit) &&
           read_filter_number(request, "cursor", INT64_MAX, &ret_filter->before);
}

static void finish_filter(struct filter *filter) {
    free(filter->app);
    free(filter->user);
    free(filter->session);
}

static bool is_part(const char *wanted, const char *part, int length) {
    return wanted == NULL || (strlen(wanted) == (size_t)length && memcmp(wanted, part, (size_t)length) == 0);
}

static bool filter_matches(const struct request *request, const struct filter *filter, struct task *task) {
    struct session_parts parts = session_parts(task->session);
    if (!is_part(filter->app, parts.app, parts.app_length) ||
        !is_part(filter->user, parts.user, parts.user_length) ||
        !is_part(filter->session, parts.session, parts.session_length) ||
        !access_shows_session(request, task->session))
        return false;
    if (filter->status == TASK_STATUS_COUNT)
        return true;
    struct task_info info;
    task_get_info(task, &info);
    return info.status == filter->status;
}

struct page {
    struct json_writer json;
    int64_t written;
    int64_t scanned;
    uint64_t last; /* serial of the last one looked at */
    bool more;     /* there is one behind it that belongs to the next page, or might */
};

/* Looks at the next tasks. False: the page is done. */
static bool scan_batch(struct request *request, const struct filter *filter, struct page *page) {
    struct task *batch[BATCH];
    size_t count =
        task_table_list(broadcaster_tasks(request->context->broadcaster), page->last, batch, BATCH);
    for (size_t i = 0; i < count; i++) {
        bool wanted = !page->more && filter_matches(request, filter, batch[i]);
        if (wanted && page->written == filter->limit) {
            page->more = true;
        } else if (!page->more) {
            if (wanted)
                task_write(&page->json, NULL, &request->context->relay.caller->settings, batch[i]);
            page->written += wanted;
            page->last = batch[i]->serial;
        }
        task_unref(batch[i]);
    }
    page->scanned += (int64_t)count;
    bool at_end = count < BATCH;
    if (!at_end && page->scanned >= SCAN_MAX)
        page->more = true;
    return !at_end && !page->more;
}

void handle_task_list(struct request *request) {
    struct filter filter;
    if (read_filter(request, &filter)) {
        struct page page = {.last = (uint64_t)filter.before};
        char cursor[24];
        json_writer_init(&page.json, LIMIT_MAX * TASK_JSON_BYTES_MAX);
        json_begin_object(&page.json, NULL);
        json_begin_array(&page.json, "tasks");
        while (scan_batch(request, &filter, &page))
            /* cppcheck-suppress redundantContinue ; says that the body is empty on purpose */
            continue;
        json_end_array(&page.json);
        snprintf(cursor, sizeof(cursor), "%" PRIu64, page.last);
        json_add_string(&page.json, "next_cursor", page.more ? cursor : NULL);
        json_end_object(&page.json);
        reply_json(request, 200, &page.json);
    }
    finish_filter(&filter);
}

/* ---- cancelling many ----------------------------------------------------------------------------- */

/* Leaves those out that do not fit. Done once, before the first is cancelled: that gives its slot to another
 * one, whose status is not what it was any more. */
static size_t keep_matching(const struct request *request, const struct filter *filter, struct task **tasks,
                            size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (filter_matches(request, filter, tasks[i]))
            tasks[kept++] = tasks[i];
        else
            task_unref(tasks[i]);
    }
    return kept;
}

static bool is_pending(struct task *task) {
    struct task_info info;
    task_get_info(task, &info);
    return info.status == TASK_PENDING;
}

/* Cancels them and says how many had not ended. Those that wait go first, or they would get the slots of the
 * others. */
static size_t cancel_all(struct task **tasks, size_t count) {
    size_t cancelled = 0;
    for (size_t i = 0; i < count; i++)
        cancelled += is_pending(tasks[i]) && task_cancel(tasks[i], REASON_REQUESTED);
    for (size_t i = 0; i < count; i++)
        cancelled += task_cancel(tasks[i], REASON_REQUESTED);
    return cancelled;
}

static void reply_cancelled(struct request *request, size_t cancelled) {
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_bool(&json, "success", true);
    json_add_count(&json, "cancelled", cancelled);
    json_end_object(&json);
    reply_json(request, 200, &json);
}

/* A run that is cancelled has ended when task_cancel() returns, with its run.end in the log: there is nothing
 * to wait for. */
static void cancel_and_answer(struct request *request, const struct filter *filter) {
    size_t count;
    struct task **tasks = task_table_under_way(broadcaster_tasks(request->context->broadcaster), &count);
    if (tasks == NULL) {
        reply_no_memory(request);
        return;
    }
    count = keep_matching(request, filter, tasks, count);
    size_t cancelled = cancel_all(tasks, count);
    for (size_t i = 0; i < count; i++)
        task_unref(tasks[i]);
    free(tasks);
    log_info("runs_cancelled", LOG_INT("count", cancelled));
    reply_cancelled(request, cancelled);
}

/* Cancelling everything must be meant: it is not what is left of a filter that was forgotten. */
static bool check_extent(struct request *request, const struct filter *filter) {
    char *text;
    int result = request_query(request, "all", &text);
    bool is_all = text != NULL && strcmp(text, "true") == 0;
    bool is_fine = result == 0 && (text == NULL || is_all);
    free(text);
    if (!is_fine) {
        refuse_listing(request, "all", result);
        return false;
    }
    bool has_filter = filter->app != NULL || filter->user != NULL || filter->session != NULL ||
                      filter->status != TASK_STATUS_COUNT;
    if (!has_filter && !is_all)
        reply_error(request, 400, "filter_required",
                    "Select the runs to cancel by \"app\", \"user\", \"session\" or \"status\", or give "
                    "all=true.");
    return has_filter || is_all;
}

void handle_tasks_cancel(struct request *request) {
    struct filter filter = {0};
    if (read_filter(request, &filter) && check_extent(request, &filter))
        cancel_and_answer(request, &filter);
    finish_filter(&filter);
}
