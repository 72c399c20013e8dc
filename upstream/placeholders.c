/* Placeholders: see placeholders.h. What is filled in is never looked at for placeholders again. */
#include "upstream/placeholders.h"

#include "base/percent.h"

#include <string.h>

#define TEXT_BYTES_MAX (64u * 1024u * 1024u)

struct value {
    const char *name; /* in its braces */
    const char *text;
};

#define VALUES 5
#define VALUES_OF_URL 4 /* the first ones */

static void list_values(const struct adapter_input *input, struct value out[VALUES]) {
    const struct value values[VALUES] = {{"{app}", input->app},
                                         {"{user}", input->user},
                                         {"{session}", input->session},
                                         {"{task}", input->task},
                                         {"{message}", input->text != NULL ? input->text : ""}};
    memcpy(out, values, sizeof(values));
}

/* The value that a placeholder at `at` stands for; NULL: there is none. */
static const struct value *find_value(const struct value *values, size_t count, const char *at) {
    for (size_t i = 0; i < count; i++) {
        if (strncmp(at, values[i].name, strlen(values[i].name)) == 0)
            return &values[i];
    }
    return NULL;
}

char *placeholders_fill_url(const char *url, const struct adapter_input *input) {
    struct value values[VALUES];
    struct buffer out;
    const char *scheme_end = strstr(url, "://");
    const char *authority = scheme_end != NULL ? scheme_end + strlen("://") : url;
    const char *at = authority + strcspn(authority, "/?#");
    list_values(input, values);
    buffer_init(&out, TEXT_BYTES_MAX);
    bool done = buffer_append(&out, url, (size_t)(at - url));
    while (done && *at != '\0') {
        const struct value *value = find_value(values, VALUES_OF_URL, at);
        done = value != NULL ? percent_append_encoded(&out, value->text, strlen(value->text))
                             : buffer_append(&out, at, 1);
        at += value != NULL ? strlen(value->name) : 1;
    }
    char *text = done ? buffer_detach(&out) : NULL;
    buffer_finish(&out);
    return text;
}

static bool fill_text(cJSON *item, const struct value *values, bool *has_message) {
    struct buffer out;
    bool done = true;
    if (strchr(item->valuestring, '{') == NULL)
        return true;
    buffer_init(&out, TEXT_BYTES_MAX);
    for (const char *at = item->valuestring; done && *at != '\0';) {
        const struct value *value = find_value(values, VALUES, at);
        *has_message = *has_message || value == &values[VALUES - 1];
        done = value != NULL ? buffer_append_text(&out, value->text) : buffer_append(&out, at, 1);
        at += value != NULL ? strlen(value->name) : 1;
    }
    done = done && cJSON_SetValuestring(item, out.length > 0 ? out.bytes : "") != NULL;
    buffer_finish(&out);
    return done;
}

/* The depth is the reader's bound (base/json_parse.h). NOLINTNEXTLINE(misc-no-recursion) */
static bool fill_all(cJSON *item, const struct value *values, bool *has_message) {
    bool done = true;
    if (cJSON_IsString(item))
        return fill_text(item, values, has_message);
    for (cJSON *child = item->child; child != NULL && done; child = child->next)
        done = fill_all(child, values, has_message);
    return done;
}

bool placeholders_fill_json(cJSON *template, const struct adapter_input *input, bool *ret_has_message) {
    struct value values[VALUES];
    list_values(input, values);
    *ret_has_message = false;
    return fill_all(template, values, ret_has_message);
}
