/* routes/run_options: each option, its bounds, and what is told when it is wrong. */
#include "routes/run_request.h"

#include "tests/support/unit.h"

#include <stdio.h>

#define TIMEOUT_MS 300000

/* NULL: it was taken; else the error's code. */
static const char *read_options(const char *text, struct task_options *ret_options) {
    static struct run_options_error error;
    cJSON *gateway = cJSON_Parse(text);
    assert_non_null(gateway);
    *ret_options = run_options_default(TIMEOUT_MS);
    bool taken = run_options_read(gateway, ret_options, &error);
    cJSON_Delete(gateway);
    if (!taken)
        assert_true(strlen(error.message) > 10);
    return taken ? NULL : error.code;
}

static void run_options_have_defaults(void **state) {
    (void)state;
    struct task_options options = run_options_default(TIMEOUT_MS), empty;
    struct run_options_error error;
    assert_true(run_options_read(NULL, &options, &error));
    assert_int_equal(options.on_conflict, ON_CONFLICT_REPLACE);
    assert_int_equal(options.on_disconnect, ON_DISCONNECT_CONTINUE);
    assert_int_equal(options.cancel_after_idle_ms, 0);
    assert_int_equal(options.timeout_ms, TIMEOUT_MS);
    assert_int_equal(options.priority, 5);
    assert_string_equal(options.label, "");
    assert_null(read_options("{}", &empty));
    assert_memory_equal(&options, &empty, sizeof(options));
}

static const char *misplaced_in(const char *text, bool reads_no_options) {
    cJSON *body = cJSON_Parse(text);
    assert_non_null(body);
    const char *name = run_options_find_misplaced(body, reads_no_options);
    cJSON_Delete(body);
    return name;
}

static void run_options_next_to_the_gateways_member_are_found(void **state) {
    (void)state;
    static const char *const own[] = {"on_conflict", "cancel_after_idle_ms", "timeout_ms", "delay_ms"};
    static const char *const common[] = {"on_disconnect", "priority", "label"};
    char body[128];
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        snprintf(body, sizeof(body), "{\"message\":\"x\",\"gateway\":{},\"%s\":null}", own[i]);
        assert_string_equal(misplaced_in(body, true), own[i]);
        assert_string_equal(misplaced_in(body, false), own[i]);
    }
    for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
        snprintf(body, sizeof(body), "{\"message\":\"x\",\"%s\":1}", common[i]);
        assert_string_equal(misplaced_in(body, true), common[i]);
        assert_null(misplaced_in(body, false));
    }
    assert_null(misplaced_in("{\"gateway\":{\"timeout_ms\":1,\"priority\":2},\"Timeout_ms\":1}", true));
    assert_null(misplaced_in("{\"stateDelta\":{\"timeout_ms\":1}}", true));
}

static void run_options_are_read(void **state) {
    (void)state;
    struct task_options options;
    assert_null(
        read_options("{\"on_conflict\":\"enqueue\",\"on_disconnect\":\"cancel\",\"cancel_after_idle_ms\":5,"
                     "\"timeout_ms\":7,\"priority\":10,\"delay_ms\":8,\"label\":\"caf\xC3\xA9\"}",
                     &options));
    assert_int_equal(options.on_conflict, ON_CONFLICT_ENQUEUE);
    assert_int_equal(options.on_disconnect, ON_DISCONNECT_CANCEL);
    assert_int_equal(options.cancel_after_idle_ms, 5);
    assert_int_equal(options.timeout_ms, 7);
    assert_int_equal(options.priority, 10);
    assert_int_equal(options.delay_ms, 8);
    assert_string_equal(options.label, "caf\xC3\xA9");
    assert_null(read_options("{\"on_conflict\":\"reject\",\"on_disconnect\":\"continue\"}", &options));
    assert_int_equal(options.on_conflict, ON_CONFLICT_REJECT);
    assert_null(
        read_options("{\"timeout_ms\":300000,\"cancel_after_idle_ms\":86400000,\"priority\":1}", &options));
}

