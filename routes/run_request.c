/* A request for a run: POST S/run, and ADK's own POST /run_sse.
 *
 *     body --> [ options ] the member "gateway" is taken out, read and checked
 *          --> [ input ]   what the user wrote, as run.start and /tasks/{id} show it
 *          --> [ request ] the rest, and which upstream it is for
 *          --> [ plan ]    what is sent to that upstream and to each one that it falls back to
 *
 * All of it happens before the run is registered, so that a refusal changes nothing. The input is taken from
 * what the client sent, not from what is posted to the upstream: so it does not depend on which of them
 * answers, the upstream, a fallback or the cache.
 */
#include "routes/run_request.h"

#include "base/hash.h"
#include "base/utf8.h"
#include "routes/access.h"
#include "routes/adk_body.h"
#include "routes/header_value.h"
#include "routes/json_body.h"
#include "routes/upstream_choice.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the options: the member "gateway" ----------------------------------------------------------- */

#define IDLE_MS_MAX (24 * 60 * 60 * 1000)
#define DELAY_MS_MAX (24 * 60 * 60 * 1000)

/* One option being read. */
struct reading {
    const cJSON *item;
    struct task_options *options;
    struct run_options_error *error;
};

static bool refuse_option(struct reading *reading, const char *code, const char *format, ...)
    PRINTF_LIKE(3, 4);

static bool refuse_option(struct reading *reading, const char *code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    reading->error->code = code;
    vsnprintf(reading->error->message, sizeof(reading->error->message), format, values);
    va_end(values);
    return false;
}

static bool find_word(const char *text, const char *const *words, int *ret_index) {
    for (int i = 0; text != NULL && words[i] != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static bool read_option_word(struct reading *reading, const char *const *words, int *ret_index) {
    return find_word(cJSON_GetStringValue(reading->item), words, ret_index);
}

static bool read_option_number(struct reading *reading, int64_t minimum, int64_t maximum,
                               int64_t *ret_number) {
    if (json_input_integer(reading->item, minimum, maximum, ret_number))
        return true;
    return refuse_option(reading, "invalid_option",
                         "The gateway option \"%s\" must be a whole number from %" PRId64 " to %" PRId64 ".",
                         reading->item->string, minimum, maximum);
}

/* ---- the options --------------------------------------------------------------------------------- */

static bool read_on_conflict(struct reading *reading) {
    static const char *const words[] = {[ON_CONFLICT_REPLACE] = "replace",
                                        [ON_CONFLICT_REJECT] = "reject",
                                        [ON_CONFLICT_ENQUEUE] = "enqueue",
                                        NULL};
    int index;
    if (!read_option_word(reading, words, &index))
        return refuse_option(
            reading, "invalid_option",
            "The gateway option \"on_conflict\" must be \"replace\", \"reject\" or \"enqueue\".");
    reading->options->on_conflict = (enum on_conflict)index;
    return true;
}

static const char *const on_disconnect_words[] = {
    [ON_DISCONNECT_CONTINUE] = "continue", [ON_DISCONNECT_CANCEL] = "cancel", NULL};

static bool read_on_disconnect(struct reading *reading) {
    int index;
    if (!read_option_word(reading, on_disconnect_words, &index))
        return refuse_option(reading, "invalid_option",
                             "The gateway option \"on_disconnect\" must be \"continue\" or \"cancel\".");
    reading->options->on_disconnect = (enum on_disconnect)index;
    return true;
}

static bool read_cancel_after_idle(struct reading *reading) {
    return read_option_number(reading, 0, IDLE_MS_MAX, &reading->options->cancel_after_idle_ms);
}

static bool read_timeout(struct reading *reading) {
    return read_option_number(reading, 1, reading->options->timeout_ms, &reading->options->timeout_ms);
}

static bool read_priority(struct reading *reading) {
    int64_t priority;
    if (!read_option_number(reading, PRIORITY_MIN, PRIORITY_MAX, &priority))
        return false;
    reading->options->priority = (int)priority;
    return true;
}

static bool read_delay(struct reading *reading) {
    return read_option_number(reading, 0, DELAY_MS_MAX, &reading->options->delay_ms);
}

static bool read_label(struct reading *reading) {
    const char *text = cJSON_GetStringValue(reading->item);
    size_t length = text != NULL ? strlen(text) : SIZE_MAX;
    if (length >= TASK_LABEL_SIZE)
        return refuse_option(reading, "invalid_option",
                             "The gateway option \"label\" must be a text of at most %d bytes.",
                             TASK_LABEL_SIZE - 1);
    memcpy(reading->options->label, text, length + 1);
    return true;
}

static const struct {
    const char *name;
    bool (*read)(struct reading *reading);
    bool is_common; /* servers have such a member of their own */
} known[] = {
    {"on_conflict", read_on_conflict, false},
    {"on_disconnect", read_on_disconnect, true},
    {"cancel_after_idle_ms", read_cancel_after_idle, false},
    {"timeout_ms", read_timeout, false},
    {"priority", read_priority, true},
    {"delay_ms", read_delay, false},
    {"label", read_label, true},
};

/* ---- all of them --------------------------------------------------------------------------------- */

struct task_options run_options_default(int64_t timeout_ms) {
    return (struct task_options){.on_conflict = ON_CONFLICT_REPLACE,
                                 .on_disconnect = ON_DISCONNECT_CONTINUE,
                                 .timeout_ms = timeout_ms,
                                 .priority = RUN_PRIORITY_DEFAULT};
}

static bool read_option(struct reading *reading) {
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, reading->item->string) == 0)
            return known[i].read(reading);
    }
    return refuse_option(reading, "unknown_option", "There is no gateway option \"%.64s\".",
                         reading->item->string);
}

