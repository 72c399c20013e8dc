/* What clients that deviate from the standard make of a stream that is cut at each of its bytes. */
#include "tests/support/unit_subscriber.h"

#define DELIVERED_MAX 32

/* A reader of lines as popular clients are: it takes an id when it has read its line, and an empty line for
 * an event, whatever stands before it. The standard's own reader takes an id with its event. */
struct client {
    struct event_id taken, pending; /* `taken`: what it would ask to go on after */
    bool has_data;
    size_t delivered, empty;
    struct event_id ids[DELIVERED_MAX]; /* of what it has delivered */
};

static void client_take_line(struct client *client, const char *line, bool takes_id_at_once) {
    if (strncmp(line, "id: ", 4) == 0) {
        assert_true(event_id_parse(line + 4, &client->pending));
        if (takes_id_at_once)
            client->taken = client->pending;
    } else if (strncmp(line, "data:", 5) == 0) {
        client->has_data = true;
    } else if (line[0] == '\0') {
        assert_true(client->delivered < DELIVERED_MAX);
        client->empty += !client->has_data;
        client->ids[client->delivered++] = client->taken = client->pending;
        client->has_data = false;
    }
}

/* Reads the whole lines among the first `length` bytes. */
static struct client client_read(const char *text, size_t length, bool takes_id_at_once) {
    struct client client = {.empty = 0};
    char line[2048];
    for (const char *end; (end = memchr(text, '\n', length)) != NULL; text = end + 1) {
        size_t line_length = (size_t)(end - text);
        snprintf(line, sizeof(line), "%.*s", (int)line_length, text);
        client_take_line(&client, line, takes_id_at_once);
        length -= line_length + 1;
    }
    return client;
}

/* Whether it would ask to go on after an event that it has not delivered. */
static bool client_would_lose(const struct client *client) {
    return client->taken.ms != 0 && (client->delivered == 0 ||
                                     event_id_compare(client->ids[client->delivered - 1], client->taken) < 0);
}

/* After an id's line the end of its event is one byte away. No layout can part with that byte: who takes ids
 * with their events needs the id before it. */
static bool is_seam(const char *text, size_t cut) {
    const char *line = text + cut - 1;
    if (cut == 0 || *line != '\n' || text[cut] != '\n')
        return false;
    while (line > text && line[-1] != '\n')
        line--;
    return strncmp(line, "id: ", 4) == 0;
}

static struct fake_sink *subscribe_bare(struct subscriber_spec spec) {
    struct subscriber *subscriber = NULL;
    assert_int_equal(subscriber_prepare(session, &spec, &subscriber), SUBSCRIBER_OK);
    struct fake_sink *sink = fake_sink_create();
    subscriber_connect(subscriber, bench.fanout, &sink->sink, false);
    return sink;
}

static void publish_as(struct task *task, const char *type, const char *data) {
    struct frame *frame = lifecycle_make_agent_event(task->serial, type, strlen(type), data, strlen(data));
    assert_non_null(frame);
    assert_true(task_publish(task, frame));
}

/* Says of everything that a stream can hold something: the gap is that of a reader who comes too late. */
static struct fake_sink *record(struct subscriber_spec spec) {
    struct task *task = run();
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 3);
    for (int i = 0; i < 6; i++)
        unit_publish(task, "early");
    struct fake_sink *sink = subscribe_bare(spec);
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 1000);
    unit_publish(task, "{\"n\":1}");
    publish_as(task, "tool", "a\nb\n\nc");
    unit_publish(task, "");
    bench_pass(&bench, 40000); /* heartbeats */
    publish_as(task, "run.end", "the agent's");
    bench_turn(&bench);
    broadcaster_drain(bench.broadcaster);
    unit_publish(task, "last");
    assert_true(task_end(task, TASK_FAILED, REASON_UPSTREAM_TRUNCATED, 0, "cut off"));
    bench_turn(&bench);
    assert_true(sink->closed && !sink->aborted);
    unit_task_release(task);
    return sink;
}

static const struct subscriber_spec specs[] = {{.from = SUBSCRIBE_FROM_START},
                                               {.from = SUBSCRIBE_FROM_RUN, .until_run = true}};

static void each_cut_loses_no_event(const char *text, bool takes_id_at_once) {
    size_t length = strlen(text), seams = 0, ids = 0;
    for (size_t cut = 0; cut <= length; cut++) {
        struct client client = client_read(text, cut, takes_id_at_once);
        ids += strncmp(text + cut, "\nid: ", 5) == 0;
        seams += is_seam(text, cut);
        assert_int_equal(client_would_lose(&client), takes_id_at_once && is_seam(text, cut));
    }
    assert_true(ids > 8);
    assert_int_equal(seams, ids); /* each id is the last line of its event */
}

static void stream_that_is_cut_at_any_byte_loses_no_event(void **state) {
    (void)state;
    struct fake_sink *sink = record(specs[0]);
    each_cut_loses_no_event(fake_sink_text(sink), false);
    each_cut_loses_no_event(fake_sink_text(sink), true);
    bench_release(sink);
}

static void stream_of_one_run_that_is_cut_at_any_byte_loses_no_event(void **state) {
    (void)state;
    struct fake_sink *sink = record(specs[1]);
    each_cut_loses_no_event(fake_sink_text(sink), true);
    bench_release(sink);
}

static void stream_holds_no_empty_line_that_ends_no_event(void **state) {
    (void)state;
    struct fake_sink *sink = record(specs[0]);
    const char *text = fake_sink_text(sink);
    struct client client = client_read(text, strlen(text), true);
    assert_non_null(strstr(text, "\n:\n"));
    assert_non_null(strstr(text, "event: gap\n"));
    assert_non_null(strstr(text, "\nretry: "));
    assert_int_equal(client.empty, 0);
    bench_release(sink);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(stream_that_is_cut_at_any_byte_loses_no_event),
        TEST(stream_of_one_run_that_is_cut_at_any_byte_loses_no_event),
        TEST(stream_holds_no_empty_line_that_ends_no_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
