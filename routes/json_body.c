/* JSON request bodies.
 *
 * cJSON is lenient: it takes control bytes as blanks and inside strings, numbers as strtod() does, and
 * repeated names. So the text is scanned first, and what RFC 8259 does not allow is refused before cJSON sees
 * it. A member is cut out of the text itself, so that all other bytes stay as they came.
 */
#include "routes/json_body.h"

#include "base/json_parse.h"
#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INTEGER_LIMIT 9007199254740992.0 /* 2^53: from here on a double may stand for another integer */
#define EXACT_DIGITS 15                  /* an integer of no more digits is below it */

static const char not_json[] = "The body is not valid JSON.";

/* ---- the scan ------------------------------------------------------------------------------------ */

struct scan {
    const char *at;
    const char *end;
    const char *error;     /* NULL: fine so far */
    bool looks_at_numbers; /* else inexact_number is not looked for: that takes as long as all else */
    bool inexact_number;
};

static bool is_digit_at(const struct scan *scan) {
    return scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9';
}

static bool skip_digits(struct scan *scan) {
    bool any = is_digit_at(scan);
    while (is_digit_at(scan))
        scan->at++;
    return any;
}

static bool skip_byte(struct scan *scan, const char *bytes) {
    bool there = scan->at < scan->end && *scan->at != '\0' && strchr(bytes, *scan->at) != NULL;
    scan->at += there;
    return there;
}

static bool is_inexact(const char *begin, bool whole) {
    double number = strtod(begin, NULL);
    return !isfinite(number) || (whole && fabs(number) >= INTEGER_LIMIT);
}

/* RFC 8259, section 6. `text` is NUL-terminated somewhere behind the number. */
static void scan_number(struct scan *scan) {
    const char *begin = scan->at;
    bool whole = true, has_exponent = false;
    skip_byte(scan, "-");
    bool valid = skip_byte(scan, "0") || skip_digits(scan);
    if (skip_byte(scan, ".")) {
        whole = false;
        valid = valid && skip_digits(scan);
    }
    if (skip_byte(scan, "eE")) {
        whole = false;
        has_exponent = true;
        skip_byte(scan, "+-");
        valid = valid && skip_digits(scan);
    }
    if (!valid || is_digit_at(scan)) {
        scan->error = not_json;
        return;
    }
    bool may_be_inexact = has_exponent || scan->at - begin > EXACT_DIGITS;
    if (may_be_inexact && scan->looks_at_numbers && is_inexact(begin, whole))
        scan->inexact_number = true;
}

/* RFC 8259, section 7: `\u` with its four digits. For cJSON, digits that are none are those of U+0000. */
static void scan_escape(struct scan *scan) {
    bool zero = true;
    for (int i = 2; i < 6 && scan->error == NULL; i++) {
        if (scan->end - scan->at <= i || !isxdigit((unsigned char)scan->at[i]))
            scan->error = not_json;
        else
            zero = zero && scan->at[i] == '0';
    }
    if (zero && scan->error == NULL)
        scan->error = "The body contains \\u0000, which is not allowed.";
}

static void scan_input_string(struct scan *scan) {
    for (scan->at++; scan->at < scan->end && *scan->at != '"'; scan->at++) {
        if ((unsigned char)*scan->at < 0x20) {
            scan->error = "The body contains a control byte within a string.";
            return;
        }
        if (*scan->at != '\\')
            continue;
        if (scan->end - scan->at > 1 && scan->at[1] == 'u') {
            scan_escape(scan);
            if (scan->error != NULL)
                return;
        }
        scan->at++; /* an escaped quote ends nothing */
    }
    if (scan->at >= scan->end)
        scan->error = not_json;
    scan->at++;
}

static struct scan scan_text(const char *text, size_t length, bool looks_at_numbers) {
    struct scan scan = {.at = text, .end = text + length, .looks_at_numbers = looks_at_numbers};
    size_t depth = 0;
    while (scan.at < scan.end && scan.error == NULL) {
        char byte = *scan.at;
        if (byte == '"') {
            scan_input_string(&scan);
            continue;
        }
        if (byte == '-' || (byte >= '0' && byte <= '9')) {
            scan_number(&scan);
            continue;
        }
        if ((unsigned char)byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r')
            scan.error = not_json;
        if (byte == '{' || byte == '[')
            depth++;
        else if ((byte == '}' || byte == ']') && depth > 0)
            depth--;
        if (depth > JSON_INPUT_DEPTH_MAX)
            scan.error = "The body is nested too deeply.";
        scan.at++;
    }
    return scan;
}

bool json_input_has_inexact_number(const char *text, size_t length) {
    return scan_text(text, length, true).inexact_number;
}

/* ---- names --------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int json_input_names_differ(const cJSON *object) {
    size_t count = 0;
    const cJSON *member;
    cJSON_ArrayForEach(member, object) count++;
    /* cppcheck-suppress knownConditionTrueFalse ; it does not see the loop in cJSON_ArrayForEach() */
    if (count < 2)
        return 1;
    const char **names = malloc(count * sizeof(*names));
    if (names == NULL)
        return -ENOMEM;
    size_t i = 0;
    cJSON_ArrayForEach(member, object) names[i++] = member->string;
    qsort(names, count, sizeof(*names), compare_names);
    int differ = 1;
    for (i = 1; i < count && differ == 1; i++)
        differ = strcmp(names[i - 1], names[i]) != 0;
    free(names);
    return differ;
}

