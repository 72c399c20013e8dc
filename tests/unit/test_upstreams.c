/* upstream/upstreams: each run goes where it may, where it is best, and where its session went before. */
#include "upstream/prospect.h"

#include "base/clock.h"
#include "tests/support/unit.h"

#define UPSTREAMS 3
#define RUNS 30000

/* Opens at the first failure. */
static const struct breaker_settings touchy = {.failure_percent = 1,
                                               .calls_min = 1,
                                               .window_ms = 1000,
                                               .recovery_ms = 1000,
                                               .recovery_max_ms = 100000,
                                               .probes_max = 1};

/* "a", "b" and "c", alike. */
static struct upstream_settings items[UPSTREAMS];
static struct upstreams_settings settings;
static struct upstreams upstreams;

static int set_up(void **state) {
    static char *const names[UPSTREAMS] = {"a", "b", "c"};
    (void)state;
    clock_fake(1000000, 1700000000000);
    for (int i = 0; i < UPSTREAMS; i++)
        items[i] = (struct upstream_settings){
            .name = names[i], .apps = "*", .weight = 1, .health_path = "/health", .breaker = touchy};
    settings = (struct upstreams_settings){.count = UPSTREAMS, .items = items};
    assert_true(upstreams_init(&upstreams, &settings));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    upstreams_finish(&upstreams);
    clock_real();
    return 0;
}

static void open_breaker(size_t i) {
    struct breaker_pass pass;
    assert_true(breaker_enter(upstreams.items[i].breaker, &pass, NULL));
    breaker_leave(upstreams.items[i].breaker, &pass, BREAKER_FAILURE);
}

/* Gives the first one a limiter, and it has asked for such a pause. */
static void pause_first(int64_t pause_ms) {
    struct limiter_ticket ticket = {0};
    const struct limiter_report report = {.overloaded = true, .retry_after_ms = pause_ms};
    upstreams_finish(&upstreams);
    items[0].limiter = (struct limiter_settings){.concurrency_max = 4, .waiting_max = 10};
    items[0].retry.total_ms = 30000;
    assert_true(upstreams_init(&upstreams, &settings));
    assert_int_equal(limiter_enter(upstreams.items[0].limiter, &ticket), LIMITER_GRANTED);
    assert_true(limiter_leave(upstreams.items[0].limiter, &ticket, &report));
}

static int64_t open_ms(size_t i) {
    struct breaker_info info;
    breaker_get_info(upstreams.items[i].breaker, &info);
    return info.retry_after_ms;
}

static void set_unhealthy(size_t i, bool is_unhealthy) {
    atomic_store(&upstreams.items[i].is_unhealthy, is_unhealthy);
}

static size_t choose(uint64_t affinity) {
    struct upstream_choice choice = upstreams_choose(&upstreams, &settings, "app", affinity);
    assert_true(choice.can_take);
    assert_int_equal(choice.retry_after_ms, 0);
    return choice.index;
}

static size_t choose_though_none_can(int64_t *ret_retry_after_ms) {
    struct upstream_choice choice = upstreams_choose(&upstreams, &settings, "app", 1);
    assert_false(choice.can_take);
    assert_false(choice.is_canned);
    *ret_retry_after_ms = choice.retry_after_ms;
    return choice.index;
}

/* How many of many runs each one gets. */
static void share_out(size_t shares[UPSTREAMS]) {
    memset(shares, 0, UPSTREAMS * sizeof(*shares));
    for (uint64_t affinity = 0; affinity < RUNS; affinity++)
        shares[choose(affinity)]++;
}

/* ---- by name ------------------------------------------------------------------------------------- */

static void upstreams_are_found_by_name(void **state) {
    (void)state;
    assert_int_equal(upstreams_find(&settings, "a"), 0);
    assert_int_equal(upstreams_find(&settings, "c"), 2);
    assert_true(upstreams_find(&settings, "d") == UPSTREAM_NONE);
    assert_true(upstreams_find(&settings, "") == UPSTREAM_NONE);
}

static void upstreams_fallback_is_the_one_that_is_named(void **state) {
    (void)state;
    items[0].fallback = "c";
    items[1].fallback = "nobody";
    assert_int_equal(upstreams_fallback(&settings, 0), 2);
    assert_true(upstreams_fallback(&settings, 1) == UPSTREAM_NONE);
    assert_true(upstreams_fallback(&settings, 2) == UPSTREAM_NONE);
}

