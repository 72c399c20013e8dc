/* Subscribers against an oracle: everything that can happen to them, in an order that a seed draws, the same
 * for each seed.
 *
 * SLUICE_RANDOM_SEED=N runs that one alone, SLUICE_RANDOM_SEEDS=N as many of each kind.
 */
#include "base/metrics.h"
#include "broadcaster/fanout_internal.h"
#include "broadcaster/subscriber_internal.h"
#include "tests/unit/random_readers.h"

#include <signal.h>
#include <unistd.h>

/* ---- workers -------------------------------------------------------------------------------------- */

static void turn(void) {
    uv_run(&bench.loop, UV_RUN_NOWAIT);
    fanout_flush(fanouts[0]);
    if (draw(late) == 0)
        fanout_flush(fanouts[1]);
}

static void tick(void) {
    clock_fake_advance(draw(4) == 0 ? draw(20000) : draw(300));
    fanout_tick(fanouts[draw(WORKERS)]);
}

static void drain_workers(void) {
    bench_say_retry(fanouts[draw(WORKERS)]);
}

/* One that reads an ended run from its beginning may have much to be written: something is said to it in the
 * same turn. */
static void connect_and_say(void) {
    connect_prepared();
    if (draw(2) == 0)
        end_run();
    oracle_note(&oracle);
    part_with_closed();
    from_start = true;
    prepare();
    connect_prepared();
    from_start = false;
    for (size_t i = 0; i < WORKERS; i++)
        bench_say_retry(fanouts[i]);
}

static void set_limits(void) {
    struct broadcaster_limits *limits = broadcaster_limits(bench.broadcaster);
    atomic_store(&limits->log_events_max, draw_between(course->log_events_min, course->log_events_max));
    if (draw(5) == 0)
        atomic_store(&limits->log_events_max, course->log_events_max * 4);
    atomic_store(&limits->log_bytes_max, draw(3) == 0 ? 40000 : 4 << 20);
    atomic_store(&bench.settings.heartbeat_ms, draw(2) == 0 ? 15000 : 10 + draw(1000));
    atomic_store(&bench.settings.retry_ms, 1 + draw(100000));
    atomic_store(&bench.settings.stall_timeout_ms, draw(4) == 0 ? 10 + draw(3000) : 3600000);
}

static void reload(void) {
    if (draw(4) == 0)
        set_limits();
}

/* What holds between any two steps. */
static void check_fanout(const struct fanout *fanout) {
    size_t blocked = 0, all = 0;
    const struct subscriber *subscriber;
    TAILQ_FOREACH(subscriber, &fanout->blocked, blocked_entry) {
        assert_true(subscriber->blocked && !subscriber->live);
        blocked++;
    }
    for (size_t i = 0; i < WHEEL_SLOTS; i++) {
        TAILQ_FOREACH(subscriber, &fanout->wheel[i], wheel_entry) {
            const struct fake_sink *sink = CONTAINER_OF(subscriber->sink, struct fake_sink, sink);
            assert_int_equal(sink->waiting, subscriber->blocked);
            assert_true(!subscriber->live || (subscriber->rest.length == 0 && subscriber->notices == 0));
            blocked -= subscriber->blocked;
            all++;
        }
    }
    assert_int_equal(blocked, 0);
    assert_int_equal(all, fanout_count(fanout));
}

/* ---- one seed ------------------------------------------------------------------------------------- */

static void take_step(void) {
    static void (*const steps[])(void) = {cancel_one_that_waits,
                                          connect_and_say,
                                          connect_and_say,
                                          register_run,
                                          publish,
                                          publish,
                                          publish,
                                          publish,
                                          end_run,
                                          end_run,
                                          shed,
                                          prepare,
                                          prepare,
                                          connect_prepared,
                                          leave,
                                          open_sink,
                                          open_sink,
                                          open_sink,
                                          turn,
                                          turn,
                                          tick,
                                          drain_workers,
                                          reload};
    steps[draw(sizeof(steps) / sizeof(steps[0]))]();
    oracle_note(&oracle);
    part_with_closed();
    for (size_t i = 0; i < WORKERS; i++)
        check_fanout(fanouts[i]);
}

