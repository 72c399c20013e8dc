/* The newest retained events of a session: GET S/history. */
#include "base/memory_budget.h"
#include "routes/access.h"
#include "routes/event_list.h"
#include "routes/handlers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 50
#define LIMIT_MAX 1000

struct history {
    struct json_answer answer;
    struct event_list events;
    bool begun;
    char session[SESSION_PART_MAX + 1];
};

static bool history_make(struct json_answer *answer) {
    struct history *history = CONTAINER_OF(answer, struct history, answer);
    struct json_writer *json = &answer->json;
    if (!history->begun) {
        json_begin_object(json, NULL);
        json_add_string(json, "session_id", history->session);
        json_begin_array(json, "events");
        history->begun = true;
    }
    if (!event_list_write(&history->events, answer))
        return true;
    json_end_array(json);
    json_add_bool(json, "complete", !history->events.lost);
    json_end_object(json);
    return false;
}

static void history_destroy(struct json_answer *answer) {
    struct history *history = CONTAINER_OF(answer, struct history, answer);
    event_list_finish(&history->events);
    memory_release(MEMORY_ANSWERS, sizeof(*history));
    free(history);
}

static void reply_history(struct request *request, struct session *session, uint64_t limit) {
    static const struct json_answer_operations operations = {.make = history_make,
                                                             .destroy = history_destroy};
    struct history *history = calloc(1, sizeof(*history));
    if (history == NULL) {
        reply_no_memory(request);
        return;
    }
    memory_charge(MEMORY_ANSWERS, sizeof(*history));
    event_list_init(&history->events, session, broadcaster_newest_events(session, limit));
    history->events.with_source = true;
    memcpy(history->session, request->session, sizeof(history->session));
    json_answer_start(&history->answer, request, &operations);
}

void handle_history(struct request *request) {
    int64_t limit = LIMIT_DEFAULT;
    int result = request_query_number(request, "limit", 1, LIMIT_MAX, &limit);
    struct session *session = result == 0 ? access_find_session(request) : NULL;
    if (result == -ENOMEM)
        reply_no_memory(request);
    else if (result < 0)
        reply_error(request, 400, "invalid_query", "\"limit\" must be a whole number from 1 to %d.",
                    LIMIT_MAX);
    else if (session == NULL)
        reply_error(request, 404, "unknown_session", "There is no such session.");
    else
        reply_history(request, session, (uint64_t)limit);
    session_unref(session);
}
