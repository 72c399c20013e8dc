/* routes/task_result, run_text, event_list, history, json_answer: answers that are made of a session's
 * events, a piece at a time. */
#include "tests/support/unit_routes.h"

#define SESSION "/apps/a/users/b/sessions/c"
#define KEY "a/b/c"

static struct routes_fixture fixture;
static struct task *task;

static void serve_silence(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd))
        continue;
}

static int set_up(void **state) {
    (void)state;
    routes_begin(&fixture, serve_silence);
    struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
    ask(&fixture, &asked, METHOD_POST, SESSION "/run", "{\"message\":\"x\"}");
    cJSON *json = answer_json(&asked);
    const char *id = cJSON_GetStringValue(cJSON_GetObjectItem(json, "task_id"));
    task = task_table_find(broadcaster_tasks(fixture.context.broadcaster), id);
    assert_non_null(task);
    cJSON_Delete(json);
    let_go(&asked);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    task_unref(task);
    routes_end(&fixture);
    return 0;
}

static void publish(const char *type, const char *data, size_t length) {
    struct frame *frame =
        lifecycle_make_agent_event(task->serial, type, type != NULL ? strlen(type) : 0, data, length);
    assert_non_null(frame);
    assert_true(task_publish(task, frame));
}

static void end(void) {
    assert_true(task_cancel(task, REASON_REQUESTED));
}

static const char *result_path(void) {
    static char path[128];
    snprintf(path, sizeof(path), "/tasks/%s/result", task->id);
    return path;
}

/* The answer, which is whole and JSON; the caller deletes it. */
static cJSON *read_json(struct asked *asked) {
    struct buffer text;
    buffer_init(&text, 64 << 20);
    assert_string_equal(answer_header(asked, "Content-Type"), "application/json");
    assert_int_equal(read_source(&fixture, asked, &text), -1);
    const char *rest = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts(text.bytes, text.length, &rest, false);
    assert_non_null(json);
    assert_ptr_equal(rest, text.bytes + text.length);
    buffer_finish(&text);
    let_go(asked);
    return json;
}

static cJSON *get(const char *target) {
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_GET, target, NULL);
    return read_json(&asked);
}

static const char *text_of(const cJSON *json, const char *name) {
    return cJSON_GetStringValue(cJSON_GetObjectItem(json, name));
}

static bool is_complete(const cJSON *json) {
    const cJSON *complete = cJSON_GetObjectItem(json, "complete");
    assert_true(cJSON_IsBool(complete));
    return cJSON_IsTrue(complete);
}

/* ---- what is answered ---------------------------------------------------------------------------- */

static void result_is_given_once_the_run_has_ended(void **state) {
    (void)state;
    static const char data[] = "{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"Hi \\\"you\\\"\"}]}}";
    expect(&fixture, METHOD_GET, result_path(), NULL, 409, "run_not_ended");
    publish("tool", data, strlen(data));
    end();
    cJSON *json = get(result_path());
    assert_string_equal(text_of(json, "task_id"), task->id);
    assert_string_equal(text_of(json, "status"), "cancelled");
    assert_string_equal(text_of(json, "reason"), "requested");
    assert_string_equal(text_of(json, "text"), "Hi \"you\"");
    assert_int_equal(cJSON_GetObjectItem(json, "events")->valueint, 1);
    assert_int_equal(cJSON_GetObjectItem(json, "bytes")->valueint, strlen(data));
    assert_true(is_complete(json));
    const cJSON *output = cJSON_GetObjectItem(json, "output"), *event = cJSON_GetArrayItem(output, 0);
    assert_int_equal(cJSON_GetArraySize(output), 1);
    assert_string_equal(text_of(event, "data"), data);
    assert_string_equal(text_of(event, "type"), "tool");
    assert_non_null(text_of(event, "id"));
    assert_null(text_of(event, "source"));
    cJSON_Delete(json);
}

static void result_of_a_run_that_never_started_is_empty(void **state) {
    (void)state;
    struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
    publish(NULL, "{}", 2);
    ask(&fixture, &asked, METHOD_POST, SESSION "/run",
        "{\"message\":\"x\",\"gateway\":{\"on_conflict\":\"enqueue\"}}");
    cJSON *json = answer_json(&asked);
    char path[128];
    snprintf(path, sizeof(path), "/tasks/%s", text_of(json, "task_id"));
    cJSON_Delete(json);
    let_go(&asked);
    expect(&fixture, METHOD_DELETE, path, NULL, 200, NULL);
    strcat(path, "/result");
    json = get(path);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "output")), 0);
    assert_string_equal(text_of(json, "text"), "");
    assert_true(is_complete(json));
    cJSON_Delete(json);
}

