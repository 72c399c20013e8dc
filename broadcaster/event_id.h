/* Event ids: `<unix ms>-<n>`, strictly growing within a session. They are Redis stream ids in form and order.
 */
#ifndef SLUICE_BROADCASTER_EVENT_ID_H
#define SLUICE_BROADCASTER_EVENT_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_id {
    uint64_t ms;
    uint64_t n;
};

/** Room for any id's text and its NUL. */
#define EVENT_ID_SIZE 42

/** Writes the id's text; returns its length. Any thread. */
size_t event_id_format(struct event_id id, char out[EVENT_ID_SIZE]);

/** Writes the id's text so that it stops before `end`, without a NUL; returns where it starts. */
char *event_id_put_before(struct event_id id, char *end);

/** Parses exactly one id, all of `text`. False: it is none ("-1", garbage, empty); *ret_id is untouched. */
bool event_id_parse(const char *text, struct event_id *ret_id);

/** <0, 0, >0 as a is before, the same as, or after b. */
int event_id_compare(struct event_id a, struct event_id b);

/** The id that follows `last` when the wall clock says `now_ms`, even if that clock went back. */
struct event_id event_id_next(struct event_id last, int64_t now_ms);

#endif