bool run_options_read_header(const char *value, struct task_options *options,
                             struct run_options_error *ret_error) {
    struct reading reading = {.options = options, .error = ret_error};
    int index;
    if (!find_word(value, on_disconnect_words, &index))
        return refuse_option(&reading, "invalid_option",
                             "The header " RUN_ON_DISCONNECT_HEADER " must be \"continue\" or \"cancel\".");
    options->on_disconnect = (enum on_disconnect)index;
    return true;
}

bool run_options_read(const cJSON *gateway, struct task_options *options,
                      struct run_options_error *ret_error) {
    if (gateway == NULL)
        return true;
    struct reading reading = {.options = options, .error = ret_error};
    if (!cJSON_IsObject(gateway))
        return refuse_option(&reading, "invalid_option", "The member \"gateway\" must be an object.");
    cJSON_ArrayForEach(reading.item, gateway) {
        if (!read_option(&reading))
            return false;
    }
    return true;
}

const char *run_options_find_misplaced(const cJSON *body, bool reads_no_options) {
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        bool counts = reads_no_options || !known[i].is_common;
        if (counts && cJSON_GetObjectItemCaseSensitive(body, known[i].name) != NULL)
            return known[i].name;
    }
    return NULL;
}

/* ---- the input: what the user wrote -------------------------------------------------------------- */

/* Cuts it to its limit, where a character ends. */
static void set_text_input(struct run_request *run, const char *text, size_t length, size_t length_max) {
    size_t shown = utf8_beginning(text, length, length_max);
    run->options.input = (struct task_input){.text = text, .length = shown, .is_cut = shown < length};
}

/* The message in the body's own form. False: the reply is decided. */
static bool read_own_form(struct request *request, struct run_request *run, size_t length_max) {
    const struct adapter *adapter = upstream_at(request, run->upstream)->adapter;
    bool is_found = false;
    if (adapter->read_input == NULL)
        return true;
    /* Each text is shorter in it than in the body, the line end after it included. */
    buffer_init(&run->message, request->body_length);
    if (!adapter->read_input(run->body, &run->message, &is_found)) {
        reply_no_memory(request);
        return false;
    }
    if (is_found)
        set_text_input(run, run->message.length > 0 ? run->message.bytes : "", run->message.length,
                       length_max);
    return true;
}

