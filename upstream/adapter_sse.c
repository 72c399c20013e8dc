/* The adapter for any other server that answers a POST by an event stream. */
#include "upstream/adapter.h"

#include "upstream/adapter_body.h"

#include <stdlib.h>
#include <string.h>

static char *sse_run_url(const struct adapter_input *input) {
    return strdup(input->base_url);
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

static char *sse_run_body(const struct adapter_input *input, size_t *ret_length, const char **ret_error) {
    *ret_error = NULL;
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

static enum adapter_verdict sse_judge(const struct sse_event *event) {
    (void)event;
    return ADAPTER_CONTINUE;
}

static bool sse_append_text(const char *data, size_t length, struct adapter_text_state *state,
                            struct buffer *out) {
    (void)state;
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

const struct adapter adapter_sse = {
    .name = "sse",
    .run_url = sse_run_url,
    .run_body = sse_run_body,
    .judge = sse_judge,
    .append_text = sse_append_text,
    .say = sse_say,
};
