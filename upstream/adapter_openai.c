/* The adapter for servers that speak OpenAI's chat completions. */
#include "upstream/adapter.h"

#include "base/clock.h"
#include "upstream/adapter_body.h"

#include <stdlib.h>
#include <string.h>

#define METHOD_PATH "/chat/completions"
#define DONE "[DONE]"

/* The base URL as OpenAI's own clients take it, "https://host/v1", or the whole URL. A bare host has the
 * usual base. */
static char *openai_run_url(const struct adapter_input *input) {
    const char *scheme_end = strstr(input->base_url, "://");
    const char *authority = scheme_end != NULL ? scheme_end + strlen("://") : input->base_url;
    const char *path = authority + strcspn(authority, "/?#");
    size_t length = strlen(input->base_url);
    while (length > 0 && input->base_url[length - 1] == '/')
        length--;
    bool is_whole = length >= strlen(METHOD_PATH) && strncmp(input->base_url + length - strlen(METHOD_PATH),
                                                             METHOD_PATH, strlen(METHOD_PATH)) == 0;
    bool is_bare = *path == '\0' || strcmp(path, "/") == 0;
    struct buffer url;
    buffer_init(&url, length + 64);
    char *result = buffer_append(&url, input->base_url, length) &&
                           (!is_bare || buffer_append_text(&url, "/v1")) &&
                           (is_whole || buffer_append_text(&url, METHOD_PATH))
                       ? buffer_detach(&url)
                       : NULL;
    buffer_finish(&url);
    return result;
}

static bool add_messages(cJSON *body, const char *text) {
    cJSON *message = adapter_body_add_list_of_one(body, "messages");
    return cJSON_AddStringToObject(message, "role", "user") != NULL &&
           cJSON_AddStringToObject(message, "content", text) != NULL;
}

static char *openai_run_body(const struct adapter_input *input, size_t *ret_length, const char **ret_error) {
    static const char *const not_passed[] = {"stream", NULL};
    bool has_messages = cJSON_GetObjectItemCaseSensitive(input->fields, "messages") != NULL;
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

static enum adapter_verdict openai_judge(const struct sse_event *event) {
    if (event->data_length == strlen(DONE) && memcmp(event->data, DONE, strlen(DONE)) == 0)
        return ADAPTER_DONE;
    return adapter_data_is_error(event->data, event->data_length) ? ADAPTER_FAILED : ADAPTER_CONTINUE;
}

static bool openai_append_text(const char *data, size_t length, struct adapter_text_state *state,
                               struct buffer *out) {
    (void)state;
    cJSON *event = adapter_parse(data, length);
    const cJSON *choices = cJSON_GetObjectItemCaseSensitive(event, "choices");
    const cJSON *delta = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(choices, 0), "delta");
    const char *content = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(delta, "content"));
    bool done = content == NULL || buffer_append_text(out, content);
    cJSON_Delete(event);
    return done;
}

/** A run is one call of the model, and what it used is told at its end; some servers tell it in each event,
 * as far as it got. So the largest total counts. */
static bool openai_count_tokens(const char *data, size_t length, uint64_t *tokens) {
    cJSON *event = adapter_parse_if_has(data, length, "\"total_tokens\"");
    uint64_t total;
    bool counts = adapter_get_count(cJSON_GetObjectItemCaseSensitive(event, "usage"), "total_tokens", &total);
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

const struct adapter adapter_openai = {
    .name = "openai",
    .run_url = openai_run_url,
    .run_body = openai_run_body,
    .judge = openai_judge,
    .append_text = openai_append_text,
    .count_tokens = openai_count_tokens,
    .say = openai_say,
    .done_data = DONE,
};
