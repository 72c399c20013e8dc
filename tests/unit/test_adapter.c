/* upstream/adapter_*: what is posted, what events mean, and the text in them. */
#include "upstream/adapter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/** An input of the session (app, u:1, s+1) whose body's fields are `json`. */
static struct adapter_input input_begin(const char *json) {
    cJSON *fields = cJSON_Parse(json);
    assert_non_null(fields);
    return (struct adapter_input){
        .app = "app", .user = "u:1", .session = "s+1", .base_url = "http://127.0.0.1:1", .fields = fields};
}

static void input_end(struct adapter_input *input) {
    cJSON_Delete((cJSON *)(uintptr_t)input->fields);
}

static void assert_json(const char *text, size_t length, const char *expected) {
    cJSON *json = cJSON_ParseWithLength(text, length);
    cJSON *other = cJSON_Parse(expected);
    assert_non_null(json);
    assert_non_null(other);
    if (!cJSON_Compare(json, other, true))
        fail_msg("%.*s is not %s", (int)length, text, expected);
    cJSON_Delete(json);
    cJSON_Delete(other);
}

static void check_body(const struct adapter *adapter, const char *fields, const char *text,
                       const char *expected) {
    struct adapter_input input = input_begin(fields);
    input.text = text;
    input.model = "m1";
    size_t length;
    const char *error;
    char *body = adapter->run_body(&input, &length, &error);
    assert_non_null(body);
    assert_null(error);
    assert_int_equal(length, strlen(body));
    assert_json(body, length, expected);
    free(body);
    input_end(&input);
}

static void check_refused(const struct adapter *adapter, const char *fields) {
    struct adapter_input input = input_begin(fields);
    size_t length;
    const char *error;
    assert_null(adapter->run_body(&input, &length, &error));
    assert_non_null(error);
    input_end(&input);
}

static void check_run_url(const struct adapter *adapter, const char *base_url, const char *expected) {
    struct adapter_input input = {
        .base_url = base_url, .app = "app", .user = "u:1", .session = "s+1", .task = "t{1}"};
    char *url = adapter->run_url(&input);
    assert_string_equal(url, expected);
    free(url);
}

static enum adapter_verdict judge(const struct adapter *adapter, const char *data) {
    size_t length = strlen(data);
    char *copy = malloc(length > 0 ? length : 1); /* not NUL-terminated, as the parser gives it */
    assert_non_null(copy);
    memcpy(copy, data, length);
    struct sse_event event = {.type = "message", .type_length = 7, .data = copy, .data_length = length};
    static const struct adapter_rules rules = {0};
    struct adapter_reading reading = {.rules = &rules};
    enum adapter_verdict verdict = adapter->judge(&reading, &event);
    free(copy);
    return verdict;
}

/** What is read of each event: its text, with an ellipsis behind it if it is a piece. */
static void check_text(const struct adapter *adapter, const char *const *events, const char *expected) {
    struct buffer out;
    buffer_init(&out, 1000);
    for (; *events != NULL; events++) {
        struct adapter_text read;
        size_t length = out.length;
        assert_true(adapter->read_text(*events, strlen(*events), &out, &read));
        assert_true(out.length == length || !read.is_partial || buffer_append_text(&out, "..."));
        assert_true(events[1] == NULL || buffer_append_text(&out, "|"));
    }
    assert_string_equal(out.length > 0 ? out.bytes : "", expected);
    buffer_finish(&out);
}

static void adapters_are_found_by_name(void **state) {
    (void)state;
    assert_ptr_equal(adapter_find("adk"), &adapter_adk);
    assert_ptr_equal(adapter_find("sse"), &adapter_sse);
    assert_ptr_equal(adapter_find("openai"), &adapter_openai);
    assert_null(adapter_find("ADK"));
    assert_null(adapter_find(""));
}

/* ---- adk -------------------------------------------------------------------------------------------- */

#define ADK_SESSION "\"appName\":\"app\",\"userId\":\"u:1\",\"sessionId\":\"s+1\""

static void adk_makes_a_message_of_the_text(void **state) {
    (void)state;
    check_body(&adapter_adk, "{}", "say \"hi\"",
               "{" ADK_SESSION
               ",\"newMessage\":{\"role\":\"user\",\"parts\":[{\"text\":\"say \\\"hi\\\"\"}]},"
               "\"streaming\":true}");
}

