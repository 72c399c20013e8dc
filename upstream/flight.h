/* A flight: the one call that is made for all runs that ask the same at the same time. It writes the
 * recording that they follow, and belongs to the worker where it was begun, not to any of them.
 *
 *      lookup in Redis -> call -> recording -> kept, if it was completed
 *
 * Others speak to it by one item in its worker's inbox: nobody follows any more, or there is room again.
 */
#ifndef SLUICE_UPSTREAM_FLIGHT_H
#define SLUICE_UPSTREAM_FLIGHT_H

#include "upstream/cache_internal.h"

struct flight;

/** Has `reader` join the flight of that key, or a new one of this worker; the caller follows it from then on,
 * and calls flight_begin() for a new one, without the lock. NULL: out of memory. */
struct flight *flight_board_locked(struct cache_worker *worker, const struct follower_start *start,
                                   struct recording_reader *reader, bool *ret_is_new) MUST_CHECK;

/** Asks Redis, or the upstream. The request of `start` is the flight's. */
void flight_begin(struct flight *flight);

/** There is room in the recording again. Any thread. */
void flight_tell_room(struct flight *flight);

/** The caller follows no more; its reader has left before. Any thread. */
void flight_leave(struct flight *flight, bool has_room);

#endif
