/* Places for subscribers that wait for a session which is not open yet: so many in all, and so many of one
 * address.
 *
 * A subscriber takes a place before it is counted in its session. The place stands in the session's list
 * until the subscriber leaves, or the session is opened, which releases the places of all that waited for it.
 * Private to this room. All functions may be called on any thread; the lock in here is taken with no other
 * lock held.
 */
#ifndef SLUICE_BROADCASTER_WAITING_PLACES_H
#define SLUICE_BROADCASTER_WAITING_PLACES_H

#include "base/attributes.h"

#include <netinet/in.h>
#include <stdint.h>
#include <sys/queue.h>

struct broadcaster_limits;
struct waiting_address;
struct waiting_places;

/** One place that is taken. */
struct waiting_place {
    struct waiting_address *address;
    LIST_ENTRY(waiting_place) entry; /* in the session's list; session's lock */
};

LIST_HEAD(waiting_place_list, waiting_place);

enum waiting_result {
    WAITING_OK,
    WAITING_FULL,         /* all places are taken */
    WAITING_ADDRESS_FULL, /* the address has taken as many as it may */
    WAITING_NO_MEMORY,
};

/** `limits` outlive it. NULL: out of memory. */
struct waiting_places *waiting_places_create(const struct broadcaster_limits *limits) MUST_CHECK;
void waiting_places_destroy(struct waiting_places *places); /* takes NULL; no place is taken */

/** Takes a place for a subscriber of that address. It must be released. */
enum waiting_result waiting_places_take(struct waiting_places *places, const struct in6_addr *address,
                                        struct waiting_place **ret_place) MUST_CHECK;

/** Releases a place that stands in no list; takes NULL. */
void waiting_places_release(struct waiting_places *places, struct waiting_place *place);

/** Releases all places of a list that nobody else knows of any more. */
void waiting_places_release_all(struct waiting_places *places, struct waiting_place_list *list);

uint64_t waiting_places_count(struct waiting_places *places);

#endif
