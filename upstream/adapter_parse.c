/* Reading an event's JSON, more leniently than cJSON does.
 *
 * Some of what upstreams send is no JSON (NaN), or JSON that cJSON refuses (half a surrogate pair) or cuts (a
 * string with U+0000). Clients read it nevertheless. So a copy is mended, whose strings then hold bytes that
 * are no UTF-8:
 *
 *     "ab\ud83d"  ->  "ab" ED A0 BD      half a pair, whose other half may come in the next event
 *     "a\u0000b"  ->  "a" C0 80 "b"      for cJSON's strings end at a NUL
 */
#include "base/json_parse.h"
#include "upstream/adapter_body.h"

#include <stdlib.h>
#include <string.h>

#define ESCAPE_LENGTH 6 /* of \uXXXX */

/* The escape \uXXXX at `at`; -1: there is none. */
static long read_escape(const char *at, const char *end) {
    long code = 0;
    if (end - at < ESCAPE_LENGTH || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (int i = 2; i < ESCAPE_LENGTH; i++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = memchr(digits, at[i], sizeof(digits) - 1);
        if (digit == NULL)
            return -1;
        code = code * 16 + (digit - digits) % 16;
    }
    return code;
}

static bool is_first_half(long code) {
    return code >= 0xD800 && code <= 0xDBFF;
}

static bool is_second_half(long code) {
    return code >= 0xDC00 && code <= 0xDFFF;
}

/* What is being mended: `to` never overtakes `from`. */
struct mending {
    const char *from, *end;
    char *to;
    bool is_mended;
};

static void copy_bytes(struct mending *mending, size_t count) {
    for (; count > 0 && mending->from < mending->end; count--)
        *mending->to++ = *mending->from++;
}

/* The bytes of a code in the place of its escape. */
static void replace_escape(struct mending *mending, long code) {
    if (code == 0) {
        *mending->to++ = (char)0xC0;
        *mending->to++ = (char)0x80;
    } else {
        *mending->to++ = (char)(0xE0 | code >> 12);
        *mending->to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *mending->to++ = (char)(0x80 | (code & 0x3F));
    }
    mending->from += ESCAPE_LENGTH;
    mending->is_mended = true;
}

static void mend_escape(struct mending *mending) {
    long code = read_escape(mending->from, mending->end);
    if (is_first_half(code) && is_second_half(read_escape(mending->from + ESCAPE_LENGTH, mending->end)))
        copy_bytes(mending, (size_t)2 * ESCAPE_LENGTH);
    else if (code == 0 || is_first_half(code) || is_second_half(code))
        replace_escape(mending, code);
    else
        copy_bytes(mending, strlen("\\x")); /* what follows u is as good as any text */
}

/* Puts 0 in the place of a number that JSON does not have. False: there is none. */
static bool mend_number(struct mending *mending) {
    static const char *const numbers[] = {"NaN", "Infinity", "-Infinity"};
    size_t left = (size_t)(mending->end - mending->from);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        size_t length = strlen(numbers[i]);
        if (left < length || memcmp(mending->from, numbers[i], length) != 0)
            continue;
        *mending->to++ = '0';
        mending->from += length;
        mending->is_mended = true;
        return true;
    }
    return false;
}

/* Mends the text in place and returns its length; 0: there was nothing to mend. */
static size_t mend_text(char *text, size_t length) {
    struct mending mending = {.from = text, .end = text + length, .to = text};
    for (bool in_string = false; mending.from < mending.end;) {
        if (in_string && *mending.from == '\\') {
            mend_escape(&mending);
        } else if (in_string || !mend_number(&mending)) {
            in_string ^= *mending.from == '"';
            copy_bytes(&mending, 1);
        }
    }
    return mending.is_mended ? (size_t)(mending.to - text) : 0;
}

static bool has_text(const char *data, size_t length, const char *text) {
    return memmem(data, length, text, strlen(text)) != NULL;
}

/* Whether cJSON has failed at something that can be mended, or would cut a string. */
static bool may_be_mended(const cJSON *event, const char *data, size_t length) {
    if (event != NULL)
        return has_text(data, length, "\\u0000");
    return has_text(data, length, "NaN") || has_text(data, length, "Infinity") ||
           has_text(data, length, "\\u");
}

cJSON *adapter_parse(const char *data, size_t length) {
    cJSON *event = json_parse(data, length, JSON_UPSTREAM_VALUES_MAX, NULL);
    char *copy = length > 0 && may_be_mended(event, data, length) ? malloc(length) : NULL;
    if (copy == NULL)
        return event;
    memcpy(copy, data, length);
    size_t mended_length = mend_text(copy, length);
    if (mended_length > 0) {
        cJSON_Delete(event);
        event = json_parse(copy, mended_length, JSON_UPSTREAM_VALUES_MAX, NULL);
    }
    free(copy);
    return event;
}

bool adapter_append_text(struct buffer *out, const char *text) {
    static const char nul[] = "\xC0\x80";
    if (text == NULL)
        return true;
    for (const char *end; (end = strstr(text, nul)) != NULL; text = end + strlen(nul)) {
        if (!buffer_append(out, text, (size_t)(end - text)) || !buffer_append(out, "", 1))
            return false;
    }
    return buffer_append_text(out, text);
}
