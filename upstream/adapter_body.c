/* What the adapters share: see adapter_body.h. */
#include "upstream/adapter_body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool member_is_among(const char *name, const char *const *names) {
    for (; *names != NULL; names++) {
        if (strcmp(name, *names) == 0)
            return true;
    }
    return false;
}

bool adapter_body_add_fields(cJSON *body, const cJSON *fields, const char *const *without) {
    cJSON *field;
    cJSON_ArrayForEach(field, fields) {
        if (!member_is_among(field->string, without) &&
            !cJSON_AddItemReferenceToObject(body, field->string, field))
            return false;
    }
    return true;
}

bool adapter_body_has_any(const cJSON *fields, const char *const *names) {
    for (; *names != NULL; names++) {
        if (cJSON_GetObjectItemCaseSensitive(fields, *names) != NULL)
            return true;
    }
    return false;
}

cJSON *adapter_body_add_list_of_one(cJSON *object, const char *name) {
    cJSON *list = cJSON_AddArrayToObject(object, name);
    cJSON *item = list != NULL ? cJSON_CreateObject() : NULL;
    if (item != NULL)
        cJSON_AddItemToArray(list, item);
    return item;
}

/* NULL: it is no text that counts. */
static const char *text_of_item(const cJSON *item, const char *const *types) {
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "type"));
    if (cJSON_IsString(item))
        return item->valuestring;
    if (type != NULL && !member_is_among(type, types))
        return NULL;
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "text"));
}

bool adapter_append_texts(struct buffer *out, const cJSON *list, const char *const *types, bool *ret_found) {
    const cJSON *item;
    const char *between = "";
    cJSON_ArrayForEach(item, list) {
        const char *text = text_of_item(item, types);
        if (text == NULL)
            continue;
        if (!buffer_append_text(out, between) || !buffer_append_text(out, text))
            return false;
        between = "\n";
        *ret_found = true;
    }
    return true;
}

char *adapter_body_print(cJSON *body, size_t *ret_length) {
    char *text = cJSON_PrintUnformatted(body);
    cJSON_Delete(body);
    if (text != NULL)
        *ret_length = strlen(text);
    return text;
}

static const char *skip_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

/** Steps over `token` and the white space before it. NULL: something else is there. */
static const char *skip_token(const char *at, const char *end, const char *token) {
    if (at == NULL)
        return NULL;
    at = skip_space(at, end);
    size_t length = strlen(token);
    return (size_t)(end - at) >= length && memcmp(at, token, length) == 0 ? at + length : NULL;
}

static bool is_error_object(const cJSON *object) {
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(object, "error");
    const char *what = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "object"));
    return (error != NULL && !cJSON_IsNull(error)) || (what != NULL && strcmp(what, "error") == 0);
}

static bool begins_like_an_error(const char *data, size_t length) {
    const char *end = data + length;
    const char *at = skip_token(data, end, "{");
    at = skip_token(at, end, "\"error\"");
    at = skip_token(at, end, ":");
    return at != NULL && skip_token(at, end, "null") == NULL;
}

bool adapter_data_is_error(const char *data, size_t length) {
    cJSON *event = adapter_parse(data, length);
    bool is_error = event == NULL && begins_like_an_error(data, length);
    const cJSON *item;
    if (cJSON_IsObject(event))
        is_error = is_error_object(event);
    else if (cJSON_IsArray(event))
        cJSON_ArrayForEach(item, event) is_error = is_error || is_error_object(item);
    cJSON_Delete(event);
    return is_error;
}

bool adapter_is_unread(const cJSON *event, const char *data, size_t length) {
    return event == NULL && skip_token(data, data + length, "{") != NULL &&
           !begins_like_an_error(data, length);
}

void adapter_copy_word(const cJSON *object, const char *name, char out[ADAPTER_WORD_SIZE]) {
    const char *word = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    if (word != NULL && word[0] != '\0')
        snprintf(out, ADAPTER_WORD_SIZE, "%s", word);
}

bool adapter_list_has(const char *list, const char *word, size_t length) {
    for (const char *at = list; at != NULL && *at != '\0';) {
        size_t item_length = strcspn(at, ",");
        if (item_length == length && memcmp(at, word, length) == 0)
            return true;
        at += item_length + (at[item_length] == ',');
    }
    return false;
}

cJSON *adapter_parse_if_has(const char *data, size_t length, const char *quoted_name) {
    bool has = memmem(data, length, quoted_name, strlen(quoted_name)) != NULL;
    return has ? adapter_parse(data, length) : NULL;
}

bool adapter_get_count(const cJSON *object, const char *name, uint64_t *ret_count) {
    static const double count_max = 1e15; /* what a double still counts by ones */
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= count_max))
        return false;
    *ret_count = (uint64_t)item->valuedouble;
    return true;
}

void adapter_find_count(const cJSON *object, const char *name, uint64_t *count) {
    bool found = adapter_get_count(object, name, count);
    (void)found;
}
