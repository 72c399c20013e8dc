/* What an upstream's error answer says: see error_text.h. */
#include "upstream/error_text.h"

#include "base/json_parse.h"
#include "base/utf8.h"

#include <string.h>

#define LINE_BYTES_MAX 500

/** The first text in `value` or below it: "x", {"error":"x"}, {"error":{"message":"x"}},
 * {"detail":[{"msg":"x"}]}. */
/* As deep as cJSON lets JSON be, which is 1000. NOLINTNEXTLINE(misc-no-recursion) */
static const char *find_text(const cJSON *value) {
    static const char *const names[] = {"error", "detail", "message", "msg"};
    if (cJSON_IsString(value))
        return value->valuestring;
    if (cJSON_IsArray(value))
        return find_text(value->child);
    const char *text = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && text == NULL && cJSON_IsObject(value); i++)
        text = find_text(cJSON_GetObjectItemCaseSensitive(value, names[i]));
    return text;
}

static bool append_line(struct buffer *out, const char *text, size_t length) {
    char line[LINE_BYTES_MAX];
    size_t used = 0;
    while (used < length && used < sizeof line && text[used] != '\n' && text[used] != '\r') {
        bool control = (unsigned char)text[used] < 0x20 || text[used] == 0x7F;
        line[used] = control ? ' ' : text[used];
        used++;
    }
    return utf8_append_replaced(out, line, used);
}

bool error_text_append(struct buffer *out, const char *body, size_t length) {
    size_t blank = 0;
    while (blank < length && strchr(" \t\r\n", body[blank]) != NULL)
        blank++;
    body += blank;
    length -= blank;
    cJSON *json = json_parse(body, length, JSON_UPSTREAM_VALUES_MAX, NULL);
    const char *text = find_text(json);
    bool done = true;
    if (text != NULL)
        done = append_line(out, text, strlen(text));
    else if (json == NULL && length > 0 && strchr("<{[", body[0]) == NULL) /* markup, or JSON cut short */
        done = append_line(out, body, length);
    cJSON_Delete(json);
    return done;
}
