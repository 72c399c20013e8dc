/* routes/run, tasks, await: starting, finding, awaiting and cancelling runs, with an upstream that never
 * answers. */
#include "tests/support/unit_routes.h"

#include "broadcaster/subscriber.h"

#define SESSION "/apps/a/users/b/sessions/c"
#define RUN SESSION "/run"
#define BODY "{\"message\":\"hello\"}"

static struct routes_fixture fixture;

static void serve_silence(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd))
        continue;
}

static int set_up(void **state) {
    (void)state;
    routes_begin(&fixture, serve_silence);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    routes_end(&fixture);
    return 0;
}

/* Starts a run with these headers and gives its id. */
static const char *start_run(const char *body, const char *key, bool *ret_replayed) {
    static char ids[4][TASK_ID_SIZE];
    static size_t next;
    char *id = ids[next++ % 4];
    struct asked asked = {
        .headers = {{"Content-Type", "application/json"}, {key != NULL ? "Idempotency-Key" : NULL, key}}};
    ask(&fixture, &asked, METHOD_POST, RUN, body);
    assert_int_equal(asked.request.reply.status, 200);
    cJSON *json = answer_json(&asked);
    const char *task_id = cJSON_GetStringValue(cJSON_GetObjectItem(json, "task_id"));
    snprintf(id, TASK_ID_SIZE, "%s", task_id);
    assert_string_equal(answer_header(&asked, "Location") + strlen("/tasks/"), id);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "stream_url")), RUN);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "app_name")), "a");
    *ret_replayed = answer_header(&asked, "Idempotency-Replayed") != NULL;
    cJSON_Delete(json);
    let_go(&asked);
    return id;
}

static const char *start(void) {
    bool replayed;
    return start_run(BODY, NULL, &replayed);
}

static const char *task_path(const char *id, const char *rest) {
    static char path[128];
    snprintf(path, sizeof(path), "/tasks/%s%s", id, rest);
    return path;
}

static void cancel(const char *id) {
    struct task *task = task_table_find(broadcaster_tasks(fixture.context.broadcaster), id);
    assert_true(task_cancel(task, REASON_REQUESTED));
    task_unref(task);
}

static void run_refuses_what_the_adapter_cannot_use(void **state) {
    (void)state;
    static const char *const bad[] = {"{}",
                                      "{\"message\":1}",
                                      "{\"query\":null}",
                                      "{\"message\":\"a\",\"query\":\"b\"}",
                                      "{\"message\":\"a\",\"newMessage\":{}}",
                                      "{\"message\":\"a\",\"new_message\":{}}",
                                      "{\"newMessage\":{},\"new_message\":{}}",
                                      "{\"stateDelta\":{}}",
                                      "{\"invocationId\":null}",
                                      "{\"invocation_id\":\"\"}",
                                      "{\"functionCallEventId\":\"e-1\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect(&fixture, METHOD_POST, RUN, bad[i], 400, "invalid_message");
    expect(&fixture, METHOD_POST, RUN, "{\"newMessage\":{},\"n\":9007199254740993}", 400, "inexact_number");
    expect(&fixture, METHOD_POST, RUN, "{\"message\":\"a\",\"gateway\":{\"x\":1}}", 400, "unknown_option");
    expect(&fixture, METHOD_POST, RUN, "{\"message\":\"a\",\"gateway\":{\"label\":\"1\",\"label\":\"2\"}}",
           400, "invalid_option");
}

static void run_passes_a_number_on_that_is_not_printed_again(void **state) {
    (void)state;
    bool replayed;
    fixture.upstream.settings.adapter = &adapter_sse;
    start_run("{\"n\":9007199254740993}", NULL, &replayed);
    expect(&fixture, METHOD_POST, RUN, "{\"n\":9007199254740993,\"gateway\":{}}", 400, "inexact_number");
}

static void run_with_a_used_key_is_the_same_run(void **state) {
    (void)state;
    bool replayed;
    const char *first = start_run(BODY, "key-1", &replayed);
    assert_false(replayed);
    assert_string_equal(start_run(BODY, "key-1", &replayed), first);
    assert_true(replayed);
    assert_string_not_equal(start_run(BODY, "key-2", &replayed), first);
    struct asked asked = {.headers = {{"Content-Type", "application/json"}, {"Idempotency-Key", "key-1"}}};
    ask(&fixture, &asked, METHOD_POST, RUN, "{\"message\":\"other\"}");
    assert_int_equal(asked.request.reply.status, 409);
    assert_non_null(strstr(asked.request.reply.body, first));
    let_go(&asked);
}

static void run_with_a_bad_key_is_refused(void **state) {
    (void)state;
    char long_key[258];
    memset(long_key, 'k', sizeof(long_key));
    long_key[256] = '\0';
    const char *const bad[] = {"", "a b", "caf\xC3\xA9", long_key};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct asked asked = {.headers = {{"Content-Type", "application/json"}, {"Idempotency-Key", bad[i]}}};
        ask(&fixture, &asked, METHOD_POST, RUN, BODY);
        assert_int_equal(asked.request.reply.status, 400);
        let_go(&asked);
    }
}

