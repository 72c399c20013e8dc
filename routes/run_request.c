/* What a client asks for when it starts a run: see run_request.h. */
#include "routes/run_request.h"

#include "routes/json_input.h"
#include "routes/path.h"
#include "routes/run_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what both kinds have in common -------------------------------------------------------------- */

static bool read_body(struct request *request, struct run_request *run) {
    const char *error;
    int result = json_input_read(request->body, request->body_length, &run->body, &error);
    if (result == -EINVAL)
        reply_error(request, 400, "invalid_json", "%s", error);
    else if (result < 0)
        reply_no_memory(request);
    return result == 0;
}

static bool read_idempotency_key(struct request *request, struct run_request *run) {
    const char *key = request_header(request, "Idempotency-Key");
    if (key == NULL)
        return true;
    size_t length = 0;
    while (key[length] > ' ' && key[length] < 0x7f)
        length++;
    if (length == 0 || length > IDEMPOTENCY_KEY_MAX || key[length] != '\0') {
        reply_error(request, 400, "invalid_idempotency_key",
                    "The Idempotency-Key must be 1 to %d visible ASCII characters.", IDEMPOTENCY_KEY_MAX);
        return false;
    }
    run->idempotency_key = key;
    run->body_hash = idempotency_hash(request->body, request->body_length);
    return true;
}

static void set_input(const struct request *request, struct run_request *run) {
    const struct upstream_settings *upstream = request->context->upstream;
    snprintf(run->session_key, sizeof(run->session_key), "%s/%s/%s", run->app, run->user, run->session);
    run->input.app = run->app;
    run->input.user = run->user;
    run->input.session = run->session;
    run->input.base_url = upstream->base_url;
    run->input.model = upstream->model;
    run->input.fields = run->body;
}

/* ---- POST S/run ---------------------------------------------------------------------------------- */

/* Takes a member out of the body; NULL: it has none of that name. */
static cJSON *take_out(struct run_request *run, size_t place, const char *name) {
    run->taken_out[place] = cJSON_DetachItemFromObjectCaseSensitive(run->body, name);
    return run->taken_out[place];
}

static bool has(const struct run_request *run, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(run->body, name) != NULL;
}

static bool read_text(struct request *request, struct run_request *run) {
    cJSON *message = take_out(run, 0, "message");
    cJSON *query = take_out(run, 1, "query");
    const cJSON *text = message != NULL ? message : query;
    const struct adapter *adapter = request->context->upstream->adapter;
    const char *own = adapter == &adapter_adk ? "newMessage" : adapter == &adapter_openai ? "messages" : NULL;
    if (text == NULL)
        return true;
    run->input.text = cJSON_GetStringValue(text);
    const char *error = NULL;
    if (message != NULL && query != NULL)
        error = "\"message\" and \"query\" cannot both be given";
    else if (run->input.text == NULL)
        error = "\"message\" or \"query\" must be a text";
    else if (own != NULL && has(run, own))
        error = "the message cannot be given twice, in the agent's own form as well";
    if (error != NULL)
        reply_error(request, 400, "invalid_message", "In the body, %s.", error);
    return error == NULL;
}

static bool read_options(struct request *request, struct run_request *run) {
    struct run_options_error error;
    const cJSON *gateway = take_out(run, 2, "gateway");
    int differ = json_input_names_differ(gateway);
    if (differ < 0)
        reply_no_memory(request);
    else if (differ == 0)
        reply_error(request, 400, "invalid_option", "A gateway option is given twice.");
    else if (!run_options_read(gateway, request->context->settings->run_timeout_ms, &run->options, &error))
        reply_error(request, 400, error.code, "%s", error.message);
    else if (gateway == NULL) {
        run->input.raw = request->body;
        run->input.raw_length = request->body_length;
    }
    return request->reply.kind == REPLY_NONE;
}

bool run_request_read(struct request *request, struct run_request *ret_run) {
    *ret_run = (struct run_request){0};
    memcpy(ret_run->app, request->app, sizeof(ret_run->app));
    memcpy(ret_run->user, request->user, sizeof(ret_run->user));
    memcpy(ret_run->session, request->session, sizeof(ret_run->session));
    if (!read_body(request, ret_run) || !read_idempotency_key(request, ret_run))
        return false;
    set_input(request, ret_run);
    return read_options(request, ret_run) && read_text(request, ret_run);
}

