/* The adapter for Google ADK's api server. */
#include "upstream/adapter.h"

#include "base/json_keys.h"
#include "base/json_members.h"
#include "base/percent.h"
#include "upstream/adapter_body.h"

#include <stdio.h>
#include <string.h>

/* What ADK for Python refuses a run by that has read its session before something else was written to it. */
#define STALE "\"StaleSessionError"

#define URL_BYTES_MAX (16 * 1024)

/* Whose session it is is never the client's to say, in neither of the spellings that ADK takes. "streaming"
 * is added by run_body() itself. */
static const char *const fields_not_passed[] = {"appName",   "app_name",   "userId",    "user_id",
                                                "sessionId", "session_id", "streaming", NULL};

static const char *const message_members[] = {"newMessage", "new_message", NULL};

static char *adk_run_url(const struct adapter_input *input) {
    struct buffer url;
    buffer_init(&url, URL_BYTES_MAX);
    bool done = buffer_printf(&url, "%s/run_sse", input->base_url);
    char *text = done ? buffer_detach(&url) : NULL;
    buffer_finish(&url);
    return text;
}

static char *adk_session_url(const struct adapter_input *input) {
    struct buffer url;
    buffer_init(&url, URL_BYTES_MAX);
    bool done = buffer_append_text(&url, input->base_url) &&
                percent_append_part(&url, "/apps/", input->app) &&
                percent_append_part(&url, "/users/", input->user) &&
                percent_append_part(&url, "/sessions/", input->session);
    char *text = done ? buffer_detach(&url) : NULL;
    buffer_finish(&url);
    return text;
}

static bool add_message(cJSON *body, const char *text) {
    cJSON *message = cJSON_AddObjectToObject(body, "newMessage");
    if (cJSON_AddStringToObject(message, "role", "user") == NULL)
        return false;
    return cJSON_AddStringToObject(adapter_body_add_list_of_one(message, "parts"), "text", text) != NULL;
}

static bool add_streaming(cJSON *body, const cJSON *wanted) {
    if (wanted == NULL)
        return cJSON_AddTrueToObject(body, "streaming") != NULL;
    return cJSON_AddItemToObject(body, "streaming", cJSON_Duplicate(wanted, true));
}

/* Whether an earlier invocation goes on, which needs no message. */
static bool is_resumption(const cJSON *fields) {
    const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(fields, "invocationId"));
    if (id == NULL)
        id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(fields, "invocation_id"));
    return id != NULL && id[0] != '\0';
}

static char *adk_run_body(const struct adapter_input *input, size_t *ret_length, const char **ret_error) {
    bool has_message = adapter_body_has_any(input->fields, message_members);
    *ret_error = NULL;
    if (!has_message && input->text == NULL && !is_resumption(input->fields)) {
        *ret_error = "The body needs \"message\", \"query\", \"newMessage\" or \"invocationId\".";
        return NULL;
    }
    cJSON *body = cJSON_CreateObject();
    bool done = cJSON_AddStringToObject(body, "appName", input->app) != NULL &&
                cJSON_AddStringToObject(body, "userId", input->user) != NULL &&
                cJSON_AddStringToObject(body, "sessionId", input->session) != NULL &&
                (has_message || input->text == NULL || add_message(body, input->text)) &&
                add_streaming(body, cJSON_GetObjectItemCaseSensitive(input->fields, "streaming")) &&
                adapter_body_add_fields(body, input->fields, fields_not_passed);
    if (!done) {
        cJSON_Delete(body);
        return NULL;
    }
    return adapter_body_print(body, ret_length);
}

static bool adk_read_input(const cJSON *fields, struct buffer *out, bool *ret_found) {
    static const char *const types[] = {NULL};
    const cJSON *message = cJSON_GetObjectItemCaseSensitive(fields, "newMessage");
    if (message == NULL)
        message = cJSON_GetObjectItemCaseSensitive(fields, "new_message");
    *ret_found = false;
    return adapter_append_texts(out, cJSON_GetObjectItemCaseSensitive(message, "parts"), types, ret_found);
}

/* ---- what an event means ------------------------------------------------------------------------------ */

enum {
    KEY_PARTIAL, /* in nearly all events, so it is looked for first */
    KEY_ERROR,
    KEY_ERROR_CODE,
    KEY_FINISH_REASON,
    KEY_USAGE,
    KEY_FUNCTION_CALL,
    KEY_FUNCTION_RESPONSE,
    KEY_OBJECT,
    KEY_COUNT
};

