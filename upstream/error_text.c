/* What an upstream's error answer says: see error_text.h. */
#include "upstream/error_text.h"

#include "base/utf8.h"
#include "upstream/adapter_body.h"

#include <string.h>

#define LINE_BYTES_MAX 500

/** The first text in `value` or below it: "x", {"error":"x"}, {"error":{"message":"x"}},
 * {"detail":[{"msg":"x"}]}. */
/* As deep as cJSON lets JSON be, which is 1000. NOLINTNEXTLINE(misc-no-recursion) */
static const char *find_text(const cJSON *value) {
    static const char *const names[] = {"error",     "detail",       "message", "msg",
                                        "errorText", "errorMessage", "response"};
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

static size_t skip_blanks(const char *text, size_t length) {
    size_t blank = 0;
    while (blank < length && strchr(" \t\r\n", text[blank]) != NULL)
        blank++;
    return blank;
}

bool error_text_append(struct buffer *out, const char *body, size_t length) {
    size_t blank = skip_blanks(body, length);
    body += blank;
    length -= blank;
    cJSON *json = adapter_parse(body, length);
    const char *text = find_text(json);
    bool done = true;
    if (text != NULL)
        done = append_line(out, text, strlen(text));
    else if (json == NULL && length > 0 && strchr("<{[", body[0]) == NULL) /* markup, or JSON cut short */
        done = append_line(out, body, length);
    cJSON_Delete(json);
    return done;
}

/* What stands after `{"error":` in text that is no valid JSON, since the message in it was not escaped. */
static void skip_error_member(const char **text, size_t *length) {
    static const char member[] = "{\"error\":";
    const char *at = *text;
    size_t left = *length;
    for (size_t i = 0; member[i] != '\0'; i++) {
        size_t blank = skip_blanks(at, left);
        at += blank;
        left -= blank;
        bool in_name = i > 2 && i < strlen("{\"error\"");
        if (left == 0 || *at != member[i] || (in_name && blank > 0))
            return;
        at++;
        left--;
    }
    size_t blank = skip_blanks(at, left);
    at += blank;
    left -= blank;
    bool is_quoted = left >= 3 && at[0] == '"' && memcmp(at + left - 2, "\"}", 2) == 0;
    *text = at + is_quoted;
    *length = left - (is_quoted ? strlen("\"\"}") : 0);
}

bool error_text_append_any(struct buffer *out, const char *text, size_t length) {
    size_t before = out->length;
    if (!error_text_append(out, text, length))
        return false;
    if (out->length > before)
        return true;
    size_t blank = skip_blanks(text, length);
    text += blank;
    length -= blank;
    skip_error_member(&text, &length);
    return append_line(out, text, length);
}