static void adk_passes_on_the_clients_fields(void **state) {
    (void)state;
    check_body(&adapter_adk,
               "{\"newMessage\":{\"parts\":[]},\"streaming\":false,\"stateDelta\":{\"a\":[1,null]}}",
               "ignored",
               "{" ADK_SESSION
               ",\"newMessage\":{\"parts\":[]},\"streaming\":false,\"stateDelta\":{\"a\":[1,null]}}");
}

static void adk_lets_no_client_name_another_session(void **state) {
    (void)state;
    check_body(&adapter_adk,
               "{\"appName\":\"x\",\"userId\":\"x\",\"sessionId\":\"x\",\"app_name\":\"x\",\"user_id\":\"x\","
               "\"session_id\":\"x\",\"newMessage\":1,\"userId\":\"y\"}",
               NULL, "{" ADK_SESSION ",\"newMessage\":1,\"streaming\":true}");
}

static void adk_takes_the_snake_case_and_a_resume_without_a_message(void **state) {
    (void)state;
    check_body(&adapter_adk, "{\"new_message\":{\"parts\":[]},\"state_delta\":{}}", NULL,
               "{" ADK_SESSION ",\"streaming\":true,\"new_message\":{\"parts\":[]},\"state_delta\":{}}");
    check_body(&adapter_adk, "{\"invocationId\":\"e-1\"}", NULL,
               "{" ADK_SESSION ",\"streaming\":true,\"invocationId\":\"e-1\"}");
    check_body(&adapter_adk, "{\"invocation_id\":\"e-1\",\"functionCallEventId\":\"f\"}", "yes",
               "{" ADK_SESSION ",\"newMessage\":{\"role\":\"user\",\"parts\":[{\"text\":\"yes\"}]},"
               "\"streaming\":true,\"invocation_id\":\"e-1\",\"functionCallEventId\":\"f\"}");
}

static void adk_refuses_a_run_without_a_message(void **state) {
    (void)state;
    check_refused(&adapter_adk, "{\"stateDelta\":{}}");
}

static void adk_encodes_the_segments_of_the_sessions_url(void **state) {
    (void)state;
    struct adapter_input input = input_begin("{}");
    char *url = adapter_adk.session_url(&input);
    assert_string_equal(url, "http://127.0.0.1:1/apps/app/users/u%3A1/sessions/s%2B1");
    free(url);
    input_end(&input);
    check_run_url(&adapter_adk, "http://h/base", "http://h/base/run_sse");
}

static void adk_takes_an_error_frame_for_a_failure_even_if_it_is_no_json(void **state) {
    (void)state;
    assert_int_equal(judge(&adapter_adk, "{\"error\":\"x\"}"), ADAPTER_FAILED);
    assert_int_equal(judge(&adapter_adk, " \n{ \"error\"\t: \"it said \"no\"\"}"), ADAPTER_FAILED);
    assert_int_equal(judge(&adapter_adk, "{\"errorCode\":\"x\"}"), ADAPTER_CONTINUE);
    assert_int_equal(judge(&adapter_adk, "{\"id\":1,\"error\":\"x\"}"), ADAPTER_FAILED);
    assert_int_equal(judge(&adapter_adk, "{\"id\":NaN,\"error\":\"x\"}"), ADAPTER_FAILED);
    assert_int_equal(judge(&adapter_adk, "{\"a\":{\"error\":\"x\"},\"error\":null}"), ADAPTER_CONTINUE);
    assert_int_equal(judge(&adapter_adk, "{\"error\""), ADAPTER_CONTINUE);
    assert_int_equal(judge(&adapter_adk, "{\"error\" "), ADAPTER_CONTINUE);
    assert_int_equal(judge(&adapter_adk, "[DONE]"), ADAPTER_CONTINUE);
    assert_int_equal(judge(&adapter_adk, ""), ADAPTER_CONTINUE);
}

#define ADK_EVENT(text) "{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"" text "\"}]}}"
#define ADK_PARTIAL(text)                                                                                    \
    "{\"partial\":true,\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"" text "\"}]}}"

static void adk_joins_the_texts_of_the_model(void **state) {
    (void)state;
    static const char *const events[] = {
        ADK_EVENT("one "),
        "{\"content\":{\"role\":\"user\",\"parts\":[{\"text\":\"not said\"}]}}",
        "{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"hm\",\"thought\":true},{\"text\":\"two\"},"
        "{\"functionCall\":{\"name\":\"f\"}},{\"text\":\"!\"}]}}",
        "{\"errorCode\":\"X\"}",
        "{\"error\":\"it said \"no\"\"}",
        "7",
        NULL};
    check_text(&adapter_adk, events, "one ||two!|||");
}

