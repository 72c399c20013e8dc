/* base/memory_budget: what is charged and released, and the levels that follow. */
#include "base/buffer.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "tests/support/unit.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SLUICE_HELGRIND)
#define IS_MEASURED 0 /* the allocator is another one */
#else
#define IS_MEASURED 1
#endif

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

/* A charge that is counted as exactly `bytes`, a multiple of 16. */
static size_t exactly(size_t bytes) {
    return bytes - 8;
}

static int end(void **state) {
    (void)state;
    memory_set_limit(0);
    assert_int_equal(memory_total(), 0);
    return 0;
}

static void budget_counts_each_kind_and_their_sum(void **state) {
    (void)state;
    for (int kind = MEMORY_UNCOUNTED + 1; kind < MEMORY_KIND_COUNT; kind++)
        memory_charge((enum memory_kind)kind, exactly(16 * (size_t)(kind + 10)));
    uint64_t total = 0;
    for (int kind = MEMORY_UNCOUNTED + 1; kind < MEMORY_KIND_COUNT; kind++) {
        assert_int_equal(memory_used((enum memory_kind)kind), 16 * (kind + 10));
        assert_true(strlen(memory_kind_name((enum memory_kind)kind)) > 0);
        assert_true(strlen(memory_kind_help((enum memory_kind)kind)) > 0);
        total += 16 * (uint64_t)(kind + 10);
    }
    assert_int_equal(memory_total(), total);
    for (int kind = MEMORY_UNCOUNTED + 1; kind < MEMORY_KIND_COUNT; kind++)
        memory_release((enum memory_kind)kind, exactly(16 * (size_t)(kind + 10)));
    assert_int_equal(memory_total(), 0);
}

static void budget_does_not_count_what_is_uncounted(void **state) {
    (void)state;
    memory_charge(MEMORY_UNCOUNTED, MIB);
    assert_int_equal(memory_total(), 0);
    memory_release(MEMORY_UNCOUNTED, MIB);
}

static void budget_counts_what_the_allocator_takes(void **state) {
    (void)state;
    for (size_t bytes = 0; bytes < 2048; bytes++) {
        void *block = malloc(bytes);
        assert_non_null(block);
        size_t taken = malloc_usable_size(block) + sizeof(size_t);
        /* It may be a little more, if the rest of a free block was too small for another one. */
        if (IS_MEASURED)
            assert_true(memory_block(bytes) <= taken && taken <= memory_block(bytes) + 32);
        free(block);
    }
    assert_true(memory_block(MEMORY_LARGE_BYTES) % 4096 == 0);
    assert_true(memory_block(MEMORY_LARGE_BYTES) >= MEMORY_LARGE_BYTES + 16);
}

/* ---- threads ------------------------------------------------------------------------------------- */

#define THREADS 40 /* more than there are shards */
#define ROUNDS 2000

static void *charge_often(void *unused) {
    for (int i = 0; i < ROUNDS; i++) {
        memory_charge(MEMORY_EVENTS, (size_t)i % 999);
        memory_look();
    }
    return unused;
}

static void *release_often(void *unused) {
    for (int i = 0; i < ROUNDS; i++)
        memory_release(MEMORY_EVENTS, (size_t)i % 999);
    return unused;
}

static void budget_is_even_when_others_release_what_some_have_charged(void **state) {
    (void)state;
    pthread_t charging[THREADS], releasing[THREADS];
    memory_set_limit(MIB);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&charging[i], NULL, charge_often, NULL), 0);
        assert_int_equal(pthread_create(&releasing[i], NULL, release_often, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(charging[i], NULL);
        pthread_join(releasing[i], NULL);
    }
    assert_int_equal(memory_used(MEMORY_EVENTS), 0);
}

/* ---- levels -------------------------------------------------------------------------------------- */

/* Charges, or releases, until the sum is so many sixteenths of 16 MiB, and looks. */
static enum memory_level look_at(size_t sixteenths) {
    while (memory_total() < sixteenths * MIB)
        memory_charge(MEMORY_BODIES, exactly(64 * KIB));
    while (memory_total() > sixteenths * MIB)
        memory_release(MEMORY_BODIES, exactly(64 * KIB));
    return memory_look();
}

