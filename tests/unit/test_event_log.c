/* broadcaster/event_log: what is retained, where a reader goes on, and what is missing. */
#include "broadcaster/event_log.h"
#include "broadcaster/lifecycle.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

static struct event_log event_log;
static struct event_log_limits limits;
static struct event_id ids[5000]; /* by sequence */

static int set_up(void **state) {
    (void)state;
    limits = (struct event_log_limits){.events_max = 100, .bytes_max = 1 << 20};
    return !event_log_init(&event_log, 1000);
}

static int tear_down(void **state) {
    (void)state;
    event_log_finish(&event_log);
    return 0;
}

/* Appends one event; returns how many had to leave for it. */
static size_t append_sized(size_t length) {
    char *data = calloc(1, length + 1);
    memset(data, 'x', length);
    struct frame *frame = lifecycle_make_agent_event(1, NULL, 0, data, length), *evicted = NULL;
    free(data);
    event_log_append(&event_log, &limits, frame, 2000, &evicted);
    ids[event_log.next_sequence - 1] = event_log.last_id;
    size_t count = 0;
    for (struct frame *gone = evicted; gone != NULL; gone = gone->next)
        count++;
    frame_unref_list(evicted);
    return count;
}

static void append_many(int count) {
    for (int i = 0; i < count; i++)
        append_sized(3);
}

static uint64_t memory_of_retained(void) {
    uint64_t bytes = 0;
    for (uint64_t at = event_log.first_sequence; at < event_log.next_sequence; at++)
        bytes += frame_memory(event_log_at(&event_log, at));
    return bytes;
}

static void event_log_retains_the_newest_events_up_to_its_number(void **state) {
    (void)state;
    append_many(100);
    assert_int_equal(event_log.first_sequence, 1);
    assert_int_equal(append_sized(3), 1);
    append_many(499);
    assert_int_equal(event_log.first_sequence, 501);
    assert_int_equal(event_log.next_sequence, 601);
    for (uint64_t at = 501; at < 601; at++)
        assert_int_equal(event_id_compare(event_log_at(&event_log, at)->id, ids[at]), 0);
    assert_int_equal(event_id_compare(event_log.floor_id, ids[500]), 0);
    assert_int_equal(event_log.bytes, memory_of_retained());
}

static void event_log_retains_no_more_than_its_bytes(void **state) {
    (void)state;
    limits.bytes_max = 10000;
    for (int i = 0; i < 200; i++) {
        append_sized((size_t)i * 7 % 900);
        assert_true(event_log.bytes <= limits.bytes_max);
        assert_int_equal(event_log.bytes, memory_of_retained());
    }
    assert_true(event_log.first_sequence > 1);
}

static void event_log_keeps_the_newest_event_even_if_it_alone_is_too_large(void **state) {
    (void)state;
    limits.bytes_max = 1000;
    append_many(3);
    assert_int_equal(append_sized(5000), 3);
    assert_int_equal(event_log.next_sequence - event_log.first_sequence, 1);
    assert_int_equal(append_sized(10), 1);
    assert_int_equal(event_log.bytes, memory_of_retained());
}

static void event_log_shrinks_when_its_limit_is_lowered(void **state) {
    (void)state;
    append_many(80);
    limits.events_max = 10;
    assert_int_equal(append_sized(3), 71);
    limits.events_max = 3000; /* and grows again */
    append_many(2500);
    assert_int_equal(event_log.first_sequence, 72);
    assert_int_equal(event_id_compare(event_log_at(&event_log, 72)->id, ids[72]), 0);
}

static void event_log_goes_on_right_behind_every_id_that_it_knows(void **state) {
    (void)state;
    append_many(150);
    for (uint64_t at = 50; at < 151; at++) { /* 50: the one right before the oldest retained event */
        struct event_log_position position = event_log_find(&event_log, ids[at]);
        assert_true(position.known);
        assert_int_equal(position.sequence, at + 1);
    }
}

static void assert_unknown(struct event_id id, uint64_t sequence, struct event_id lost_to) {
    struct event_log_position position = event_log_find(&event_log, id);
    assert_false(position.known);
    assert_int_equal(position.sequence, sequence);
    assert_int_equal(event_id_compare(position.lost_to, lost_to), 0);
}

static void event_log_tells_up_to_where_events_are_missing(void **state) {
    (void)state;
    append_many(150);
    assert_unknown(ids[49], 51, ids[50]);
    assert_unknown((struct event_id){0, 0}, 51, ids[50]);
    assert_unknown((struct event_id){UINT64_MAX, 0}, 51, ids[50]);
    assert_unknown((struct event_id){ids[150].ms, ids[150].n + 1}, 51, ids[50]);
}

static void event_log_finds_the_place_of_an_id_that_was_never_given(void **state) {
    (void)state;
    struct frame *evicted;
    for (int64_t now_ms = 2000; now_ms < 2100; now_ms += 10)
        event_log_append(&event_log, &limits, lifecycle_make_agent_event(1, NULL, 0, "x", 1), now_ms,
                         &evicted);
    assert_unknown((struct event_id){2035, 0}, 5, (struct event_id){2035, 0});
    assert_unknown((struct event_id){2030, 1}, 5, (struct event_id){2030, 1});
}

static void event_log_that_is_empty_knows_only_where_it_began(void **state) {
    (void)state;
    assert_true(event_log_find(&event_log, (struct event_id){1000, 0}).known);
    assert_unknown((struct event_id){999, 0}, 1, (struct event_id){1000, 0});
    assert_unknown((struct event_id){1001, 0}, 1, (struct event_id){1000, 0});
}

static void event_log_can_be_told_to_begin_later(void **state) {
    (void)state;
    event_log_begin_after(&event_log, (struct event_id){900, 5}); /* no use: its own time is later */
    assert_int_equal(event_log.last_id.ms, 1000);
    event_log_begin_after(&event_log, (struct event_id){3000, 5});
    append_many(1);
    assert_int_equal(event_log.last_id.ms, 3000);
    assert_int_equal(event_log.last_id.n, 6);
}

static void event_log_that_was_cleared_remembers_its_last_id(void **state) {
    (void)state;
    append_many(20);
    frame_unref_list(event_log_clear(&event_log));
    assert_int_equal(event_log.bytes, 0);
    assert_null(event_log.ring);
    struct event_log_position position = event_log_find(&event_log, ids[20]);
    assert_true(position.known);
    assert_int_equal(position.sequence, event_log.next_sequence);
    assert_unknown(ids[19], event_log.next_sequence, ids[20]);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(event_log_retains_the_newest_events_up_to_its_number),
        TEST(event_log_retains_no_more_than_its_bytes),
        TEST(event_log_keeps_the_newest_event_even_if_it_alone_is_too_large),
        TEST(event_log_shrinks_when_its_limit_is_lowered),
        TEST(event_log_goes_on_right_behind_every_id_that_it_knows),
        TEST(event_log_tells_up_to_where_events_are_missing),
        TEST(event_log_finds_the_place_of_an_id_that_was_never_given),
        TEST(event_log_that_is_empty_knows_only_where_it_began),
        TEST(event_log_can_be_told_to_begin_later),
        TEST(event_log_that_was_cleared_remembers_its_last_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