static void result_that_is_no_longer_retained_is_not_complete(void **state) {
    (void)state;
    broadcaster_limits(fixture.context.broadcaster)->log_events_max = 2;
    for (int i = 0; i < 3; i++)
        publish(NULL, "{}", 2);
    end();
    cJSON *json = get(result_path());
    assert_int_equal(cJSON_GetObjectItem(json, "events")->valueint, 3);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "output")), 1);
    assert_false(is_complete(json));
    cJSON_Delete(json);
}

/* An answer whose events go while it is sent: what is left is given, in order, and it says so. */
static void result_that_is_trimmed_while_it_is_sent_is_not_complete(void **state) {
    (void)state;
    static char data[20000];
    memset(data, 'x', sizeof(data));
    broadcaster_limits(fixture.context.broadcaster)->log_events_max = 12;
    for (int i = 0; i < 10; i++)
        publish(NULL, data, sizeof(data));
    struct session *session = session_ref(task->session);
    end();
    struct asked asked = {0}, history = {0};
    ask(&fixture, &asked, METHOD_GET, result_path(), NULL);
    ask(&fixture, &history, METHOD_GET, SESSION "/history", NULL);
    char byte;
    const struct reply_source *source = &asked.request.reply.source, *other = &history.request.reply.source;
    assert_int_equal(source->read(source->context, &byte, 1), 0);
    assert_int_equal(other->read(other->context, &byte, 1), 0);
    while (asked.wakes == 0 || history.wakes == 0)
        routes_turn(&fixture);
    for (int i = 0; i < 4; i++) /* two events each */
        expect(&fixture, METHOD_POST, SESSION "/run", "{\"message\":\"x\"}", 200, NULL);
    cJSON *json = read_json(&asked);
    const cJSON *output = cJSON_GetObjectItem(json, "output");
    assert_int_equal(cJSON_GetObjectItem(json, "events")->valueint, 10);
    assert_true(cJSON_GetArraySize(output) < 10 && cJSON_GetArraySize(output) > 0);
    assert_false(is_complete(json));
    cJSON_Delete(json);
    json = read_json(&history);
    assert_false(is_complete(json));
    assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(json, "events")) < 12);
    cJSON_Delete(json);
    session_unref(session);
}

static void history_is_complete_and_says_who_made_each_event(void **state) {
    (void)state;
    publish("run.end", "1", 1);
    publish(NULL, "2", 1);
    end();
    cJSON *json = get(SESSION "/history");
    static const char *const types[] = {"run.start", "upstream.run.end", "message", "run.end"};
    static const char *const sources[] = {"gateway", "agent", "agent", "gateway"};
    const cJSON *events = cJSON_GetObjectItem(json, "events");
    assert_string_equal(text_of(json, "session_id"), "c");
    assert_int_equal(cJSON_GetArraySize(events), 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(text_of(cJSON_GetArrayItem(events, i), "type"), types[i]);
        assert_string_equal(text_of(cJSON_GetArrayItem(events, i), "source"), sources[i]);
    }
    assert_true(is_complete(json));
    cJSON_Delete(json);
    json = get(SESSION "/history?limit=1");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "events")), 1);
    assert_true(is_complete(json));
    cJSON_Delete(json);
}

static void history_of_a_session_that_ends_meanwhile_is_not_complete(void **state) {
    (void)state;
    struct asked asked = {0};
    publish(NULL, "x", 1);
    ask(&fixture, &asked, METHOD_GET, SESSION "/history", NULL);
    broadcaster_close_session(task->session, REASON_SESSION_DELETED);
    cJSON *json = read_json(&asked);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "events")), 0);
    assert_false(is_complete(json));
    cJSON_Delete(json);
}

/* ---- the text ------------------------------------------------------------------------------------ */

/* As it was done when all was in memory: a whole text takes the place of the pieces before it. */
static void add_expected(char *expected, size_t *pieces, const char *text, bool partial) {
    if (partial) {
        *pieces += strlen(text);
    } else if (*text != '\0') {
        expected[strlen(expected) - *pieces] = '\0';
        *pieces = 0;
    }
    strcat(expected, text);
}