static void budget_s_levels_are_left_later_than_they_are_reached(void **state) {
    (void)state;
    memory_set_limit(16 * MIB);
    assert_int_equal(memory_low_mark(), 13 * MIB);
    static const enum memory_level up[] = {
        [13] = MEMORY_EASY, [14] = MEMORY_TIGHT, [15] = MEMORY_TIGHT, [16] = MEMORY_FULL,
        [17] = MEMORY_FULL, [18] = MEMORY_OVER,  [19] = MEMORY_OVER};
    static const enum memory_level down[] = {[12] = MEMORY_EASY, [13] = MEMORY_TIGHT, [14] = MEMORY_TIGHT,
                                             [15] = MEMORY_FULL, [16] = MEMORY_FULL,  [17] = MEMORY_OVER};
    for (size_t i = 13; i <= 19; i++)
        assert_int_equal(look_at(i), up[i]);
    for (size_t i = 17; i >= 12; i--)
        assert_int_equal(look_at(i), down[i]);
    assert_int_equal(look_at(13), MEMORY_EASY);
    assert_int_equal(look_at(100), MEMORY_OVER);
    assert_int_equal(look_at(0), MEMORY_EASY);
}

static void budget_s_level_is_seen_without_a_look_after_some_charges(void **state) {
    (void)state;
    memory_set_limit(16 * MIB);
    size_t charged = 0;
    for (; charged < 14 * MIB + 64 * KIB; charged += KIB)
        memory_charge(MEMORY_EVENTS, exactly(KIB));
    assert_int_equal(memory_level(), MEMORY_TIGHT);
    for (; charged > 0; charged -= KIB)
        memory_release(MEMORY_EVENTS, exactly(KIB));
    assert_int_equal(memory_look(), MEMORY_EASY);
    assert_string_equal(memory_level_name(MEMORY_OVER), "over");
}

static void budget_is_easy_without_a_limit_and_judged_anew_by_another_one(void **state) {
    (void)state;
    memory_charge(MEMORY_EVENTS, exactly(16 * MIB / 16));
    assert_int_equal(memory_look(), MEMORY_EASY);
    assert_int_equal(memory_low_mark(), UINT64_MAX);
    memory_set_limit(MIB);
    assert_int_equal(memory_limit(), MIB);
    assert_int_equal(memory_level(), MEMORY_FULL);
    memory_set_limit(16 * MIB);
    assert_int_equal(memory_level(), MEMORY_EASY);
    memory_release(MEMORY_EVENTS, exactly(16 * MIB / 16));
}

/* ---- asking -------------------------------------------------------------------------------------- */

static void budget_has_room_up_to_the_limit_and_not_while_it_is_full(void **state) {
    (void)state;
    assert_true(memory_has_room(UINT64_MAX)); /* there is no limit */
    memory_set_limit(16 * MIB);
    look_at(8);
    assert_true(memory_has_room(8 * MIB));
    assert_false(memory_has_room(8 * MIB + 1));
    assert_false(memory_has_room(UINT64_MAX));
    look_at(16);
    assert_false(memory_has_room(0));
    look_at(15);
    assert_false(memory_has_room(0));
    look_at(14);
    assert_true(memory_has_room(MIB));
    look_at(0);
}

static void budget_lets_only_small_blocks_grow_while_it_is_over(void **state) {
    (void)state;
    memory_set_limit(16 * MIB);
    look_at(17);
    assert_true(memory_may_grow(100 * MIB));
    look_at(18);
    assert_false(memory_may_grow(MEMORY_SMALL_BYTES + 1));
    assert_true(memory_may_grow(MEMORY_SMALL_BYTES));
    look_at(0);
    assert_true(memory_may_grow(100 * MIB));
}

static int relieved;

static void budget_keeps_what_is_passed_on_within_its_share(void **state) {
    (void)state;
    uint64_t refused = metrics_get(METRIC_MEMORY_SHARE_REFUSED);
    memory_set_limit(16 << 20);
    memory_charge(MEMORY_PASSED, 3 << 20);
    assert_true(memory_share_may_grow(MEMORY_PASSED, 900 << 10));
    assert_false(memory_share_may_grow(MEMORY_PASSED, 1 << 20));
    assert_true(memory_share_may_grow(MEMORY_EVENTS, 1 << 20));
    struct buffer buffer;
    buffer_init_counted(&buffer, 2 << 20, MEMORY_PASSED);
    assert_false(buffer_reserve(&buffer, 1 << 20));
    memory_charge(MEMORY_PASSED, 3 << 20);
    assert_true(buffer_reserve(&buffer, 8 << 10)); /* small ones go on */
    buffer_finish(&buffer);
    assert_int_equal(metrics_get(METRIC_MEMORY_SHARE_REFUSED) - refused, 2);
    memory_set_limit(0);
    assert_true(memory_share_may_grow(MEMORY_PASSED, 1 << 20));
    memory_release(MEMORY_PASSED, 3 << 20);
    memory_release(MEMORY_PASSED, 3 << 20);
}

static void budget_keeps_answers_within_their_share(void **state) {
    (void)state;
    struct buffer buffer;
    memory_set_limit(16 * MIB);
    look_at(18); /* they are made all the same when nothing else may grow */
    buffer_init_counted(&buffer, 8 * MIB, MEMORY_ANSWERS);
    assert_true(buffer_reserve(&buffer, 3 * MIB));
    assert_false(buffer_reserve(&buffer, 5 * MIB));
    buffer_finish(&buffer);
    look_at(0);
}

