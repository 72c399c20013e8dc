/* What a client asks for when it starts a run: see run_request.h. */
#include "routes/run_request.h"

#include "base/hash.h"
#include "routes/access.h"
#include "routes/adk_body.h"
#include "routes/header_value.h"
#include "routes/json_body.h"
#include "routes/json_input.h"
#include "routes/run_input.h"
#include "routes/run_options.h"
#include "routes/upstream_choice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what both kinds have in common -------------------------------------------------------------- */

/* Whether the request repeats another one, and which. False: the reply is decided. */
static bool read_repetition(struct request *request, struct run_request *run) {
    const char *key = request_header(request, "Idempotency-Key");
    const char *last_id = request_header(request, "Last-Event-ID");
    run->body_hash = hash_bytes(request->body, request->body_length);
    run->continues = run->has_stream && last_id != NULL && event_id_parse(last_id, &run->last_id);
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
    return true;
}

/* Several headers of one name count as one with commas between them. */
static void read_trace(const struct request *request, struct trace *ret_trace) {
    char *traceparent = request_header_joined(request, "traceparent");
    char *tracestate = request_header_joined(request, "tracestate");
    trace_read(ret_trace, &request->context->settings->trace, traceparent, tracestate);
    free(traceparent);
    free(tracestate);
}

/* Whose run it is, for the upstream, and which upstream that is. False: the reply is decided. */
static bool set_run_input(struct request *request, struct run_request *run) {
    run->input.app = request->app;
    run->input.user = request->user;
    run->input.session = request->session;
    run->input.task = run->task_id;
    run->input.fields = run->body;
    run->choice = upstream_choose_for_run(request, request->app, request->session_key);
    run->upstream = run->choice.index;
    read_trace(request, &run->trace);
    if (run->upstream != UPSTREAM_NONE && !task_make_id(run->task_id))
        reply_no_memory(request);
    return request->reply.kind == REPLY_NONE;
}

/* ---- POST S/run ---------------------------------------------------------------------------------- */

/* Takes a member out of the body; NULL: it has none of that name. */
static cJSON *take_out(struct run_request *run, size_t place, const char *name) {
    run->taken_out[place] = cJSON_DetachItemFromObjectCaseSensitive(run->body, name);
    return run->taken_out[place];
}

static bool has_option(const struct run_request *run, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(run->body, name) != NULL;
}

static bool read_text(struct request *request, struct run_request *run) {
    cJSON *message = take_out(run, 0, "message");
    cJSON *query = take_out(run, 1, "query");
    const cJSON *text = message != NULL ? message : query;
    const char *const *own = upstream_at(request, run->upstream)->adapter->message_members;
    size_t messages = text != NULL ? 1 : 0;
    for (; *own != NULL; own++)
        messages += has_option(run, *own);
    run->input.text = cJSON_GetStringValue(text);
    const char *error = NULL;
    if (message != NULL && query != NULL)
        error = "\"message\" and \"query\" cannot both be given";
    else if (text != NULL && run->input.text == NULL)
        error = "\"message\" or \"query\" must be a text";
    else if (messages > 1)
        error = "the message cannot be given twice";
    if (error != NULL)
        reply_error(request, 400, "invalid_message", "In the body, %s.", error);
    return error == NULL;
}

/* An option at the wrong place would be passed on, and do nothing. */
static bool refuse_misplaced(struct request *request, const struct run_request *run, bool reads_no_options) {
    const char *name = run_options_find_misplaced(run->body, reads_no_options);
    if (name != NULL)
        reply_error(request, 400, "misplaced_option",
                    "\"%s\" is an option of the gateway: it goes into the member \"gateway\".", name);
    return name != NULL;
}

/* `on_disconnect` is what the route has by default. The header changes it, and the body has the last word. */
static bool read_options(struct request *request, struct run_request *run, enum on_disconnect on_disconnect) {
    const struct routes_settings *settings = request->context->settings;
    const char *header = request_header(request, RUN_ON_DISCONNECT_HEADER);
    struct run_options_error error;
    const cJSON *gateway = take_out(run, 2, "gateway");
    int differ = json_input_names_differ(gateway);
    run->options = run_options_default(request->context->relay.settings->run_timeout_ms);
    run->options.on_disconnect = on_disconnect;
    run->options.body_hash = run->body_hash;
    run->options.disconnect_grace_ms = settings->disconnect_grace_ms;
    if (differ < 0)
        reply_no_memory(request);
    else if (differ == 0)
        reply_error(request, 400, "invalid_option", "A gateway option is given twice.");
    else if ((header != NULL && !run_options_read_header(header, &run->options, &error)) ||
             !run_options_read(gateway, &run->options, &error))
        reply_error(request, 400, error.code, "%s", error.message);
    return request->reply.kind == REPLY_NONE;
}