/* ---- reading ------------------------------------------------------------------------------------- */

static const char *check_text(const char *text, size_t length) {
    if (!utf8_is_valid(text, length))
        return "The body is not valid UTF-8.";
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        return not_json; /* section 8.1: no byte order mark */
    return scan_text(text, length, false).error;
}

static bool only_blanks(const char *from, const char *end) {
    while (from < end && strchr(" \t\r\n", *from) != NULL)
        from++;
    return from == end;
}

int json_input_read(const char *text, size_t length, size_t values_max, cJSON **ret_object,
                    const char **ret_error) {
    const char *end = NULL;
    *ret_error = NULL;
    if (json_exceeds(text, length, values_max))
        return -E2BIG;
    *ret_error = check_text(text, length);
    if (*ret_error != NULL)
        return -EINVAL;
    cJSON *object = json_parse(text, length, values_max, &end);
    int differ = 1;
    if (object == NULL || !only_blanks(end, text + length))
        *ret_error = not_json;
    else if (!cJSON_IsObject(object))
        *ret_error = "The body is not a JSON object.";
    else if ((differ = json_input_names_differ(object)) == 0)
        *ret_error = "The body contains a member twice.";
    if (*ret_error == NULL && differ == 1) {
        *ret_object = object;
        return 0;
    }
    cJSON_Delete(object);
    return differ == -ENOMEM ? -ENOMEM : -EINVAL;
}

bool json_input_integer(const cJSON *item, int64_t minimum, int64_t maximum, int64_t *ret_number) {
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= (double)minimum) ||
        !(item->valuedouble <= (double)maximum))
        return false;
    int64_t number = (int64_t)item->valuedouble;
    if ((double)number != item->valuedouble)
        return false;
    *ret_number = number;
    return true;
}

/* ---- cutting a member out ------------------------------------------------------------------------ */

/* Where the string that begins at text[at] ends, its quote included. */
static size_t end_of_string(const char *text, size_t length, size_t at) {
    for (at++; at < length && text[at] != '"'; at++)
        at += text[at] == '\\';
    return at < length ? at + 1 : length;
}

/* The next comma or bracket at depth 1, from `at`, which stands after the object's opening bracket. */
static size_t find_member_end(const char *text, size_t length, size_t at) {
    size_t depth = 1;
    while (at < length) {
        char byte = text[at];
        if (byte == '"') {
            at = end_of_string(text, length, at);
            continue;
        }
        if (depth == 1 && (byte == ',' || byte == '}'))
            return at;
        if (byte == '{' || byte == '[')
            depth++;
        else if (byte == '}' || byte == ']')
            depth--;
        at++;
    }
    return length;
}

size_t json_cut_member(const char *text, size_t length, size_t index, char *out) {
    const char *bracket = memchr(text, '{', length);
    size_t begin = bracket != NULL ? (size_t)(bracket - text) + 1 : length;
    size_t end = find_member_end(text, length, begin);
    for (size_t i = 0; i < index && end < length; i++) {
        begin = end; /* with its comma */
        end = find_member_end(text, length, end + 1);
    }
    if (index == 0 && end < length && text[end] == ',')
        end++;
    memcpy(out, text, begin);
    memcpy(out + begin, text + end, length - end);
    return begin + length - end;
}

/* ---- the body of a request ----------------------------------------------------------------------- */

bool json_body_read(struct request *request, cJSON **ret_object) {
    uint64_t values_max = request->context->settings->request_json_values_max;
    const char *error;
    int result = json_input_read(request->body, request->body_length, values_max, ret_object, &error);
    if (result == -EINVAL)
        reply_error(request, 400, "invalid_json", "%s", error);
    else if (result == -E2BIG)
        reply_limit(request, 413, "too_many_json_values", "The body contains too many JSON values",
                    "request_json_values_max", values_max, NULL);
    else if (result < 0)
        reply_no_memory(request);
    return result == 0;
}