static void relieve(void *context) {
    assert_ptr_equal(context, &relieved);
    relieved++;
    look_at(10);
}

static void budget_is_relieved_before_it_refuses(void **state) {
    (void)state;
    memory_set_limit(16 * MIB);
    memory_set_relief(relieve, &relieved);
    look_at(15);
    assert_true(memory_has_room(MIB));
    assert_int_equal(relieved, 0);
    assert_true(memory_has_room(2 * MIB));
    assert_int_equal(relieved, 1);
    look_at(16);
    assert_true(memory_has_room(0));
    assert_int_equal(relieved, 2);
    look_at(18);
    assert_true(memory_may_grow(MIB));
    assert_int_equal(relieved, 3);
    assert_false(memory_has_room(16 * MIB)); /* there will never be as much */
    memory_set_relief(NULL, NULL);
    look_at(0);
}

/* ---- what the kernel counts ---------------------------------------------------------------------- */

static void *touched(size_t bytes) {
    char *block = malloc(bytes);
    assert_non_null(block);
    memset(block, 1, bytes);
    return block;
}

static void budget_counts_two_thirds_of_what_the_process_has_if_that_is_more(void **state) {
    (void)state;
    memory_set_limit(16 * MIB);
    memory_measure(true);
    assert_int_equal(memory_look(), MEMORY_EASY);
    void *block = touched(30 * MIB); /* nobody has charged it */
    assert_int_equal(memory_look(), MEMORY_EASY);
    memory_measure(true);
    if (IS_MEASURED) {
        assert_in_range(memory_held(), 19 * MIB, 22 * MIB);
        assert_int_equal(memory_look(), MEMORY_OVER);
        assert_false(memory_has_room(0));
        assert_true(memory_is_loose());
    }
    free(block); /* a large one goes back to the kernel at once */
    memory_measure(true);
    assert_int_equal(memory_look(), MEMORY_EASY);
    assert_false(memory_is_loose());
}

static void budget_measures_again_after_some_charges(void **state) {
    (void)state;
    memory_set_limit(16 * MIB);
    memory_measure(true);
    void *block = touched(30 * MIB);
    memory_measure(false);
    assert_false(memory_is_loose());
    look_at(1);
    memory_measure(false);
    assert_int_equal(memory_is_loose(), IS_MEASURED);
    free(block);
    look_at(0);
    memory_measure(true);
}

#define BLOCKS 40000

/* Blocks of a KiB, and all but a few freed: the allocator keeps them, since the last one is in use. */
static void memory_that_is_free_is_given_back(void **state) {
    (void)state;
    static void *blocks[BLOCKS];
    memory_set_limit(64 * MIB);
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = touched(KIB);
    for (size_t i = 0; i < BLOCKS; i++) {
        if (i % 1000 != 999) {
            free(blocks[i]);
            blocks[i] = NULL;
        }
    }
    memory_measure(true);
    assert_int_equal(memory_is_loose(), IS_MEASURED);
    memory_give_back();
    assert_false(memory_is_loose());
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    memory_measure(true);
}

int main(void) {
    memory_tune_allocator(2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(budget_has_room_up_to_the_limit_and_not_while_it_is_full, end),
        cmocka_unit_test_teardown(budget_lets_only_small_blocks_grow_while_it_is_over, end),
        cmocka_unit_test_teardown(budget_keeps_what_is_passed_on_within_its_share, end),
        cmocka_unit_test_teardown(budget_keeps_answers_within_their_share, end),
        cmocka_unit_test_teardown(budget_is_relieved_before_it_refuses, end),
        cmocka_unit_test_teardown(budget_counts_each_kind_and_their_sum, end),
        cmocka_unit_test_teardown(budget_does_not_count_what_is_uncounted, end),
        cmocka_unit_test_teardown(budget_counts_what_the_allocator_takes, end),
        cmocka_unit_test_teardown(budget_is_even_when_others_release_what_some_have_charged, end),
        cmocka_unit_test_teardown(budget_s_levels_are_left_later_than_they_are_reached, end),
        cmocka_unit_test_teardown(budget_s_level_is_seen_without_a_look_after_some_charges, end),
        cmocka_unit_test_teardown(budget_is_easy_without_a_limit_and_judged_anew_by_another_one, end),
        cmocka_unit_test_teardown(budget_counts_two_thirds_of_what_the_process_has_if_that_is_more, end),
        cmocka_unit_test_teardown(budget_measures_again_after_some_charges, end),
        cmocka_unit_test_teardown(memory_that_is_free_is_given_back, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