bool run_request_read(struct request *request, struct run_request *ret_run) {
    *ret_run = (struct run_request){
        .has_stream = header_accepts(request_header(request, "Accept"), "text/event-stream")};
    if (!stream_read_form(request, &ret_run->form))
        return false;
    /* The form of a stream asks for one, too: not all SDKs say in Accept what they read. */
    if (ret_run->form.agent_only || ret_run->form.pings)
        ret_run->has_stream = true;
    /* Whose run it is, the path says: the upstream may not find another answer in the body, however it reads
     * names. */
    if (!json_body_read(request, &ret_run->body) || adk_body_refuse_identity(request, ret_run->body, NULL) ||
        !read_repetition(request, ret_run))
        return false;
    if (!has_option(ret_run, "gateway")) {
        ret_run->input.raw = request->body;
        ret_run->input.raw_length = request->body_length;
    }
    if (!set_run_input(request, ret_run) ||
        refuse_misplaced(request, ret_run,
                         upstream_at(request, ret_run->upstream)->adapter->reads_no_options))
        return false;
    return read_options(request, ret_run, ON_DISCONNECT_CONTINUE) && read_text(request, ret_run) &&
           run_input_read(request, ret_run);
}

/* ---- POST /run_sse ------------------------------------------------------------------------------- */

static bool set_raw(struct request *request, struct run_request *run) {
    run->input.raw = request->body;
    run->input.raw_length = request->body_length;
    if (!adk_body_make_text(request, run->body, request->app, true, &run->own_raw, &run->input.raw_length))
        reply_no_memory(request);
    else if (run->own_raw != NULL)
        run->input.raw = run->own_raw;
    return request->reply.kind == REPLY_NONE;
}

bool run_request_read_adk(struct request *request, struct run_request *ret_run) {
    struct passed_owner owner;
    *ret_run = (struct run_request){
        .unchanged = true, .has_stream = true, .form = {.agent_only = true, .is_bare = true}};
    if (!json_body_read(request, &ret_run->body) || !adk_body_read_owner(request, ret_run->body, &owner) ||
        !access_enter(request, &owner) || !read_repetition(request, ret_run))
        return false;
    if (refuse_misplaced(request, ret_run, true) || !set_raw(request, ret_run) ||
        !set_run_input(request, ret_run) ||
        !read_options(request, ret_run, request->context->settings->run_sse_on_disconnect))
        return false;
    bool is_adk = upstream_at(request, ret_run->upstream)->adapter->serves_adk_api;
    if (!is_adk)
        reply_error(request, 404, "unknown_app", "The upstream of this app is not of the kind adk.");
    return is_adk && run_input_read(request, ret_run);
}

/* ---- for the upstream ---------------------------------------------------------------------------- */

