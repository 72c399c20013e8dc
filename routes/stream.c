/* Event streams: GET S/run, GET /tasks/{id}/events, and the stream that answers a POST.
 *
 * The head of a stream is a promise. So all that a stream needs is taken before its answer is decided:
 * first a descriptor, then a place among the subscribers of the session. A run that is answered by its own
 * stream has its place before it is registered, and the place is aimed at the run afterwards. The listener
 * sends the head, and then hands the connection over to the subscriber. */
#include "routes/stream.h"

#include "base/metrics.h"
#include "broadcaster/subscriber.h"
#include "routes/access.h"
#include "routes/handlers.h"
#include "routes/refusal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is asked for --------------------------------------------------------------------------- */

/* The id of the query, by either of its names. False: the reply is decided. */
static bool read_query_id(struct request *request, char **ret_text) {
    char *text, *other = NULL;
    *ret_text = NULL;
    int result = request_query(request, "last_event_id", &text);
    if (result == 0)
        result = request_query(request, "lastEventId", &other); /* as two polyfills call it */
    bool differ = text != NULL && other != NULL && strcmp(text, other) != 0;
    if (result == -ENOMEM)
        reply_no_memory(request);
    else if (differ)
        reply_error(request, 400, "invalid_query",
                    "The query parameters \"last_event_id\" and \"lastEventId\" have different values.");
    if (result == -ENOMEM || differ) {
        free(text);
        free(other);
        return false;
    }
    *ret_text = text != NULL ? text : other;
    if (text != NULL)
        free(other);
    return true;
}

/* Last-Event-ID: what the client saw last wins over what its address was made with. What is no id is none. */
static bool read_last_id(struct request *request, struct subscriber_spec *spec) {
    const char *header = request_header(request, "Last-Event-ID");
    char *text;
    if (!read_query_id(request, &text))
        return false;
    spec->resume = (header != NULL && event_id_parse(header, &spec->last_id)) ||
                   (text != NULL && event_id_parse(text, &spec->last_id));
    free(text);
    return true;
}

/* The place of a query parameter's value among `words`; 0 if it is not there. False: the reply is decided. */
static bool read_parameter_word(struct request *request, const char *name, const char *const *words,
                                int *ret_place) {
    char *text;
    int result = request_query(request, name, &text);
    if (result == -ENOMEM) {
        reply_no_memory(request);
        return false;
    }
    *ret_place = 0;
    if (result == 0 && text == NULL)
        return true;
    while (text != NULL && words[*ret_place] != NULL && strcmp(words[*ret_place], text) != 0)
        ++*ret_place;
    bool found = text != NULL && words[*ret_place] != NULL;
    free(text);
    if (!found)
        reply_error(request, 400, "invalid_query", "The query parameter \"%s\" has an invalid value.", name);
    return found;
}

bool stream_read_form(struct request *request, struct stream_form *ret_form) {
    static const char *const events_words[] = {"all", "agent", NULL};
    static const char *const heartbeat_words[] = {"comment", "event", NULL};
    int events, heartbeat;
    if (!read_parameter_word(request, "events", events_words, &events) ||
        !read_parameter_word(request, "heartbeat", heartbeat_words, &heartbeat))
        return false;
    *ret_form = (struct stream_form){.agent_only = events == 1, .pings = heartbeat == 1};
    return true;
}

static bool read_spec(struct request *request, struct subscriber_spec *ret_spec) {
    static const char *const from_words[] = {
        [SUBSCRIBE_FROM_RUN] = "run", [SUBSCRIBE_FROM_START] = "start", [SUBSCRIBE_FROM_NOW] = "now", NULL};
    static const char *const until_words[] = {"", "run", NULL};
    static const char *const wait_words[] = {"true", "false", NULL};
    struct stream_form form;
    int from, until, wait;
    *ret_spec = (struct subscriber_spec){.address = request->address};
    if (!stream_read_form(request, &form) || !read_parameter_word(request, "from", from_words, &from) ||
        !read_parameter_word(request, "until", until_words, &until) ||
        !read_parameter_word(request, "wait", wait_words, &wait))
        return false;
    ret_spec->from = (enum subscriber_from)from;
    ret_spec->until_run = until == 1;
    ret_spec->agent_framing = form.agent_only;
    ret_spec->pings = form.pings;
    ret_spec->expects_now = wait == 1;
    return read_last_id(request, ret_spec);
}

/* ---- the answer ---------------------------------------------------------------------------------- */

void stream_refuse_gone(struct request *request) {
    reply_error(request, 404, "events_not_retained", "The events of this run are no longer retained.");
}

static void log_stream_refusal(struct request *request) {
    refusal_log(request, LOG_LEVEL_INFO, "subscriber_refused", LOG_STR("path", request->path),
                LOG_STR("reason", request->reply.code), LOG_INT("status", request->reply.status));
}

