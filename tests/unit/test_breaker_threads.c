/* upstream/breaker with several threads: all calls are counted, no probe more than may passes, and it comes
 * back. */
#include "base/clock.h"
#include "tests/support/unit.h"
#include "upstream/breaker.h"

#include <pthread.h>
#include <stdlib.h>

#define THREADS 4
#define CALLS 5000
#define WILD_CALLS 10000

static struct breaker *breaker;

static void create(struct breaker_settings settings) {
    breaker = breaker_create(&settings);
    assert_non_null(breaker);
}

static int set_up(void **state) {
    (void)state;
    clock_fake(1000000, 1700000000000);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    breaker_destroy(breaker);
    clock_real();
    return 0;
}

static struct breaker_info info_of(void) {
    struct breaker_info info;
    breaker_get_info(breaker, &info);
    return info;
}

static void call(enum breaker_outcome outcome) {
    struct breaker_pass pass;
    assert_true(breaker_enter(breaker, &pass, NULL));
    breaker_leave(breaker, &pass, outcome);
}

/* What one thread saw. */
struct hammer {
    pthread_t thread;
    unsigned seed;
    struct breaker_pass pass; /* the last */
    uint64_t passed, refused;
};

static struct hammer hammers[THREADS];
static pthread_barrier_t meeting;

static struct hammer run_threads(void *(*run)(void *)) {
    struct hammer sum = {0};
    assert_int_equal(pthread_barrier_init(&meeting, NULL, THREADS), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        hammers[i] = (struct hammer){.seed = i + 1};
        assert_int_equal(pthread_create(&hammers[i].thread, NULL, run, &hammers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(hammers[i].thread, NULL);
        sum.passed += hammers[i].passed;
        sum.refused += hammers[i].refused;
    }
    pthread_barrier_destroy(&meeting);
    return sum;
}

static void *call_often(void *argument) {
    struct hammer *hammer = argument;
    pthread_barrier_wait(&meeting);
    for (int i = 0; i < CALLS; i++) {
        call(i % 5 == 0 ? BREAKER_FAILURE : BREAKER_SUCCESS);
        hammer->passed++;
    }
    return NULL;
}

static void breaker_counts_the_calls_of_all_threads(void **state) {
    (void)state;
    create((struct breaker_settings){.failure_percent = 21,
                                     .calls_min = THREADS * CALLS, /* the first ones may fail in a row */
                                     .window_ms = 1000,
                                     .recovery_ms = 1000,
                                     .recovery_max_ms = 1000,
                                     .probes_max = 1});
    assert_int_equal(run_threads(call_often).passed, THREADS * CALLS);
    assert_int_equal(info_of().calls, THREADS * CALLS);
    assert_int_equal(info_of().failures, THREADS * CALLS / 5);
}

static void *probe_once(void *argument) {
    struct hammer *hammer = argument;
    pthread_barrier_wait(&meeting);
    if (breaker_enter(breaker, &hammer->pass, NULL))
        hammer->passed++;
    else
        hammer->refused++;
    return NULL;
}

static void breaker_lets_no_more_probes_pass_if_threads_race_for_them(void **state) {
    (void)state;
    create((struct breaker_settings){.failure_percent = 1,
                                     .calls_min = 1,
                                     .window_ms = 1000,
                                     .recovery_ms = 1000,
                                     .recovery_max_ms = 1000,
                                     .probes_max = 2});
    call(BREAKER_FAILURE);
    for (int round = 0; round < 50; round++) {
        clock_fake_advance(1000);
        struct hammer sum = run_threads(probe_once);
        assert_int_equal(sum.passed, 2);
        for (int i = 0; i < THREADS; i++) {
            if (hammers[i].passed > 0)
                breaker_leave(breaker, &hammers[i].pass,
                              BREAKER_FAILURE); /* the second one is of an earlier state */
        }
        assert_int_equal(info_of().state, BREAKER_OPEN);
    }
}

/* The upstream fails and is back by turns, and time goes by. */
static void *call_wildly(void *argument) {
    struct hammer *hammer = argument;
    pthread_barrier_wait(&meeting);
    for (int i = 0; i < WILD_CALLS; i++) {
        struct breaker_pass pass;
        struct breaker_info info;
        int64_t retry_after_ms;
        unsigned luck = (unsigned)rand_r(&hammer->seed) % 100;
        bool is_bad_time = i / 250 % 2 == 0;
        if (breaker_enter(breaker, &pass, &retry_after_ms)) {
            hammer->passed++;
            if (luck < 95)
                breaker_leave(breaker, &pass,
                              luck < 5      ? BREAKER_NEITHER
                              : is_bad_time ? BREAKER_FAILURE
                                            : BREAKER_SUCCESS);
        } else {
            assert_in_range(retry_after_ms, 1, 4);
            hammer->refused++;
        }
        breaker_get_info(breaker, &info);
        assert_in_range(info.score, 0, 100);
        assert_true(info.failures <= info.calls);
    }
    return NULL;
}

static void breaker_comes_back_after_threads_did_anything_with_it(void **state) {
    (void)state;
    clock_real();
    create((struct breaker_settings){.failure_percent = 30,
                                     .calls_min = 5,
                                     .window_ms = 20,
                                     .recovery_ms = 1,
                                     .recovery_max_ms = 4,
                                     .probes_max = 2});
    struct hammer sum = run_threads(call_wildly);
    struct breaker_info after = info_of();
    assert_int_equal(sum.passed + sum.refused, THREADS * WILD_CALLS);
    assert_int_equal(after.refused, sum.refused);
    assert_true(after.opened > 0);
    clock_fake(clock_mono_ms() + 1000, 0); /* probes that were never answered are given up */
    call(BREAKER_SUCCESS);
    call(BREAKER_SUCCESS);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(breaker_counts_the_calls_of_all_threads),
        TEST(breaker_lets_no_more_probes_pass_if_threads_race_for_them),
        TEST(breaker_comes_back_after_threads_did_anything_with_it),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
