/* upstream/recording: every reader gets all of it, in order; what has been read is forgotten when it is too
 * much. */
#include "upstream/recording.h"

#include "base/clock.h"
#include "tests/support/unit_memory.h"

#include <stdio.h>

static struct recording *recording;
static int told;

static void on_more(struct recording_reader *reader) {
    (void)reader;
    told++;
}

static int set_up(void **state) {
    (void)state;
    told = 0;
    recording = recording_create(10 * 1000);
    return recording == NULL;
}

static int tear_down(void **state) {
    (void)state;
    recording_unref(recording);
    return 0;
}

static void append_text(const char *data) {
    const struct sse_event event = {
        .type = "t", .type_length = 1, .data = data, .data_length = strlen(data), .last_event_id = "7"};
    assert_true(recording_append_event(recording, &event, recording_now_ms(recording)));
}

static void append_numbers(size_t from, size_t to) {
    char text[32];
    for (size_t i = from; i < to; i++) {
        snprintf(text, sizeof(text), "%zu", i);
        append_text(text);
    }
}

static void append_kilobyte(void) {
    char text[1001];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    append_text(text);
}

static void finish(void) {
    const struct upstream_result result = {.end = UPSTREAM_COMPLETED, .message = ""};
    recording_end(recording, &result);
}

static void join(struct recording_reader *reader) {
    *reader = (struct recording_reader){.on_more = on_more};
    assert_true(recording_join(recording, reader));
}

static void leave(struct recording_reader *reader) {
    bool has_room;
    bool is_told = recording_leave(reader, &has_room);
    (void)is_told; /* nobody handles anything here */
}

/* Reads numbers from `from` on, until there is nothing more. */
static size_t read_numbers(struct recording_reader *reader, size_t from) {
    struct recording_batch batch;
    do {
        recording_read(reader, &batch);
        for (size_t i = 0; i < batch.count; i++, from++) {
            char text[32];
            int length = snprintf(text, sizeof(text), "%zu", from);
            assert_int_equal(batch.entries[i]->event.data_length, length);
            assert_memory_equal(batch.entries[i]->event.data, text, (size_t)length);
            assert_int_equal(batch.entries[i]->event.last_event_id_length, 0);
        }
    } while (batch.count > 0);
    return from;
}

static void readers_get_all_of_it_whenever_they_come(void **state) {
    (void)state;
    struct recording_reader early, late, last;
    struct recording_batch batch;
    join(&early);
    append_numbers(0, 40);
    assert_int_equal(read_numbers(&early, 0), 40);
    join(&late);
    append_numbers(40, 50);
    assert_int_equal(read_numbers(&late, 0), 50);
    assert_int_equal(read_numbers(&early, 40), 50);
    recording_read(&late, &batch);
    assert_false(batch.is_end);
    finish();
    join(&last);
    assert_int_equal(read_numbers(&last, 0), 50);
    recording_read(&early, &batch);
    assert_true(batch.is_end);
    assert_int_equal(recording_result(recording)->end, UPSTREAM_COMPLETED);
    leave(&early);
    leave(&late);
    leave(&last);
}

static void a_batch_is_bounded_and_the_end_comes_after_all_of_it(void **state) {
    (void)state;
    struct recording_reader reader;
    struct recording_batch batch;
    append_numbers(0, RECORDING_BATCH + 1);
    finish();
    join(&reader);
    recording_read(&reader, &batch);
    assert_int_equal(batch.count, RECORDING_BATCH);
    assert_false(batch.is_end);
    recording_read(&reader, &batch);
    assert_int_equal(batch.count, 1);
    assert_false(batch.is_end);
    recording_read(&reader, &batch);
    assert_int_equal(batch.count, 0);
    assert_true(batch.is_end);
    leave(&reader);
}