static void run_that_conflicts_is_told_which_one_runs(void **state) {
    (void)state;
    const char *first = start();
    struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
    ask(&fixture, &asked, METHOD_POST, RUN, "{\"message\":\"x\",\"gateway\":{\"on_conflict\":\"reject\"}}");
    assert_int_equal(asked.request.reply.status, 409);
    assert_non_null(strstr(asked.request.reply.body, first));
    let_go(&asked);
}

static void run_limit_answers_429_with_retry_after(void **state) {
    (void)state;
    struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
    broadcaster_limits(fixture.context.broadcaster)->runs_max = 0;
    broadcaster_limits(fixture.context.broadcaster)->runs_queued_max = 0;
    ask(&fixture, &asked, METHOD_POST, RUN, BODY);
    assert_int_equal(asked.request.reply.status, 429);
    assert_non_null(answer_header(&asked, "Retry-After"));
    let_go(&asked);
    broadcaster_limits(fixture.context.broadcaster)->sessions_max = 0;
    expect(&fixture, METHOD_POST, "/apps/a/users/b/sessions/other/run", BODY, 429, "too_many_sessions");
}

static void run_asked_for_as_a_stream_is_one(void **state) {
    (void)state;
    struct asked asked = {.headers = {{"Content-Type", "application/json"}, {"Accept", "text/event-stream"}}};
    ask(&fixture, &asked, METHOD_POST, RUN, BODY);
    assert_int_equal(asked.request.reply.kind, REPLY_SUBSCRIBER);
    assert_true(asked.request.reply.greeting);
    assert_non_null(answer_header(&asked, "Location"));
    assert_string_equal(answer_header(&asked, "Cache-Control"), "no-cache, no-transform");
    let_go(&asked);
}

static void run_whose_stream_cannot_be_had_is_cancelled(void **state) {
    (void)state;
    struct asked asked = {.headers = {{"Content-Type", "application/json"}, {"Accept", "text/event-stream"}}};
    broadcaster_limits(fixture.context.broadcaster)->subscribers_max = 0;
    ask(&fixture, &asked, METHOD_POST, RUN, BODY);
    assert_int_equal(asked.request.reply.status, 429);
    let_go(&asked);
    expect(&fixture, METHOD_DELETE, RUN, NULL, 404, "no_run");
}

static void run_of_adk_s_own_names_its_session_in_the_body(void **state) {
    (void)state;
    struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
    ask(&fixture, &asked, METHOD_POST, "/run_sse",
        "{\"app_name\":\"a\",\"userId\":\"b\",\"sessionId\":\"c\"}");
    assert_int_equal(asked.request.reply.kind, REPLY_SUBSCRIBER);
    assert_false(asked.request.reply.greeting);
    let_go(&asked);
    struct session *session = broadcaster_find_session(fixture.context.broadcaster, "a/b/c");
    assert_non_null(session);
    session_unref(session);
    static const char *const bad[] = {
        "{\"userId\":\"b\",\"sessionId\":\"c\"}", "{\"appName\":\"..\",\"userId\":\"b\",\"sessionId\":\"c\"}",
        "{\"appName\":\"a\",\"app_name\":\"a\",\"userId\":\"b\",\"sessionId\":\"c\"}",
        "{\"appName\":\"a/b\",\"userId\":\"b\",\"sessionId\":\"c\"}",
        "{\"appName\":\"a\",\"userId\":5,\"sessionId\":\"c\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect(&fixture, METHOD_POST, "/run_sse", bad[i], 400, "invalid_body");
}

static void cancel_answers_with_the_final_status(void **state) {
    (void)state;
    const char *id = start();
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_DELETE, RUN, NULL);
    await_answer(&fixture, &asked);
    assert_int_equal(asked.request.reply.status, 200);
    assert_non_null(strstr(asked.request.reply.body, id));
    assert_non_null(strstr(asked.request.reply.body, "\"status\":\"cancelled\""));
    let_go(&asked);
    expect(&fixture, METHOD_DELETE, RUN, NULL, 404, "no_run");
    expect(&fixture, METHOD_DELETE, task_path(id, ""), NULL, 409, "run_ended");
    expect(&fixture, METHOD_DELETE, "/tasks/unknown", NULL, 404, "unknown_task");
}

static void wait_is_answered_at_the_end_of_the_run(void **state) {
    (void)state;
    const char *id = start();
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_GET, task_path(id, "?wait_ms=20000"), NULL);
    assert_true(asked.request.deferred);
    cancel(id);
    await_answer(&fixture, &asked);
    assert_int_equal(asked.answers, 1);
    assert_non_null(strstr(asked.request.reply.body, "\"status\":\"cancelled\""));
    let_go(&asked);
}

