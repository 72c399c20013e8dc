/* Reading the values of request headers.
 *
 * A value is cut at one separator after the other: a list at its commas, an item at its semicolons, a
 * parameter at its "=". Each cut leaves quoted strings whole. Nothing is copied: a piece points into the
 * value. */
#include "routes/header_value.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

static const char blanks[] = " \t";

/* A run of text without the blanks around it. */
struct piece {
    const char *text;
    size_t length;
};

static struct piece trim_piece(const char *text, size_t length) {
    size_t front = strspn(text, blanks);
    if (front > length)
        front = length;
    text += front;
    length -= front;
    while (length > 0 && strchr(blanks, text[length - 1]) != NULL)
        length--;
    return (struct piece){text, length};
}

static bool piece_is(struct piece piece, const char *word) {
    return piece.length == strlen(word) && strncasecmp(piece.text, word, piece.length) == 0;
}

/* How far it is to `separator` or the end, over whatever stands in quotes. */
static size_t span_to(const char *text, size_t length, char separator) {
    bool quoted = false;
    size_t i = 0;
    for (; i < length && (quoted || text[i] != separator); i++) {
        if (text[i] == '"')
            quoted = !quoted;
        else if (quoted && text[i] == '\\' && i + 1 < length)
            i++;
    }
    return i;
}

/* Cuts the first piece off `rest`. False: there is none left. */
static bool next_piece(struct piece *rest, char separator, struct piece *ret_piece) {
    if (rest->length == 0)
        return false;
    size_t span = span_to(rest->text, rest->length, separator);
    *ret_piece = trim_piece(rest->text, span);
    size_t done = span < rest->length ? span + 1 : span;
    rest->text += done;
    rest->length -= done;
    return true;
}

/* The value of `parameter` if its name is `name`, without quotes; else NULL text. */
static struct piece parameter_value(struct piece parameter, const char *name) {
    size_t name_length = strlen(name);
    struct piece value = {NULL, 0};
    if (parameter.length <= name_length || parameter.text[name_length] != '=' ||
        strncasecmp(parameter.text, name, name_length) != 0)
        return value;
    value = (struct piece){parameter.text + name_length + 1, parameter.length - name_length - 1};
    if (value.length >= 2 && value.text[0] == '"' && value.text[value.length - 1] == '"')
        value = (struct piece){value.text + 1, value.length - 2};
    return value;
}

bool header_is_json(const char *content_type) {
    struct piece rest = {content_type, strlen(content_type)}, piece;
    if (!next_piece(&rest, ';', &piece) || !piece_is(piece, "application/json"))
        return false;
    while (next_piece(&rest, ';', &piece)) {
        struct piece charset = parameter_value(piece, "charset");
        if (charset.text != NULL && !piece_is(charset, "utf-8"))
            return false;
    }
    return true;
}

/* RFC 9110, section 12.4.2: 0, or 0. and zeros. */
static bool is_zero_weight(struct piece value) {
    if (value.length == 0 || value.text[0] != '0')
        return false;
    for (size_t i = 1; i < value.length; i++) {
        if (value.text[i] != '0' && value.text[i] != '.')
            return false;
    }
    return true;
}

static bool range_accepts(struct piece range, const char *media_type) {
    struct piece piece;
    if (!next_piece(&range, ';', &piece) || !piece_is(piece, media_type))
        return false;
    while (next_piece(&range, ';', &piece)) {
        struct piece quality = parameter_value(piece, "q");
        if (quality.text != NULL)
            return !is_zero_weight(quality);
    }
    return true;
}

bool header_accepts(const char *accept, const char *media_type) {
    if (accept == NULL)
        return false;
    struct piece rest = {accept, strlen(accept)}, range;
    while (next_piece(&rest, ',', &range)) {
        if (range_accepts(range, media_type))
            return true;
    }
    return false;
}