static const struct json_keys keys = {.names = {[KEY_ERROR] = JSON_KEY("error"),
                                                [KEY_ERROR_CODE] = JSON_KEY("errorCode"),
                                                [KEY_FINISH_REASON] = JSON_KEY("finishReason"),
                                                [KEY_USAGE] = JSON_KEY("usageMetadata"),
                                                [KEY_PARTIAL] = JSON_KEY("partial"),
                                                [KEY_FUNCTION_CALL] = JSON_KEY("functionCall"),
                                                [KEY_FUNCTION_RESPONSE] = JSON_KEY("functionResponse"),
                                                [KEY_OBJECT] = JSON_KEY("object")},
                                      .initials = {JSON_INITIAL('e'), JSON_INITIAL('f'), JSON_INITIAL('u'),
                                                   JSON_INITIAL('p'), JSON_INITIAL('o')}};

/** Adds what one call of a model has used; it says so in an event that is not partial. */
static void add_usage(struct adapter_usage *usage, const cJSON *event) {
    const cJSON *said = adapter_member(event, "usageMetadata");
    uint64_t input = 0, output = 0, thoughts = 0, total;
    if (!cJSON_IsObject(said))
        return;
    adapter_find_count(said, "promptTokenCount", &input);
    adapter_find_count(said, "candidatesTokenCount", &output);
    adapter_find_count(said, "thoughtsTokenCount", &thoughts);
    output += thoughts;
    total = input + output;
    adapter_find_count(said, "totalTokenCount", &total);
    usage->is_known = true;
    usage->input_tokens += input;
    usage->output_tokens += output;
    usage->total_tokens += total;
}

/** Whether the outermost member "partial" is true; of several the last one counts. */
static bool is_marked_partial(const char *data, size_t length) {
    bool is_partial = false;
    struct json_members members = json_members_begin(data, length, JSON_QUOTES_STRICT);
    for (struct json_member member; json_members_next(&members, &member);) {
        if (json_string_is(member.name, member.name_length, "partial"))
            is_partial = json_keys_value_is(data, length, member.value, "true");
    }
    return is_partial;
}

/** Copies the code that stands at data[at]: a text, a number, or something else that is no code of ADK's but
 * reports an error all the same. */
static void copy_code(const char *data, size_t length, size_t at, char out[ADAPTER_WORD_SIZE]) {
    const char *written = data + at;
    size_t written_length = length - at, most = strlen("\\uXXXX") * (ADAPTER_WORD_SIZE - 1);
    bool is_text = json_string_at(data, length, at, JSON_QUOTES_LENIENT, &written, &written_length);
    char quoted[6 * ADAPTER_WORD_SIZE + 2] = "\"";
    size_t kept = written_length < most ? written_length : most;
    memcpy(quoted + is_text, written, kept);
    quoted[is_text + kept] = '"';
    cJSON *value = adapter_parse(quoted, kept + (is_text ? 2 : 0));
    const char *text = cJSON_GetStringValue(value);
    if (cJSON_IsNumber(value))
        snprintf(out, ADAPTER_WORD_SIZE, "%g", value->valuedouble);
    else
        snprintf(out, ADAPTER_WORD_SIZE, "%s", text != NULL ? text : "errorCode");
    cJSON_Delete(value);
}

/** Copies the event's error code, the last one of several that is neither null nor empty. */
static void read_code(const char *data, size_t length, char out[ADAPTER_WORD_SIZE]) {
    size_t found = length + 1;
    struct json_members members = json_members_begin(data, length, JSON_QUOTES_LENIENT);
    for (struct json_member member; json_members_next(&members, &member);) {
        if (json_string_is(member.name, member.name_length, "errorCode") &&
            !json_keys_value_is(data, length, member.value, "null") &&
            !json_keys_value_is(data, length, member.value, "\"\""))
            found = member.value;
    }
    if (found <= length)
        copy_code(data, length, found, out);
}

/** Reads an event that has one of our keys, but is no error. Its content makes an earlier error code or
 * partial event no longer the last word. */
static void read_adk_closely(struct adapter_reading *reading, const char *data, size_t length,
                             bool is_partial) {
    cJSON *event = adapter_parse(data, length);
    if (cJSON_IsObject(adapter_member(event, "content"))) {
        reading->is_partial = is_partial;
        reading->error_code[0] = '\0';
    }
    read_code(data, length, reading->error_code);
    adapter_copy_word(event, "finishReason", reading->finish_reason);
    if (!is_partial)
        add_usage(&reading->usage, event);
    cJSON_Delete(event);
}

