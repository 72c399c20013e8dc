/* What an upstream's error answer says: see error_text.h. */
#include "upstream/error_text.h"

#include "base/json_keys.h"
#include "base/json_members.h"
#include "base/utf8.h"
#include "upstream/adapter_body.h"

#include <string.h>

#define LINE_BYTES_MAX 500
#define BEGINNING_BYTES_MAX 160

/** What an error says. */
struct said {
    const char *text;
    const char *more; /* NULL: the text is all */
};

/** A text that is not empty, or NULL. */
static const char *text_of_member(const cJSON *object, const char *name) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/** {"error":"ValueError","message":"x"}: "error" names the kind alone, and the words are next to it. */
static struct said find_named(const cJSON *object) {
    static const char *const names[] = {"message", "error_description", "detail"};
    struct said said = {text_of_member(object, "error"), NULL};
    for (size_t i = 0; i < sizeof names / sizeof *names && said.more == NULL && said.text != NULL; i++)
        said.more = text_of_member(object, names[i]);
    if (said.more != NULL && strcmp(said.text, said.more) == 0)
        said.more = NULL;
    return said;
}

/** The first text in `value` or below it: "x", {"error":"x"}, {"error":{"message":"x"}},
 * {"detail":[{"msg":"x"}]}. */
/* As deep as cJSON lets JSON be, which is 1000. NOLINTNEXTLINE(misc-no-recursion) */
static struct said find_text(const cJSON *value) {
    static const char *const names[] = {"error",     "detail",       "message", "msg",
                                        "errorText", "errorMessage", "response"};
    if (cJSON_IsString(value))
        return (struct said){value->valuestring[0] != '\0' ? value->valuestring : NULL, NULL};
    if (cJSON_IsArray(value))
        return find_text(value->child);
    struct said said = find_named(value);
    for (size_t i = 0; i < sizeof names / sizeof *names && said.text == NULL && cJSON_IsObject(value); i++)
        said = find_text(cJSON_GetObjectItemCaseSensitive(value, names[i]));
    return said;
}

static bool append_error_line(struct buffer *out, const char *text, size_t length) {
    char line[LINE_BYTES_MAX];
    size_t used = 0;
    while (used < length && used < sizeof line && text[used] != '\n' && text[used] != '\r') {
        bool control = (unsigned char)text[used] < 0x20 || text[used] == 0x7F;
        line[used] = control ? ' ' : text[used];
        used++;
    }
    return utf8_append_replaced(out, line, used);
}

static size_t skip_text_blanks(const char *text, size_t length) {
    size_t blank = 0;
    while (blank < length && strchr(" \t\r\n", text[blank]) != NULL)
        blank++;
    return blank;
}

bool error_text_append(struct buffer *out, const char *body, size_t length) {
    size_t blank = skip_text_blanks(body, length);
    body += blank;
    length -= blank;
    cJSON *json = adapter_parse(body, length);
    struct said said = find_text(json);
    bool done = true;
    if (said.text != NULL)
        done = append_error_line(out, said.text, strlen(said.text)) &&
               (said.more == NULL ||
                (buffer_append_text(out, ": ") && append_error_line(out, said.more, strlen(said.more))));
    else if (json == NULL && length > 0 && strchr("<{[", body[0]) == NULL) /* markup, or JSON cut short */
        done = append_error_line(out, body, length);
    cJSON_Delete(json);
    return done;
}

/** The offset of the outermost error's value; 0: there is none that is not null. */
static size_t find_broken_error(const char *text, size_t length) {
    struct json_members members = json_members_begin(text, length, JSON_QUOTES_LENIENT);
    for (struct json_member member; json_members_next(&members, &member);) {
        if (json_string_is(member.name, member.name_length, "error") &&
            !json_keys_value_is(text, length, member.value, "null"))
            return member.value;
    }
    return 0;
}

/** Takes the quotes off a text that all of `text` is, up to the end of its object. */
static void unquote_error(const char **text, size_t *length) {
    const char *at = *text;
    size_t left = *length;
    if (left == 0 || at[0] != '"')
        return;
    left -= left >= 3 && memcmp(at + left - 2, "\"}", 2) == 0 ? 2 : left >= 2 && at[left - 1] == '"';
    *text = at + 1;
    *length = left - 1;
}

/** Appends the words of an error in text that is no valid JSON, for the message in it was not escaped, or its
 * end is missing. Without such an error it appends the first line. */
static bool append_broken_error(struct buffer *out, const char *text, size_t length) {
    size_t before = out->length, value = find_broken_error(text, length);
    text += value;
    length -= value;
    if (value > 0 && length > 0 && *text == '{' && !error_text_append(out, text, length))
        return false;
    if (out->length > before)
        return true;
    if (value > 0)
        unquote_error(&text, &length);
    return append_error_line(out, text, length);
}

bool error_text_append_any(struct buffer *out, const char *text, size_t length) {
    size_t before = out->length;
    if (!error_text_append(out, text, length))
        return false;
    if (out->length > before)
        return true;
    size_t blank = adapter_skip_blanks(text, length);
    return append_broken_error(out, text + blank, length - blank);
}

/* ---- the first bytes --------------------------------------------------------------------------------- */

/** The length of the character at `text`, or 0 if it is to be escaped. */
static size_t printable_length(const char *text, size_t left) {
    unsigned char byte = (unsigned char)*text;
    if (byte < 0x80)
        return byte >= 0x20 && byte != 0x7F && byte != '%';
    for (size_t length = 2; length <= 4 && length <= left; length++) {
        if (utf8_is_valid(text, length))
            return byte != 0xC2 || (unsigned char)text[1] >= 0xA0 ? length : 0; /* C1 controls */
    }
    return 0;
}

static bool append_printable(struct buffer *out, const char *text, size_t left, size_t *ret_taken) {
    size_t length = printable_length(text, left);
    *ret_taken = length > 0 ? length : 1;
    return length > 0 ? buffer_append(out, text, length) : buffer_printf(out, "%%%02X", (unsigned char)*text);
}

bool error_text_append_bytes(struct buffer *out, const char *text, size_t length) {
    size_t at = skip_text_blanks(text, length), end = at + BEGINNING_BYTES_MAX, taken = 0;
    bool done = true;
    while (done && at < length && at < end) {
        size_t blank = skip_text_blanks(text + at, length - at);
        at += blank;
        if (at == length)
            break;
        done = (blank == 0 || buffer_append_text(out, " ")) &&
               append_printable(out, text + at, length - at, &taken);
        at += taken;
    }
    return done && (at >= length || buffer_append_text(out, "..."));
}
