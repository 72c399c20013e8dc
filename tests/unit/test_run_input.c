/* routes/run_input, adapter read_input: the user's message of a run, as run.start and /tasks/{id} show it. */
#include "tests/support/unit_routes.h"

#define RUN "/apps/a/users/b/sessions/c/run"

static struct routes_fixture fixture;

static void serve_silence(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd))
        continue;
}

static int set_up(void **state) {
    (void)state;
    routes_begin(&fixture, serve_silence);
    fixture.settings.run_input = RUN_INPUT_TEXT;
    fixture.settings.run_input_bytes_max = 1000;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    routes_end(&fixture);
    return 0;
}

/* What GET /tasks/{id} says of a run; the caller deletes it. */
static cJSON *task_of(const char *id) {
    char path[64];
    struct asked asked = {0};
    snprintf(path, sizeof(path), "/tasks/%s", id);
    ask(&fixture, &asked, METHOD_GET, path, NULL);
    cJSON *json;
    if (asked.request.reply.kind == REPLY_SOURCE) { /* a long input */
        struct buffer text;
        buffer_init(&text, 1 << 20);
        assert_int_equal(read_source(&fixture, &asked, &text), -1);
        json = cJSON_ParseWithLength(text.bytes, text.length);
        buffer_finish(&text);
    } else {
        json = answer_json(&asked);
    }
    assert_non_null(json);
    let_go(&asked);
    return json;
}

static cJSON *start(const char *target, const char *body) {
    struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
    ask(&fixture, &asked, METHOD_POST, target, body);
    char id[TASK_ID_SIZE];
    if (asked.request.reply.kind == REPLY_BODY) {
        cJSON *json = answer_json(&asked);
        snprintf(id, sizeof(id), "%s", cJSON_GetStringValue(cJSON_GetObjectItem(json, "task_id")));
        cJSON_Delete(json);
    } else { /* a stream */
        snprintf(id, sizeof(id), "%s", answer_header(&asked, "Location") + strlen("/tasks/"));
    }
    let_go(&asked);
    return task_of(id);
}

/* The data of a run's run.start; the caller deletes it. */
static cJSON *start_event(const char *id) {
    struct task *task = task_table_find(broadcaster_tasks(fixture.context.broadcaster), id);
    assert_non_null(task);
    struct log_span span = {.next = task->start_sequence, .end = task->start_sequence + 1};
    bool lost;
    struct frame *frame = broadcaster_next_event(task->session, &span, &lost);
    struct buffer text;
    buffer_init(&text, 1 << 20);
    assert_true(unit_frame_is(frame, "run.start"));
    assert_true(frame_append_data(frame, &text));
    cJSON *data = cJSON_ParseWithLength(text.bytes, text.length);
    assert_non_null(data);
    buffer_finish(&text);
    frame_unref(frame);
    task_unref(task);
    return data;
}

static void check_start_event(const char *id, const char *expected, bool is_cut) {
    cJSON *data = start_event(id);
    const cJSON *input = cJSON_GetObjectItem(data, "input");
    if (expected == NULL)
        assert_null(input);
    else
        assert_string_equal(cJSON_GetStringValue(input), expected);
    if (is_cut)
        assert_true(cJSON_IsTrue(cJSON_GetObjectItem(data, "input_truncated")));
    else
        assert_null(cJSON_GetObjectItem(data, "input_truncated"));
    cJSON_Delete(data);
}

/* NULL: none is shown. */
static void check_input(const char *target, const char *body, const char *expected, bool is_cut) {
    cJSON *task = start(target, body);
    const cJSON *input = cJSON_GetObjectItem(task, "input");
    const cJSON *truncated = cJSON_GetObjectItem(task, "input_truncated");
    if (expected == NULL)
        assert_true(cJSON_IsNull(input));
    else
        assert_string_equal(cJSON_GetStringValue(input), expected);
    assert_true(is_cut ? cJSON_IsTrue(truncated) : cJSON_IsFalse(truncated));
    check_start_event(cJSON_GetStringValue(cJSON_GetObjectItem(task, "task_id")), expected, is_cut);
    cJSON_Delete(task);
}

static void input_is_the_message_or_the_query_for_each_kind(void **state) {
    (void)state;
    static const struct adapter *const adapters[] = {&adapter_adk, &adapter_sse, &adapter_openai};
    for (size_t i = 0; i < 3; i++) {
        fixture.upstream.settings.adapter = adapters[i];
        check_input(RUN, "{\"message\":\"say \\\"hi\\\"\\n\\u00e9\"}", "say \"hi\"\n\xC3\xA9", false);
        check_input(RUN, "{\"query\":\"why?\",\"gateway\":{\"label\":\"x\"}}", "why?", false);
        check_input(RUN, "{\"message\":\"\"}", "", false);
    }
}

static void input_of_adk_is_the_text_of_its_message(void **state) {
    (void)state;
    check_input(RUN,
                "{\"newMessage\":{\"role\":\"user\",\"parts\":[{\"text\":\"a\"},{\"inlineData\":{}},{"
                "\"text\":\"b\"}]}}",
                "a\nb", false);
    check_input(RUN, "{\"newMessage\":{\"parts\":[{\"functionResponse\":{\"response\":{\"text\":\"x\"}}}]}}",
                NULL, false);
    check_input(RUN, "{\"newMessage\":{}}", NULL, false);
    check_input(RUN, "{\"newMessage\":7}", NULL, false);
    check_input("/run_sse",
                "{\"appName\":\"a\",\"userId\":\"b\",\"sessionId\":\"c\",\"newMessage\":{\"parts\":[{"
                "\"text\":\"own\"}]}}",
                "own", false);
    check_input("/run_sse",
                "{\"app_name\":\"a\",\"user_id\":\"b\",\"session_id\":\"c\",\"new_message\":{\"parts\":[{"
                "\"text\":\"snake\"}]}}",
                "snake", false);
}