static void result_text_is_that_of_the_pieces_or_of_the_whole_that_follows(void **state) {
    (void)state;
    srandom(11);
    for (int round = 0; round < 200; round++) {
        char expected[4096] = "";
        size_t pieces = 0;
        for (long i = random() % 12; i > 0; i--) {
            static const char *const texts[] = {"",   "a", "bc", "\xC3\xA9\xE2\x82\xAC", "\xF0\x9F\x98\x80!",
                                                "def"};
            const char *text = texts[random() % 6];
            bool partial = random() % 2 == 0;
            char data[256];
            snprintf(data, sizeof(data), "{\"partial\":%s,\"content\":{\"parts\":[{\"text\":\"%s\"}]}}",
                     partial ? "true" : "false", text);
            publish(NULL, data, strlen(data));
            add_expected(expected, &pieces, text, partial);
        }
        end();
        cJSON *json = get(result_path());
        assert_string_equal(text_of(json, "text"), expected);
        assert_true(is_complete(json));
        cJSON_Delete(json);
        struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
        ask(&fixture, &asked, METHOD_POST, SESSION "/run", "{\"message\":\"x\"}");
        json = answer_json(&asked);
        task_unref(task);
        task = task_table_find(broadcaster_tasks(fixture.context.broadcaster), text_of(json, "task_id"));
        cJSON_Delete(json);
        let_go(&asked);
    }
}

static void publish_piece(const char *text, bool partial) {
    char data[256];
    snprintf(data, sizeof(data), "{\"partial\":%s,\"content\":{\"parts\":[{\"text\":\"%s\"}]}}",
             partial ? "true" : "false", text);
    publish(NULL, data, strlen(data));
}

/* With events in between that say nothing, and with pieces that are said once more as a whole. */
static void result_text_joins_halves_over_events(void **state) {
    (void)state;
    publish_piece("\\ud83d", true); /* not written: the whole follows */
    publish_piece("\\ude00 dropped", true);
    publish_piece("a\\ud83d", false);
    publish(NULL, "{}", 2);
    publish_piece("", true);
    publish_piece("\\ude00b\\ud83d", true);
    publish_piece("\\ud83d", true);
    publish_piece("\\ude00", true);
    publish_piece("c\\ude00\\ud83d", true);
    end();
    cJSON *json = get(result_path());
    assert_string_equal(text_of(json, "text"), "a\xF0\x9F\x98\x80"
                                               "b\xEF\xBF\xBD\xF0\x9F\x98\x80"
                                               "c\xEF\xBF\xBD\xEF\xBF\xBD");
    assert_true(is_complete(json));
    cJSON_Delete(json);
}

static void result_with_an_event_that_cannot_be_read_is_not_complete(void **state) {
    (void)state;
    publish_piece("a", false);
    publish(NULL, "{\"content\":{\"parts\":[{\"text\":\"b\"}", 34);
    end();
    cJSON *json = get(result_path());
    assert_string_equal(text_of(json, "text"), "a");
    assert_false(is_complete(json));
    cJSON_Delete(json);
}

/* A part may end anywhere, but not within a character. */
static void result_gives_long_texts_whole_wherever_they_are_cut(void **state) {
    (void)state;
    enum { LENGTH = 50000 };
    static char data[LENGTH + 16];
    fixture.upstream.settings.adapter = &adapter_sse;
    for (size_t shift = 0; shift < 4; shift++) {
        size_t length = 0;
        for (; length < shift; length++)
            data[length] = 'x';
        for (; length < LENGTH; length += 4)
            memcpy(data + length, length % 32 == 0 ? "\"\\\x01\t" : "\xF0\x9F\x98\x80", 4);
        data[length] = '\0';
        publish(NULL, data, length);
    }
    end();
    cJSON *json = get(result_path());
    const cJSON *output = cJSON_GetObjectItem(json, "output");
    const char *text = text_of(json, "text");
    for (int i = 0; i < 4; i++) {
        const char *event = text_of(cJSON_GetArrayItem(output, i), "data");
        assert_true(strncmp(text, event, strlen(event)) == 0 && text[strlen(event)] == '\n');
        text += strlen(event) + 1;
    }
    assert_string_equal(text_of(cJSON_GetArrayItem(output, 3), "data"), data);
    assert_string_equal(text, "");
    cJSON_Delete(json);
}

/* ---- how it is made ------------------------------------------------------------------------------ */

#define ASKED_MAX 20

static void fill_log(size_t count, size_t length) {
    char *data = malloc(length);
    assert_non_null(data);
    memset(data, 'x', length);
    for (size_t i = 0; i < count; i++)
        publish(NULL, data, length);
    free(data);
    end();
}

/* Of answers, and of the events in them. */
static uint64_t answer_memory(void) {
    return memory_used(MEMORY_ANSWERS) + memory_used(MEMORY_PASSED);
}