/* ---- POST /run_sse ------------------------------------------------------------------------------- */

/* Reads one of the names that say whose session it is, in either of the spellings that ADK takes. */
static bool read_name(struct request *request, const struct run_request *run, const char *camel,
                      const char *snake, char out[SESSION_PART_MAX + 1]) {
    const cJSON *one = cJSON_GetObjectItemCaseSensitive(run->body, camel);
    const cJSON *other = cJSON_GetObjectItemCaseSensitive(run->body, snake);
    const char *name = cJSON_GetStringValue(one != NULL ? one : other);
    if (one != NULL && other != NULL)
        reply_error(request, 400, "invalid_body", "\"%s\" and \"%s\" cannot both be given.", camel, snake);
    else if (name == NULL || !path_name_is_valid(name))
        reply_error(request, 400, "invalid_body",
                    "\"%s\" must be 1 to %d bytes of letters, digits and ._~@:+-.", camel, SESSION_PART_MAX);
    else
        snprintf(out, SESSION_PART_MAX + 1, "%s", name);
    return request->reply.kind == REPLY_NONE;
}

bool run_request_read_adk(struct request *request, struct run_request *ret_run) {
    *ret_run = (struct run_request){
        .unchanged = true, .options = run_options_default(request->context->settings->run_timeout_ms)};
    if (!read_body(request, ret_run) || !read_idempotency_key(request, ret_run) ||
        !read_name(request, ret_run, "appName", "app_name", ret_run->app) ||
        !read_name(request, ret_run, "userId", "user_id", ret_run->user) ||
        !read_name(request, ret_run, "sessionId", "session_id", ret_run->session))
        return false;
    if (has(ret_run, "gateway")) {
        reply_error(request, 400, "unsupported_option",
                    "Gateway options are taken by POST /apps/{app}/users/{user}/sessions/{session}/run.");
        return false;
    }
    set_input(request, ret_run);
    ret_run->input.raw = request->body;
    ret_run->input.raw_length = request->body_length;
    return true;
}

/* ---- for the upstream ---------------------------------------------------------------------------- */

static char *copy_raw(const struct adapter_input *input, size_t *ret_length) {
    char *copy = malloc(input->raw_length + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, input->raw, input->raw_length);
    copy[input->raw_length] = '\0';
    *ret_length = input->raw_length;
    return copy;
}

/* Whether numbers of the client's body come out as others in what is sent. */
static bool alters_numbers(const struct request *request, const struct upstream_run *upstream) {
    bool same = upstream->body_length == request->body_length &&
                memcmp(upstream->body, request->body, request->body_length) == 0;
    return !same && json_input_has_inexact_number(request->body, request->body_length);
}

bool run_request_build(struct request *request, const struct run_request *run,
                       struct upstream_run *ret_upstream) {
    const struct adapter *adapter = request->context->upstream->adapter;
    const char *error = NULL;
    struct upstream_run upstream = {.adapter = adapter};
    upstream.body = run->unchanged ? copy_raw(&run->input, &upstream.body_length)
                                   : adapter->run_body(&run->input, &upstream.body_length, &error);
    upstream.url = adapter->run_url(&run->input);
    if (adapter->session_url != NULL)
        upstream.session_url = adapter->session_url(&run->input);
    bool has_session = adapter->session_url == NULL || upstream.session_url != NULL;
    if (error != NULL)
        reply_error(request, 400, "invalid_message", "%s", error);
    else if (upstream.body == NULL || upstream.url == NULL || !has_session)
        reply_no_memory(request);
    else if (alters_numbers(request, &upstream))
        reply_error(request, 400, "inexact_number",
                    "The body holds a number that cannot be passed on without a change.");
    if (request->reply.kind != REPLY_NONE) {
        upstream_run_finish(&upstream);
        return false;
    }
    *ret_upstream = upstream;
    return true;
}

void run_request_finish(struct run_request *run) {
    for (size_t i = 0; i < sizeof(run->taken_out) / sizeof(run->taken_out[0]); i++)
        cJSON_Delete(run->taken_out[i]);
    cJSON_Delete(run->body);
}