/* All sinks take all there is, and everything is written: nobody may miss anything. */
static void settle(void) {
    connect_prepared();
    for (size_t i = 0; i < READERS_MAX; i++) {
        if (!is_open(&readers[i]))
            continue;
        readers[i].sink->error = 0;
        fake_sink_open(readers[i].sink, SIZE_MAX / 2);
    }
    for (int turns = 0; turns < 40; turns++) {
        uv_run(&bench.loop, UV_RUN_NOWAIT);
        for (size_t i = 0; i < WORKERS; i++)
            fanout_flush(fanouts[i]);
    }
    oracle_note(&oracle);
    part_with_closed();
    for (size_t i = 0; i < READERS_MAX; i++) {
        if (readers[i].sink != NULL)
            oracle_assert_complete(&oracle, &readers[i]);
    }
}

/* A drain reaches everybody once, though some are in the middle of an event. */
static void check_drain(void) {
    struct reader before[READERS_MAX];
    if (current() == NULL)
        register_run();
    for (size_t i = 0; i < READERS_MAX; i++) {
        if (is_open(&readers[i]))
            readers[i].sink->room = draw_size(course->room_max);
    }
    publish();
    turn();
    part_with_closed();
    for (size_t i = 0; i < READERS_MAX; i++) {
        if (readers[i].sink != NULL)
            oracle_read(&oracle, &readers[i]);
    }
    memcpy(before, readers, sizeof(before));
    for (size_t i = 0; i < WORKERS; i++)
        bench_say_retry(fanouts[i]);
    settle();
    for (size_t i = 0; i < READERS_MAX; i++) {
        if (readers[i].sink != NULL)
            assert_int_equal(readers[i].retries, before[i].retries + (readers[i].agent_framing ? 0 : 1));
    }
}

/* The session goes on, so nobody's stream has ended before it was all written. */
static void check_told_of_drain(void) {
    for (size_t i = 0; i < READERS_MAX; i++) {
        struct reader *reader = &readers[i];
        if (reader->sink == NULL || reader->sink->closed)
            continue;
        oracle_read(&oracle, reader);
        assert_true(reader->agent_framing || reader->told_drain);
    }
}

static void check_heartbeat(void) {
    struct reader before[READERS_MAX];
    memcpy(before, readers, sizeof(before));
    clock_fake_advance(2 * atomic_load(&bench.settings.heartbeat_ms) + 1000);
    for (int i = 0; i < 3 * WHEEL_SLOTS; i++) {
        clock_fake_advance(fanout_tick_ms(fanouts[0]));
        for (size_t w = 0; w < WORKERS; w++)
            fanout_tick(fanouts[w]);
    }
    settle();
    for (size_t i = 0; i < READERS_MAX; i++)
        assert_true(readers[i].sink == NULL || readers[i].comments > before[i].comments);
}

/* The program stops, or the session is deleted; streams come to their ends, or are cut. */
static void come_to_an_end(void) {
    if (draw(2) == 0) {
        draining = true;
        broadcaster_drain(bench.broadcaster);
        oracle_note(&oracle);
        for (int i = 0; i < 10; i++)
            take_step();
        struct task *last = current();
        if (last != NULL)
            unit_complete(last);
        oracle_note(&oracle);
        if (draw(2) == 0) {
            settle();
            check_told_of_drain();
        }
    }
    if (draw(8) == 0) {
        for (size_t i = 0; i < WORKERS; i++)
            fanout_abort(fanouts[i]);
        part_with_closed();
    }
    connect_prepared();
    part_with_closed();
    draining = true;
    broadcaster_close_session(session_of(), REASON_SESSION_DELETED);
    oracle_note(&oracle);
    for (int i = 0; i < 10; i++)
        take_step();
    settle();
    for (size_t i = 0; i < READERS_MAX; i++)
        assert_null(readers[i].sink);
}

