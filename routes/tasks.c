/* Runs as a resource: GET and DELETE /tasks and /tasks/{id}, GET S/task-status and /task-status.
 *
 * A run is one JSON object, in a list as alone; alone it has the user's input, too, which may be long and
 * is then written a piece at a time (json_answer.h). A list looks at a bounded number of runs or sessions
 * and says that there may be more: `next_cursor`, or `truncated`. */
#include "base/json_writer.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "routes/access.h"
#include "routes/await.h"
#include "routes/handlers.h"
#include "routes/json_answer.h"
#include "routes/path.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a run as JSON ------------------------------------------------------------------------------- */

/* Bytes that one task's JSON never exceeds, its input aside. */
#define TASK_JSON_BYTES_MAX (8 * 1024)
/* A longer input is written a piece at a time: one of 1 MiB takes six times as much, and up to 0.2 s. */
#define INPUT_AT_ONCE_MAX 4096

static void write_names(struct json_writer *json, const struct task *task) {
    struct session_parts parts = session_parts(task->session);
    json_add_text(json, "app_name", parts.app, (size_t)parts.app_length);
    json_add_text(json, "user_id", parts.user, (size_t)parts.user_length);
    json_add_text(json, "session_id", parts.session, (size_t)parts.session_length);
    json_add_string(json, "label", task->options.label[0] != '\0' ? task->options.label : NULL);
    json_add_number(json, "priority", task->options.priority);
    json_add_string(json, "trace_id", task->trace_id[0] != '\0' ? task->trace_id : NULL);
}

static void write_delay(struct json_writer *json, const char *name, int64_t delay_ms) {
    if (delay_ms < 0)
        json_add_null(json, name);
    else
        json_add_number(json, name, delay_ms);
}

/* 0 is that there is none. */
static void write_counter(struct json_writer *json, const char *name, uint64_t value) {
    if (value > 0)
        json_add_count(json, name, value);
    else
        json_add_null(json, name);
}

static void write_id(struct json_writer *json, const char *name, struct event_id id) {
    char text[EVENT_ID_SIZE];
    event_id_format(id, text);
    json_add_string(json, name, id.ms != 0 ? text : NULL);
}

static void write_outcome(struct json_writer *json, const struct task_outcome *outcome) {
    json_add_string(json, "finish_reason", outcome->finish_reason[0] != '\0' ? outcome->finish_reason : NULL);
    if (outcome->has_usage) {
        json_begin_object(json, "usage");
        json_add_count(json, "input_tokens", outcome->input_tokens);
        json_add_count(json, "output_tokens", outcome->output_tokens);
        json_add_count(json, "total_tokens", outcome->total_tokens);
        json_end_object(json);
    } else {
        json_add_null(json, "usage");
    }
    json_add_string(json, "warning", outcome->warning[0] != '\0' ? outcome->warning : NULL);
}

static void write_progress(struct json_writer *json, const struct task *task, const struct task_info *info) {
    json_add_time(json, "created_at", task->created_unix_ms);
    json_add_time(json, "started_at", info->started_unix_ms);
    json_add_time(json, "ended_at", info->ended_unix_ms);
    json_add_number(json, "delay_ms", task->options.delay_ms);
    json_add_number(json, "queue_wait_ms", info->queue_wait_ms);
    json_add_number(json, "duration_ms", info->duration_ms);
    write_delay(json, "execution_delay_ms", info->execution_delay_ms);
    write_delay(json, "first_event_delay_ms", info->first_event_delay_ms);
    json_add_count(json, "events", info->events);
    json_add_count(json, "bytes", info->bytes);
    write_counter(json, "upstream_status", (uint64_t)info->http_status);
    write_counter(json, "tokens", atomic_load(&task->tokens));
    json_add_count(json, "retries", atomic_load(&task->retries));
    json_add_bool(json, "cached", atomic_load(&task->cached));
    json_add_bool(json, "canned", atomic_load(&task->canned));
    write_id(json, "first_event_id", info->start_id);
    write_id(json, "last_event_id", info->end_id);
}

/* Leaves the object open. */
static void begin_task(struct json_writer *json, const char *name, const struct upstreams_settings *upstreams,
                       struct task *task) {
    struct task_info info;
    char stream_url[TASK_ID_SIZE + 16];
    task_get_info(task, &info);
    snprintf(stream_url, sizeof(stream_url), "/tasks/%s/events", task->id);
    json_begin_object(json, name);
    json_add_string(json, "task_id", task->id);
    write_names(json, task);
    json_add_string(json, "status", task_status_name(info.status));
    json_add_string(json, "reason", task_reason_name(info.reason));
    json_add_string(json, "cause", info.cause);
    json_add_string(json, "message", info.message[0] != '\0' ? info.message : NULL);
    json_add_string(json, "upstream", upstreams->items[atomic_load(&task->upstream)].name);
    write_outcome(json, &info.outcome);
    write_progress(json, task, &info);
    json_add_string(json, "stream_url", stream_url);
}

static void write_task(struct json_writer *json, const char *name, const struct upstreams_settings *upstreams,
                       struct task *task) {
    begin_task(json, name, upstreams, task);
    json_end_object(json);
}

/* ---- with its input ------------------------------------------------------------------------------ */

