/* broadcaster/task_table: runs by id, newest first, the longest ended ones forgotten. */
#include "tests/support/unit_broadcaster.h"

static struct broadcaster *broadcaster;
static struct session *session;
static struct fake_driver driver;
static struct task_table *table;

static int set_up(void **state) {
    (void)state;
    driver = FAKE_DRIVER;
    broadcaster = unit_broadcaster();
    session = unit_session(broadcaster, "app/user/session");
    table = broadcaster_tasks(broadcaster);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    session_unref(session);
    broadcaster_destroy(broadcaster);
    return 0;
}

static void task_table_finds_by_id_what_is_registered(void **state) {
    (void)state;
    struct task *task = unit_task(&driver, session, (struct task_options){0});
    assert_null(task_table_find(table, task->id));
    assert_true(task_table_add(table, task)); /* on its way to being registered */
    assert_null(task_table_find(table, task->id));
    task_table_remove(table, task);
    assert_int_equal(unit_register(task), REGISTER_OK);
    struct task *found = task_table_find(table, task->id);
    assert_ptr_equal(found, task);
    task_unref(found);
    assert_null(task_table_find(table, "nonsense"));
    unit_complete(task);
    unit_task_release(task);
}

static void task_table_lists_newest_first_in_pages(void **state) {
    (void)state;
    struct task *tasks[10], *page[4];
    for (int i = 0; i < 10; i++)
        tasks[i] = unit_run(&driver, session);
    struct task *unregistered = unit_task(&driver, session, (struct task_options){0});
    assert_true(task_table_add(table, unregistered));
    uint64_t before = 0;
    int next = 9;
    for (size_t count; (count = task_table_list(table, before, page, 4)) > 0;) {
        for (size_t i = 0; i < count; i++) {
            assert_ptr_equal(page[i], tasks[next--]);
            before = page[i]->serial;
            task_unref(page[i]);
        }
    }
    assert_int_equal(next, -1);
    task_table_remove(table, unregistered);
    unit_complete(tasks[9]);
    for (int i = 0; i < 10; i++)
        unit_task_release(tasks[i]);
    unit_task_release(unregistered);
}

static void task_table_lists_by_serial_whatever_the_order_of_adding(void **state) {
    (void)state;
    struct task *older = unit_task(&driver, session, (struct task_options){0});
    struct task *newer = unit_task(&driver, session, (struct task_options){0});
    assert_int_equal(unit_register(newer), REGISTER_OK);
    assert_int_equal(unit_register(older), REGISTER_OK);
    struct task *page[2];
    assert_int_equal(task_table_list(table, 0, page, 2), 2);
    assert_ptr_equal(page[0], newer);
    assert_ptr_equal(page[1], older);
    task_unref(newer);
    task_unref(older);
    unit_complete(older);
    unit_task_release(older);
    unit_task_release(newer);
}

static void task_table_forgets_the_longest_ended_and_nothing_that_runs(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->tasks_kept, 2);
    struct session *other = unit_session(broadcaster, "app/user/2");
    struct task *oldest_but_running = unit_run(&driver, other);
    struct task *tasks[4];
    for (int i = 0; i < 4; i++) {
        tasks[i] = unit_run(&driver, session);
        unit_complete(tasks[i]);
    }
    assert_int_equal(task_table_count(table), 3);
    struct task *page[5];
    assert_int_equal(task_table_list(table, 0, page, 5), 3);
    assert_ptr_equal(page[0], tasks[3]);
    assert_ptr_equal(page[1], tasks[2]);
    assert_ptr_equal(page[2], oldest_but_running);
    for (int i = 0; i < 3; i++)
        task_unref(page[i]);
    broadcaster_close_session(other, REASON_SESSION_DELETED);
    assert_int_equal(task_table_count(table), 2);
    for (int i = 0; i < 4; i++)
        unit_task_release(tasks[i]);
    unit_task_release(oldest_but_running);
    session_unref(other);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(task_table_finds_by_id_what_is_registered),
        TEST(task_table_lists_newest_first_in_pages),
        TEST(task_table_lists_by_serial_whatever_the_order_of_adding),
        TEST(task_table_forgets_the_longest_ended_and_nothing_that_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
