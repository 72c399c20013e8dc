/* What the adapters share: see adapter_body.h. */
#include "upstream/adapter_body.h"

#include "base/json_parse.h"

#include <string.h>

static bool is_among(const char *name, const char *const *names) {
    for (; *names != NULL; names++) {
        if (strcmp(name, *names) == 0)
            return true;
    }
    return false;
}

bool adapter_body_add_fields(cJSON *body, const cJSON *fields, const char *const *without) {
    cJSON *field;
    cJSON_ArrayForEach(field, fields) {
        if (!is_among(field->string, without) && !cJSON_AddItemReferenceToObject(body, field->string, field))
            return false;
    }
    return true;
}

cJSON *adapter_body_add_list_of_one(cJSON *object, const char *name) {
    cJSON *list = cJSON_AddArrayToObject(object, name);
    cJSON *item = list != NULL ? cJSON_CreateObject() : NULL;
    if (item != NULL)
        cJSON_AddItemToArray(list, item);
    return item;
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

bool adapter_data_is_error(const char *data, size_t length) {
    const char *end = data + length;
    const char *at = skip_token(data, end, "{");
    at = skip_token(at, end, "\"error\"");
    at = skip_token(at, end, ":");
    return at != NULL && skip_token(at, end, "null") == NULL;
}

cJSON *adapter_parse(const char *data, size_t length) {
    return json_parse(data, length, JSON_UPSTREAM_VALUES_MAX, NULL);
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
