/* The adapter for any other server that answers a POST by an event stream. */
#include "upstream/adapter.h"

#include "base/json_keys.h"
#include "base/json_members.h"
#include "base/json_parse.h"
#include "base/lenient_name.h"
#include "upstream/adapter_body.h"
#include "upstream/placeholders.h"

#include <stdlib.h>
#include <string.h>

static const char *const message_members[] = {NULL};

static char *sse_run_url(const struct adapter_input *input) {
    return placeholders_fill_url(input->base_url, input);
}

static char *copy_raw(const struct adapter_input *input, size_t *ret_length) {
    char *body = malloc(input->raw_length + 1);
    if (body == NULL)
        return NULL;
    memcpy(body, input->raw, input->raw_length);
    body[input->raw_length] = '\0';
    *ret_length = input->raw_length;
    return body;
}

/* The template's members are the first ones of the body: up to `last`, NULL if it has none. */
static bool is_of_template(const cJSON *body, const cJSON *last, const char *name) {
    for (const cJSON *member = last != NULL ? body->child : NULL; member != NULL; member = member->next) {
        if (lenient_name_is(member->string, name))
            return true;
        if (member == last)
            break;
    }
    return false;
}

/* The client's members cannot take the place of the template's, however a decoder reads names. */
static bool add_client_fields(cJSON *body, const struct adapter_input *input, bool has_message) {
    const cJSON *last = body->child != NULL ? body->child->prev : NULL; /* cJSON's way to the last one */
    cJSON *field;
    cJSON_ArrayForEach(field, input->fields) {
        if (!is_of_template(body, last, field->string) &&
            !cJSON_AddItemReferenceToObject(body, field->string, field))
            return false;
    }
    return has_message || input->text == NULL || is_of_template(body, last, "message") ||
           cJSON_AddStringToObject(body, "message", input->text) != NULL;
}

static char *body_of_template(const struct adapter_input *input, size_t *ret_length, const char **ret_error) {
    bool has_message = false;
    cJSON *body =
        json_parse(input->body_template, strlen(input->body_template), JSON_UPSTREAM_VALUES_MAX, NULL);
    bool done = body != NULL && placeholders_fill_json(body, input, &has_message);
    if (done && has_message && input->text == NULL) {
        *ret_error = "The body needs \"message\" or \"query\".";
        done = false;
    }
    if (done && add_client_fields(body, input, has_message))
        return adapter_body_print(body, ret_length);
    cJSON_Delete(body);
    return NULL;
}

static char *sse_run_body(const struct adapter_input *input, size_t *ret_length, const char **ret_error) {
    *ret_error = NULL;
    if (input->body_template != NULL)
        return body_of_template(input, ret_length, ret_error);
    if (input->raw != NULL)
        return copy_raw(input, ret_length);
    static const char *const none[] = {NULL};
    cJSON *body = cJSON_CreateObject();
    bool done = body != NULL && adapter_body_add_fields(body, input->fields, none) &&
                (input->text == NULL || cJSON_AddStringToObject(body, "message", input->text) != NULL);
    if (!done) {
        cJSON_Delete(body);
        return NULL;
    }
    return adapter_body_print(body, ret_length);
}

/* ---- what an event means ------------------------------------------------------------------------------ */

enum { KEY_ERROR, KEY_OBJECT, KEY_TYPE };

static const struct json_keys keys = {
    .names =
        {[KEY_ERROR] = JSON_KEY("error"), [KEY_OBJECT] = JSON_KEY("object"), [KEY_TYPE] = JSON_KEY("type")},
    .initials = {JSON_INITIAL('e'), JSON_INITIAL('t'), JSON_INITIAL('o'), JSON_INITIAL('t'),
                 JSON_INITIAL('t')}};

/** Whether a value of a member "type" may be a word of either list: only then the data is read closely. */
static bool may_be_listed(const struct adapter_rules *rules, const char *data, size_t length, size_t at) {
    const char *word;
    size_t word_length;
    if (!json_string_at(data, length, at, JSON_QUOTES_STRICT, &word, &word_length))
        return false;
    return memchr(word, '\\', word_length) != NULL ||
           adapter_list_has(rules->error_events, word, word_length) ||
           adapter_list_has(rules->end_events, word, word_length);
}

/** Whether the string, as written, is a word of the list. */
static bool string_is_listed(const char *list, const char *written, size_t length) {
    if (memchr(written, '\\', length) == NULL)
        return adapter_list_has(list, written, length);
    cJSON *string = adapter_parse(written - 1, length + 2); /* with its quotes */
    const char *word = cJSON_GetStringValue(string);
    bool is_listed = word != NULL && adapter_list_has(list, word, strlen(word));
    cJSON_Delete(string);
    return is_listed;
}

