/* Many requests to upstreams that begin or end together: a few in each turn of the loop. */
#include "tests/unit/stream_recorder.h"
#include "upstream/client_internal.h"

#define CROWD 400

static void serve_nobody(struct raw_server *server, int fd, size_t connection) {
    (void)server, (void)fd, (void)connection;
}

/* An upstream that refuses connections. */
static void begin(struct fixture *fixture) {
    fixture_begin(fixture, serve_nobody);
    snprintf(fixture->base_url, sizeof(fixture->base_url), "http://127.0.0.1:1");
}

static size_t queued(const struct upstream_client *client) {
    size_t count = 0;
    const struct transfer *transfer;
    TAILQ_FOREACH(transfer, &client->queue, queue_link)
    count++;
    return count;
}

/* Turns the loop until nothing waits any more; gives the most that began or ended in one turn. */
static size_t most_in_a_turn(struct fixture *fixture) {
    size_t most = 0;
    for (size_t left = queued(fixture->client), before; left > 0;) {
        before = left;
        uv_run(&fixture->loop, UV_RUN_NOWAIT);
        left = queued(fixture->client);
        if (before > left && before - left > most)
            most = before - left;
    }
    return most;
}

static void client_begins_and_ends_a_few_of_many_in_a_turn(void **state) {
    (void)state;
    static struct recorder recorders[CROWD];
    struct fixture fixture;
    begin(&fixture);
    for (size_t i = 0; i < CROWD; i++) {
        recorders[i] = (struct recorder){0};
        recorder_start(&recorders[i], &fixture);
    }
    assert_int_equal(queued(fixture.client), CROWD);
    assert_in_range(most_in_a_turn(&fixture), 1, CROWD / 4);
    for (size_t i = 0; i < CROWD; i++) {
        recorder_await_end(&recorders[i]);
        assert_int_equal(recorders[i].result.end, UPSTREAM_CONNECT);
    }
    for (size_t i = 0; i < CROWD; i++) {
        recorders[i] = (struct recorder){0};
        recorder_start(&recorders[i], &fixture);
        upstream_stream_cancel(recorders[i].stream);
    }
    assert_in_range(most_in_a_turn(&fixture), 1, CROWD / 4);
    fixture_end(&fixture);
}

/* The end of the client waits for no turn. */
static void client_closes_with_many_that_have_not_begun(void **state) {
    (void)state;
    static struct recorder recorders[CROWD];
    struct fixture fixture;
    begin(&fixture);
    for (size_t i = 0; i < CROWD; i++) {
        recorders[i] = (struct recorder){0};
        recorder_start(&recorders[i], &fixture);
    }
    uv_run(&fixture.loop, UV_RUN_NOWAIT);
    assert_true(queued(fixture.client) > 0);
    fixture_end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_begins_and_ends_a_few_of_many_in_a_turn),
        cmocka_unit_test(client_closes_with_many_that_have_not_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
