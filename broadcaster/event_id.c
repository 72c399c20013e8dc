/* Event ids: see event_id.h. */
#include "broadcaster/event_id.h"

#include <ctype.h>
#include <string.h>

static size_t format_number(uint64_t number, char *out) {
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    return count;
}

size_t event_id_format(struct event_id id, char out[EVENT_ID_SIZE]) {
    size_t length = format_number(id.ms, out);
    out[length++] = '-';
    length += format_number(id.n, out + length);
    out[length] = '\0';
    return length;
}

/* Reads one or more digits; returns where they end, or NULL (none, a leading zero, or over 64 bits). */
static const char *parse_number(const char *text, uint64_t *ret_number) {
    if (!isdigit((unsigned char)text[0]) || (text[0] == '0' && isdigit((unsigned char)text[1])))
        return NULL;
    uint64_t number = 0;
    for (; isdigit((unsigned char)*text); text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return NULL;
        number = number * 10 + digit;
    }
    *ret_number = number;
    return text;
}

bool event_id_parse(const char *text, struct event_id *ret_id) {
    struct event_id id;
    const char *rest = parse_number(text, &id.ms);
    if (rest == NULL || *rest != '-')
        return false;
    rest = parse_number(rest + 1, &id.n);
    if (rest == NULL || *rest != '\0')
        return false;
    *ret_id = id;
    return true;
}

int event_id_compare(struct event_id a, struct event_id b) {
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    return 0;
}

struct event_id event_id_next(struct event_id last, int64_t now_ms) {
    uint64_t now = now_ms > 0 ? (uint64_t)now_ms : 0;
    if (now > last.ms)
        return (struct event_id){.ms = now, .n = 0};
    return (struct event_id){.ms = last.ms, .n = last.n + 1};
}
