/* base/turns: one of those that wait gets each turn of the loop, in the order of coming. */
#include "base/turns.h"

#include "tests/support/unit.h"

#define PARTS 3

static uv_loop_t loop;
static struct inbox inbox;
static struct turns turns;
static char said[64];

struct work {
    struct turn turn;
    char name;
    int parts; /* left */
};

static void on_turn(struct turn *turn) {
    struct work *work = CONTAINER_OF(turn, struct work, turn);
    size_t length = strlen(said);
    said[length] = work->name;
    said[length + 1] = '\0';
    if (--work->parts > 0)
        turns_wait(&turns, turn);
}

static int set_up(void **state) {
    (void)state;
    said[0] = '\0';
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(inbox_init(&inbox, &loop), 0);
    inbox_adopt(&inbox);
    turns_init(&turns, &inbox);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    inbox_drain(&inbox);
    inbox_close(&inbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    inbox_finish(&inbox);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static struct work work_of(char name) {
    return (struct work){.turn.take = on_turn, .name = name, .parts = PARTS};
}

static void turns_are_taken_one_a_turn_of_the_loop_by_each_in_order(void **state) {
    (void)state;
    struct work a = work_of('a'), b = work_of('b'), c = work_of('c');
    turns_wait(&turns, &a.turn);
    turns_wait(&turns, &b.turn);
    turns_wait(&turns, &c.turn);
    turns_wait(&turns, &a.turn); /* it has its place */
    assert_string_equal(said, "");
    for (size_t i = 1; i <= 3 * PARTS; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        assert_int_equal(strlen(said), i);
    }
    assert_string_equal(said, "abcabcabc");
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_string_equal(said, "abcabcabc");
}

static void turns_are_not_given_to_who_has_left(void **state) {
    (void)state;
    struct work a = work_of('a'), b = work_of('b');
    turns_wait(&turns, &a.turn);
    turns_wait(&turns, &b.turn);
    turns_leave(&turns, &a.turn);
    turns_leave(&turns, &a.turn);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_string_equal(said, "b");
    turns_leave(&turns, &b.turn);
    uv_run(&loop, UV_RUN_NOWAIT);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_string_equal(said, "b");
    turns_wait(&turns, &a.turn); /* the line is not lost with those that left */
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_string_equal(said, "ba");
    turns_leave(&turns, &a.turn);
}

static void on_short_turn(struct turn *turn) {
    do {
        on_turn(turn);
    } while (strlen(said) % 2 != 0 && (turn = turns_next(&turns)) != NULL);
}

static void turns_that_are_short_are_shared_with_the_next_one(void **state) {
    (void)state;
    struct work a = work_of('a'), b = work_of('b'), c = work_of('c');
    struct work *const works[] = {&a, &b, &c};
    for (size_t i = 0; i < 3; i++) {
        works[i]->turn.take = on_short_turn;
        works[i]->parts = 1;
        turns_wait(&turns, &works[i]->turn);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_string_equal(said, "ab");
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_string_equal(said, "abc");
    assert_null(turns_next(&turns));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(turns_are_taken_one_a_turn_of_the_loop_by_each_in_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(turns_are_not_given_to_who_has_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(turns_that_are_short_are_shared_with_the_next_one, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
