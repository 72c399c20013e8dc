/* broadcaster/task and session: the ways of a run from pending to its one end. */
#include "tests/support/unit_broadcaster.h"

#include <cjson/cJSON.h>
#include <uv.h>

static struct broadcaster *broadcaster;
static struct session *session;
static struct fake_driver driver;

static int set_up(void **state) {
    (void)state;
    clock_fake(5000, 1700000000000);
    driver = FAKE_DRIVER;
    broadcaster = unit_broadcaster();
    session = unit_session(broadcaster, "app/user/session");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    session_unref(session);
    unit_assert_empty(broadcaster);
    broadcaster_destroy(broadcaster);
    clock_real();
    return 0;
}

/* The data of the newest event in the log. */
static cJSON *newest_data(void) {
    struct frame *frame;
    struct buffer data;
    assert_int_equal(unit_newest(session, &frame, 1), 1);
    buffer_init(&data, 1 << 16);
    assert_true(frame_append_data(frame, &data));
    cJSON *json = cJSON_Parse(data.bytes);
    assert_non_null(json);
    buffer_finish(&data);
    frame_unref(frame);
    return json;
}

static const char *text_of(const cJSON *json, const char *key) {
    return cJSON_GetStringValue(cJSON_GetObjectItem(json, key));
}

static double number_of(const cJSON *json, const char *key) {
    return cJSON_GetNumberValue(cJSON_GetObjectItem(json, key));
}

static void task_names_are_those_of_the_contract(void **state) {
    (void)state;
    static const char *const names[] = {"pending",   "running",  "completed", "failed",
                                        "cancelled", "replaced", "timeout"};
    for (int status = 0; status < TASK_STATUS_COUNT; status++) {
        assert_string_equal(task_status_name((enum task_status)status), names[status]);
        assert_int_equal(task_status_find(names[status]), status);
        assert_int_equal(task_status_is_end((enum task_status)status), status >= 2);
    }
    assert_int_equal(task_status_find("done"), TASK_STATUS_COUNT);
    assert_null(task_reason_name(REASON_NONE));
    for (int reason = 1; reason < REASON_COUNT; reason++)
        assert_non_null(task_reason_name((enum task_reason)reason));
}

static void task_has_an_id_of_its_own(void **state) {
    (void)state;
    struct task *one = unit_task(&driver, session, (struct task_options){0});
    struct task *two = unit_task(&driver, session, (struct task_options){0});
    assert_int_equal(strlen(one->id), 32);
    assert_int_equal(strspn(one->id, "0123456789abcdef"), 32);
    assert_string_not_equal(one->id, two->id);
    assert_true(two->serial > one->serial);
    unit_task_release(one);
    unit_task_release(two);
}

static void task_start_tells_whose_run_it_is(void **state) {
    (void)state;
    struct task *task = unit_task(&driver, session, (struct task_options){.label = "a \"label\""});
    assert_int_equal(unit_register(task), REGISTER_OK);
    cJSON *data = newest_data();
    assert_string_equal(text_of(data, "task_id"), task->id);
    assert_string_equal(text_of(data, "app_name"), "app");
    assert_string_equal(text_of(data, "user_id"), "user");
    assert_string_equal(text_of(data, "session_id"), "session");
    assert_string_equal(text_of(data, "label"), "a \"label\"");
    cJSON_Delete(data);
    unit_complete(task);
    unit_task_release(task);
}

static void task_end_tells_how_it_ended(void **state) {
    (void)state;
    struct task *task = unit_run(&driver, session);
    unit_publish(task, "12345");
    unit_publish(task, "678");
    clock_fake_advance(1500);
    assert_true(task_end(task, TASK_FAILED, REASON_UPSTREAM_STATUS, 404, "no \"such\"\n\\agent"));
    cJSON *data = newest_data();
    assert_string_equal(text_of(data, "task_id"), task->id);
    assert_string_equal(text_of(data, "status"), "failed");
    assert_string_equal(text_of(data, "reason"), "upstream_status");
    assert_string_equal(text_of(data, "message"), "no 'such' /agent");
    assert_int_equal(number_of(data, "events"), 2);
    assert_int_equal(number_of(data, "bytes"), 8);
    assert_int_equal(number_of(data, "duration_ms"), 1500);
    assert_int_equal(number_of(data, "upstream_status"), 404);
    cJSON_Delete(data);
    unit_task_release(task);
}