/* However many are asked for: in a turn of the loop one of them makes one piece, and no piece is large. */
static void results_are_made_a_piece_a_turn_of_the_loop(void **state) {
    (void)state;
    static struct asked asked[ASKED_MAX];
    fixture.upstream.settings.adapter = &adapter_sse;
    fill_log(500, 1000);
    for (size_t i = 0; i < ASKED_MAX; i++) {
        asked[i] = (struct asked){0};
        ask(&fixture, &asked[i], METHOD_GET, i % 2 == 0 ? result_path() : SESSION "/history?limit=1000",
            NULL);
    }
    size_t ended = 0, turns = 0, all = 0;
    bool has_ended[ASKED_MAX] = {false};
    uint64_t idle = answer_memory();
    while (ended < ASKED_MAX) {
        int wakes = 0, wakes_before = 0;
        for (size_t i = 0; i < ASKED_MAX; i++) {
            static char bytes[1 << 20];
            const struct reply_source *source = &asked[i].request.reply.source;
            ssize_t count = 0;
            if (!has_ended[i])
                count = source->read(source->context, bytes, sizeof(bytes));
            assert_true(count >= -1 && count <= 64 * 1024);
            all += count > 0 ? (size_t)count : 0;
            if (count > 0) /* the next look asks for more */
                count = source->read(source->context, bytes, sizeof(bytes));
            has_ended[i] = has_ended[i] || count == -1;
            ended += count == -1;
            wakes_before += asked[i].wakes;
        }
        assert_true(answer_memory() - idle < ASKED_MAX * 128 * 1024);
        if (ended < ASKED_MAX)
            routes_turn(&fixture);
        for (size_t i = 0; i < ASKED_MAX; i++)
            wakes += asked[i].wakes;
        assert_true(wakes - wakes_before <= 1);
        turns++;
    }
    assert_true(all > ASKED_MAX * 500 * 1000 && turns >= all / (64 * 1024));
    for (size_t i = 0; i < ASKED_MAX; i++)
        let_go(&asked[i]);
}

/* Of a log of 4 MiB, an answer holds an event or two. */
static void result_of_large_events_takes_the_memory_of_a_few(void **state) {
    (void)state;
    enum { LENGTH = 900 * 1024 };
    struct asked asked = {0};
    fixture.upstream.settings.adapter = &adapter_sse;
    fill_log(4, LENGTH);
    uint64_t idle = answer_memory(), most = 0;
    ask(&fixture, &asked, METHOD_GET, result_path(), NULL);
    const struct reply_source *source = &asked.request.reply.source;
    char bytes[4096];
    size_t all = 0;
    ssize_t count;
    while ((count = source->read(source->context, bytes, sizeof(bytes))) >= 0) {
        all += (size_t)count;
        most = answer_memory() - idle > most ? answer_memory() - idle : most;
        for (int wakes = asked.wakes; count == 0 && asked.wakes == wakes;)
            routes_turn(&fixture);
    }
    assert_int_equal(count, -1);
    assert_true(all > 8 * LENGTH && most > LENGTH && most < 3 * LENGTH);
    let_go(&asked);
    assert_int_equal(answer_memory(), idle);
}

static void result_whose_client_goes_is_made_no_further(void **state) {
    (void)state;
    fill_log(500, 1000);
    for (int reads = 0; reads < 4; reads++) {
        struct asked asked = {0};
        char bytes[1000];
        ask(&fixture, &asked, METHOD_GET, result_path(), NULL);
        const struct reply_source *source = &asked.request.reply.source;
        for (int i = 0; i < reads; i++) {
            ssize_t count = source->read(source->context, bytes, sizeof(bytes));
            for (int wakes = asked.wakes; count == 0 && i + 1 < reads && asked.wakes == wakes;)
                routes_turn(&fixture);
        }
        let_go(&asked);
        int wakes = asked.wakes;
        uv_run(&fixture.upstream.loop, UV_RUN_NOWAIT);
        assert_int_equal(asked.wakes, wakes);
    }
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(result_is_given_once_the_run_has_ended),
        TEST(result_of_a_run_that_never_started_is_empty),
        TEST(result_that_is_no_longer_retained_is_not_complete),
        TEST(result_that_is_trimmed_while_it_is_sent_is_not_complete),
        TEST(history_is_complete_and_says_who_made_each_event),
        TEST(history_of_a_session_that_ends_meanwhile_is_not_complete),
        TEST(result_text_is_that_of_the_pieces_or_of_the_whole_that_follows),
        TEST(result_text_joins_halves_over_events),
        TEST(result_with_an_event_that_cannot_be_read_is_not_complete),
        TEST(result_gives_long_texts_whole_wherever_they_are_cut),
        TEST(results_are_made_a_piece_a_turn_of_the_loop),
        TEST(result_of_large_events_takes_the_memory_of_a_few),
        TEST(result_whose_client_goes_is_made_no_further),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
