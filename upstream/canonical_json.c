/* JSON text in one form: see canonical_json.h.
 *
 * The text is written on as it is read. Only at the end of an object are its members put in order, if they
 * are not. An object within others is moved with each of them: 1 MB within 60 objects took 40 ms. So there is
 * a bound on what is moved.
 */
#include "upstream/canonical_json.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64
/* Of a text of so many bytes. */
#define MOVED_BYTES_MAX(length) (4 * 1024 * 1024 + 4 * (length))

struct scan {
    const char *at, *end;
    struct buffer *out;
    const struct canonical_json_ignored *ignored;
    unsigned depth;
    size_t may_move; /* bytes */
};

/** A member as it stands in the output: "name":value. */
struct member {
    const char *name; /* in the input, without its quotes, as it is escaped there */
    size_t name_length;
    size_t from, to; /* in the output */
};

struct members {
    struct member *items;
    size_t count, capacity;
};

static int scan_value(struct scan *scan);

static bool is_scan_blank(char byte) {
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static void skip_scan_blanks(struct scan *scan) {
    while (scan->at < scan->end && is_scan_blank(*scan->at))
        scan->at++;
}

/** Steps over `byte`, and the blanks before it. */
static bool take_byte(struct scan *scan, char byte) {
    skip_scan_blanks(scan);
    bool there = scan->at < scan->end && *scan->at == byte;
    scan->at += there;
    return there;
}

static int put_text(struct scan *scan, const char *text, size_t length) {
    return buffer_append(scan->out, text, length) ? 0 : -ENOMEM;
}

/* ---- strings, numbers and words ------------------------------------------------------------------ */

static int scan_string(struct scan *scan) {
    if (!take_byte(scan, '"'))
        return -EINVAL;
    const char *start = scan->at - 1;
    while (scan->at < scan->end && *scan->at != '"') {
        if ((unsigned char)*scan->at < 0x20)
            return -EINVAL;
        scan->at += *scan->at == '\\' && scan->end - scan->at > 1 ? 2 : 1;
    }
    if (scan->at == scan->end)
        return -EINVAL;
    scan->at++;
    return put_text(scan, start, (size_t)(scan->at - start));
}

/** A number, true, false or null: whatever it is, it is compared by its text. */
static int scan_word(struct scan *scan) {
    const char *start = scan->at;
    while (scan->at < scan->end && *scan->at != '\0' && strchr(",:[]{}\" \t\r\n", *scan->at) == NULL)
        scan->at++;
    return scan->at > start ? put_text(scan, start, (size_t)(scan->at - start)) : -EINVAL;
}

/* ---- objects ------------------------------------------------------------------------------------- */

static bool is_listed(const char *list, const char *name, size_t length) {
    while (list != NULL && *list != '\0') {
        list += strspn(list, ", \t");
        size_t item = strcspn(list, ", \t");
        if (item == length && item > 0 && memcmp(list, name, length) == 0)
            return true;
        list += item;
    }
    return false;
}

static bool is_ignored(const struct scan *scan, const char *name, size_t length) {
    const char *const *outermost = scan->ignored->outermost;
    for (; scan->depth == 1 && outermost != NULL && *outermost != NULL; outermost++) {
        if (strlen(*outermost) == length && memcmp(*outermost, name, length) == 0)
            return true;
    }
    return is_listed(scan->ignored->anywhere, name, length);
}

static int compare_members(const void *a, const void *b) {
    const struct member *one = a, *other = b;
    size_t common = one->name_length < other->name_length ? one->name_length : other->name_length;
    int order = memcmp(one->name, other->name, common);
    if (order != 0)
        return order;
    if (one->name_length != other->name_length)
        return one->name_length < other->name_length ? -1 : 1;
    return one->from < other->from ? -1 : one->from > other->from;
}

static bool members_add(struct members *members, const struct member *member) {
    if (members->count == members->capacity) {
        size_t capacity = members->capacity > 0 ? 2 * members->capacity : 8;
        struct member *items = reallocarray(members->items, capacity, sizeof(*items));
        if (items == NULL)
            return false;
        members->items = items;
        members->capacity = capacity;
    }
    members->items[members->count++] = *member;
    return true;
}

/* At most DEPTH_MAX deep. NOLINTNEXTLINE(misc-no-recursion) */
static int scan_member(struct scan *scan, struct members *members) {
    size_t before = scan->out->length;
    int result = members->count > 0 ? put_text(scan, ",", 1) : 0;
    size_t from = scan->out->length;
    result = result == 0 ? scan_string(scan) : result;
    if (result < 0)
        return result;
    struct member member = {.name_length = scan->out->length - from - 2, .from = from};
    member.name = scan->at - 1 - member.name_length;
    if (!take_byte(scan, ':'))
        return -EINVAL;
    result = put_text(scan, ":", 1);
    result = result == 0 ? scan_value(scan) : result;
    if (result < 0)
        return result;
    member.to = scan->out->length;
    if (is_ignored(scan, member.name, member.name_length)) {
        scan->out->length = before;
        return 0;
    }
    return members_add(members, &member) ? 0 : -ENOMEM;
}

static bool are_in_order(const struct members *members) {
    for (size_t i = 1; i < members->count; i++) {
        if (compare_members(&members->items[i - 1], &members->items[i]) > 0)
            return false;
    }
    return true;
}

/** Puts the members, which take the output from `start` on, in order. */
static int put_in_order(struct scan *scan, size_t start, struct members *members) {
    struct buffer *out = scan->out;
    size_t length = out->length - start;
    if (are_in_order(members))
        return 0;
    if (length > scan->may_move)
        return -EINVAL;
    scan->may_move -= length;
    char *before = malloc(length);
    if (before == NULL)
        return -ENOMEM;
    memcpy(before, out->bytes + start, length);
    qsort(members->items, members->count, sizeof(*members->items), compare_members);
    out->length = start;
    int result = 0;
    for (size_t i = 0; i < members->count && result == 0; i++) {
        const struct member *member = &members->items[i];
        if (i > 0)
            result = put_text(scan, ",", 1);
        if (result == 0)
            result = put_text(scan, before + (member->from - start), member->to - member->from);
    }
    free(before);
    return result;
}

/* At most DEPTH_MAX deep. NOLINTNEXTLINE(misc-no-recursion) */
static int scan_object(struct scan *scan) {
    struct members members = {0};
    size_t start = scan->out->length;
    int result = 0;
    if (!take_byte(scan, '}')) {
        do {
            result = scan_member(scan, &members);
        } while (result == 0 && take_byte(scan, ','));
        if (result == 0 && !take_byte(scan, '}'))
            result = -EINVAL;
    }
    if (result == 0)
        result = put_in_order(scan, start, &members);
    free(members.items);
    return result == 0 ? put_text(scan, "}", 1) : result;
}

/* ---- the rest ------------------------------------------------------------------------------------ */

/* At most DEPTH_MAX deep. NOLINTNEXTLINE(misc-no-recursion) */
static int scan_array(struct scan *scan) {
    if (take_byte(scan, ']'))
        return put_text(scan, "]", 1);
    int result;
    while ((result = scan_value(scan)) == 0 && take_byte(scan, ',')) {
        result = put_text(scan, ",", 1);
        if (result < 0)
            return result;
    }
    if (result == 0 && !take_byte(scan, ']'))
        result = -EINVAL;
    return result == 0 ? put_text(scan, "]", 1) : result;
}

/* At most DEPTH_MAX deep. NOLINTNEXTLINE(misc-no-recursion) */
static int scan_value(struct scan *scan) {
    int result;
    skip_scan_blanks(scan);
    if (scan->at == scan->end || scan->depth == DEPTH_MAX)
        return -EINVAL;
    scan->depth++;
    if (*scan->at == '"') {
        result = scan_string(scan);
    } else if (*scan->at != '{' && *scan->at != '[') {
        result = scan_word(scan);
    } else {
        char bracket = *scan->at++;
        result = put_text(scan, &bracket, 1);
        if (result == 0)
            result = bracket == '{' ? scan_object(scan) : scan_array(scan);
    }
    scan->depth--;
    return result;
}

int canonical_json_append(struct buffer *out, const char *text, size_t length,
                          const struct canonical_json_ignored *ignored) {
    struct scan scan = {.at = text,
                        .end = text + length,
                        .out = out,
                        .ignored = ignored,
                        .may_move = MOVED_BYTES_MAX(length)};
    int result = scan_value(&scan);
    skip_scan_blanks(&scan);
    return result == 0 && scan.at < scan.end ? -EINVAL : result;
}
