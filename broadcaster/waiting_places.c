/* The places of subscribers that wait for a session: see waiting_places.h. */
#include "broadcaster/waiting_places.h"

#include "base/lock.h"
#include "base/memory_budget.h"
#include "base/table.h"
#include "broadcaster/broadcaster.h"

#include <assert.h>
#include <stdlib.h>

/** An address that has places; it is forgotten with the last of them. */
struct waiting_address {
    struct in6_addr key;
    uint64_t places;
    UT_hash_handle hh;
};

struct waiting_places {
    const struct broadcaster_limits *limits;
    struct lock lock;
    /* under the lock: */
    struct waiting_address *addresses;
    uint64_t count;
};

struct waiting_places *waiting_places_create(const struct broadcaster_limits *limits) {
    struct waiting_places *places = calloc(1, sizeof(*places));
    if (places == NULL)
        return NULL;
    places->limits = limits;
    lock_init(&places->lock);
    return places;
}

void waiting_places_destroy(struct waiting_places *places) {
    if (places == NULL)
        return;
    assert(places->count == 0 && places->addresses == NULL);
    lock_finish(&places->lock);
    free(places);
}

/* The entry of that address, made if need be. NULL: out of memory. */
static struct waiting_address *find_waiting_locked(struct waiting_places *places,
                                                   const struct in6_addr *key) {
    lock_assert_held(&places->lock);
    struct waiting_address *address;
    HASH_FIND(hh, places->addresses, key, sizeof(*key), address);
    if (address != NULL)
        return address;
    address = calloc(1, sizeof(*address));
    if (address == NULL)
        return NULL;
    address->key = *key;
    bool out_of_memory = false;
    HASH_ADD(hh, places->addresses, key, sizeof(address->key), address);
    if (out_of_memory) {
        free(address);
        return NULL;
    }
    memory_charge(MEMORY_SUBSCRIBERS, sizeof(*address));
    return address;
}

static void forget_unused_locked(struct waiting_places *places, struct waiting_address *address) {
    lock_assert_held(&places->lock);
    if (address == NULL || address->places > 0)
        return;
    HASH_DELETE(hh, places->addresses, address);
    memory_release(MEMORY_SUBSCRIBERS, sizeof(*address));
    free(address);
}

static enum waiting_result take_locked(struct waiting_places *places, const struct in6_addr *key,
                                       struct waiting_place *place) {
    lock_assert_held(&places->lock);
    uint64_t address_max = atomic_load(&places->limits->subscribers_waiting_per_address_max);
    if (places->count >= atomic_load(&places->limits->subscribers_waiting_max))
        return WAITING_FULL;
    struct waiting_address *address = find_waiting_locked(places, key);
    if (address == NULL)
        return WAITING_NO_MEMORY;
    if (address_max > 0 && address->places >= address_max) {
        forget_unused_locked(places, address);
        return WAITING_ADDRESS_FULL;
    }
    address->places++;
    places->count++;
    place->address = address;
    return WAITING_OK;
}

enum waiting_result waiting_places_take(struct waiting_places *places, const struct in6_addr *address,
                                        struct waiting_place **ret_place) {
    struct waiting_place *place = calloc(1, sizeof(*place));
    if (place == NULL)
        return WAITING_NO_MEMORY;
    lock_acquire(&places->lock);
    enum waiting_result result = take_locked(places, address, place);
    lock_release(&places->lock);
    if (result != WAITING_OK) {
        free(place);
        return result;
    }
    memory_charge(MEMORY_SUBSCRIBERS, sizeof(*place));
    *ret_place = place;
    return WAITING_OK;
}

void waiting_places_release(struct waiting_places *places, struct waiting_place *place) {
    if (place == NULL)
        return;
    lock_acquire(&places->lock);
    assert(place->address->places > 0 && places->count > 0);
    place->address->places--;
    places->count--;
    forget_unused_locked(places, place->address);
    lock_release(&places->lock);
    memory_release(MEMORY_SUBSCRIBERS, sizeof(*place));
    free(place);
}

void waiting_places_release_all(struct waiting_places *places, struct waiting_place_list *list) {
    struct waiting_place *place;
    while ((place = LIST_FIRST(list)) != NULL) {
        LIST_REMOVE(place, entry);
        waiting_places_release(places, place);
    }
}

uint64_t waiting_places_count(struct waiting_places *places) {
    lock_acquire(&places->lock);
    uint64_t count = places->count;
    lock_release(&places->lock);
    return count;
}