static void run_options_out_of_bounds_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "[]",
        "\"x\"",
        "null",
        "{\"on_conflict\":\"Replace\"}",
        "{\"on_conflict\":1}",
        "{\"on_conflict\":null}",
        "{\"on_disconnect\":\"\"}",
        "{\"on_disconnect\":true}",
        "{\"cancel_after_idle_ms\":-1}",
        "{\"cancel_after_idle_ms\":86400001}",
        "{\"cancel_after_idle_ms\":\"5\"}",
        "{\"timeout_ms\":0}",
        "{\"timeout_ms\":300001}",
        "{\"timeout_ms\":1.5}",
        "{\"timeout_ms\":1e999}",
        "{\"priority\":0}",
        "{\"priority\":11}",
        "{\"delay_ms\":-1}",
        "{\"delay_ms\":86400001}",
        "{\"label\":5}",
    };
    struct task_options options;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_string_equal(read_options(bad[i], &options), "invalid_option");
}

static void run_options_name_the_limit_and_the_option(void **state) {
    (void)state;
    struct run_options_error error;
    struct task_options options = run_options_default(TIMEOUT_MS);
    cJSON *gateway = cJSON_Parse("{\"timeout_ms\":300001}");
    assert_false(run_options_read(gateway, &options, &error));
    assert_non_null(strstr(error.message, "300000"));
    assert_non_null(strstr(error.message, "timeout_ms"));
    cJSON_Delete(gateway);
}

static void run_options_have_a_header_and_the_body_wins(void **state) {
    (void)state;
    static const char *const bad[] = {"", "Cancel", "cancel ", "cancel, continue", "true"};
    struct run_options_error error;
    struct task_options options = run_options_default(TIMEOUT_MS);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(run_options_read_header(bad[i], &options, &error));
        assert_string_equal(error.code, "invalid_option");
        assert_non_null(strstr(error.message, RUN_ON_DISCONNECT_HEADER));
    }
    assert_true(run_options_read_header("cancel", &options, &error));
    assert_int_equal(options.on_disconnect, ON_DISCONNECT_CANCEL);
    cJSON *label = cJSON_Parse("{\"label\":\"x\"}"), *other = cJSON_Parse("{\"on_disconnect\":\"continue\"}");
    assert_true(run_options_read(label, &options, &error));
    assert_int_equal(options.on_disconnect, ON_DISCONNECT_CANCEL);
    assert_true(run_options_read(other, &options, &error));
    assert_int_equal(options.on_disconnect, ON_DISCONNECT_CONTINUE);
    cJSON_Delete(label);
    cJSON_Delete(other);
}

static void run_options_unknown_are_refused(void **state) {
    (void)state;
    struct task_options options;
    assert_string_equal(read_options("{\"retries\":1}", &options), "unknown_option");
    assert_string_equal(read_options("{\"Label\":\"x\"}", &options), "unknown_option");
}

static void run_options_label_has_at_most_128_bytes(void **state) {
    (void)state;
    struct task_options options;
    char text[256], label[TASK_LABEL_SIZE + 1];
    memset(label, 'x', sizeof(label));
    for (size_t length = TASK_LABEL_SIZE - 1; length <= TASK_LABEL_SIZE; length++) {
        snprintf(text, sizeof(text), "{\"label\":\"%.*s\"}", (int)length, label);
        const char *code = read_options(text, &options);
        if (length < TASK_LABEL_SIZE)
            assert_null(code);
        else
            assert_string_equal(code, "invalid_option");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_options_have_defaults),
        cmocka_unit_test(run_options_next_to_the_gateways_member_are_found),
        cmocka_unit_test(run_options_are_read),
        cmocka_unit_test(run_options_out_of_bounds_are_refused),
        cmocka_unit_test(run_options_name_the_limit_and_the_option),
        cmocka_unit_test(run_options_have_a_header_and_the_body_wins),
        cmocka_unit_test(run_options_unknown_are_refused),
        cmocka_unit_test(run_options_label_has_at_most_128_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
