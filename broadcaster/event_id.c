/* Event ids: see event_id.h. */
#include "broadcaster/event_id.h"

#include <ctype.h>
#include <string.h>

static char *put_number_before(char *end, uint64_t number) {
    do {
        *--end = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return end;
}

char *event_id_put_before(struct event_id id, char *end) {
    char *start = put_number_before(end, id.n);
    *--start = '-';
    return put_number_before(start, id.ms);
}

size_t event_id_format(struct event_id id, char out[EVENT_ID_SIZE]) {
    char text[EVENT_ID_SIZE];
    char *end = text + sizeof(text) - 1;
    *end = '\0';
    const char *start = event_id_put_before(id, end);
    memcpy(out, start, (size_t)(end - start) + 1);
    return (size_t)(end - start);
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