static void refuse_stream(struct request *request, enum subscriber_result result) {
    const struct broadcaster_limits *limits = broadcaster_limits(request->context->broadcaster);
    switch (result) {
    case SUBSCRIBER_COMPLETE:
        reply_empty(request, 204);
        return;
    case SUBSCRIBER_GONE:
        stream_refuse_gone(request);
        return;
    case SUBSCRIBER_SESSION_FULL:
        reply_limit(request, 429, "too_many_session_subscribers",
                    "The subscriber limit of this session has been reached", "subscribers_per_session_max",
                    atomic_load(&limits->subscribers_per_session_max), NULL);
        break;
    case SUBSCRIBER_FULL:
        reply_limit(request, 429, "too_many_subscribers", "The subscriber limit has been reached",
                    "subscribers_max", atomic_load(&limits->subscribers_max), NULL);
        break;
    case SUBSCRIBER_WAITING_FULL:
        reply_limit(request, 429, "too_many_waiting",
                    "The limit of subscribers that wait for a session which is not open yet has been reached",
                    "subscribers_waiting_max", atomic_load(&limits->subscribers_waiting_max), NULL);
        break;
    case SUBSCRIBER_ADDRESS_FULL:
        reply_limit(request, 429, "too_many_waiting_of_address",
                    "Too many subscribers of your address wait for sessions which are not open yet",
                    "subscribers_waiting_per_address_max",
                    atomic_load(&limits->subscribers_waiting_per_address_max), NULL);
        break;
    case SUBSCRIBER_DRAINING:
        reply_error(request, 503, "draining", "The gateway is shutting down and opens no streams.");
        return;
    case SUBSCRIBER_CLOSED:
        reply_error(request, 503, "session_closing",
                    "The session keeps being closed by other requests; try again.");
        break;
    case SUBSCRIBER_NO_MEMORY:
    case SUBSCRIBER_OK:
        reply_no_memory(request);
    }
    log_stream_refusal(request);
}

static bool refuse_draining(struct request *request) {
    if (!broadcaster_is_draining(request->context->broadcaster))
        return false;
    reply_error(request, 503, "draining", "The gateway is shutting down and opens no streams.");
    return true;
}

/* Before there is a subscriber: the head of a stream is a promise. */
static bool reserve_place(struct request *request) {
    if (request->operations->reserve_stream == NULL || request->operations->reserve_stream(request))
        return true;
    metrics_add(METRIC_SUBSCRIBERS_REFUSED, 1);
    reply_header(request, "Connection", "close"); /* that gives one back */
    reply_error(request, 503, "no_descriptors", "The gateway has no descriptor left for a stream.");
    log_stream_refusal(request);
    return false;
}

bool stream_take_place(struct request *request, struct session *session, struct subscriber **ret_subscriber) {
    const struct subscriber_spec spec = {
        .from = SUBSCRIBE_FROM_NOW, .stays = true, .address = request->address};
    if (!reserve_place(request))
        return false;
    enum subscriber_result result = subscriber_prepare(session, &spec, ret_subscriber);
    if (result != SUBSCRIBER_OK)
        refuse_stream(request, result);
    return result == SUBSCRIBER_OK;
}

bool stream_reply_run(struct request *request, struct task *task, enum stream_kind kind,
                      const struct stream_form *form, struct subscriber *subscriber) {
    struct subscriber_spec spec = {.run = task,
                                   .agent_framing = form->agent_only,
                                   .pings = form->pings,
                                   .stays = kind != STREAM_RESUMED};
    if ((kind == STREAM_RESUMED && !read_last_id(request, &spec)) || !reserve_place(request)) {
        subscriber_release(subscriber);
        return false;
    }
    bool has_place = subscriber != NULL;
    enum subscriber_result result =
        has_place ? subscriber_aim(subscriber, &spec) : subscriber_prepare(task->session, &spec, &subscriber);
    if (result == SUBSCRIBER_OK) {
        reply_stream(request, subscriber, !form->is_bare);
        return true;
    }
    if (has_place)
        subscriber_release(subscriber);
    if (result == SUBSCRIBER_COMPLETE && request->method == METHOD_POST)
        reply_stream(request, NULL,
                     false); /* clients that POST take 204 for a failure, and ask again for ever */
    else
        refuse_stream(request, result);
    return false;
}

/* ---- the handlers -------------------------------------------------------------------------------- */

/* One that must not wait for its session: none is made for it. */
static enum subscriber_result prepare_now(struct request *request, const struct subscriber_spec *spec,
                                          struct subscriber **ret_subscriber) {
    struct session *session = access_find_session(request);
    enum subscriber_result result =
        session != NULL ? subscriber_prepare(session, spec, ret_subscriber) : SUBSCRIBER_COMPLETE;
    session_unref(session);
    return result == SUBSCRIBER_CLOSED ? SUBSCRIBER_COMPLETE : result;
}

/* A session that is not open yet is waited for. */
static void subscribe_request(struct request *request, const struct subscriber_spec *spec) {
    struct subscriber *subscriber;
    if (!reserve_place(request))
        return;
    enum subscriber_result result = spec->expects_now ? prepare_now(request, spec, &subscriber)
                                                      : access_await_session(request, spec, &subscriber);
    if (result == SUBSCRIBER_OK)
        reply_stream(request, subscriber, true);
    else
        refuse_stream(request, result);
}

void handle_stream_session(struct request *request) {
    struct subscriber_spec spec;
    if (refuse_draining(request) || !read_spec(request, &spec))
        return;
    if (request->head)
        reply_stream(request, NULL, false);
    else
        subscribe_request(request, &spec);
}

void handle_stream_task(struct request *request) {
    struct stream_form form;
    struct task *task = access_find_task(request);
    if (task == NULL || refuse_draining(request) || !stream_read_form(request, &form)) {
        task_unref(task);
        return;
    }
    if (request->head)
        reply_stream(request, NULL, false);
    else
        stream_reply_run(request, task, STREAM_RESUMED, &form, NULL);
    task_unref(task);
}
