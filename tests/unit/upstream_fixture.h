/* What the tests of the upstream client share: a loop, a client, and a raw server to talk to. */
#ifndef SLUICE_TESTS_UNIT_UPSTREAM_FIXTURE_H
#define SLUICE_TESTS_UNIT_UPSTREAM_FIXTURE_H

#include "base/buffer.h"
#include "upstream/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/raw_server.h"

#define PATIENCE_MS 60000 /* a test that waits for longer has failed */

struct fixture {
    uv_loop_t loop;
    uv_timer_t patience;
    struct upstream_settings settings;
    struct upstream_client *client;
    struct raw_server server;
    char base_url[64];
    bool is_closed;
};

static inline void fixture_lose_patience(uv_timer_t *timer) {
    (void)timer;
    fail_msg("waited for too long");
}

static inline void fixture_on_closed(void *context) {
    struct fixture *fixture = context;
    fixture->is_closed = true;
}

static inline void fixture_begin(struct fixture *fixture,
                                 void (*serve)(struct raw_server *server, int fd, size_t connection)) {
    static char name[] = "default";
    *fixture = (struct fixture){0};
    raw_server_start(&fixture->server, serve);
    snprintf(fixture->base_url, sizeof fixture->base_url, "http://127.0.0.1:%d", fixture->server.port);
    fixture->settings = (struct upstream_settings){
        .name = name,
        .adapter = &adapter_adk,
        .base_url = fixture->base_url,
        .connect_timeout_ms = 5000,
        .first_byte_timeout_ms = 5000,
        .idle_timeout_ms = 5000,
        .keepalive_ms = 4000,
        .event_bytes_max = 1 << 20,
        .event_type_bytes_max = 1024,
        .connections_max = 4,
    };
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    uv_timer_init(&fixture->loop, &fixture->patience);
    uv_timer_start(&fixture->patience, fixture_lose_patience, PATIENCE_MS, 0);
    uv_unref((uv_handle_t *)&fixture->patience);
    fixture->client = upstream_client_create(&fixture->loop, fixture->settings.connections_max);
    assert_non_null(fixture->client);
}

/** One turn of the loop. */
static inline void fixture_turn(struct fixture *fixture) {
    uv_run(&fixture->loop, UV_RUN_ONCE);
}

static inline void fixture_close_client(struct fixture *fixture) {
    upstream_client_close(fixture->client, fixture_on_closed, fixture);
    assert_false(fixture->is_closed);
}

static inline void fixture_end(struct fixture *fixture) {
    if (!fixture->is_closed)
        fixture_close_client(fixture);
    while (!fixture->is_closed)
        fixture_turn(fixture);
    uv_close((uv_handle_t *)&fixture->patience, NULL);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    raw_server_stop(&fixture->server);
}

#endif