static char *copy_raw_request(const struct adapter_input *input, size_t *ret_length) {
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

/* Why a run cannot be made for an upstream. */
struct build_error {
    const char *code; /* NULL: nothing is wrong with it */
    const char *message;
};

/* False: see `error`, or the reply, if memory ran out. */
static bool build_run(struct request *request, const struct run_request *run, size_t index,
                      struct upstream_run *ret_upstream, struct build_error *error) {
    const struct upstream_settings *settings = upstream_at(request, index);
    const struct adapter *adapter = settings->adapter;
    struct adapter_input input = run->input;
    struct upstream_run upstream = {.adapter = adapter};
    *error = (struct build_error){0};
    input.base_url = settings->base_url;
    input.model = settings->model;
    input.body_template = settings->body_template;
    upstream.body = run->unchanged ? copy_raw_request(&input, &upstream.body_length)
                                   : adapter->run_body(&input, &upstream.body_length, &error->message);
    upstream.url = adapter->run_url(&input);
    if (adapter->session_url != NULL)
        upstream.session_url = adapter->session_url(&input);
    bool has_session = adapter->session_url == NULL || upstream.session_url != NULL;
    if (error->message != NULL)
        error->code = "invalid_message";
    else if (upstream.body == NULL || upstream.url == NULL || !has_session)
        reply_no_memory(request);
    else if (!run->unchanged && alters_numbers(request, &upstream))
        *error = (struct build_error){
            "inexact_number", "The body contains a number that the gateway cannot pass on unchanged."};
    if (error->code != NULL || request->reply.kind != REPLY_NONE) {
        upstream_run_finish(&upstream);
        return false;
    }
    upstream_run_charge(&upstream);
    *ret_upstream = upstream;
    return true;
}

/* Whether the run can be made for it at all: a body that is passed on as it is fits one kind. */
static bool is_of_its_kind(const struct request *request, const struct run_request *run, size_t index) {
    return !run->unchanged ||
           upstream_at(request, index)->adapter == upstream_at(request, run->upstream)->adapter;
}

static void add_step(struct request *request, const struct run_request *run, size_t index,
                     struct plan *plan) {
    struct build_error error;
    struct plan_step *step = &plan->steps[plan->count];
    step->upstream = index;
    if (build_run(request, run, index, &step->request, &error))
        plan->count++;
    else if (error.code != NULL && index == run->upstream)
        reply_error(request, 400, error.code, "%s", error.message);
}

/* Whether others may share its answer, and whether it is at hand already. */
static void look_into_cache(struct request *request, const struct run_request *run, bool starts_at_once,
                            struct plan *plan) {
    const struct upstream_settings *settings = upstream_at(request, run->upstream);
    const struct upstream_run *posted = &plan->steps[0].request;
    if (!settings->cache.on || request->context->cache == NULL)
        return;
    const struct cache_key_parts parts = {.url = posted->url,
                                          .app = request->app,
                                          .user = request->user,
                                          .body = posted->body,
                                          .length = posted->body_length};
    plan->cache_key = malloc(CACHE_KEY_SIZE);
    if (plan->cache_key == NULL || !cache_key_make(settings, &parts, plan->cache_key))
        reply_no_memory(request);
    else if (starts_at_once)
        plan->found = cache_find(request->context->cache, plan->cache_key);
}

static size_t chain_length(const struct upstreams_settings *settings, size_t first) {
    struct upstream_chain chain = upstream_chain_begin(first);
    while (chain.index != UPSTREAM_NONE)
        upstream_chain_advance(&chain, settings);
    return chain.steps - 1;
}

struct routes_context *run_request_home(const struct request *request, const struct run_request *run,
                                        const struct session *session) {
    return run->has_stream ? request->context : context_home(request->context, session);
}

struct plan *run_request_plan(struct request *request, const struct run_request *run, struct session *session,
                              bool starts_at_once) {
    const struct upstream_caller *caller = run_request_home(request, run, session)->relay.caller;
    const struct upstreams_settings *settings = &request->context->relay.caller->settings;
    struct plan *plan = plan_create(caller, session, &run->trace, chain_length(settings, run->upstream));
    if (plan == NULL) {
        reply_no_memory(request);
        return NULL;
    }
    if (request->operations->peer != NULL)
        request->operations->peer(request, plan->peer);
    struct upstream_chain chain = upstream_chain_begin(run->upstream);
    for (; chain.index != UPSTREAM_NONE && request->reply.kind == REPLY_NONE;
         upstream_chain_advance(&chain, settings)) {
        if (is_of_its_kind(request, run, chain.index))
            add_step(request, run, chain.index, plan);
    }
    if (request->reply.kind == REPLY_NONE)
        look_into_cache(request, run, starts_at_once, plan);
    if (request->reply.kind == REPLY_NONE)
        return plan;
    plan_destroy(plan);
    return NULL;
}

void run_request_finish(struct run_request *run) {
    for (size_t i = 0; i < sizeof(run->taken_out) / sizeof(run->taken_out[0]); i++)
        cJSON_Delete(run->taken_out[i]);
    cJSON_Delete(run->body);
    free(run->own_raw);
    buffer_finish(&run->message);
}
