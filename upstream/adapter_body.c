/* What the adapters share: see adapter_body.h. */
#include "upstream/adapter_body.h"

#include "base/json_keys.h"
#include "base/json_members.h"

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

const cJSON *adapter_member(const cJSON *object, const char *name) {
    const cJSON *member, *last = NULL;
    if (!cJSON_IsObject(object))
        return NULL;
    cJSON_ArrayForEach(member, object) {
        if (strcmp(member->string, name) == 0)
            last = member;
    }
    return last;
}

static bool reports_json_error(const char *data, size_t length, enum json_quotes quotes) {
    struct json_members members = json_members_begin(data, length, quotes);
    for (struct json_member member; json_members_next(&members, &member);) {
        const char *what;
        size_t what_length;
        if (json_string_is(member.name, member.name_length, "error") &&
            !json_keys_value_is(data, length, member.value, "null"))
            return true;
        if (json_string_is(member.name, member.name_length, "object") &&
            json_string_at(data, length, member.value, quotes, &what, &what_length) &&
            json_string_is(what, what_length, "error"))
            return true;
    }
    return false;
}

bool adapter_data_is_error(const char *data, size_t length) {
    return reports_json_error(data, length, JSON_QUOTES_STRICT) ||
           reports_json_error(data, length, JSON_QUOTES_LENIENT);
}

void adapter_copy_word(const cJSON *object, const char *name, char out[ADAPTER_WORD_SIZE]) {
    const char *word = cJSON_GetStringValue(adapter_member(object, name));
    if (word != NULL && word[0] != '\0')
        snprintf(out, ADAPTER_WORD_SIZE, "%s", word);
}

#define BOM "\xEF\xBB\xBF"

static bool begins_with_bom(const char *text, size_t length) {
    return length >= strlen(BOM) && memcmp(text, BOM, strlen(BOM)) == 0;
}

/** Takes blanks, other control characters and BOMs off both ends. */
static void trim_name(const char **text, size_t *length) {
    const char *at = *text, *end = at + *length;
    for (bool is_bom = false; at < end; at += is_bom ? strlen(BOM) : 1) {
        is_bom = begins_with_bom(at, (size_t)(end - at));
        if (!is_bom && (unsigned char)*at > ' ')
            break;
    }
    for (bool is_bom = false; end > at; end -= is_bom ? strlen(BOM) : 1) {
        is_bom = (size_t)(end - at) >= strlen(BOM) && begins_with_bom(end - strlen(BOM), strlen(BOM));
        if (!is_bom && (unsigned char)end[-1] > ' ')
            break;
    }
    *text = at;
    *length = (size_t)(end - at);
}

bool adapter_name_is_error(const struct sse_event *event) {
    const char *type = event->type;
    size_t length = event->type_length;
    trim_name(&type, &length);
    return length == strlen("error") && memcmp(type, "error", length) == 0;
}

size_t adapter_skip_blanks(const char *data, size_t length) {
    const char *at = data;
    size_t left = length;
    trim_name(&at, &left);
    return (size_t)(at - data);
}

bool adapter_is_unread(const cJSON *event, const char *data, size_t length) {
    size_t at = adapter_skip_blanks(data, length);
    return event == NULL && at < length && data[at] == '{' && !adapter_data_is_error(data, length);
}

bool adapter_list_has(const char *list, const char *word, size_t length) {
    trim_name(&word, &length);
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
    const cJSON *item = adapter_member(object, name);
    if (item == NULL || !cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= count_max))
        return false;
    *ret_count = (uint64_t)item->valuedouble;
    return true;
}

void adapter_find_count(const cJSON *object, const char *name, uint64_t *count) {
    bool found = adapter_get_count(object, name, count);
    (void)found;
}
