/* What the tests of Redis share: gateways without a gateway, each a cache with one worker. */
#ifndef SLUICE_TESTS_UNIT_REDIS_GATEWAY_H
#define SLUICE_TESTS_UNIT_REDIS_GATEWAY_H

#include "tests/unit/cache_fixture.h"

struct gateway {
    struct cache_settings settings;
    char address[128];
    struct cache *cache;
    struct fake_worker worker;
};

static inline void gateway_open(struct gateway *gateway, const char *address, const char *password,
                                int64_t timeout_ms) {
    gateway->settings = (struct cache_settings){.bytes_max = 1 << 20,
                                                .run_bytes_max = 256 * 1024,
                                                .redis = gateway->address,
                                                .redis_password = (char *)(uintptr_t)password,
                                                .redis_timeout_ms = timeout_ms};
    snprintf(gateway->address, sizeof(gateway->address), "%s", address);
    gateway->cache = cache_create(&gateway->settings);
    assert_non_null(gateway->cache);
    worker_begin(&gateway->worker, gateway->cache);
}

static inline const char *server_address(int port) {
    static char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    return address;
}

static inline struct cache_info info_of(struct gateway *gateway) {
    struct cache_info info;
    cache_get_info(gateway->cache, &info);
    return info;
}

static inline void await_state(struct gateway *gateway, enum redis_state state) {
    while (info_of(gateway).redis_state != state)
        worker_turn(&gateway->worker);
}

static inline void gateway_end(struct gateway *gateway) {
    worker_end(&gateway->worker);
    cache_destroy(gateway->cache);
}

/* A run that asks the upstream, whose answer is two events. */
static inline void run_through_upstream(struct gateway *gateway, const char *key) {
    struct fake_run run = {0};
    size_t before = call_count;
    run_start(&run, &gateway->worker, key);
    while (call_count == before)
        worker_turn(&gateway->worker);
    call_sent(before);
    call_event(before, "one\ntwo");
    call_event(before, "");
    call_end(before, UPSTREAM_COMPLETED);
    run_await_end(&run);
    assert_string_equal(run.told, "sent|one\ntwo||completed");
}

/* Whatever it was about to store in Redis is stored. */
static inline void ask_upstream(struct gateway *gateway, const char *key) {
    uint64_t stored = info_of(gateway).redis_stored;
    run_through_upstream(gateway, key);
    while (info_of(gateway).redis_state == REDIS_UP && info_of(gateway).redis_stored == stored)
        worker_turn(&gateway->worker);
}

/* Redis does not take what it was told to store, which counts as an error and does not make it be away. */
static inline void ask_upstream_in_vain(struct gateway *gateway, const char *key) {
    uint64_t errors = info_of(gateway).redis_errors;
    run_through_upstream(gateway, key);
    while (info_of(gateway).redis_errors == errors)
        worker_turn(&gateway->worker);
    assert_int_equal(info_of(gateway).redis_state, REDIS_UP);
}

#endif
