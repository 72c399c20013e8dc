/* upstream/call: what the events that a call holds back take. */
#include "tests/unit/call_fixture.h"

#include "base/memory_budget.h"

#define PADDING_BYTES 2000

/* One event that opens an answer and shows nothing, and one that is visible. */
static void serve_opening_and_text(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    char padding[PADDING_BYTES + 1], stream[PADDING_BYTES + 512];
    memset(padding, 'x', PADDING_BYTES);
    padding[PADDING_BYTES] = '\0';
    snprintf(stream, sizeof stream,
             "data: {\"x\":\"%s\",\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"
             "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n",
             padding);
    if (raw_server_read(server, fd) && raw_server_write(fd, HEAD_CHUNKED) &&
        raw_server_write_chunk(fd, stream))
        raw_server_write(fd, "0\r\n\r\n");
}

static uint64_t used[8];
static size_t used_count;

static bool note_memory(struct call_recorder *recorder) {
    (void)recorder;
    assert_true(used_count < 8);
    used[used_count++] = memory_used(MEMORY_STREAMS);
    return true;
}

static void event_counts_as_memory_while_it_is_held_back(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct call_recorder recorder = {.in_event = note_memory};
    call_fixture_begin(&fixture, serve_opening_and_text);
    fixture.settings[UPSTREAM_A].adapter = &adapter_openai;
    call_fixture_open(&fixture);
    call_start(&recorder, &fixture);
    while (!recorder.has_ended)
        fixture_turn(&fixture.fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(used_count, 3);
    assert_true(used[0] >= used[1] + PADDING_BYTES);
    assert_int_equal(used[1], used[2]);
    call_fixture_end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(event_counts_as_memory_while_it_is_held_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