static void adk_tells_pieces_from_what_is_whole(void **state) {
    (void)state;
    static const char *const events[] = {ADK_EVENT("A."),
                                         ADK_PARTIAL("B"),
                                         "{\"partial\":false,\"content\":{\"parts\":[{\"text\":\"C\"}]}}",
                                         "{\"partial\":1,\"content\":{\"parts\":[{\"text\":\"D\"}]}}",
                                         "{\"partial\":true,\"content\":{\"parts\":[{\"functionCall\":{}}]}}",
                                         NULL};
    check_text(&adapter_adk, events, "A.|B...|C|D|");
}

static void adapters_say_when_there_is_no_room_for_the_text(void **state) {
    (void)state;
    struct buffer out;
    struct adapter_text read;
    buffer_init(&out, 4);
    const char *fitting = ADK_EVENT("abcd"), *long_one = ADK_EVENT("abcde");
    assert_true(adapter_adk.read_text(fitting, strlen(fitting), &out, &read));
    buffer_clear(&out);
    assert_false(adapter_adk.read_text(long_one, strlen(long_one), &out, &read));
    buffer_clear(&out);
    assert_true(adapter_sse.read_text("abc", 3, &out, &read));
    buffer_clear(&out);
    assert_false(adapter_sse.read_text("abcd", 4, &out, &read));
    buffer_finish(&out);
}

/* ---- sse -------------------------------------------------------------------------------------------- */

static void sse_posts_the_body_as_it_came(void **state) {
    (void)state;
    static const char raw[] = " { \"b\":1e3, \"a\":\"\\u0041\" }";
    struct adapter_input input = {.raw = raw, .raw_length = sizeof raw - 1};
    size_t length;
    const char *error;
    char *body = adapter_sse.run_body(&input, &length, &error);
    assert_int_equal(length, sizeof raw - 1);
    assert_memory_equal(body, raw, length);
    free(body);
    check_run_url(&adapter_sse, "http://h/any/where?x=1", "http://h/any/where?x=1");
    check_run_url(&adapter_sse, "http://h/threads/{session}/runs/stream?u={user}&a={app}&t={task}",
                  "http://h/threads/s%2B1/runs/stream?u=u%3A1&a=app&t=t%7B1%7D");
    check_run_url(&adapter_sse, "http://{app}/{message}{x}{{app}}%7Bapp%7D",
                  "http://{app}/{message}{x}{app}%7Bapp%7D");
}

static void sse_puts_the_text_back_where_it_was(void **state) {
    (void)state;
    check_body(&adapter_sse, "{\"a\":1}", "hello", "{\"a\":1,\"message\":\"hello\"}");
    check_body(&adapter_sse, "{\"a\":1}", NULL, "{\"a\":1}");
}

static void sse_judges_nothing_and_takes_data_for_text(void **state) {
    (void)state;
    static const char *const events[] = {"one", "", "two", NULL};
    assert_int_equal(judge(&adapter_sse, "{\"error\":1}"), ADAPTER_CONTINUE);
    assert_int_equal(judge(&adapter_sse, "[DONE]"), ADAPTER_CONTINUE);
    check_text(&adapter_sse, events, "one\n|\n|two\n");
}

/* ---- openai ----------------------------------------------------------------------------------------- */