static void upstreams_name_their_phases(void **state) {
    (void)state;
    assert_string_equal(upstream_phase_name(UPSTREAM_PHASE_LIMITER), "limiter");
    assert_string_equal(upstream_phase_name(UPSTREAM_PHASE_CONNECT), "connect");
    assert_string_equal(upstream_phase_name(UPSTREAM_PHASE_FIRST_BYTE), "first_byte");
    assert_string_equal(upstream_phase_name(UPSTREAM_PHASE_STREAMING), "streaming");
    assert_string_equal(upstream_phase_name(UPSTREAM_PHASE_RETRY), "retry");
}

/* ---- guards -------------------------------------------------------------------------------------- */

static void upstreams_have_the_guards_that_are_configured(void **state) {
    (void)state;
    struct upstreams guarded;
    struct upstream_settings some[4] = {
        {.name = "none"},
        {.name = "breaker", .breaker = touchy},
        {.name = "rate", .limiter = {.rate_calls = 8, .rate_per_ms = 60000}},
        {.name = "slots", .limiter = {.concurrency_max = 4}},
    };
    assert_true(upstreams_init(&guarded, &(struct upstreams_settings){.count = 4, .items = some}));
    assert_int_equal(guarded.count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(guarded.items[i].index, i);
        assert_int_equal(guarded.items[i].breaker != NULL, i == 1);
        assert_int_equal(guarded.items[i].limiter != NULL, i >= 2);
        assert_false(atomic_load(&guarded.items[i].is_unhealthy));
    }
    upstreams_finish(&guarded);
}

/* ---- the choice ---------------------------------------------------------------------------------- */

static void upstreams_choose_among_those_for_the_app(void **state) {
    (void)state;
    items[0].apps = "chat*";
    items[1].apps = "search, app";
    items[2].apps = "*";
    items[2].weight = 0;
    for (uint64_t affinity = 0; affinity < 100; affinity++)
        assert_int_equal(choose(affinity), 1);
}

static void upstreams_choose_none_if_none_is_for_the_app(void **state) {
    (void)state;
    int64_t retry_after_ms = -1;
    items[0].apps = items[1].apps = "other";
    items[2].weight = 0;
    open_breaker(0);
    assert_true(choose_though_none_can(&retry_after_ms) == UPSTREAM_NONE);
    assert_int_equal(retry_after_ms, 0);
}

static void upstreams_share_runs_by_their_weights(void **state) {
    (void)state;
    size_t shares[UPSTREAMS];
    items[0].weight = 1;
    items[1].weight = 2;
    items[2].weight = 7;
    share_out(shares);
    assert_in_range(shares[0], RUNS * 9 / 100, RUNS * 11 / 100);
    assert_in_range(shares[1], RUNS * 19 / 100, RUNS * 21 / 100);
    assert_in_range(shares[2], RUNS * 69 / 100, RUNS * 71 / 100);
}

static void upstreams_keep_a_session_where_it_is(void **state) {
    (void)state;
    size_t first[100];
    for (uint64_t affinity = 0; affinity < 100; affinity++)
        first[affinity] = choose(affinity);
    struct upstream_settings moved[UPSTREAMS] = {items[2], items[0], items[1]}; /* the same names */
    settings.items = moved;
    for (uint64_t affinity = 0; affinity < 100; affinity++)
        assert_string_equal(moved[choose(affinity)].name, items[first[affinity]].name);
}

static void upstreams_move_only_the_sessions_of_one_that_drops_out(void **state) {
    (void)state;
    size_t before[1000], moved_to[UPSTREAMS] = {0};
    for (uint64_t affinity = 0; affinity < 1000; affinity++)
        before[affinity] = choose(affinity);
    open_breaker(1);
    for (uint64_t affinity = 0; affinity < 1000; affinity++) {
        size_t now = choose(affinity);
        if (before[affinity] == 1)
            moved_to[now]++;
        else
            assert_int_equal(now, before[affinity]);
    }
    assert_int_equal(moved_to[1], 0);
    assert_true(moved_to[0] > 100 && moved_to[2] > 100); /* both get of them */
    clock_fake_advance(open_ms(1));
    for (uint64_t affinity = 0; affinity < 1000; affinity++)
        assert_int_equal(choose(affinity), before[affinity]);
}