static void input_of_openai_is_the_last_message_of_the_user(void **state) {
    (void)state;
    fixture.upstream.settings.adapter = &adapter_openai;
    check_input(
        RUN,
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"first\"},"
        "{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"last\"},"
        "{\"role\":\"tool\",\"content\":\"t\"}]}",
        "last", false);
    check_input(
        RUN,
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},\"b\","
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}},{\"type\":\"thinking\",\"text\":\"x\"}]}]}",
        "a\nb", false);
    check_input(RUN, "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"}]}", NULL, false);
    check_input(RUN, "{\"messages\":[{\"role\":\"user\",\"content\":[]}]}", NULL, false);
    check_input(RUN, "{\"messages\":[{\"role\":\"user\"}]}", NULL, false);
    check_input(RUN, "{\"messages\":{}}", NULL, false);
}

static void input_of_sse_is_in_no_other_form(void **state) {
    (void)state;
    fixture.upstream.settings.adapter = &adapter_sse;
    check_input(RUN, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", NULL, false);
}

static void input_may_be_the_whole_body_or_nothing(void **state) {
    (void)state;
    static const char body[] = " {\"message\":\"hi\", \"gateway\":{\"priority\":7}}";
    fixture.settings.run_input = RUN_INPUT_BODY;
    check_input(RUN, body, body, false);
    fixture.settings.run_input_bytes_max = 16;
    check_input(RUN, body, " {\"message\":\"hi\"", true);
    fixture.settings.run_input = RUN_INPUT_NONE;
    check_input(RUN, body, NULL, false);
}

/* At each length around the limit, whatever stands there. */
static void input_is_cut_where_a_character_ends(void **state) {
    (void)state;
    static const char letters[] = "\xF0\x9F\x98\x80\xC3\xA9x\xE2\x82\xAC\x01\"\\\xF0\x9D\x94\xB8";
    static const size_t ends[] = {0, 4, 6, 7, 10, 11, 12, 13, 17};
    for (size_t limit = 16; limit < 16 + 2 * (sizeof(letters) - 1); limit++) {
        char body[512], text[sizeof(letters) + 17] = "0123456789abcdef";
        size_t end = 0;
        while (end + 1 < 9 && 16 + ends[end + 1] <= limit)
            end++;
        snprintf(body, sizeof(body),
                 "{\"message\":\"%s\xF0\x9F\x98\x80\xC3\xA9x\xE2\x82\xAC\\u0001\\\"\\\\\xF0\x9D\x94\xB8\"}",
                 text);
        memcpy(text + 16, letters, ends[end]);
        text[16 + ends[end]] = '\0';
        fixture.settings.run_input_bytes_max = limit;
        check_input(RUN, body, text, ends[end] < 17);
    }
}

static void input_is_charged_as_long_as_the_run_is_remembered(void **state) {
    (void)state;
    enum { LENGTH = 100000 };
    static char body[LENGTH + 32];
    uint64_t tasks = memory_used(MEMORY_TASKS), events = memory_used(MEMORY_EVENTS);
    size_t head = (size_t)sprintf(body, "{\"message\":\"");
    memset(body + head, 'x', LENGTH);
    sprintf(body + head + LENGTH, "\"}");
    fixture.settings.run_input_bytes_max = LENGTH;
    cJSON_Delete(start(RUN, body));
    assert_true(memory_used(MEMORY_TASKS) - tasks > LENGTH &&
                memory_used(MEMORY_TASKS) - tasks < LENGTH + 10000);
    assert_true(memory_used(MEMORY_EVENTS) - events > LENGTH);
    broadcaster_limits(fixture.context.broadcaster)->tasks_kept = 0;
    expect(&fixture, METHOD_DELETE, RUN, NULL, 200, NULL);
    assert_true(memory_used(MEMORY_TASKS) - tasks > LENGTH); /* of the session's newest run */
    fixture.settings.run_input = RUN_INPUT_NONE;
    while (runner_active(fixture.context.runner) > 0)
        routes_turn(&fixture);
    cJSON_Delete(start(RUN, body)); /* the session lets go of the other one */
    assert_true(memory_used(MEMORY_TASKS) - tasks < 20000);
}

/* The list of runs leaves it out: a thousand of them would be too much. */
static void input_is_not_in_the_list_of_runs(void **state) {
    (void)state;
    check_input(RUN, "{\"message\":\"hi\"}", "hi", false);
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_GET, "/tasks", NULL);
    cJSON *json = answer_json(&asked);
    const cJSON *task = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "tasks"), 0);
    assert_non_null(task);
    assert_null(cJSON_GetObjectItem(task, "input"));
    cJSON_Delete(json);
    let_go(&asked);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(input_is_the_message_or_the_query_for_each_kind),
        TEST(input_of_adk_is_the_text_of_its_message),
        TEST(input_of_openai_is_the_last_message_of_the_user),
        TEST(input_of_sse_is_in_no_other_form),
        TEST(input_may_be_the_whole_body_or_nothing),
        TEST(input_is_cut_where_a_character_ends),
        TEST(input_is_charged_as_long_as_the_run_is_remembered),
        TEST(input_is_not_in_the_list_of_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
