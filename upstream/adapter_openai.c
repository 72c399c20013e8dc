/* The adapter for servers that speak OpenAI's chat completions. */
#include "upstream/adapter.h"

#include "base/clock.h"
#include "base/json_keys.h"
#include "upstream/adapter_body.h"

#include <stdlib.h>
#include <string.h>

#define METHOD_PATH "/chat/completions"
#define DONE "[DONE]"

/* The base URL as OpenAI's own clients take it, "https://host/v1", or the whole URL. A bare host has the
 * usual base. A query stays at the end: Azure's "?api-version=...". */
static char *openai_run_url(const struct adapter_input *input) {
    const char *scheme_end = strstr(input->base_url, "://");
    const char *authority = scheme_end != NULL ? scheme_end + strlen("://") : input->base_url;
    const char *path = authority + strcspn(authority, "/?#");
    const char *query = input->base_url + strcspn(input->base_url, "?");
    size_t length = (size_t)(query - input->base_url);
    while (length > 0 && input->base_url[length - 1] == '/')
        length--;
    bool is_whole = length >= strlen(METHOD_PATH) && strncmp(input->base_url + length - strlen(METHOD_PATH),
                                                             METHOD_PATH, strlen(METHOD_PATH)) == 0;
    bool is_bare = path == query || path + 1 == query;
    struct buffer url;
    buffer_init(&url, strlen(input->base_url) + 64);
    char *result =
        buffer_append(&url, input->base_url, length) && (!is_bare || buffer_append_text(&url, "/v1")) &&
                (is_whole || buffer_append_text(&url, METHOD_PATH)) && buffer_append_text(&url, query)
            ? buffer_detach(&url)
            : NULL;
    buffer_finish(&url);
    return result;
}

static const char *const message_members[] = {"messages", NULL};

static bool add_messages(cJSON *body, const char *text) {
    cJSON *message = adapter_body_add_list_of_one(body, "messages");
    return cJSON_AddStringToObject(message, "role", "user") != NULL &&
           cJSON_AddStringToObject(message, "content", text) != NULL;
}

static char *openai_run_body(const struct adapter_input *input, size_t *ret_length, const char **ret_error) {
    static const char *const not_passed[] = {"stream", NULL};
    bool has_messages = adapter_body_has_any(input->fields, message_members);
    bool add_model = input->model != NULL && cJSON_GetObjectItemCaseSensitive(input->fields, "model") == NULL;
    *ret_error = NULL;
    if (!has_messages && input->text == NULL) {
        *ret_error = "The body needs \"message\", \"query\" or \"messages\".";
        return NULL;
    }
    cJSON *body = cJSON_CreateObject();
    bool done = body != NULL && adapter_body_add_fields(body, input->fields, not_passed) &&
                (!add_model || cJSON_AddStringToObject(body, "model", input->model) != NULL) &&
                (has_messages || add_messages(body, input->text)) &&
                cJSON_AddTrueToObject(body, "stream") != NULL;
    if (!done) {
        cJSON_Delete(body);
        return NULL;
    }
    return adapter_body_print(body, ret_length);
}

/* The last message of the user; those before it are told of by the runs that they were sent with. */
static bool openai_read_input(const cJSON *fields, struct buffer *out, bool *ret_found) {
    static const char *const types[] = {"text", "input_text", NULL};
    const cJSON *message, *last = NULL;
    cJSON_ArrayForEach(message, cJSON_GetObjectItemCaseSensitive(fields, "messages")) {
        const char *role = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(message, "role"));
        if (role != NULL && strcmp(role, "user") == 0)
            last = message;
    }
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(last, "content");
    *ret_found = cJSON_IsString(content);
    if (cJSON_IsString(content))
        return buffer_append_text(out, content->valuestring);
    return !cJSON_IsArray(content) || adapter_append_texts(out, content, types, ret_found);
}

/* ---- what an event means ------------------------------------------------------------------------------ */

enum { KEY_ERROR, KEY_FINISH_REASON, KEY_INDEX, KEY_OBJECT, KEY_USAGE };

