/* Events of a session as a JSON array, written piece by piece: for history and for what a run produced. */
#ifndef SLUICE_ROUTES_HISTORY_H
#define SLUICE_ROUTES_HISTORY_H

#include "broadcaster/broadcaster.h"
#include "routes/json_answer.h"

struct event_list {
    struct session *session; /* a reference */
    struct log_span span;    /* what is left to be written */
    uint64_t run;            /* serial: only the agent's events of this run; 0: all events */
    bool with_source;        /* each says whether it is the agent's or the gateway's */

    uint64_t written; /* events that were begun */
    bool lost;        /* some were no longer retained when it was their turn */
    struct buffer data;
    size_t data_written; /* of the event that is being written */
    bool within_event;
};

void event_list_init(struct event_list *list, struct session *session, struct log_span span);
void event_list_finish(struct event_list *list);

/** Writes on the items [{"id","type","data"},...] of an array that was begun, as far as there is room; data
 * is a string as it came. True: all are written. */
bool event_list_write(struct event_list *list, struct json_answer *answer);

/** Whether a frame is one of the list's. */
bool event_list_has(const struct event_list *list, const struct frame *frame);

#endif