static void a_reader_is_told_once_until_it_has_heard(void **state) {
    (void)state;
    struct recording_reader reader;
    bool has_room;
    join(&reader);
    assert_int_equal(told, 0);
    append_numbers(0, 3);
    recording_nudge(&reader);
    assert_int_equal(told, 1);
    recording_heard(&reader);
    append_numbers(3, 4);
    assert_int_equal(told, 2);
    recording_heard(&reader);
    recording_nudge(&reader);
    assert_int_equal(told, 3);
    recording_heard(&reader);
    assert_false(recording_leave(&reader, &has_room));
    join(&reader);
    finish();
    assert_int_equal(told, 4);
    assert_true(recording_leave(&reader, &has_room));
}

static void times_count_from_when_the_request_went_out(void **state) {
    (void)state;
    struct recording_reader reader;
    struct recording_batch batch;
    clock_fake(1000, 0);
    struct recording *timed = recording_create(10 * 1000);
    assert_non_null(timed);
    clock_fake_advance(70);
    assert_int_equal(recording_now_ms(timed), 70);
    assert_true(recording_append_sent(timed));
    clock_fake_advance(20);
    assert_int_equal(recording_now_ms(timed), 20);
    reader.on_more = on_more;
    assert_true(recording_join(timed, &reader));
    recording_read(&reader, &batch);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.entries[0]->kind, RECORDING_SENT);
    leave(&reader);
    recording_unref(timed);
    clock_real();
}

static void what_all_readers_have_had_is_forgotten_once_it_is_too_much(void **state) {
    (void)state;
    struct recording_reader slow, fast;
    struct recording_batch batch;
    join(&slow);
    join(&fast);
    for (int i = 0; i < 9; i++)
        append_kilobyte();
    assert_true(recording_is_whole(recording));
    recording_read(&slow, &batch);
    assert_int_equal(batch.count, 9);
    recording_read(&fast, &batch);
    assert_int_equal(recording_bytes(recording) / 1000, 9); /* nothing while it is whole */
    for (int i = 0; i < 9; i++)
        append_kilobyte();
    assert_false(recording_is_whole(recording));
    assert_true(recording_bytes(recording) > 18 * 1000); /* the slow one may still look at its batch */
    recording_read(&fast, &batch);
    recording_read(&fast, &batch);
    recording_read(&slow, &batch);
    assert_int_equal(batch.count, 9);
    assert_in_range(recording_bytes(recording), 9 * 1000, 11 * 1000);
    assert_memory_equal(batch.entries[8]->event.data, "xxx", 3);
    leave(&slow);
    assert_int_equal(recording_bytes(recording), 0);
    leave(&fast);
}

static void what_is_not_whole_cannot_be_joined(void **state) {
    (void)state;
    struct recording_reader first, late = {.on_more = on_more};
    join(&first);
    for (int i = 0; i < 11; i++)
        append_kilobyte();
    assert_false(recording_join(recording, &late));
    leave(&first);
}

static void the_writer_waits_for_the_slowest_reader_and_is_told_once(void **state) {
    (void)state;
    struct recording_reader slow, fast;
    struct recording_batch batch;
    join(&slow);
    join(&fast);
    int count = 0;
    while (recording_may_append(recording)) {
        append_kilobyte();
        recording_read(&fast, &batch);
        assert_false(batch.has_room);
        assert_true(++count < 20);
    }
    assert_int_equal(count, 10);
    recording_read(&fast, &batch);
    assert_false(batch.has_room);
    recording_read(&slow, &batch);
    assert_int_equal(batch.count, 10);
    assert_false(batch.has_room); /* it may still look at them */
    recording_read(&slow, &batch);
    assert_true(batch.has_room);
    recording_read(&slow, &batch);
    assert_false(batch.has_room);
    assert_true(recording_may_append(recording));
    leave(&slow);
    leave(&fast);
}

