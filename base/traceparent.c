/* W3C Trace Context, https://www.w3.org/TR/trace-context-1/.
 *
 * A header is read by its fixed places: every field of a traceparent has its length. The members of a tracestate
 * are checked by the grammar and copied in their order; if they are too long together, those of more than 128
 * bytes leave first, then the last ones, as the specification advises. A member that breaks the grammar makes the whole tracestate count as absent.
 */
#include "base/traceparent.h"

#include "base/random_id.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_MEMBERS_MAX 32
#define STATE_PART_MAX 256        /* of a key, and of a value */
#define STATE_MEMBER_GOOD_MAX 128 /* longer members leave first if it is too much */
#define PARENT_LENGTH (TRACE_PARENT_SIZE - 1)

static const char hex_digits[] = "0123456789abcdef";

/* A run of text without the blanks around it. */
struct piece {
    const char *text;
    size_t length;
};

static bool is_header_blank(char c) {
    return c == ' ' || c == '\t';
}

static struct piece trim_header(const char *text, size_t length) {
    for (; length > 0 && is_header_blank(*text); length--)
        text++;
    while (length > 0 && is_header_blank(text[length - 1]))
        length--;
    return (struct piece){text, length};
}

/* ---- traceparent --------------------------------------------------------------------------------- */

/* Whether `length` lower-case hexadecimal digits stand here. */
static bool is_hex(const char *text, size_t length) {
    return strspn(text, hex_digits) >= length;
}

static bool is_all_zeros(const char *text, size_t length) {
    return strspn(text, "0") >= length;
}

static bool is_trace_id(const char *text, size_t length) {
    return is_hex(text, length) && !is_all_zeros(text, length);
}

/* Reads vv-<32>-<16>-ff, and nothing after that if the version is 00. The rest of a later version begins
 * with a dash. */
static bool read_parent(struct trace *trace, struct piece header) {
    const char *text = header.text;
    bool has_shape = header.length >= PARENT_LENGTH && is_hex(text, 2) && text[2] == '-' &&
                     is_trace_id(text + 3, 32) && text[35] == '-' && is_trace_id(text + 36, 16) &&
                     text[52] == '-' && is_hex(text + 53, 2);
    if (!has_shape || memcmp(text, "ff", 2) == 0)
        return false;
    bool has_more = header.length > PARENT_LENGTH;
    if (has_more && (memcmp(text, "00", 2) == 0 || text[PARENT_LENGTH] != '-'))
        return false;
    memcpy(trace->id, text + 3, 32);
    trace->id[32] = '\0';
    trace->sampled = (strchr(hex_digits, text[54]) - hex_digits) % 2 == 1;
    return true;
}

/* ---- tracestate ---------------------------------------------------------------------------------- */

/* An empty member is allowed, and left out. */
static struct piece next_member(const char **at) {
    size_t length = strcspn(*at, ",");
    struct piece member = trim_header(*at, length);
    *at += length;
    *at += **at == ',';
    return member;
}

static bool member_is_valid(struct piece member) {
    size_t key = strspn(member.text, "abcdefghijklmnopqrstuvwxyz0123456789_-*/@");
    if (key == 0 || key > STATE_PART_MAX || key >= member.length || member.text[key] != '=' ||
        strchr("_-*/@", member.text[0]) != NULL)
        return false;
    size_t value = member.length - key - 1;
    if (value == 0 || value > STATE_PART_MAX)
        return false;
    for (size_t i = key + 1; i < member.length; i++) {
        if (member.text[i] < ' ' || member.text[i] > '~' || member.text[i] == '=')
            return false;
    }
    return true;
}

/* The length that all members have together, with the commas between them; -1: they are no valid list. */
static ptrdiff_t measure_state(const char *text) {
    ptrdiff_t length = 0;
    int count = 0;
    while (*text != '\0') {
        struct piece member = next_member(&text);
        if (member.length == 0)
            continue;
        if (++count > STATE_MEMBERS_MAX || !member_is_valid(member))
            return -1;
        length += (ptrdiff_t)member.length + (length > 0 ? 1 : 0);
    }
    return length;
}

/* Section 3.3.1.5: whole members leave, first those that are longer than 128, then the last ones. */
static void read_state(struct trace *trace, const char *text) {
    ptrdiff_t total = measure_state(text);
    size_t member_max = total > TRACE_STATE_MAX ? STATE_MEMBER_GOOD_MAX : TRACE_STATE_MAX;
    char *out = trace->state;
    while (total > 0 && *text != '\0') {
        struct piece member = next_member(&text);
        if (member.length == 0 || member.length > member_max)
            continue;
        size_t comma = out > trace->state ? 1 : 0;
        if ((size_t)(out - trace->state) + comma + member.length > TRACE_STATE_MAX)
            break;
        if (comma > 0)
            *out++ = ',';
        out = mempcpy(out, member.text, member.length);
    }
    *out = '\0';
}

/* ---- both ---------------------------------------------------------------------------------------- */

static void begin_trace(struct trace *trace, enum trace_begin begin) {
    if (begin == TRACE_BEGIN_AGENT)
        return;
    if (!random_id(trace->id, TRACE_ID_SIZE - 1))
        trace->id[0] = '\0';
    trace->sampled = begin == TRACE_BEGIN_SAMPLED;
}

void trace_read(struct trace *ret_trace, const struct trace_rules *rules, const char *traceparent,
                const char *tracestate) {
    *ret_trace = (struct trace){0};
    struct piece header = {"", 0};
    if (traceparent != NULL && rules->trust != TRACE_TRUST_NONE)
        header = trim_header(traceparent, strlen(traceparent));
    if (read_parent(ret_trace, header)) {
        ret_trace->sampled = ret_trace->sampled && rules->trust == TRACE_TRUST_ALL;
        if (tracestate != NULL)
            read_state(ret_trace, tracestate);
    } else {
        begin_trace(ret_trace, rules->begin);
    }
}

bool trace_make_parent(const char *trace_id, bool sampled, char out[TRACE_PARENT_SIZE]) {
    char id[17];
    if (trace_id[0] == '\0' || !random_id(id, 16))
        return false;
    snprintf(out, TRACE_PARENT_SIZE, "00-%s-%s-%s", trace_id, id, sampled ? "01" : "00");
    return true;
}