static void openai_makes_a_message_of_the_text_and_adds_the_model(void **state) {
    (void)state;
    check_body(&adapter_openai, "{\"temperature\":0.5,\"stream\":false}", "hi",
               "{\"temperature\":0.5,\"model\":\"m1\",\"stream\":true,"
               "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
}

static void openai_passes_on_the_clients_messages_and_model(void **state) {
    (void)state;
    check_body(&adapter_openai, "{\"messages\":[],\"model\":\"m2\"}", "ignored",
               "{\"messages\":[],\"model\":\"m2\",\"stream\":true}");
    check_refused(&adapter_openai, "{}");
}

static void openai_adds_the_usual_path_to_a_base_url(void **state) {
    (void)state;
    check_run_url(&adapter_openai, "http://h:8", "http://h:8/v1/chat/completions");
    check_run_url(&adapter_openai, "https://h/", "https://h/v1/chat/completions");
    check_run_url(&adapter_openai, "http://h/v2", "http://h/v2/chat/completions");
    check_run_url(&adapter_openai, "http://h/v2/", "http://h/v2/chat/completions");
    check_run_url(&adapter_openai, "http://h/x/chat/completions", "http://h/x/chat/completions");
    check_run_url(&adapter_openai, "https://h/openai/deployments/d?api-version=2024-06-01",
                  "https://h/openai/deployments/d/chat/completions?api-version=2024-06-01");
    check_run_url(&adapter_openai, "https://h/d/chat/completions?a=/v1/&b=%20",
                  "https://h/d/chat/completions?a=/v1/&b=%20");
    check_run_url(&adapter_openai, "https://h/v1/?a=b", "https://h/v1/chat/completions?a=b");
    check_run_url(&adapter_openai, "https://h?a=b", "https://h/v1/chat/completions?a=b");
    check_run_url(&adapter_openai, "https://h/?a=b", "https://h/v1/chat/completions?a=b");
}

static void openai_knows_the_end_marker_and_errors(void **state) {
    (void)state;
    assert_int_equal(judge(&adapter_openai, "[DONE]"), ADAPTER_DONE);
    assert_int_equal(judge(&adapter_openai, "[DONE"), ADAPTER_CONTINUE);
    assert_int_equal(judge(&adapter_openai, " [DONE] "), ADAPTER_DONE);
    assert_int_equal(judge(&adapter_openai, "{\"error\":{\"message\":\"x\"}}"), ADAPTER_FAILED);
    assert_int_equal(judge(&adapter_openai, "{\"choices\":[]}"), ADAPTER_CONTINUE);
    assert_int_equal(judge(&adapter_openai, adapter_openai.done_data), ADAPTER_DONE);
}

static void openai_joins_the_increments(void **state) {
    (void)state;
    static const char *const events[] = {
        "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}",
        "{\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}",
        "{\"choices\":[{\"delta\":{\"content\":\"lo\"}},{\"delta\":{\"content\":\"x\"}}]}",
        "{\"choices\":[{\"delta\":{\"content\":null}}]}",
        "{\"choices\":[],\"usage\":{}}",
        "[DONE]",
        NULL};
    check_text(&adapter_openai, events, "|Hel...|lo...|||");
}

/** An object of so many members with a long common beginning. */
static cJSON *many_members(int count) {
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "a_common_beginning_of_all_of_them_%d", i);
        assert_non_null(cJSON_AddNumberToObject(object, name, i));
    }
    return object;
}

static double seconds_of_body(const cJSON *fields, const char *template) {
    const struct adapter_input input = {.app = "app",
                                        .user = "u:1",
                                        .session = "s+1",
                                        .base_url = "http://127.0.0.1:1",
                                        .task = "t",
                                        .text = "x",
                                        .fields = fields,
                                        .body_template = template};
    struct timespec begin, end;
    size_t length;
    const char *error;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    char *body = adapter_sse.run_body(&input, &length, &error);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    assert_non_null(body);
    free(body);
    return (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
}

/* By a look at all members for each of them it took 200 times as long. */
static void sse_template_costs_no_more_for_many_members(void **state) {
    (void)state;
    cJSON *fields = many_members(9900);
    double without = seconds_of_body(fields, NULL);
    double with = seconds_of_body(fields, "{\"user\":\"{user}\",\"a\":1}");
    if (with > 20 * without)
        fail_msg("%.3f s with a template, %.3f s without one", with, without);
    cJSON_Delete(fields);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_are_found_by_name),
        cmocka_unit_test(adk_makes_a_message_of_the_text),
        cmocka_unit_test(adk_passes_on_the_clients_fields),
        cmocka_unit_test(adk_lets_no_client_name_another_session),
        cmocka_unit_test(adk_takes_the_snake_case_and_a_resume_without_a_message),
        cmocka_unit_test(adk_refuses_a_run_without_a_message),
        cmocka_unit_test(adk_encodes_the_segments_of_the_sessions_url),
        cmocka_unit_test(adk_takes_an_error_frame_for_a_failure_even_if_it_is_no_json),
        cmocka_unit_test(adk_joins_the_texts_of_the_model),
        cmocka_unit_test(adk_tells_pieces_from_what_is_whole),
        cmocka_unit_test(adapters_say_when_there_is_no_room_for_the_text),
        cmocka_unit_test(sse_posts_the_body_as_it_came),
        cmocka_unit_test(sse_puts_the_text_back_where_it_was),
        cmocka_unit_test(sse_judges_nothing_and_takes_data_for_text),
        cmocka_unit_test(openai_makes_a_message_of_the_text_and_adds_the_model),
        cmocka_unit_test(openai_passes_on_the_clients_messages_and_model),
        cmocka_unit_test(openai_adds_the_usual_path_to_a_base_url),
        cmocka_unit_test(openai_knows_the_end_marker_and_errors),
        cmocka_unit_test(openai_joins_the_increments),
        cmocka_unit_test(sse_template_costs_no_more_for_many_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
