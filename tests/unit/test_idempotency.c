/* broadcaster/idempotency: the same key with the same body is the same run. */
#include "base/hash.h"
#include "base/memory_budget.h"
#include "tests/support/unit_registering.h"

/* Registers a new task with a key; gives back what answered. */
static struct task *add_with_key(const char *key, const char *body, enum register_result expected,
                                 struct task **ret_answer) {
    struct task *task = make(ON_CONFLICT_REPLACE);
    struct idempotency_entry *entry = idempotency_entry_create(key, hash_bytes(body, strlen(body)));
    struct registration registration;
    assert_int_equal(broadcaster_register_task(broadcaster, task, entry, &registration), expected);
    *ret_answer = registration.task;
    task_unref(registration.task);
    if (expected == REGISTER_REPLAYED && registration.task != NULL)
        assert_string_equal(registration.earlier.task_id, registration.task->id);
    return task;
}

static void broadcaster_answers_the_same_key_and_body_with_the_same_run(void **state) {
    (void)state;
    struct task *answer;
    struct task *one = add_with_key("key", "body", REGISTER_OK, &answer);
    assert_ptr_equal(answer, one);
    struct task *two = add_with_key("key", "body", REGISTER_REPLAYED, &answer);
    assert_ptr_equal(answer, one);
    struct task *three = add_with_key("key", "other body", REGISTER_KEY_MISMATCH, &answer);
    assert_ptr_equal(answer, one);
    assert_int_equal(driver.started, 1);
    unit_complete(one);
    struct task *four = add_with_key("key", "body", REGISTER_REPLAYED, &answer); /* ended runs answer, too */
    assert_ptr_equal(answer, one);
    struct task *five = add_with_key("key2", "body", REGISTER_OK, &answer);
    assert_ptr_equal(answer, five);
    unit_complete(five);
    unit_task_release(one);
    unit_task_release(two);
    unit_task_release(three);
    unit_task_release(four);
    unit_task_release(five);
}

static void broadcaster_forgets_a_key_after_its_time(void **state) {
    (void)state;
    struct task *answer;
    struct task *one = add_with_key("key", "body", REGISTER_OK, &answer);
    clock_fake_advance(599999);
    struct task *two = add_with_key("key", "body", REGISTER_REPLAYED, &answer);
    clock_fake_advance(1);
    struct task *three = add_with_key("key", "body", REGISTER_OK, &answer);
    assert_ptr_equal(answer, three);
    unit_complete(three);
    unit_task_release(one);
    unit_task_release(two);
    unit_task_release(three);
}

static void broadcaster_forgets_the_oldest_key_of_too_many(void **state) {
    (void)state;
    struct task *answer, *tasks[11];
    char key[32];
    for (int i = 0; i < 11; i++) { /* one more than are remembered */
        snprintf(key, sizeof(key), "key%d", i);
        tasks[i] = add_with_key(key, "body", REGISTER_OK, &answer);
    }
    struct task *known = add_with_key("key1", "body", REGISTER_REPLAYED, &answer);
    assert_ptr_equal(answer, tasks[1]);
    struct task *forgotten = add_with_key("key0", "body", REGISTER_OK, &answer);
    unit_complete(forgotten);
    for (int i = 0; i < 11; i++)
        unit_task_release(tasks[i]);
    unit_task_release(known);
    unit_task_release(forgotten);
}

static void broadcaster_keeps_no_key_of_a_run_that_was_refused(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 0);
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, 0);
    struct task *answer;
    struct task *refused = add_with_key("key", "body", REGISTER_RUNS_FULL, &answer);
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 1);
    struct task *accepted = add_with_key("key", "body", REGISTER_OK, &answer);
    unit_complete(accepted);
    unit_task_release(refused);
    unit_task_release(accepted);
}

/* Keys kept all runs that they had started: tasks_kept was no bound. */
static void broadcaster_keeps_no_more_ended_runs_for_their_keys(void **state) {
    (void)state;
    enum { COUNT = 8, KEPT = 2 };
    atomic_store(&broadcaster_limits(broadcaster)->tasks_kept, KEPT);
    uint64_t before = memory_used(MEMORY_TASKS);
    struct task *answer, *task;
    char key[32], ids[COUNT][TASK_ID_SIZE];
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "key%d", i);
        task = add_with_key(key, "body", REGISTER_OK, &answer);
        memcpy(ids[i], task->id, TASK_ID_SIZE);
        assert_true(i % 2 == 0 ? unit_complete(task) : task_cancel(task, REASON_REQUESTED));
        unit_task_release(task);
    }
    assert_in_range(memory_used(MEMORY_TASKS) - before, 1, memory_block(sizeof(struct task)) * KEPT);
    for (int i = 0; i < COUNT; i++) { /* and yet each key is known, and what became of its run */
        snprintf(key, sizeof(key), "key%d", i);
        struct registration found;
        assert_int_equal(broadcaster_find_replay(session, key, hash_bytes("body", 4), &found),
                         REGISTER_REPLAYED);
        assert_string_equal(found.earlier.task_id, ids[i]);
        assert_int_equal(found.earlier.status, i % 2 == 0 ? TASK_COMPLETED : TASK_CANCELLED);
        assert_true(found.earlier.created_unix_ms > 0);
        assert_int_equal(found.task != NULL, i >= COUNT - KEPT);
        task_unref(found.task);
        assert_int_equal(broadcaster_find_replay(session, key, hash_bytes("other", 5), &found),
                         REGISTER_KEY_MISMATCH);
        assert_string_equal(found.earlier.task_id, ids[i]);
        task_unref(found.task);
    }
    task = add_with_key("key0", "body", REGISTER_REPLAYED, &answer);
    assert_null(answer);
    unit_task_release(task);
}

/* A key that had to go before its run has ended is none of the run's business any more. */
static void broadcaster_forgets_a_key_of_a_run_that_goes_on(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->idempotency_keys_per_session_max, 1);
    struct task *answer, *running = add_with_key("key0", "body", REGISTER_OK, &answer);
    struct task *waiting =
        unit_task(&driver, session, (struct task_options){.on_conflict = ON_CONFLICT_ENQUEUE});
    struct registration registration;
    assert_int_equal(
        broadcaster_register_task(broadcaster, waiting, idempotency_entry_create("key1", 1), &registration),
        REGISTER_OK);
    task_unref(registration.task);
    unit_complete(running);
    assert_int_equal(broadcaster_find_replay(session, "key1", 1, &registration), REGISTER_REPLAYED);
    assert_ptr_equal(registration.task, waiting);
    task_unref(registration.task);
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    unit_task_release(running);
    unit_task_release(waiting);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(broadcaster_answers_the_same_key_and_body_with_the_same_run),
        TEST(broadcaster_forgets_a_key_after_its_time),
        TEST(broadcaster_forgets_the_oldest_key_of_too_many),
        TEST(broadcaster_keeps_no_key_of_a_run_that_was_refused),
        TEST(broadcaster_keeps_no_more_ended_runs_for_their_keys),
        TEST(broadcaster_forgets_a_key_of_a_run_that_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