static void upstreams_prefer_those_that_are_healthy(void **state) {
    (void)state;
    set_unhealthy(0, true);
    set_unhealthy(2, true);
    for (uint64_t affinity = 0; affinity < 100; affinity++)
        assert_int_equal(choose(affinity), 1);
}

static void upstreams_ask_an_unhealthy_one_before_none_at_all(void **state) {
    (void)state;
    open_breaker(0);
    open_breaker(1);
    set_unhealthy(2, true);
    for (uint64_t affinity = 0; affinity < 100; affinity++)
        assert_int_equal(choose(affinity), 2);
}

static void upstreams_prefer_one_with_a_good_fallback_to_an_unhealthy_one(void **state) {
    (void)state;
    open_breaker(0);
    items[0].fallback = "c";
    set_unhealthy(1, true);
    items[2].weight = 0; /* a fallback alone, for another app */
    items[2].apps = "other";
    for (uint64_t affinity = 0; affinity < 100; affinity++)
        assert_int_equal(choose(affinity), 0);
}

static void upstreams_prefer_one_that_is_good_to_one_with_a_fallback(void **state) {
    (void)state;
    open_breaker(0);
    items[0].weight = 1000;
    items[0].fallback = "c";
    items[2].weight = 0;
    for (uint64_t affinity = 0; affinity < 100; affinity++)
        assert_int_equal(choose(affinity), 1);
    items[0].fallback = NULL;
    items[0].canned_answer = "Later.";
    for (uint64_t affinity = 0; affinity < 100; affinity++)
        assert_int_equal(choose(affinity), 1);
}

static void upstreams_can_take_what_the_end_of_a_chain_can(void **state) {
    (void)state;
    items[0].fallback = "b";
    items[1].fallback = "c";
    items[1].weight = items[2].weight = 0;
    open_breaker(0);
    open_breaker(1);
    assert_int_equal(choose(1), 0);
    set_unhealthy(2, true); /* it is asked all the same */
    assert_int_equal(choose(1), 0);
}

static void upstreams_can_take_what_a_canned_answer_answers(void **state) {
    (void)state;
    items[0].fallback = "b";
    items[1].canned_answer = "Later.";
    items[1].weight = items[2].weight = 0;
    open_breaker(0);
    open_breaker(1);
    assert_int_equal(choose(1), 0);
}

static void upstreams_that_all_refuse_say_when_the_first_will_not(void **state) {
    (void)state;
    int64_t retry_after_ms = -1;
    items[0].fallback = "b";
    items[1].weight = 0;
    open_breaker(0);
    clock_fake_advance(open_ms(0));
    open_breaker(0); /* longer, the second time */
    clock_fake_advance(100);
    open_breaker(1);
    open_breaker(2);
    assert_true(open_ms(1) < open_ms(0));
    size_t index = choose_though_none_can(&retry_after_ms);
    assert_true(index == 0 || index == 2);
    int64_t expected_ms = open_ms(1) < open_ms(2) ? open_ms(1) : open_ms(2);
    assert_int_equal(retry_after_ms, expected_ms);
    items[2].weight = 0;
    assert_int_equal(choose_though_none_can(&retry_after_ms), 0);
    assert_int_equal(retry_after_ms, open_ms(1)); /* "c" is not in that chain */
}

static void upstreams_take_a_long_pause_for_a_refusal(void **state) {
    (void)state;
    int64_t retry_after_ms = -1;
    pause_first(60000);
    items[0].weight = 1000;
    for (uint64_t affinity = 0; affinity < 100; affinity++)
        assert_int_not_equal(choose(affinity), 0);
    items[1].weight = items[2].weight = 0;
    assert_int_equal(choose_though_none_can(&retry_after_ms), 0);
    assert_int_equal(retry_after_ms, 60000);
    open_breaker(0); /* for less: both must let it pass */
    assert_int_equal(choose_though_none_can(&retry_after_ms), 0);
    assert_int_equal(retry_after_ms, 60000);
    items[0].fallback = "b";
    assert_int_equal(choose(1), 0);
}

static void upstreams_can_take_what_may_wait_for_the_end_of_a_pause(void **state) {
    (void)state;
    int64_t retry_after_ms = -1;
    pause_first(30001);
    items[1].weight = items[2].weight = 0;
    assert_int_equal(choose_though_none_can(&retry_after_ms), 0);
    clock_fake_advance(1);
    assert_int_equal(choose(1), 0);
}

