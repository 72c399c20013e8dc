/* RFC 8259 by the letter: whether a text is one JSON value, and what the gateway refuses besides. It shares
 * nothing with routes/json_body.c or cJSON. */
#ifndef SLUICE_TESTS_JSON_REFERENCE_H
#define SLUICE_TESTS_JSON_REFERENCE_H

#include "tests/fuzz/fuzz.h"

struct json_reference {
    const char *at;
    const char *end;
    unsigned depth, deepest; /* of objects and arrays */
    bool has_nul;            /* a \u0000 */
};

static inline bool json_reference_value(struct json_reference *json);

static inline bool json_reference_byte(struct json_reference *json, char byte) {
    bool there = json->at < json->end && *json->at == byte;
    json->at += there;
    return there;
}

static inline bool json_reference_word(struct json_reference *json, const char *word) {
    while (*word != '\0' && json_reference_byte(json, *word))
        word++;
    return *word == '\0';
}

/** Section 2, "ws". */
static inline void json_reference_blanks(struct json_reference *json) {
    while (json_reference_byte(json, ' ') || json_reference_byte(json, '\t') ||
           json_reference_byte(json, '\n') || json_reference_byte(json, '\r'))
        ;
}

static inline bool json_reference_digits(struct json_reference *json) {
    const char *start = json->at;
    while (json->at < json->end && *json->at >= '0' && *json->at <= '9')
        json->at++;
    return json->at > start;
}

/** Section 6. */
static inline bool json_reference_number(struct json_reference *json) {
    json_reference_byte(json, '-');
    if (!json_reference_byte(json, '0') && !json_reference_digits(json))
        return false;
    if (json_reference_byte(json, '.') && !json_reference_digits(json))
        return false;
    if (!json_reference_byte(json, 'e') && !json_reference_byte(json, 'E'))
        return true;
    if (!json_reference_byte(json, '+'))
        json_reference_byte(json, '-');
    return json_reference_digits(json);
}

/** The four digits behind \u; -1: they are not there. */
static inline int32_t json_reference_unit(struct json_reference *json) {
    char digits[5] = "";
    if (json->end - json->at < 4)
        return -1;
    memcpy(digits, json->at, 4);
    json->at += 4;
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? (int32_t)strtol(digits, NULL, 16) : -1;
}

/** Section 7; a surrogate without its other half stands for no text (section 8.2), and is not taken. */
static inline bool json_reference_escape(struct json_reference *json) {
    if (json->at == json->end)
        return false;
    char byte = *json->at++;
    if (byte != 'u')
        return byte != '\0' && strchr("\"\\/bfnrt", byte) != NULL;
    int32_t unit = json_reference_unit(json);
    json->has_nul = json->has_nul || unit == 0;
    if (unit < 0xD800 || unit > 0xDFFF)
        return unit >= 0;
    if (unit > 0xDBFF || !json_reference_word(json, "\\u"))
        return false;
    unit = json_reference_unit(json);
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

static inline bool json_reference_string(struct json_reference *json) {
    if (!json_reference_byte(json, '"'))
        return false;
    while (json->at < json->end && *json->at != '"') {
        unsigned char byte = (unsigned char)*json->at++;
        if (byte < 0x20 || (byte == '\\' && !json_reference_escape(json)))
            return false;
    }
    return json_reference_byte(json, '"');
}

static inline bool json_reference_member(struct json_reference *json, bool named) {
    json_reference_blanks(json);
    if (named) {
        if (!json_reference_string(json))
            return false;
        json_reference_blanks(json);
        if (!json_reference_byte(json, ':'))
            return false;
    }
    return json_reference_value(json);
}

/** Sections 4 and 5: what stands between the opening byte, which is passed, and `close`. */
static inline bool json_reference_members(struct json_reference *json, char close) {
    if (++json->depth > json->deepest)
        json->deepest = json->depth;
    json_reference_blanks(json);
    bool done = json_reference_byte(json, close);
    while (!done) {
        if (!json_reference_member(json, close == '}'))
            return false;
        done = json_reference_byte(json, close);
        if (!done && !json_reference_byte(json, ','))
            return false;
    }
    json->depth--;
    return true;
}

static inline bool json_reference_value(struct json_reference *json) {
    bool good;
    json_reference_blanks(json);
    if (json->at == json->end)
        return false;
    if (json_reference_byte(json, '{'))
        good = json_reference_members(json, '}');
    else if (json_reference_byte(json, '['))
        good = json_reference_members(json, ']');
    else if (*json->at == '"')
        good = json_reference_string(json);
    else if (*json->at == 't')
        good = json_reference_word(json, "true");
    else if (*json->at == 'f')
        good = json_reference_word(json, "false");
    else if (*json->at == 'n')
        good = json_reference_word(json, "null");
    else
        good = json_reference_number(json);
    json_reference_blanks(json);
    return good;
}

/** Whether the text, valid UTF-8, is one object and nothing else, without \u0000. How deep it is nested is in
 * *ret_deepest then. */
static inline bool json_reference_is_object(const char *text, size_t length, unsigned *ret_deepest) {
    struct json_reference json = {.at = text, .end = text + length};
    bool good = json_reference_value(&json) && json.at == json.end && !json.has_nul;
    *ret_deepest = json.deepest;
    return good && text[strspn(text, " \t\r\n")] == '{';
}

#endif