static enum adapter_verdict adk_judge(struct adapter_reading *reading, const struct sse_event *event) {
    const char *data = event->data;
    size_t length = event->data_length, at = 0;
    bool found[KEY_COUNT] = {false}, is_partial = false, has_two = false;
    reading->has_events = true;
    for (size_t key; (key = json_keys_next(&keys, data, length, &at)) != JSON_KEYS_NONE;) {
        if (key == KEY_PARTIAL) {
            has_two = found[key];
            is_partial = json_keys_value_is(data, length, at, "true");
        }
        found[key] = true;
    }
    bool may_be_error = found[KEY_ERROR] || found[KEY_OBJECT];
    if (adapter_is_named_error(event) || (may_be_error && adapter_data_is_error(data, length))) {
        reading->is_unsettled = memmem(data, length, STALE, strlen(STALE)) != NULL;
        return ADAPTER_FAILED;
    }
    bool may_be_nested = has_two || found[KEY_FUNCTION_CALL] || found[KEY_FUNCTION_RESPONSE];
    if (found[KEY_PARTIAL] && may_be_nested) /* what a tool takes and answers has members of its own */
        is_partial = is_marked_partial(data, length);
    bool says_something = found[KEY_ERROR_CODE] || found[KEY_FINISH_REASON] || found[KEY_USAGE];
    bool ends_something = reading->is_partial || reading->error_code[0] != '\0';
    if (is_partial && !found[KEY_ERROR_CODE]) { /* a piece of an answer: nearly all events are that */
        reading->is_partial = true;
        reading->error_code[0] = '\0';
    } else if (says_something || ends_something) {
        read_adk_closely(reading, data, length, is_partial);
    }
    return ADAPTER_CONTINUE;
}

static enum adapter_ending adk_judge_end(const struct adapter_reading *reading, const char **ret_warning) {
    if (reading->error_code[0] != '\0')
        *ret_warning = reading->error_code;
    else if (reading->is_partial)
        *ret_warning = "partial";
    else
        return ADAPTER_WHOLE;
    return ADAPTER_DOUBTFUL;
}

/* ---- its text ----------------------------------------------------------------------------------------- */

/** The texts of the event's parts, one after the other. Thoughts are not the answer. */
static bool append_parts(const cJSON *event, struct buffer *out) {
    const cJSON *content = adapter_member(event, "content");
    const char *role = cJSON_GetStringValue(adapter_member(content, "role"));
    if (role != NULL && strcmp(role, "model") != 0)
        return true;
    const cJSON *part;
    cJSON_ArrayForEach(part, adapter_member(content, "parts")) {
        const char *text = cJSON_GetStringValue(adapter_member(part, "text"));
        bool thought = cJSON_IsTrue(adapter_member(part, "thought"));
        if (!thought && !adapter_append_text(out, text))
            return false;
    }
    return true;
}

/** While an answer streams, ADK sends its pieces in events marked partial and then the whole of it once more
 * in one that is not. */
static bool adk_read_text(const char *data, size_t length, struct buffer *out,
                          struct adapter_text *ret_text) {
    cJSON *event = adapter_parse(data, length); /* NULL, too, of an old server's error frame */
    bool done = append_parts(event, out);
    *ret_text = (struct adapter_text){
        .is_partial = cJSON_IsTrue(adapter_member(event, "partial")),
        .is_unread = adapter_is_unread(event, data, length),
    };
    cJSON_Delete(event);
    return done;
}

/** Each call of the model ends with an event that is not partial and says what that call used in all: those
 * are added up. The pieces before it say what was used up to them, and are not counted twice. An agent that
 *  splits the end of one call into two events counts it twice: a budget errs on the early side. */
static bool adk_count_tokens(const char *data, size_t length, uint64_t *tokens) {
    cJSON *event = adapter_parse_if_has(data, length, "\"usageMetadata\"");
    const cJSON *usage = adapter_member(event, "usageMetadata");
    bool partial = cJSON_IsTrue(adapter_member(event, "partial"));
    uint64_t total;
    bool counts = !partial && adapter_get_count(usage, "totalTokenCount", &total);
    if (counts)
        *tokens += total;
    cJSON_Delete(event);
    return counts;
}

static char *adk_say(const char *text) {
    cJSON *event = cJSON_CreateObject();
    cJSON *content = cJSON_AddObjectToObject(event, "content");
    bool done =
        cJSON_AddStringToObject(content, "role", "model") != NULL &&
        cJSON_AddStringToObject(adapter_body_add_list_of_one(content, "parts"), "text", text) != NULL &&
        cJSON_AddStringToObject(event, "author", "sluice") != NULL &&
        cJSON_AddTrueToObject(event, "turnComplete") != NULL;
    char *data = done ? cJSON_PrintUnformatted(event) : NULL;
    cJSON_Delete(event);
    return data;
}

/* As its server does. */
static const struct error_form adk_error_form = {.type = "",
                                                 .data = "{\"error\":\"" ERROR_FORM_MESSAGE "\"}"};

/* The user is a part of the key of its own. */
static const char *const volatile_members[] = {"sessionId", "userId", NULL};

const struct adapter adapter_adk = {
    .name = "adk",
    .serves_adk_api = true,
    .volatile_members = volatile_members,
    .message_members = message_members,
    .run_url = adk_run_url,
    .run_body = adk_run_body,
    .read_input = adk_read_input,
    .session_url = adk_session_url,
    .judge = adk_judge,
    .judge_end = adk_judge_end,
    .read_text = adk_read_text,
    .count_tokens = adk_count_tokens,
    .say = adk_say,
    .error_form = &adk_error_form,
    .writes_after_a_cut = true,
    .reads_no_options = true,
};