static void upstreams_chain_that_goes_in_a_circle_has_an_end(void **state) {
    (void)state;
    int64_t retry_after_ms = -1;
    for (size_t i = 0; i < UPSTREAMS; i++) {
        items[i].fallback = i == 1 ? "c" : "b";
        items[i].weight = i == 0;
        open_breaker(i);
    }
    assert_int_equal(choose_though_none_can(&retry_after_ms), 0);
    items[2].canned_answer = "Later.";
    assert_int_equal(choose(1), 0);
    items[0].fallback = "a"; /* itself */
    assert_int_equal(choose_though_none_can(&retry_after_ms), 0);
}

/* No other call passes meanwhile: it is as if the breaker were open. */
static void upstreams_do_not_take_a_run_while_a_probe_hangs(void **state) {
    (void)state;
    struct breaker_pass probe;
    items[1].weight = items[2].weight = 0;
    open_breaker(0);
    clock_fake_advance(1000);
    assert_int_equal(choose(1), 0);
    assert_true(breaker_enter(upstreams.items[0].breaker, &probe, NULL));
    struct upstream_choice choice = upstreams_choose(&upstreams, &settings, "app", 1);
    assert_false(choice.can_take);
    assert_true(choice.by_breaker);
    assert_true(choice.retry_after_ms > 0);
    assert_int_equal(upstream_prospect(&upstreams, &settings, 0).prospect, PROSPECT_REFUSED);
    clock_fake_advance(1000);
    assert_int_equal(choose(1), 0);
}

static void upstreams_say_whether_an_answer_will_be_canned(void **state) {
    (void)state;
    items[0].fallback = "b";
    items[1].canned_answer = "Later.";
    items[1].weight = items[2].weight = 0;
    open_breaker(0);
    assert_false(upstreams_choose(&upstreams, &settings, "app", 1).is_canned);
    open_breaker(1);
    struct upstream_choice choice = upstreams_choose(&upstreams, &settings, "app", 1);
    assert_true(choice.can_take);
    assert_true(choice.is_canned);
    items[1].fallback = "c"; /* after it, and it is good */
    assert_false(upstreams_choose(&upstreams, &settings, "app", 1).is_canned);
}

static void upstreams_without_breakers_always_can(void **state) {
    (void)state;
    struct upstreams plain;
    struct upstream_settings one = {.name = "default", .apps = "*", .weight = 1};
    struct upstreams_settings alone = {.count = 1, .items = &one};
    assert_true(upstreams_init(&plain, &alone));
    struct upstream_choice choice = upstreams_choose(&plain, &alone, "app", 7);
    assert_int_equal(choice.index, 0);
    assert_true(choice.can_take);
    upstreams_finish(&plain);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(upstreams_are_found_by_name),
        TEST(upstreams_fallback_is_the_one_that_is_named),
        TEST(upstreams_name_their_phases),
        TEST(upstreams_have_the_guards_that_are_configured),
        TEST(upstreams_choose_among_those_for_the_app),
        TEST(upstreams_choose_none_if_none_is_for_the_app),
        TEST(upstreams_do_not_take_a_run_while_a_probe_hangs),
        TEST(upstreams_say_whether_an_answer_will_be_canned),
        TEST(upstreams_share_runs_by_their_weights),
        TEST(upstreams_keep_a_session_where_it_is),
        TEST(upstreams_move_only_the_sessions_of_one_that_drops_out),
        TEST(upstreams_prefer_those_that_are_healthy),
        TEST(upstreams_ask_an_unhealthy_one_before_none_at_all),
        TEST(upstreams_prefer_one_with_a_good_fallback_to_an_unhealthy_one),
        TEST(upstreams_prefer_one_that_is_good_to_one_with_a_fallback),
        TEST(upstreams_can_take_what_the_end_of_a_chain_can),
        TEST(upstreams_can_take_what_a_canned_answer_answers),
        TEST(upstreams_that_all_refuse_say_when_the_first_will_not),
        TEST(upstreams_take_a_long_pause_for_a_refusal),
        TEST(upstreams_can_take_what_may_wait_for_the_end_of_a_pause),
        TEST(upstreams_chain_that_goes_in_a_circle_has_an_end),
        TEST(upstreams_without_breakers_always_can),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
