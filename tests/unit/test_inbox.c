/* base/inbox: every item is handled once, in order, on the loop's thread. */
#include "base/inbox.h"

#include "base/clock.h"
#include "tests/support/unit.h"

#include <stdatomic.h>
#include <stdlib.h>

#define POSTERS 4
#define POSTS 2000

struct note {
    struct inbox_item item;
    int poster;
    int number;
};

static uv_loop_t loop;
static struct inbox inbox;
static int handled;
static int last_of[POSTERS];
static bool in_order = true, at_home = true;

static int set_up(void **state) {
    (void)state;
    handled = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    return inbox_init(&inbox, &loop);
}

static int tear_down(void **state) {
    (void)state;
    inbox_close(&inbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    inbox_finish(&inbox);
    return uv_loop_close(&loop);
}

static void count(struct inbox_item *item) {
    (void)item;
    handled++;
}

static void inbox_handles_nothing_before_the_loop_turns(void **state) {
    (void)state;
    struct inbox_item one = {.handle = count}, two = {.handle = count};
    inbox_post(&inbox, &one);
    inbox_post(&inbox, &two);
    assert_int_equal(handled, 0);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(handled, 2);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(handled, 2);
}

static void post_again(struct inbox_item *item) {
    if (++handled < 3)
        inbox_post(&inbox, item);
}

static void inbox_takes_an_item_again_from_its_own_handler(void **state) {
    (void)state;
    struct inbox_item item = {.handle = post_again};
    inbox_post(&inbox, &item);
    for (int turns = 0; turns < 5; turns++)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(handled, 3);
}

static void free_note(struct inbox_item *item) {
    handled++;
    free(CONTAINER_OF(item, struct note, item));
}

static void inbox_drains_without_the_loop_and_items_may_free_themselves(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct note *note = calloc(1, sizeof(*note));
        assert_non_null(note);
        note->item.handle = free_note;
        inbox_post(&inbox, &note->item);
    }
    inbox_drain(&inbox);
    assert_int_equal(handled, 3);
}

static int handled_numbers[32];

/* Takes a ms. Number 2 brings number 10, which waits until all of the others have had their turn. */
static void work(struct inbox_item *item) {
    static struct note late;
    struct note *note = CONTAINER_OF(item, struct note, item);
    clock_fake_advance(1);
    handled_numbers[handled++] = note->number;
    late = (struct note){.item.handle = work, .number = 10};
    if (note->number == 2)
        inbox_post(&inbox, &late.item);
}

static void inbox_leaves_what_takes_long_for_further_turns(void **state) {
    (void)state;
    struct note notes[10];
    clock_fake(1000, 1000);
    for (int i = 0; i < 10; i++) {
        notes[i] = (struct note){.item.handle = work, .number = i};
        inbox_post(&inbox, &notes[i].item);
    }
    int turns = 0;
    for (int before = -1; handled > before; turns++) {
        before = handled;
        uv_run(&loop, UV_RUN_NOWAIT);
        assert_true(handled - before <= 2); /* in a turn */
    }
    assert_true(turns > 5);
    for (int i = 0; i < 11; i++)
        assert_int_equal(handled_numbers[i], i);
    assert_int_equal(handled, 11);
    clock_real();
}

/* At tear-down there is no further turn. */
static void inbox_drains_all_whatever_time_it_takes(void **state) {
    (void)state;
    struct note notes[10];
    clock_fake(1000, 1000);
    for (int i = 0; i < 10; i++) {
        notes[i] = (struct note){.item.handle = work, .number = 20 + i};
        inbox_post(&inbox, &notes[i].item);
    }
    inbox_drain(&inbox);
    assert_int_equal(handled, 10);
    clock_real();
}

static void check_note(struct inbox_item *item) {
    struct note *note = CONTAINER_OF(item, struct note, item);
    in_order = in_order && note->number == last_of[note->poster] + 1;
    at_home = at_home && inbox_is_home(&inbox);
    last_of[note->poster] = note->number;
    handled++;
}

static void *post_many(void *argument) {
    struct note *notes = argument;
    for (int i = 0; i < POSTS; i++)
        inbox_post(&inbox, &notes[i].item);
    return inbox_is_home(&inbox) ? argument : NULL;
}

static void inbox_loses_and_doubles_nothing_that_several_threads_post(void **state) {
    (void)state;
    static struct note notes[POSTERS][POSTS];
    pthread_t threads[POSTERS];
    inbox_adopt(&inbox);
    for (int i = 0; i < POSTERS; i++) {
        for (int k = 0; k < POSTS; k++)
            notes[i][k] = (struct note){.item.handle = check_note, .poster = i, .number = k + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, notes[i]), 0);
    }
    while (handled < POSTERS * POSTS) /* a lost wake-up would wait here for ever */
        uv_run(&loop, UV_RUN_ONCE);
    for (int i = 0; i < POSTERS; i++) {
        void *thought_it_was_home;
        pthread_join(threads[i], &thought_it_was_home);
        assert_null(thought_it_was_home);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(handled, POSTERS * POSTS);
    assert_true(in_order && at_home);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(inbox_handles_nothing_before_the_loop_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(inbox_takes_an_item_again_from_its_own_handler, set_up, tear_down),
        cmocka_unit_test_setup_teardown(inbox_leaves_what_takes_long_for_further_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(inbox_drains_all_whatever_time_it_takes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(inbox_drains_without_the_loop_and_items_may_free_themselves, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(inbox_loses_and_doubles_nothing_that_several_threads_post, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