static const struct json_keys keys = {.names = {[KEY_ERROR] = JSON_KEY("error"),
                                                [KEY_FINISH_REASON] = JSON_KEY("finish_reason"),
                                                [KEY_INDEX] = JSON_KEY("index"),
                                                [KEY_OBJECT] = JSON_KEY("object"),
                                                [KEY_USAGE] = JSON_KEY("usage")},
                                      .initials = {JSON_INITIAL('e'), JSON_INITIAL('f'), JSON_INITIAL('i'),
                                                   JSON_INITIAL('o'), JSON_INITIAL('u')}};

/** The end marker may have blanks around it. */
static bool is_done(const struct sse_event *event) {
    const char *data = event->data, *end = data + event->data_length;
    while (data < end && (*data == ' ' || *data == '\t' || *data == '\n'))
        data++;
    while (data < end && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\n'))
        end--;
    return (size_t)(end - data) == strlen(DONE) && memcmp(data, DONE, strlen(DONE)) == 0;
}

/** Servers that send one choice alone need not number it. */
static double choice_number(const cJSON *choice, int position) {
    const cJSON *index = adapter_member(choice, "index");
    return cJSON_IsNumber(index) ? index->valuedouble : position;
}

/** Whether the choice reports an error: by an error of its own, or by one of its finish reasons. */
static bool is_failed_choice(const cJSON *choice) {
    const cJSON *member;
    if (!cJSON_IsObject(choice))
        return false;
    cJSON_ArrayForEach(member, choice) {
        const char *text = cJSON_GetStringValue(member);
        bool is_reason = strcmp(member->string, "finish_reason") == 0;
        if ((is_reason && text != NULL && strcmp(text, "error") == 0) ||
            (strcmp(member->string, "error") == 0 && !cJSON_IsNull(member)))
            return true;
    }
    return false;
}

static void read_choice(struct adapter_reading *reading, const cJSON *choice, int position) {
    double number = choice_number(choice, position);
    char reason[ADAPTER_WORD_SIZE] = "";
    adapter_copy_word(choice, "finish_reason", reason);
    if (!(number >= 0 && number < 64)) {
        reading->has_odd_choice = true;
        return;
    }
    uint64_t bit = UINT64_C(1) << (unsigned)number;
    reading->choices_seen |= bit;
    if (reason[0] == '\0')
        return;
    reading->choices_finished |= bit;
    if (bit == 1 || reading->finish_reason[0] == '\0')
        memcpy(reading->finish_reason, reason, sizeof(reason));
}

/** Some servers report it in each event, as far as it got: the last one counts. */
static void read_usage(struct adapter_usage *usage, const cJSON *event) {
    const cJSON *said = adapter_member(event, "usage");
    struct adapter_usage now = {.is_known = true};
    if (!cJSON_IsObject(said))
        return;
    adapter_find_count(said, "prompt_tokens", &now.input_tokens);
    adapter_find_count(said, "completion_tokens", &now.output_tokens);
    now.total_tokens = now.input_tokens + now.output_tokens;
    adapter_find_count(said, "total_tokens", &now.total_tokens);
    *usage = now;
}

/** False: a choice reports an error. */
static bool read_openai_closely(struct adapter_reading *reading, const cJSON *event) {
    const cJSON *choice;
    int position = 0;
    bool is_well = true;
    cJSON_ArrayForEach(choice, adapter_member(event, "choices")) {
        read_choice(reading, choice, position++);
        is_well = is_well && !is_failed_choice(choice);
    }
    read_usage(&reading->usage, event);
    return is_well;
}

/** What the first look at an event has found. */
struct glance {
    bool may_be_error;
    bool ended_by_error; /* something has a finish reason of that name */
    bool has_choice;
    bool says_more; /* than a piece of choice 0 */
};

static struct glance glance_at(const char *data, size_t length) {
    struct glance glance = {0};
    size_t at = 0;
    for (size_t key; (key = json_keys_next(&keys, data, length, &at)) != JSON_KEYS_NONE;) {
        bool is_null = json_keys_value_is(data, length, at, "null");
        switch (key) {
        case KEY_ERROR:
            glance.may_be_error |= !is_null;
            glance.says_more |= !is_null; /* a choice may have one */
            break;
        case KEY_OBJECT:
            glance.may_be_error |= json_keys_may_be(data, length, at, "error");
            break;
        case KEY_INDEX:
            glance.has_choice = true;
            glance.says_more |= !json_keys_value_is(data, length, at, "0");
            break;
        case KEY_FINISH_REASON:
            glance.has_choice = true;
            glance.says_more |= !is_null;
            glance.ended_by_error |= json_keys_value_is(data, length, at, "\"error\"");
            break;
        case KEY_USAGE:
            glance.says_more |= !is_null;
            break;
        }
    }
    return glance;
}

/** Nearly all events are a piece of choice 0: they are not parsed. */
static enum adapter_verdict openai_judge(struct adapter_reading *reading, const struct sse_event *event) {
    bool is_named_error = adapter_is_named_error(event);
    if (is_done(event) && !is_named_error)
        return ADAPTER_DONE;
    reading->has_events = true;
    struct glance glance = glance_at(event->data, event->data_length);
    if (is_named_error || (glance.may_be_error && adapter_data_is_error(event->data, event->data_length)))
        return ADAPTER_FAILED;
    if (!glance.says_more) {
        reading->choices_seen |= glance.has_choice;
        return ADAPTER_CONTINUE;
    }
    cJSON *json = adapter_parse(event->data, event->data_length);
    bool is_well = json != NULL ? read_openai_closely(reading, json) : !glance.ended_by_error;
    cJSON_Delete(json);
    return is_well ? ADAPTER_CONTINUE : ADAPTER_FAILED;
}

/** Servers that send no end marker are whole when each choice has its finish_reason. */
static enum adapter_ending openai_judge_end(const struct adapter_reading *reading, const char **ret_warning) {
    (void)ret_warning;
    bool all_finished = reading->choices_seen != 0 && reading->choices_seen == reading->choices_finished;
    return all_finished && !reading->has_odd_choice ? ADAPTER_WHOLE : ADAPTER_CUT;
}

/** Whether a choice has more than the role that opens an answer. */
static bool delta_is_visible(const cJSON *delta) {
    const cJSON *member;
    cJSON_ArrayForEach(member, delta) {
        bool is_empty = cJSON_IsNull(member) || (cJSON_IsString(member) && member->valuestring[0] == '\0');
        if (!is_empty && strcmp(member->string, "role") != 0)
            return true;
    }
    return false;
}

static bool openai_is_visible(const struct sse_event *event) {
    if (is_done(event))
        return true;
    cJSON *json = adapter_parse(event->data, event->data_length);
    const cJSON *choices = adapter_member(json, "choices"), *choice;
    bool visible = !cJSON_IsArray(choices);
    cJSON_ArrayForEach(choice, choices) {
        const cJSON *delta = adapter_member(choice, "delta");
        char reason[ADAPTER_WORD_SIZE] = "";
        adapter_copy_word(choice, "finish_reason", reason);
        visible = visible || !cJSON_IsObject(delta) || delta_is_visible(delta) || reason[0] != '\0';
    }
    cJSON_Delete(json);
    return visible;
}

/* ---- its text ----------------------------------------------------------------------------------------- */

/** A block of a content that is a list. Those of other types are no part of the answer: the model's thinking,
 * references. */
static bool append_block(const cJSON *block, struct buffer *out) {
    const char *text = cJSON_GetStringValue(adapter_member(block, "text"));
    const char *type = cJSON_GetStringValue(adapter_member(block, "type"));
    bool is_text = type == NULL || strcmp(type, "text") == 0 || strcmp(type, "output_text") == 0;
    return !is_text || adapter_append_text(out, text);
}

/** A content is a text, a block, or a list of either. */
static bool append_content(const cJSON *content, struct buffer *out) {
    const cJSON *item;
    if (cJSON_IsString(content))
        return adapter_append_text(out, content->valuestring);
    if (cJSON_IsObject(content))
        return append_block(content, out);
    cJSON_ArrayForEach(item, content) { /* nothing, if it is no list */
        if (!adapter_append_text(out, cJSON_GetStringValue(item)) || !append_block(item, out))
            return false;
    }
    return true;
}

/** A choice has a piece of its text in "delta", or in "text" if it is one of legacy completions. A "message"
 * is all of it: some servers answer by that alone, others send it next to each delta. */
static bool append_choice(const cJSON *choice, struct buffer *out, bool *ret_partial) {
    const cJSON *delta = adapter_member(choice, "delta");
    const cJSON *message = adapter_member(choice, "message");
    size_t before = out->length;
    bool done = append_content(adapter_member(delta, "content"), out);
    if (done && out->length == before)
        done = append_content(adapter_member(choice, "text"), out);
    *ret_partial = out->length > before;
    if (done && out->length == before)
        done = append_content(adapter_member(message, "content"), out);
    return done;
}

/** Of several choices, each of them an answer, choice 0 is the result. */
static bool openai_read_text(const char *data, size_t length, struct buffer *out,
                             struct adapter_text *ret_text) {
    cJSON *event = adapter_parse(data, length);
    const cJSON *choice;
    int position = 0;
    bool done = true;
    *ret_text = (struct adapter_text){.is_unread = adapter_is_unread(event, data, length)};
    cJSON_ArrayForEach(choice, adapter_member(event, "choices")) {
        if (choice_number(choice, position++) == 0)
            done = done && append_choice(choice, out, &ret_text->is_partial);
    }
    cJSON_Delete(event);
    return done;
}

/** A run is one call of the model, and what it used is told at its end; some servers tell it in each event,
 * as far as it got. So the largest total counts. */
static bool openai_count_tokens(const char *data, size_t length, uint64_t *tokens) {
    cJSON *event = adapter_parse_if_has(data, length, "\"total_tokens\"");
    uint64_t total;
    bool counts = adapter_get_count(adapter_member(event, "usage"), "total_tokens", &total);
    if (counts && total > *tokens)
        *tokens = total;
    cJSON_Delete(event);
    return counts;
}

static char *openai_say(const char *text) {
    int64_t created_s = clock_unix_ms() / 1000;
    cJSON *event = cJSON_CreateObject();
    bool done = cJSON_AddStringToObject(event, "id", "chatcmpl-sluice") != NULL &&
                cJSON_AddStringToObject(event, "object", "chat.completion.chunk") != NULL &&
                cJSON_AddNumberToObject(event, "created", (double)created_s) != NULL &&
                cJSON_AddStringToObject(event, "model", "sluice") != NULL;
    cJSON *choice = done ? adapter_body_add_list_of_one(event, "choices") : NULL;
    cJSON *delta =
        cJSON_AddNumberToObject(choice, "index", 0) != NULL ? cJSON_AddObjectToObject(choice, "delta") : NULL;
    done = cJSON_AddStringToObject(delta, "role", "assistant") != NULL &&
           cJSON_AddStringToObject(delta, "content", text) != NULL &&
           cJSON_AddStringToObject(choice, "finish_reason", "stop") != NULL;
    char *data = done ? cJSON_PrintUnformatted(event) : NULL;
    cJSON_Delete(event);
    return data;
}

/* The object that its error answers hold, too. */
static const struct error_form openai_error_form = {
    .type = "",
    .data = "{\"error\":{\"message\":\"" ERROR_FORM_MESSAGE
            "\",\"type\":\"gateway_error\",\"param\":null,\"code\":\"" ERROR_FORM_CODE "\"}}"};

const struct adapter adapter_openai = {
    .name = "openai",
    .url_has_query = true,
    .message_members = message_members,
    .run_url = openai_run_url,
    .run_body = openai_run_body,
    .read_input = openai_read_input,
    .judge = openai_judge,
    .judge_end = openai_judge_end,
    .is_visible = openai_is_visible,
    .read_text = openai_read_text,
    .count_tokens = openai_count_tokens,
    .say = openai_say,
    .error_form = &openai_error_form,
    .done_data = DONE,
    .answers_once = true,
    .is_without_effects = true,
};