/* The same escapes as in run.start: six bytes for one at most. */
static void reply_at_once(struct request *request, struct task *task) {
    const struct task_input *input = &task->options.input;
    struct json_writer json;
    json_writer_init(&json, TASK_JSON_BYTES_MAX + (size_t)6 * INPUT_AT_ONCE_MAX);
    begin_task(&json, NULL, &request->context->relay.upstream_worker->settings, task);
    if (input->text != NULL)
        json_add_text(&json, "input", input->text, input->length);
    else
        json_add_null(&json, "input");
    json_add_bool(&json, "input_truncated", input->is_cut);
    json_end_object(&json);
    reply_json(request, 200, &json);
}

struct task_answer {
    struct json_answer answer;
    struct task *task; /* a reference */
    struct buffer input;
    size_t input_written;
    bool begun;
};

static bool task_make(struct json_answer *answer) {
    struct task_answer *own = CONTAINER_OF(answer, struct task_answer, answer);
    struct json_writer *json = &answer->json;
    if (!own->begun) {
        begin_task(json, NULL, &answer->request->context->relay.upstream_worker->settings, own->task);
        json_begin_text(json, "input");
        own->begun = true;
    }
    if (!json_answer_write_text(answer, &own->input, &own->input_written))
        return true;
    json_end_text(json);
    json_add_bool(json, "input_truncated", own->task->options.input.is_cut);
    json_end_object(json);
    return false;
}

static void task_answer_destroy(struct json_answer *answer) {
    struct task_answer *own = CONTAINER_OF(answer, struct task_answer, answer);
    task_unref(own->task);
    memory_release(MEMORY_ANSWERS, sizeof(*own));
    free(own);
}

static void reply_in_pieces(struct request *request, struct task *task) {
    static const struct json_answer_operations operations = {.make = task_make,
                                                             .destroy = task_answer_destroy};
    struct task_answer *own = calloc(1, sizeof(*own));
    if (own == NULL) {
        reply_no_memory(request);
        return;
    }
    memory_charge(MEMORY_ANSWERS, sizeof(*own));
    own->task = task_ref(task);
    own->input = (struct buffer){.bytes = task->input, .length = task->options.input.length}; /* the task's */
    json_answer_start(&own->answer, request, &operations);
}

static void reply_task(struct request *request, struct task *task) {
    if (task->options.input.length > INPUT_AT_ONCE_MAX)
        reply_in_pieces(request, task);
    else
        reply_at_once(request, task);
}

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
    await_end(request, task, wait_ms, reply_task);
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
                write_task(&page->json, NULL, &request->context->relay.upstream_worker->settings, batch[i]);
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

/* ---- which runs the sessions have ---------------------------------------------------------------- */

#define STATUS_LISTED_MAX 1000
#define STATUS_VISITED_MAX 20000
#define STATUS_JSON_BYTES_MAX 2048 /* a quote or a backslash takes two bytes */

static void write_status(struct json_writer *json, struct task *task) {
    struct task_info info = {0};
    if (task != NULL)
        task_get_info(task, &info);
    json_add_string(json, "task_id", task != NULL ? task->id : NULL);
    json_add_string(json, "status", task != NULL ? task_status_name(info.status) : NULL);
    json_add_bool(json, "cancelled", task != NULL && info.status == TASK_CANCELLED);
}

/* ---- one session--------------------------------------------------------------------------------- */

void handle_status_session(struct request *request) {
    struct session *session = access_find_session(request);
    bool current;
    struct task *task = session != NULL ? broadcaster_session_task(session, &current) : NULL;
    struct json_writer json;
    json_writer_init(&json, STATUS_JSON_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_string(&json, "session_id", request->session);
    json_add_bool(&json, "has_task", task != NULL);
    write_status(&json, task);
    json_end_object(&json);
    reply_json(request, 200, &json);
    task_unref(task);
    session_unref(session);
}

/* ---- all sessions -------------------------------------------------------------------------------- */

struct status_list {
    const struct request *request;
    struct json_writer json;
    size_t listed, visited;
    bool truncated;
};

static bool visit_status(void *context, struct session *session) {
    struct status_list *listing = context;
    bool current, shows = access_shows_session(listing->request, session);
    struct task *task = shows ? broadcaster_session_task(session, &current) : NULL;
    listing->truncated =
        ++listing->visited > STATUS_VISITED_MAX || (task != NULL && listing->listed == STATUS_LISTED_MAX);
    if (task != NULL && !listing->truncated) {
        json_begin_object(&listing->json, session->key);
        write_status(&listing->json, task);
        json_end_object(&listing->json);
        listing->listed++;
    }
    task_unref(task);
    return !listing->truncated;
}

void handle_status_all(struct request *request) {
    struct broadcaster *broadcaster = request->context->broadcaster;
    struct broadcaster_stats stats;
    broadcaster_get_stats(broadcaster, &stats);
    struct status_list listing = {.request = request};
    json_writer_init(&listing.json, (STATUS_LISTED_MAX + 1) * STATUS_JSON_BYTES_MAX);
    json_begin_object(&listing.json, NULL);
    json_add_count(&listing.json, "total_tasks", stats.tasks);
    json_add_count(&listing.json, "running_tasks", stats.runs);
    json_begin_object(&listing.json, "sessions");
    broadcaster_for_each_session(broadcaster, visit_status, &listing);
    json_end_object(&listing.json);
    if (listing.truncated)
        json_add_bool(&listing.json, "truncated", true);
    json_end_object(&listing.json);
    reply_json(request, 200, &listing.json);
}
