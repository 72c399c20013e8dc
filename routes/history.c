/* The newest retained events of a session: GET S/history. */
#include "routes/event_list.h"
#include "routes/handlers.h"
#include "routes/session_access.h"

#include <errno.h>

#define LIMIT_DEFAULT 50
#define LIMIT_MAX 1000
#define HEAD_BYTES_MAX 1024

static void reply_history(struct request *request, struct session *session, size_t limit) {
    struct event_list events;
    if (!event_list_take(session, limit, &events)) {
        reply_no_memory(request);
        return;
    }
    struct json_writer json;
    json_writer_init(&json, HEAD_BYTES_MAX + event_list_json_max(&events));
    json_begin_object(&json, NULL);
    json_add_string(&json, "session_id", request->session);
    event_list_write(&events, true, &json, "events");
    json_end_object(&json);
    event_list_finish(&events);
    reply_json(request, 200, &json);
}

void handle_history(struct request *request) {
    int64_t limit = LIMIT_DEFAULT;
    int result = request_query_number(request, "limit", 1, LIMIT_MAX, &limit);
    struct session *session = result == 0 ? session_find(request) : NULL;
    if (result == -ENOMEM)
        reply_no_memory(request);
    else if (result < 0)
        reply_error(request, 400, "invalid_query", "\"limit\" must be a whole number from 1 to %d.",
                    LIMIT_MAX);
    else if (session == NULL)
        reply_error(request, 404, "unknown_session", "There is no such session here.");
    else
        reply_history(request, session, (size_t)limit);
    session_unref(session);
}