static void task_end_tells_no_reason_where_there_is_none(void **state) {
    (void)state;
    struct task *task = unit_run(&driver, session);
    unit_complete(task);
    cJSON *data = newest_data();
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(data, "reason")));
    assert_null(cJSON_GetObjectItem(data, "message"));
    assert_null(cJSON_GetObjectItem(data, "upstream_status"));
    cJSON_Delete(data);
    unit_task_release(task);
}

static void assert_message(const char *message, const char *expected) {
    struct task *task = unit_run(&driver, session);
    assert_true(task_end(task, TASK_FAILED, REASON_INTERNAL, 599, message));
    cJSON *data = newest_data();
    assert_string_equal(text_of(data, "message"), expected);
    cJSON_Delete(data);
    unit_task_release(task);
}

static void task_message_of_any_length_and_kind_makes_valid_json(void **state) {
    (void)state;
    char text[1000], expected[1000];
    for (size_t shift = 0; shift < 3; shift++) { /* never cut in a character's middle */
        memset(text, 'a', shift);
        for (size_t at = shift; at + 3 < sizeof(text); at += 3)
            memcpy(text + at, "\xe2\x82\xac", 4);
        strcpy(expected, text);
        expected[shift + (TASK_MESSAGE_SIZE - 1 - shift) / 3 * 3] = '\0';
        assert_message(text, expected);
    }
    memset(text, '"', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memset(expected, '\'', TASK_MESSAGE_SIZE - 1);
    expected[TASK_MESSAGE_SIZE - 1] = '\0';
    assert_message(text, expected);
    assert_message("latin \xe9 and \xff", "latin ? and ?");
    assert_message("\x01\x7f\t.", "   .");
    assert_message("a\xe2\x80\xa8"
                   "b\xc2\x85"
                   "c\xe2\x80\xae.",
                   "a b c .");
    assert_message("\xe2\x80\xa8", " ");
}

static void task_goes_from_pending_to_running_to_its_end(void **state) {
    (void)state;
    struct task *task = unit_task(&driver, session, (struct task_options){0});
    assert_int_equal(unit_status(task), TASK_PENDING);
    assert_int_equal(unit_register(task), REGISTER_OK);
    assert_int_equal(unit_status(task), TASK_RUNNING);
    assert_int_equal(driver.started, 1);
    assert_true(unit_complete(task));
    assert_int_equal(unit_status(task), TASK_COMPLETED);
    ASSERT_LOG_SAYS(session, "run.start end:completed");
    assert_int_equal(broadcaster_ended_count(broadcaster, TASK_COMPLETED, REASON_NONE), 1);
    unit_task_release(task);
}

static void task_ends_once_whoever_comes_later(void **state) {
    (void)state;
    struct task *task = unit_run(&driver, session);
    assert_true(task_cancel(task, REASON_REQUESTED));
    assert_false(unit_complete(task));
    assert_false(task_cancel(task, REASON_REQUESTED));
    assert_false(task_end(task, TASK_TIMEOUT, REASON_RUN_TIME, 0, NULL));
    assert_int_equal(unit_status(task), TASK_CANCELLED);
    assert_int_equal(driver.ended, 1);
    ASSERT_LOG_SAYS(session, "run.start end:cancelled");
    unit_task_release(task);
}

static void task_that_was_never_registered_cannot_end(void **state) {
    (void)state;
    struct task *task = unit_task(&driver, session, (struct task_options){0});
    assert_false(task_cancel(task, REASON_REQUESTED));
    assert_false(unit_publish(task, "x"));
    assert_int_equal(unit_status(task), TASK_PENDING);
    unit_task_release(task);
}

static void task_publishes_nothing_after_its_end(void **state) {
    (void)state;
    struct task *task = unit_run(&driver, session);
    assert_true(unit_publish(task, "one"));
    unit_complete(task);
    assert_false(unit_publish(task, "two"));
    ASSERT_LOG_SAYS(session, "run.start one end:completed");
    unit_task_release(task);
}

static void task_info_tells_times_and_counts(void **state) {
    (void)state;
    struct task_info info;
    struct task *task = unit_run(&driver, session);
    clock_fake_advance(10);
    atomic_store(&task->sent_mono_ms, clock_mono_ms());
    task_get_info(task, &info);
    assert_int_equal(info.execution_delay_ms, 10);
    assert_int_equal(info.first_event_delay_ms, -1);
    assert_int_equal(info.duration_ms, 10);
    clock_fake_advance(20);
    unit_publish(task, "12345");
    clock_fake_advance(30);
    unit_complete(task);
    clock_fake_advance(1000);
    task_get_info(task, &info);
    assert_int_equal(info.first_event_delay_ms, 30);
    assert_int_equal(info.duration_ms, 60);
    assert_int_equal(info.ended_unix_ms - info.started_unix_ms, 60);
    assert_int_equal(info.events, 1);
    assert_int_equal(info.bytes, 5);
    assert_true(event_id_compare(info.start_id, info.end_id) < 0);
    assert_int_equal(info.end_sequence - info.start_sequence, 2);
    unit_task_release(task);
}

static int told;

static void count_told(struct inbox_item *item) {
    (void)item;
    told++;
}

static void task_tells_each_waiter_once(void **state) {
    (void)state;
    uv_loop_t loop;
    struct inbox inbox;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(inbox_init(&inbox, &loop), 0);
    struct task_waiter waiters[4];
    for (size_t i = 0; i < 4; i++)
        waiters[i] = (struct task_waiter){.inbox = &inbox, .item.handle = count_told};
    told = 0;
    struct task *task = unit_run(&driver, session);
    for (size_t i = 0; i < 3; i++)
        assert_true(task_wait(task, &waiters[i]));
    assert_true(task_unwait(task, &waiters[1]));
    assert_false(task_unwait(task, &waiters[1]));
    unit_complete(task);
    assert_false(task_unwait(task, &waiters[0])); /* it is on its way */
    assert_false(task_wait(task, &waiters[3]));   /* too late: there is nothing to wait for */
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(told, 2);
    unit_task_release(task);
    inbox_close(&inbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    inbox_finish(&inbox);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void task_is_cancelled_once_nobody_has_listened_for_so_long(void **state) {
    (void)state;
    clock_fake_advance(100000); /* that the session was idle before the run does not count */
    struct task *task = unit_task(&driver, session, (struct task_options){.cancel_after_idle_ms = 1000});
    assert_int_equal(unit_register(task), REGISTER_OK);
    assert_int_equal(task_check_idle(task), 1000);
    clock_fake_advance(400);
    assert_int_equal(task_check_idle(task), 600);
    clock_fake_advance(600);
    assert_int_equal(task_check_idle(task), 0);
    assert_int_equal(unit_status(task), TASK_CANCELLED);
    assert_int_equal(broadcaster_ended_count(broadcaster, TASK_CANCELLED, REASON_SUBSCRIBERS_IDLE), 1);
    assert_int_equal(task_check_idle(task), 0);
    unit_task_release(task);
}

static void task_without_an_idle_limit_is_never_idle(void **state) {
    (void)state;
    struct task *task = unit_run(&driver, session);
    clock_fake_advance(1000000);
    assert_int_equal(task_check_idle(task), 0);
    assert_int_equal(unit_status(task), TASK_RUNNING);
    unit_complete(task);
    unit_task_release(task);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(task_names_are_those_of_the_contract),
        TEST(task_has_an_id_of_its_own),
        TEST(task_start_tells_whose_run_it_is),
        TEST(task_end_tells_how_it_ended),
        TEST(task_end_tells_no_reason_where_there_is_none),
        TEST(task_message_of_any_length_and_kind_makes_valid_json),
        TEST(task_goes_from_pending_to_running_to_its_end),
        TEST(task_ends_once_whoever_comes_later),
        TEST(task_that_was_never_registered_cannot_end),
        TEST(task_publishes_nothing_after_its_end),
        TEST(task_info_tells_times_and_counts),
        TEST(task_tells_each_waiter_once),
        TEST(task_is_cancelled_once_nobody_has_listened_for_so_long),
        TEST(task_without_an_idle_limit_is_never_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
