/* broadcaster/subscriber_notice: a heartbeat or a drain says something while a long log is being written. */
#include "tests/support/unit_subscriber.h"

/* The pump writes 16 times 64 frames in one turn: around there it stops in the middle of its work. */
static const int frame_counts[] = {1, 64, 895, 896, 897, 959, 960, 961, 1000, 1023, 1024, 1025, 1984, 2048};
#define FRAME_COUNTS (sizeof(frame_counts) / sizeof(frame_counts[0]))

struct reader {
    const char *name;
    bool chunked;
    bool until_run;
    bool own_run;
    bool agent_framing;
    bool after_gap; /* its events before the last `frames` are lost */
    bool goes_on;   /* the run has not ended */
};

static const struct reader readers[] = {
    {.name = "until=run", .chunked = true, .until_run = true},
    {.name = "until=run of HTTP/1.0", .until_run = true},
    {.name = "of its run", .chunked = true, .own_run = true},
    {.name = "of its run, of HTTP/1.0", .own_run = true},
    {.name = "in the agent's framing", .chunked = true, .own_run = true, .agent_framing = true},
    {.name = "in the agent's framing, of HTTP/1.0", .own_run = true, .agent_framing = true},
    {.name = "after a gap", .chunked = true, .until_run = true, .after_gap = true},
    {.name = "after a gap, of HTTP/1.0", .until_run = true, .after_gap = true},
    {.name = "after a gap, in the agent's framing",
     .chunked = true,
     .own_run = true,
     .agent_framing = true,
     .after_gap = true},
    {.name = "until=run, whose run goes on", .chunked = true, .until_run = true, .goes_on = true},
    {.name = "plain", .chunked = true, .goes_on = true},
    {.name = "plain, after a gap", .chunked = true, .after_gap = true, .goes_on = true},
};
#define READERS (sizeof(readers) / sizeof(readers[0]))

/* What is said to a reader that does not end before. */
struct expected {
    size_t retries, comments;
};

/* ---- what says something --------------------------------------------------------------------------- */

static void drain(void) {
    bench_say_retry(bench.fanout);
}

static void drain_twice(void) {
    bench_say_retry(bench.fanout);
    bench_say_retry(bench.fanout);
}

/* The loop was held up for so long that heartbeats are due before it writes again. */
static void beat(void) {
    clock_fake_advance(20000);
    fanout_tick(bench.fanout);
}

/* A reload makes heartbeats due at once. */
static void reload_heartbeat(void) {
    atomic_store(&bench.settings.heartbeat_ms, 100);
    clock_fake_advance(1000);
    fanout_tick(bench.fanout);
    atomic_store(&bench.settings.heartbeat_ms, 15000);
}

static void all_at_once(void) {
    reload_heartbeat();
    drain();
    beat();
    drain();
}

/* ---- the bench -------------------------------------------------------------------------------------- */

/* A run whose log holds `frames` events that the reader gets. */
static struct task *make_log(const struct reader *reader, int frames) {
    struct broadcaster_limits *limits = broadcaster_limits(bench.broadcaster);
    atomic_store(&limits->log_events_max, 5000);
    struct task *task = run();
    int own = reader->agent_framing ? 0 : (reader->after_gap ? 0 : 1) + (reader->goes_on ? 0 : 1);
    int lost = reader->after_gap ? 10 : 0;
    if (reader->after_gap) /* the log keeps these, and run.end */
        atomic_store(&limits->log_events_max, (uint64_t)(frames - own + (reader->goes_on ? 0 : 1)));
    char text[16];
    for (int i = -lost; i < frames - own; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_true(unit_publish(task, text));
    }
    if (!reader->goes_on)
        assert_true(task_end(task, TASK_CANCELLED, REASON_REQUESTED, 0, NULL));
    return task;
}

