/* A cache with one worker: what tests of followers begin and end with. */
#ifndef SLUICE_TESTS_UNIT_FOLLOWED_CACHE_H
#define SLUICE_TESTS_UNIT_FOLLOWED_CACHE_H

#include "tests/unit/cache_fixture.h"

static const struct cache_settings settings = {.bytes_max = 1 << 20, .run_bytes_max = 64 * 1024};
static struct cache *cache;
static struct fake_worker worker;

static inline int set_up(void **state) {
    (void)state;
    fixture_reset();
    cache = cache_create(&settings);
    assert_non_null(cache);
    worker_begin(&worker, cache);
    return 0;
}

static inline int tear_down(void **state) {
    (void)state;
    worker_end(&worker);
    struct cache_info info;
    cache_get_info(cache, &info);
    assert_int_equal(info.flights, 0);
    assert_int_equal(requests_destroyed, requests_made);
    cache_destroy(cache);
    return 0;
}

static inline struct cache_info info_now(void) {
    struct cache_info info;
    cache_get_info(cache, &info);
    return info;
}

#endif