static void the_writer_goes_on_when_the_slowest_reader_leaves(void **state) {
    (void)state;
    struct recording_reader slow, fast;
    struct recording_batch batch;
    bool has_room;
    join(&slow);
    join(&fast);
    while (recording_may_append(recording)) {
        append_kilobyte();
        recording_read(&fast, &batch);
    }
    recording_read(&fast, &batch);
    bool is_told = recording_leave(&slow, &has_room);
    assert_true(is_told);
    assert_true(has_room);
    leave(&fast);
}

static void a_replay_takes_over_the_entries_of_another_recording(void **state) {
    (void)state;
    struct recording_reader waiting, late;
    struct recording_batch batch;
    struct recording *live = recording_create(10 * 1000);
    assert_non_null(live);
    waiting = (struct recording_reader){.on_more = on_more};
    assert_true(recording_join(live, &waiting));
    append_numbers(0, 5);
    size_t bytes = recording_bytes(recording);
    recording_append_replay(live, recording);
    assert_int_equal(told, 1);
    assert_int_equal(recording_bytes(live), bytes);
    assert_int_equal(recording_bytes(recording), 0);
    recording_read(&waiting, &batch);
    assert_int_equal(batch.count, 5);
    assert_true(batch.is_replay);
    late = (struct recording_reader){.on_more = on_more};
    assert_true(recording_join(live, &late));
    assert_int_equal(read_numbers(&late, 0), 5);
    leave(&waiting);
    leave(&late);
    recording_unref(live);
}

static void what_is_recorded_while_memory_is_full_is_not_whole(void **state) {
    (void)state;
    struct recording_reader reader, late = {.on_more = on_more};
    struct recording_batch batch;
    bool has_room;
    join(&reader);
    append_kilobyte();
    assert_true(recording_is_whole(recording));
    unit_memory_at(16);
    append_kilobyte();
    assert_false(recording_is_whole(recording));
    assert_false(recording_join(recording, &late));
    recording_read(&reader, &batch);
    assert_int_equal(batch.count, 2); /* its reader misses nothing */
    recording_read(&reader, &batch);
    assert_int_equal(recording_bytes(recording), 0);
    unit_memory_at(0);
    assert_true(recording_leave(&reader, &has_room)); /* it was told of more */
}

static void what_is_recorded_is_small_while_nothing_may_grow(void **state) {
    (void)state;
    static char data[20000];
    struct sse_event event = {.type = "t", .type_length = 1, .data = data, .last_event_id = ""};
    unit_memory_at(18);
    event.data_length = sizeof(data);
    assert_false(recording_append_event(recording, &event, 0));
    event.data_length = 1000;
    assert_true(recording_append_event(recording, &event, 0));
    unit_memory_at(0);
}

static void the_result_is_a_copy(void **state) {
    (void)state;
    char message[] = "it broke";
    const struct upstream_result result = {
        .end = UPSTREAM_STATUS, .http_status = 503, .message = message, .retry_after_ms = 7};
    recording_end(recording, &result);
    memset(message, 'x', strlen(message));
    const struct upstream_result *kept = recording_result(recording);
    assert_string_equal(kept->message, "it broke");
    assert_int_equal(kept->http_status, 503);
    assert_int_equal(kept->retry_after_ms, 7);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(readers_get_all_of_it_whenever_they_come),
        TEST(a_batch_is_bounded_and_the_end_comes_after_all_of_it),
        TEST(a_reader_is_told_once_until_it_has_heard),
        TEST(times_count_from_when_the_request_went_out),
        TEST(what_all_readers_have_had_is_forgotten_once_it_is_too_much),
        TEST(what_is_not_whole_cannot_be_joined),
        TEST(the_writer_waits_for_the_slowest_reader_and_is_told_once),
        TEST(the_writer_goes_on_when_the_slowest_reader_leaves),
        TEST(a_replay_takes_over_the_entries_of_another_recording),
        TEST(what_is_recorded_while_memory_is_full_is_not_whole),
        TEST(what_is_recorded_is_small_while_nothing_may_grow),
        TEST(the_result_is_a_copy),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