static struct fake_sink *connect_reader(const struct reader *reader, struct task *task) {
    struct subscriber_spec spec = {.from = SUBSCRIBE_FROM_START,
                                   .until_run = reader->until_run,
                                   .run = reader->own_run ? task : NULL,
                                   .agent_framing = reader->agent_framing};
    struct subscriber *subscriber = NULL;
    assert_int_equal(subscriber_prepare(session, &spec, &subscriber), SUBSCRIBER_OK);
    struct fake_sink *sink = fake_sink_create();
    subscriber_connect(subscriber, bench.fanout, &sink->sink, reader->chunked);
    return sink;
}

/* The numbers from 0 on, all of them and in order, between the proper beginning and end. */
static void check_stream(const struct reader *reader, const struct fake_sink *sink, int frames,
                         struct expected expected) {
    struct stream stream;
    stream_read(&stream, fake_sink_text(sink), reader->chunked);
    if (!reader->goes_on) {
        assert_true(sink->closed && !sink->aborted);
        assert_true(!reader->chunked || stream.ended);
    }
    size_t extra = reader->after_gap ? 1 : 0;
    size_t error = reader->agent_framing ? 1 : 0;
    assert_int_equal(stream.count, (size_t)frames + extra + error);
    int number = 0;
    for (size_t i = 0; i < stream.count; i++) {
        if (strspn(stream.events[i].data, "0123456789") > 0)
            assert_int_equal(strtol(stream.events[i].data, NULL, 10), number++);
    }
    size_t own = reader->agent_framing ? 0 : (reader->after_gap ? 0u : 1u) + (reader->goes_on ? 0u : 1u);
    assert_int_equal((size_t)number, (size_t)frames - own);
    assert_in_range(stream.retries, reader->goes_on ? expected.retries : 0,
                    reader->agent_framing ? 0 : expected.retries);
    assert_in_range(stream.comments, reader->goes_on ? expected.comments : 0, expected.comments);
    stream_finish(&stream);
}

static void check(const struct reader *reader, int frames, void (*say)(void), struct expected expected) {
    struct task *task = make_log(reader, frames);
    struct fake_sink *sink = connect_reader(reader, task);
    say();
    for (int turns = 0; turns < 5; turns++)
        bench_turn(&bench);
    check_stream(reader, sink, frames, expected);
    bench_release(sink);
    if (reader->goes_on)
        unit_complete(task);
    unit_task_release(task);
    /* The next one begins with an empty log. */
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    session_unref(session);
    bench_turn(&bench);
    session = unit_session(bench.broadcaster, "app/user/session");
}

static void check_all(void (*say)(void), struct expected expected) {
    for (size_t r = 0; r < READERS; r++) {
        for (size_t i = 0; i < FRAME_COUNTS; i++) {
            if (readers[r].after_gap || readers[r].agent_framing || frame_counts[i] >= 2)
                check(&readers[r], frame_counts[i], say, expected);
        }
    }
}

/* ---- the tests -------------------------------------------------------------------------------------- */

static void notice_of_a_drain_waits_for_the_rest_of_an_event(void **state) {
    (void)state;
    check_all(drain, (struct expected){.retries = 1});
    check_all(drain_twice, (struct expected){.retries = 2});
}

static void notice_of_a_heartbeat_waits_for_the_rest_of_an_event(void **state) {
    (void)state;
    check_all(beat, (struct expected){.comments = 1});
}

static void notice_after_a_reload_waits_for_the_rest_of_an_event(void **state) {
    (void)state;
    check_all(reload_heartbeat, (struct expected){.comments = 1});
}

static void notices_of_all_kinds_wait_for_the_rest_of_an_event(void **state) {
    (void)state;
    check_all(all_at_once, (struct expected){.retries = 2, .comments = 2});
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(notice_of_a_drain_waits_for_the_rest_of_an_event),
        TEST(notice_of_a_heartbeat_waits_for_the_rest_of_an_event),
        TEST(notice_after_a_reload_waits_for_the_rest_of_an_event),
        TEST(notices_of_all_kinds_wait_for_the_rest_of_an_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