static void begin(void) {
    bench_init(&bench);
    state = seed;
    srandom(seed);
    atomic_store(&broadcaster_limits(bench.broadcaster)->runs_queued_per_session_max, 3);
    fanouts[0] = bench.fanout;
    fanouts[1] = fanout_create(&bench.inbox, &bench.settings);
    assert_non_null(fanouts[1]);
    oracle = (struct oracle){.session = unit_session(bench.broadcaster, "app/user/session"), .next = 1};
    oracle.floor_id = oracle.session->log.floor_id;
    memset(readers, 0, sizeof(readers));
    taken_before = metrics_get(METRIC_BYTES_OUT);
    taken = 0;
    task_count = 0;
    draining = false;
    late = draw(2) == 0 ? 2 : 30;
    set_limits();
}

static void finish(void) {
    turn();
    assert_int_equal(metrics_get(METRIC_BYTES_OUT) - taken_before, taken);
    oracle_finish(&oracle);
    session_unref(oracle.session);
    for (size_t i = 0; i < task_count; i++)
        unit_task_release(tasks[i]);
    fanout_flush(fanouts[1]);
    fanout_destroy(fanouts[1]);
    bench_finish(&bench);
}

static void run_seed(void) {
    begin();
    for (int i = 0; i < course->steps; i++) {
        take_step();
        if (draw(100) == 0)
            settle();
    }
    settle();
    check_drain();
    check_heartbeat();
    come_to_an_end();
    finish();
}

/* ---- the tests ------------------------------------------------------------------------------------ */

static void name_seed(int signal_number) {
    char text[96];
    int length = snprintf(text, sizeof(text), "%s: SLUICE_RANDOM_SEED=%u\n", course->name, seed);
    (void)!write(STDERR_FILENO, text, (size_t)length);
    if (signal_number != 0)
        signal(signal_number, SIG_DFL);
}

static int name_failed_seed(void **unused) {
    (void)unused;
    if (seed != 0)
        name_seed(0);
    return 0;
}

static void run_course(const struct course *of) {
    const char *one = getenv("SLUICE_RANDOM_SEED"), *many = getenv("SLUICE_RANDOM_SEEDS");
    unsigned first = one != NULL ? (unsigned)strtoul(one, NULL, 10) : 1;
    unsigned count = one != NULL ? 1 : many != NULL ? (unsigned)strtoul(many, NULL, 10) : (unsigned)of->seeds;
    course = of;
    for (seed = first; seed < first + count; seed++)
        run_seed();
    seed = 0;
}

static void subscribers_of_short_logs_get_all_of_it_in_order(void **unused) {
    (void)unused;
    static const struct course of = {.name = "short logs",
                                     .steps = 400,
                                     .seeds = 600,
                                     .log_events_min = 12,
                                     .log_events_max = 60,
                                     .burst_max = 20,
                                     .event_max = 400,
                                     .room_max = 3000,
                                     .open_share = 40};
    run_course(&of);
}

static void subscribers_of_long_logs_get_all_of_it_in_order(void **unused) {
    (void)unused;
    static const struct course of = {.name = "long logs",
                                     .steps = 120,
                                     .seeds = 150,
                                     .log_events_min = 890,
                                     .log_events_max = 1030,
                                     .burst_max = 600,
                                     .event_max = 20,
                                     .room_max = 100000,
                                     .open_share = 85};
    run_course(&of);
}

static void subscribers_of_large_events_get_all_of_it_in_order(void **unused) {
    (void)unused;
    static const struct course of = {.name = "large events",
                                     .steps = 200,
                                     .seeds = 200,
                                     .log_events_min = 12,
                                     .log_events_max = 40,
                                     .burst_max = 10,
                                     .event_max = 16000,
                                     .room_max = 20000,
                                     .open_share = 30};
    run_course(&of);
}

int main(void) {
    signal(SIGABRT, name_seed);
#define TEST(test) cmocka_unit_test_teardown(test, name_failed_seed)
    const struct CMUnitTest tests[] = {
        TEST(subscribers_of_short_logs_get_all_of_it_in_order),
        TEST(subscribers_of_long_logs_get_all_of_it_in_order),
        TEST(subscribers_of_large_events_get_all_of_it_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