static void wait_is_answered_when_the_time_is_up(void **state) {
    (void)state;
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_GET, task_path(start(), "?wait_ms=5"), NULL);
    await_answer(&fixture, &asked);
    assert_non_null(strstr(asked.request.reply.body, "\"status\":\"running\""));
    let_go(&asked);
}

static void wait_that_is_abandoned_is_never_answered(void **state) {
    (void)state;
    const char *id = start();
    struct asked before = {0}, after = {0};
    ask(&fixture, &before, METHOD_GET, task_path(id, "?wait_ms=20000"), NULL);
    ask(&fixture, &after, METHOD_GET, task_path(id, "?wait_ms=20000"), NULL);
    before.request.abandoned(before.request.deferred_context);
    cancel(id); /* the end is in the inbox now, and the other one goes before it comes out */
    after.request.abandoned(after.request.deferred_context);
    while (runner_active(fixture.context.runner) > 0)
        routes_turn(&fixture);
    assert_int_equal(before.answers + after.answers, 0);
    assert_int_equal(after.request.reply.kind, REPLY_NONE);
}

static void tasks_are_paged_newest_first(void **state) {
    (void)state;
    char next[64] = "/tasks?limit=2";
    const char *ids[3];
    for (int i = 0; i < 3; i++)
        ids[i] = start();
    for (int page = 0; page < 2; page++) {
        struct asked asked = {0};
        ask(&fixture, &asked, METHOD_GET, next, NULL);
        cJSON *json = answer_json(&asked);
        const cJSON *list = cJSON_GetObjectItem(json, "tasks");
        const char *cursor = cJSON_GetStringValue(cJSON_GetObjectItem(json, "next_cursor"));
        assert_int_equal(cJSON_GetArraySize(list), page == 0 ? 2 : 1);
        for (int i = 0; i < cJSON_GetArraySize(list); i++)
            assert_string_equal(
                cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(list, i), "task_id")),
                ids[2 - 2 * page - i]);
        assert_int_equal(cursor != NULL, page == 0);
        if (cursor != NULL)
            snprintf(next, sizeof(next), "/tasks?limit=2&cursor=%s", cursor);
        cJSON_Delete(json);
        let_go(&asked);
    }
}

static void tasks_are_filtered(void **state) {
    (void)state;
    const char *replaced = start(), *running = start();
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_GET, "/tasks?status=running&app=a&user=b&session=c", NULL);
    assert_non_null(strstr(asked.request.reply.body, running));
    assert_null(strstr(asked.request.reply.body, replaced));
    let_go(&asked);
    ask(&fixture, &asked, METHOD_GET, "/tasks?app=ab", NULL);
    assert_non_null(strstr(asked.request.reply.body, "\"tasks\":[]"));
    let_go(&asked);
    static const char *const bad[] = {"status=done", "app=%0a", "user=", "limit=0", "limit=1001", "cursor=x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char target[64];
        snprintf(target, sizeof(target), "/tasks?%s", bad[i]);
        expect(&fixture, METHOD_GET, target, NULL, 400, "invalid_query");
    }
}

static void stream_asked_for_again_from_its_end_is_204(void **state) {
    (void)state;
    const char *id = start();
    cancel(id);
    struct task *task = task_table_find(broadcaster_tasks(fixture.context.broadcaster), id);
    char last[EVENT_ID_SIZE];
    event_id_format(task->end_id, last);
    task_unref(task);
    struct asked own = {.headers = {{"Last-Event-ID", last}}}, session = own,
                 garbage = {.headers = {{"Last-Event-ID", "-1"}}};
    ask(&fixture, &own, METHOD_GET, task_path(id, "/events"), NULL);
    assert_int_equal(own.request.reply.status, 204);
    let_go(&own);
    ask(&fixture, &session, METHOD_GET, RUN "?until=run", NULL);
    assert_int_equal(session.request.reply.status, 204);
    let_go(&session);
    ask(&fixture, &garbage, METHOD_GET, RUN "?until=run", NULL);
    assert_int_equal(garbage.request.reply.kind, REPLY_SUBSCRIBER);
    let_go(&garbage);
    expect(&fixture, METHOD_GET, RUN "?until=end", NULL, 400, "invalid_query");
    expect(&fixture, METHOD_GET, RUN "?from=", NULL, 400, "invalid_query");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(run_refuses_what_the_adapter_cannot_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_passes_a_number_on_that_is_not_printed_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_with_a_used_key_is_the_same_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_with_a_bad_key_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_that_conflicts_is_told_which_one_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_limit_answers_429_with_retry_after, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_asked_for_as_a_stream_is_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_whose_stream_cannot_be_had_is_cancelled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(run_of_adk_s_own_names_its_session_in_the_body, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancel_answers_with_the_final_status, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wait_is_answered_at_the_end_of_the_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wait_is_answered_when_the_time_is_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wait_that_is_abandoned_is_never_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tasks_are_paged_newest_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tasks_are_filtered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stream_asked_for_again_from_its_end_is_204, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
