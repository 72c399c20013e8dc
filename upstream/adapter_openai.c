/* The adapter for servers that speak OpenAI's chat completions. */
#include "upstream/adapter.h"

#include "upstream/adapter_body.h"

#include <stdlib.h>
#include <string.h>

#define METHOD_PATH "/chat/completions"

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
    static const char done[] = "[DONE]";
    if (event->data_length == strlen(done) && memcmp(event->data, done, strlen(done)) == 0)
        return ADAPTER_DONE;
    return adapter_data_is_error(event->data, event->data_length) ? ADAPTER_FAILED : ADAPTER_CONTINUE;
}

static bool openai_append_text(const char *data, size_t length, struct adapter_text_state *state,
                               struct buffer *out) {
    (void)state;
    cJSON *event = cJSON_ParseWithLength(data, length);
    const cJSON *choices = cJSON_GetObjectItemCaseSensitive(event, "choices");
    const cJSON *delta = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(choices, 0), "delta");
    const char *content = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(delta, "content"));
    bool done = content == NULL || buffer_append_text(out, content);
    cJSON_Delete(event);
    return done;
}

const struct adapter adapter_openai = {
    .name = "openai",
    .run_url = openai_run_url,
    .run_body = openai_run_body,
    .judge = openai_judge,
    .append_text = openai_append_text,
    .needs_done = true,
};
