/* Retained events as a JSON array: for history and for what a run produced. */
#ifndef SLUICE_ROUTES_EVENT_LIST_H
#define SLUICE_ROUTES_EVENT_LIST_H

#include "broadcaster/broadcaster.h"
#include "routes/json_writer.h"

/** The newest retained events of a session; references. */
struct event_list {
    struct frame **frames;
    size_t count;
};

/** At most `count_max` of them. False: out of memory. */
bool event_list_take(struct session *session, size_t count_max, struct event_list *ret_list) MUST_CHECK;

/** Keeps only the agent's events of this run, and of those no more than `bytes_max` bytes of data, the
 * oldest. */
void event_list_keep_run(struct event_list *list, uint64_t run, uint64_t bytes_max);

void event_list_finish(struct event_list *list);

/** Bytes that the list takes as JSON at most. */
size_t event_list_json_max(const struct event_list *list);

/** Writes [{"id","type","data"},...]; data is a string as it came. `with_source` adds "source", "agent" or
 * "gateway": which of the two made the event. */
void event_list_write(const struct event_list *list, bool with_source, struct json_writer *json,
                      const char *name);

#endif
