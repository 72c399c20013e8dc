/* What the head of an answer says of its body: whether it is an event stream, whether it is compressed, and
 * whether its length is stated in one way only.
 *
 * libcurl 7.88 undoes a transfer coding that nobody asked for, all that it has read at once: of 700 bytes of
 * gzip within gzip it makes 64 MB, and holds the loop meanwhile. So such a body is not read at all.
 *
 * libcurl takes a Content-Length for what it begins with, and the last of several: an answer that says 9 and
 * 10 would be whole after 10 bytes, one that says 9x after 9. So the header lines are read here as well. */
#include "upstream/client_internal.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define BLANKS " \t"

/* ---- the length -------------------------------------------------------------------------------------- */

static bool form_name_is(const char *name, size_t length, const char *expected) {
    return length == strlen(expected) && strncasecmp(name, expected, length) == 0;
}

/** RFC 9110, section 8.6: digits, whose number fits what libcurl counts by. */
static bool parse_length(const char *digits, size_t length, int64_t *ret_value) {
    int64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (!isdigit((unsigned char)digits[i]) || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digits[i] - '0', &value))
            return false;
    }
    *ret_value = value;
    return length > 0;
}

/** A list of values is as good as one, if they are the same. */
static void take_lengths(struct answer_length *stated, const char *value, const char *end) {
    for (;;) {
        const char *comma = memchr(value, ',', (size_t)(end - value));
        const char *last = comma != NULL ? comma : end;
        int64_t length = -1;
        for (; value < last && strchr(BLANKS, *value) != NULL; value++) {
        }
        while (last > value && strchr(BLANKS, last[-1]) != NULL)
            last--;
        if (!parse_length(value, (size_t)(last - value), &length) ||
            (stated->is_stated && length != stated->value))
            stated->is_bad = true;
        stated->is_stated = true;
        stated->value = length;
        if (comma == NULL)
            return;
        value = comma + 1;
    }
}

/* An answer is framed by chunks or not at all; both other words are none of a coding. */
static bool is_framing(const char *coding, size_t length) {
    return form_name_is(coding, length, "chunked") || form_name_is(coding, length, "identity") ||
           form_name_is(coding, length, "none");
}

static bool is_between_codings(char c) {
    return c == ',' || c == ' ' || c == '\t';
}

static void take_codings(struct answer_length *stated, const char *value, const char *end) {
    for (;;) {
        while (value < end && is_between_codings(*value))
            value++;
        const char *start = value;
        while (value < end && !is_between_codings(*value))
            value++;
        if (value == start)
            return;
        stated->is_coded = stated->is_coded || !is_framing(start, (size_t)(value - start));
    }
}

void answer_length_take_line(struct answer_length *stated, const char *line, size_t size) {
    static const char version[] = "HTTP/";
    const char *end = line + size;
    while (end > line && (end[-1] == '\r' || end[-1] == '\n'))
        end--;
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (end == line)
        return;
    if (strchr(BLANKS, *line) != NULL) { /* the header before goes on */
        stated->is_bad = stated->is_bad || stated->is_in_length;
        return;
    }
    if (colon == NULL || strncmp(line, version, strlen(version)) == 0) {
        /* A status line: interim answers came before, whose codings libcurl would undo, too. */
        *stated = (struct answer_length){.is_coded = stated->is_coded};
        return;
    }
    const char *name_end = colon;
    while (name_end > line && strchr(BLANKS, name_end[-1]) != NULL)
        name_end--;
    size_t name_length = (size_t)(name_end - line);
    bool is_length = form_name_is(line, name_length, "Content-Length");
    bool names_codings = form_name_is(line, name_length, "Transfer-Encoding");
    stated->is_in_length = is_length || names_codings;
    if (stated->is_in_length && name_end != colon)
        stated->is_bad = true; /* libcurl does not know it by that name, and others may */
    if (is_length)
        take_lengths(stated, colon + 1, end);
    if (names_codings)
        take_codings(stated, colon + 1, end);
}

bool answer_find_fault(const struct answer_length *stated, struct transfer_fault *ret_fault) {
    if (stated->is_bad)
        *ret_fault = (struct transfer_fault){CAUSE_CONTENT_LENGTH, ANSWER_LENGTH_IS_BAD};
    else if (stated->is_coded)
        *ret_fault = (struct transfer_fault){CAUSE_COMPRESSED, ANSWER_IS_COMPRESSED};
    return stated->is_bad || stated->is_coded;
}

/* ---- the type and the codings ------------------------------------------------------------------------ */

bool answer_is_event_stream(const struct transfer *transfer) {
    static const char expected[] = "text/event-stream";
    const char *type = transfer_header(transfer, "Content-Type");
    bool has_body = transfer->status != 204;
    if (!has_body || type == NULL || strncasecmp(type, expected, strlen(expected)) != 0)
        return false;
    type += strlen(expected);
    type += strspn(type, BLANKS);
    return *type == '\0' || *type == ';';
}

/** `none` is no coding of the standard, but a way to keep compression away. */
static bool is_coding(const char *name, size_t length) {
    return length > 0 && !form_name_is(name, length, "identity") && !form_name_is(name, length, "none");
}

static bool has_coding(const char *list) {
    static const char separators[] = ", \t";
    for (list += strspn(list, separators); *list != '\0'; list += strspn(list, separators)) {
        size_t length = strcspn(list, separators);
        if (is_coding(list, length))
            return true;
        list += length;
    }
    return false;
}

bool answer_is_compressed(const struct transfer *transfer) {
    const char *codings;
    for (size_t i = 0; (codings = transfer_header_at(transfer, "Content-Encoding", i)) != NULL; i++) {
        if (has_coding(codings))
            return true;
    }
    return false;
}