/** Whether an outermost member "type" is a word of the list; one of several is enough. */
static bool has_listed_type(const char *list, const char *data, size_t length, enum json_quotes quotes) {
    struct json_members members = json_members_begin(data, length, quotes);
    for (struct json_member member; json_members_next(&members, &member);) {
        const char *word;
        size_t word_length;
        if (json_string_is(member.name, member.name_length, "type") &&
            json_string_at(data, length, member.value, quotes, &word, &word_length) &&
            word + word_length < data + length && string_is_listed(list, word, word_length))
            return true;
    }
    return false;
}

static bool is_listed_type(const char *list, const char *data, size_t length) {
    return list != NULL && (has_listed_type(list, data, length, JSON_QUOTES_STRICT) ||
                            has_listed_type(list, data, length, JSON_QUOTES_LENIENT));
}

/** Whether the event is called by a word of the list: by its field `event`, or by all of its data. */
static bool is_listed_name(const char *list, const struct sse_event *event) {
    return adapter_list_has(list, event->type, event->type_length) ||
           adapter_list_has(list, event->data, event->data_length);
}

/** Judges data that is JSON, or was meant to be. */
static enum adapter_verdict judge_sse_json(const struct adapter_rules *rules, const char *data,
                                           size_t length) {
    bool may_be_error = false, may_have_type = false;
    size_t at = 0;
    for (size_t key; (key = json_keys_next(&keys, data, length, &at)) != JSON_KEYS_NONE;) {
        may_be_error = may_be_error || (key == KEY_ERROR && !json_keys_value_is(data, length, at, "null")) ||
                       (key == KEY_OBJECT && json_keys_may_be(data, length, at, "error"));
        may_have_type = may_have_type || (key == KEY_TYPE && may_be_listed(rules, data, length, at));
    }
    if (may_be_error && adapter_list_has(rules->error_events, "error", strlen("error")) &&
        adapter_data_is_error(data, length))
        return ADAPTER_FAILED;
    if (may_have_type && is_listed_type(rules->error_events, data, length))
        return ADAPTER_FAILED;
    return may_have_type && is_listed_type(rules->end_events, data, length) ? ADAPTER_LAST : ADAPTER_CONTINUE;
}

/** An error comes before an end: an event that is both fails the run. */
static enum adapter_verdict sse_judge(struct adapter_reading *reading, const struct sse_event *event) {
    const struct adapter_rules *rules = reading->rules;
    size_t blank = adapter_skip_blanks(event->data, event->data_length);
    const char *data = event->data + blank;
    size_t length = event->data_length - blank;
    reading->has_events = true;
    if (is_listed_name(rules->error_events, event))
        return ADAPTER_FAILED;
    bool may_be_json = length > 0 && (data[0] == '{' || data[0] == '[');
    enum adapter_verdict verdict = may_be_json ? judge_sse_json(rules, data, length) : ADAPTER_CONTINUE;
    return verdict == ADAPTER_CONTINUE && is_listed_name(rules->end_events, event) ? ADAPTER_LAST : verdict;
}

static enum adapter_ending sse_judge_end(const struct adapter_reading *reading, const char **ret_warning) {
    (void)ret_warning;
    return reading->rules->end_events != NULL ? ADAPTER_CUT : ADAPTER_WHOLE;
}

/* ---- its text ----------------------------------------------------------------------------------------- */

static bool sse_read_text(const char *data, size_t length, struct buffer *out,
                          struct adapter_text *ret_text) {
    *ret_text = (struct adapter_text){0};
    if (!buffer_reserve(out, length + 1))
        return false;
    return buffer_append(out, data, length) && buffer_append(out, "\n", 1);
}

/* The data of an event has its lines ended by LF, as the parser gives it. */
static char *sse_say(const char *text) {
    char *data = malloc(strlen(text) + 1);
    if (data == NULL)
        return NULL;
    char *end = data;
    for (; *text != '\0'; text++) {
        bool is_crlf = text[0] == '\r' && text[1] == '\n';
        if (!is_crlf)
            *end++ = text[0] == '\r' ? '\n' : text[0];
    }
    *end = '\0';
    return data;
}

/* There is no common form: by its name and by its data, so that a client that reads either of them sees it.
 */
static const struct error_form sse_error_form = {.type = "error",
                                                 .data = "{\"error\":{\"code\":\"" ERROR_FORM_CODE
                                                         "\",\"message\":\"" ERROR_FORM_MESSAGE "\"}}"};

const struct adapter adapter_sse = {
    .name = "sse",
    .url_is_whole = true,
    .url_has_query = true,
    .can_resume = true,
    .message_members = message_members,
    .run_url = sse_run_url,
    .run_body = sse_run_body,
    .judge = sse_judge,
    .judge_end = sse_judge_end,
    .read_text = sse_read_text,
    .say = sse_say,
    .error_form = &sse_error_form,
};
