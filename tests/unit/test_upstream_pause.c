/* upstream/passage, upstream/stream: a body that is taken slowly, later, or not at all. */
#include "tests/unit/held_stream.h"
#include "tests/unit/passage_recorder.h"

#include "base/clock.h"
#include "upstream/client_internal.h"

#include <stdatomic.h>

enum { PIECES = 64, PIECE_BYTES = 32768 };

static atomic_size_t pieces_written;

static void serve_counted_bytes(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    char piece[PIECE_BYTES + 1];
    if (!raw_server_read(server, fd))
        return;
    raw_server_write(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < PIECES; i++) {
        memset(piece, (int)('0' + i), PIECE_BYTES);
        piece[PIECE_BYTES] = '\0';
        if (!raw_server_write_chunk(fd, piece))
            return;
        pieces_written++;
    }
    raw_server_write(fd, "0\r\n\r\n");
    raw_server_hold(fd);
}

static void passage_goes_on_with_the_same_bytes_after_a_pause(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    fixture_begin(&fixture, serve_counted_bytes);
    passage_begin(&recorder, &fixture);
    recorder.refuses = true;
    passage_start(&recorder, "GET", "/x", NULL);
    passage_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_true(recorder.refusals >= PIECES);
    assert_int_equal(recorder.body.length, PIECES * PIECE_BYTES);
    for (size_t i = 0; i < recorder.body.length; i++) {
        if (recorder.body.bytes[i] != (char)('0' + i / PIECE_BYTES))
            fail_msg("other bytes at %zu", i);
    }
    passage_end(&recorder);
}

/* The server is ahead by several pieces, so that more could be read in each turn. */
static void passage_leaves_the_loop_to_others_while_there_is_more(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    size_t most = 0;
    pieces_written = 0;
    fixture_begin(&fixture, serve_counted_bytes);
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "GET", "/x", NULL);
    while (!recorder.has_ended) {
        size_t before = recorder.body.length, piece = before / PIECE_BYTES;
        while (before > 0 && pieces_written < PIECES && pieces_written < piece + 4)
            usleep(100);
        fixture_turn(&fixture);
        most = recorder.body.length - before > most ? recorder.body.length - before : most;
    }
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(recorder.body.length, PIECES * PIECE_BYTES);
    if (most > 3 * TRANSFER_TURN_BYTES / 2)
        fail_msg("%zu bytes in one turn", most);
    passage_end(&recorder);
}

enum { FLOODS = 8 };

static size_t pieces_taken;

/* Each piece takes a millisecond. */
static bool take_slowly(void *context, const char *bytes, size_t length) {
    clock_fake_advance(1);
    pieces_taken++;
    return passage_on_body(context, bytes, length);
}

static bool have_ended(const struct passage_recorder *recorders) {
    size_t ended = 0;
    for (size_t i = 0; i < FLOODS; i++)
        ended += recorders[i].has_ended;
    return ended == FLOODS;
}

/* All servers are ahead by several pieces. What is asked for in a turn begins in the next one, at the latest.
 */
static void passages_leave_the_loop_to_others_together(void **state) {
    (void)state;
    struct fixture fixture;
    static struct passage_recorder recorders[FLOODS];
    struct upstream_passage_callbacks slow = passage_callbacks;
    size_t most = 0;
    slow.on_body = take_slowly;
    pieces_written = pieces_taken = 0;
    fixture_begin(&fixture, serve_counted_bytes);
    clock_fake(1000, 1700000000000);
    for (size_t i = 0; i < FLOODS; i++) {
        passage_begin(&recorders[i], &fixture);
        recorders[i].passage = upstream_passage_start(fixture.client, &fixture.settings, "GET", "/x", NULL, 0,
                                                      NULL, 0, &slow, &recorders[i]);
    }
    while (!have_ended(recorders)) {
        size_t before = pieces_taken;
        fixture_turn(&fixture);
        most = pieces_taken - before > most ? pieces_taken - before : most;
    }
    clock_real();
    for (size_t i = 0; i < FLOODS; i++)
        assert_int_equal(recorders[i].body.length, PIECES * PIECE_BYTES);
    /* Those that rest, and those whose sockets wake the loop, may each have their share. */
    if (most > 2 * TRANSFERS_TURN_MS + 1)
        fail_msg("%zu pieces in one turn", most);
    for (size_t i = 1; i < FLOODS; i++) {
        uv_close((uv_handle_t *)&recorders[i].resume_timer, NULL);
        buffer_finish(&recorders[i].body);
    }
    passage_end(&recorders[0]);
}

static bool refuse_forever(void *context, const char *bytes, size_t length) {
    struct passage_recorder *recorder = context;
    (void)bytes, (void)length;
    recorder->refusals++;
    return false;
}

static void note_turn(uv_timer_t *timer) {
    *(bool *)timer->data = true;
}

static void passage_is_not_idle_while_it_is_paused(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    struct upstream_passage_callbacks refusing = passage_callbacks;
    refusing.on_body = refuse_forever;
    fixture_begin(&fixture, serve_counted_bytes);
    fixture.settings.idle_timeout_ms = 50;
    passage_begin(&recorder, &fixture);
    recorder.passage = upstream_passage_start(fixture.client, &fixture.settings, "GET", "/x", NULL, 0, NULL,
                                              0, &refusing, &recorder);
    bool over = false;
    recorder.resume_timer.data = &over;
    uv_timer_start(&recorder.resume_timer, note_turn, 300, 0); /* six times the idle limit */
    while (!over)
        fixture_turn(&fixture);
    assert_false(recorder.has_ended);
    assert_int_equal(recorder.refusals, 1); /* curl waits; it does not ask again and again */
    upstream_passage_cancel(recorder.passage);
    passage_end(&recorder);
    assert_false(recorder.has_ended);
}

static void serve_large_event(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd))
        raw_server_write(fd, HEAD_CHUNKED "15\r\ndata: larger than 4\n\n\r\n");
}

static void stream_ends_at_once_when_what_was_held_back_cannot_be_taken(void **state) {
    (void)state;
    struct fixture fixture;
    struct held_recorder held;
    fixture_begin(&fixture, serve_large_event);
    fixture.settings.idle_timeout_ms = 3LL * PATIENCE_MS;
    fixture.settings.event_bytes_max = 4;
    held_begin(&held, &fixture);
    assert_true(held_do(&held));
    assert_int_equal(held.recorder.result.end, UPSTREAM_LIMIT);
    held_end(&held);
}

static void client_closes_with_an_exchange_open(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    fixture_begin(&fixture, serve_counted_bytes);
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "GET", "/x", NULL);
    while (recorder.body.length == 0)
        fixture_turn(&fixture);
    passage_end(&recorder);
    assert_false(recorder.has_ended && recorder.result.end != UPSTREAM_COMPLETED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passage_goes_on_with_the_same_bytes_after_a_pause),
        cmocka_unit_test(passage_leaves_the_loop_to_others_while_there_is_more),
        cmocka_unit_test(passages_leave_the_loop_to_others_together),
        cmocka_unit_test(passage_is_not_idle_while_it_is_paused),
        cmocka_unit_test(stream_ends_at_once_when_what_was_held_back_cannot_be_taken),
        cmocka_unit_test(client_closes_with_an_exchange_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