static bool read_input(struct request *request, struct run_request *run) {
    const struct routes_settings *settings = request->context->settings;
    size_t length_max = (size_t)settings->run_input_bytes_max;
    switch (settings->run_input) {
    case RUN_INPUT_NONE:
        return true;
    case RUN_INPUT_BODY:
        set_text_input(run, request->body, request->body_length, length_max);
        return true;
    case RUN_INPUT_TEXT:
        break;
    }
    if (run->input.text == NULL)
        return read_own_form(request, run, length_max);
    set_text_input(run, run->input.text, strlen(run->input.text), length_max);
    return true;
}

/* ---- the request --------------------------------------------------------------------------------- */

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
           read_input(request, ret_run);
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
    struct session_names owner;
    *ret_run = (struct run_request){
        .unchanged = true, .has_stream = true, .form = {.agent_only = true, .is_bare = true}};
    if (!json_body_read(request, &ret_run->body) || !adk_body_read_names(request, ret_run->body, &owner) ||
        !access_enter(request, &owner) || !read_repetition(request, ret_run))
        return false;
    if (refuse_misplaced(request, ret_run, true) || !set_raw(request, ret_run) ||
        !set_run_input(request, ret_run) ||
        !read_options(request, ret_run, request->context->settings->run_sse_on_disconnect))
        return false;
    bool is_adk = upstream_at(request, ret_run->upstream)->adapter->serves_adk_api;
    if (!is_adk)
        reply_error(request, 404, "unknown_app", "The upstream of this app is not of the kind adk.");
    return is_adk && read_input(request, ret_run);
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
static bool alters_numbers(const struct request *request, const char *body, size_t length) {
    bool same = length == request->body_length && memcmp(body, request->body, length) == 0;
    return !same && json_input_has_inexact_number(request->body, request->body_length);
}

/* Why a run cannot be made for an upstream. */
struct build_error {
    const char *code; /* NULL: nothing is wrong with it */
    const char *message;
};

/* NULL: see `error`, or the reply, if memory ran out. */
static struct upstream_request *build_run(struct request *request, const struct run_request *run,
                                          size_t index, struct build_error *error) {
    const struct upstream_settings *settings = upstream_at(request, index);
    const struct adapter *adapter = settings->adapter;
    struct adapter_input input = run->input;
    size_t length = 0;
    *error = (struct build_error){0};
    input.base_url = settings->base_url;
    input.model = settings->model;
    input.body_template = settings->body_template;
    char *body = run->unchanged ? copy_raw_request(&input, &length)
                                : adapter->run_body(&input, &length, &error->message);
    char *url = adapter->run_url(&input);
    char *session_url = adapter->session_url != NULL ? adapter->session_url(&input) : NULL;
    bool has_session = adapter->session_url == NULL || session_url != NULL;
    if (error->message != NULL)
        error->code = "invalid_message";
    else if (body != NULL && url != NULL && has_session && !run->unchanged &&
             alters_numbers(request, body, length))
        *error = (struct build_error){
            "inexact_number", "The body contains a number that the gateway cannot pass on unchanged."};
    else if (body != NULL && url != NULL && has_session) {
        struct upstream_request *made = upstream_request_create(adapter, url, session_url, body, length);
        if (made == NULL)
            reply_no_memory(request);
        return made;
    } else {
        reply_no_memory(request);
    }
    free(body);
    free(url);
    free(session_url);
    return NULL;
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
    step->request = build_run(request, run, index, &error);
    if (step->request != NULL)
        plan->count++;
    else if (error.code != NULL && index == run->upstream)
        reply_error(request, 400, error.code, "%s", error.message);
}

/* Whether others may share its answer, and whether it is at hand already. */
static void look_into_cache(struct request *request, const struct run_request *run, bool starts_at_once,
                            struct plan *plan) {
    const struct upstream_settings *settings = upstream_at(request, run->upstream);
    const struct upstream_request *posted = plan->steps[0].request;
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
    const struct upstream_worker *upstream_worker =
        run_request_home(request, run, session)->relay.upstream_worker;
    const struct upstreams_settings *settings = &request->context->relay.upstream_worker->settings;
    struct plan *plan =
        plan_create(upstream_worker, session, &run->trace, chain_length(settings, run->upstream));
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
