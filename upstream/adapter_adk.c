/* The adapter for Google ADK's api server. */
#include "upstream/adapter.h"

#include "base/percent.h"
#include "upstream/adapter_body.h"

#include <assert.h>
#include <string.h>

#define URL_BYTES_MAX (16 * 1024)

/* Whose session it is is never the client's to say, in neither of the spellings that ADK takes. "streaming"
 * is added by run_body() itself. */
static const char *const fields_not_passed[] = {"appName",   "app_name",   "userId",    "user_id",
                                                "sessionId", "session_id", "streaming", NULL};

static bool append_segment(struct buffer *url, const char *before, const char *segment) {
    return buffer_append_text(url, before) && percent_append_encoded(url, segment, strlen(segment));
}

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
    bool done = buffer_append_text(&url, input->base_url) && append_segment(&url, "/apps/", input->app) &&
                append_segment(&url, "/users/", input->user) &&
                append_segment(&url, "/sessions/", input->session);
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

static char *adk_run_body(const struct adapter_input *input, size_t *ret_length, const char **ret_error) {
    bool has_message = cJSON_GetObjectItemCaseSensitive(input->fields, "newMessage") != NULL;
    *ret_error = NULL;
    if (!has_message && input->text == NULL) {
        *ret_error = "The body needs \"message\", \"query\" or \"newMessage\".";
        return NULL;
    }
    cJSON *body = cJSON_CreateObject();
    bool done = cJSON_AddStringToObject(body, "appName", input->app) != NULL &&
                cJSON_AddStringToObject(body, "userId", input->user) != NULL &&
                cJSON_AddStringToObject(body, "sessionId", input->session) != NULL &&
                (has_message || add_message(body, input->text)) &&
                add_streaming(body, cJSON_GetObjectItemCaseSensitive(input->fields, "streaming")) &&
                adapter_body_add_fields(body, input->fields, fields_not_passed);
    if (!done) {
        cJSON_Delete(body);
        return NULL;
    }
    return adapter_body_print(body, ret_length);
}

static enum adapter_verdict adk_judge(const struct sse_event *event) {
    return adapter_data_is_error(event->data, event->data_length) ? ADAPTER_FAILED : ADAPTER_CONTINUE;
}

/** The texts of the event's parts, thoughts left out, one behind the other. */
static bool append_parts(const cJSON *event, struct buffer *out) {
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(event, "content");
    const char *role = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(content, "role"));
    if (role != NULL && strcmp(role, "model") != 0)
        return true;
    const cJSON *part;
    cJSON_ArrayForEach(part, cJSON_GetObjectItemCaseSensitive(content, "parts")) {
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(part, "text"));
        bool thought = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(part, "thought"));
        if (text != NULL && !thought && !buffer_append_text(out, text))
            return false;
    }
    return true;
}

/** Adds one event's text. While an answer streams, ADK sends its pieces in events marked partial and then the
 *  whole of it once more in one that is not: that one takes the place of the pieces.
 *
 *      out:  text of earlier answers | pieces since then: partial_length |
 */
static bool add_text(const char *text, size_t length, bool partial, struct adapter_text_state *state,
                     struct buffer *out) {
    if (partial) {
        bool done = buffer_append(out, text, length);
        state->partial_length += done ? length : 0;
        return done;
    }
    assert(state->partial_length <= out->length);
    if (length > state->partial_length && !buffer_reserve(out, length - state->partial_length))
        return false;
    out->length -= state->partial_length;
    state->partial_length = 0;
    return buffer_append(out, text, length);
}

static bool adk_append_text(const char *data, size_t length, struct adapter_text_state *state,
                            struct buffer *out) {
    cJSON *event = adapter_parse(data, length);
    if (event == NULL)
        return true; /* an old server's error frame may be anything */
    struct buffer text;
    buffer_init(&text, length); /* JSON text is never shorter than what it says */
    bool done = append_parts(event, &text);
    if (done && text.length > 0) {
        bool partial = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(event, "partial"));
        done = add_text(text.bytes, text.length, partial, state, out);
    }
    buffer_finish(&text);
    cJSON_Delete(event);
    return done;
}

/** Each call of the model ends with an event that is not partial and says what that call used in all: those
 * are added up. The pieces before it say what was used up to them, and are not counted twice. An agent that
 *  splits the end of one call into two events counts it twice: a budget errs on the early side. */
static bool adk_count_tokens(const char *data, size_t length, uint64_t *tokens) {
    cJSON *event = adapter_parse_if_has(data, length, "\"usageMetadata\"");
    const cJSON *usage = cJSON_GetObjectItemCaseSensitive(event, "usageMetadata");
    bool partial = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(event, "partial"));
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

const struct adapter adapter_adk = {
    .name = "adk",
    .run_url = adk_run_url,
    .run_body = adk_run_body,
    .session_url = adk_session_url,
    .judge = adk_judge,
    .append_text = adk_append_text,
    .count_tokens = adk_count_tokens,
    .say = adk_say,
};
