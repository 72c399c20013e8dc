/* broadcaster/task_table: runs by id, newest first, the longest ended ones forgotten. */
#include "tests/support/unit_broadcaster.h"

#include <time.h>

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

static size_t draw_below(uint64_t *state, size_t bound) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(*state >> 33) % bound;
}

/* The tasks with these serials that are there, newest first, must be what is listed before `before`. */
static void expect_page(struct task *const *tasks, size_t count, uint64_t before) {
    struct task *page[7];
    size_t found = task_table_list(table, before, page, 7), expected = 0;
    for (size_t i = count; i-- > 0 && expected < 7;) {
        if (tasks[i] == NULL || (before != 0 && tasks[i]->serial >= before))
            continue;
        assert_true(expected < found);
        assert_ptr_equal(page[expected++], tasks[i]);
    }
    assert_int_equal(found, expected);
    for (size_t i = 0; i < found; i++)
        task_unref(page[i]);
}

static void task_table_lists_from_anywhere_whatever_has_gone(void **state) {
    (void)state;
    static struct task *tasks[2000];
    const size_t count = sizeof(tasks) / sizeof(tasks[0]);
    uint64_t random = 4711;
    for (size_t i = 0; i < count; i++) {
        tasks[i] = unit_task(&driver, session, (struct task_options){0});
        assert_true(task_table_add(table, tasks[i]));
        atomic_store(&tasks[i]->registered, true);
    }
    uint64_t first = tasks[0]->serial;
    for (size_t left = count; left > 0; left--) {
        size_t gone = draw_below(&random, count);
        while (tasks[gone] == NULL)
            gone = (gone + 1) % count;
        task_table_remove(table, tasks[gone]);
        atomic_store(&tasks[gone]->registered, false);
        unit_task_release(tasks[gone]);
        tasks[gone] = NULL;
        for (int i = 0; i < 3; i++)
            expect_page(tasks, count, first + draw_below(&random, count + 2));
    }
    assert_int_equal(task_table_list(table, 0, tasks, 1), 0);
}

/* The shortest of a few times, in ns, to list so many before `before`. */
static int64_t time_to_list(uint64_t before, struct task **page, size_t count) {
    int64_t shortest = INT64_MAX;
    for (int i = 0; i < 20; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        assert_int_equal(task_table_list(table, before, page, count), count);
        clock_gettime(CLOCK_MONOTONIC, &to);
        for (size_t k = 0; k < count; k++)
            task_unref(page[k]);
        int64_t took = (to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec;
        shortest = took < shortest ? took : shortest;
    }
    return shortest;
}

/* Old pages took as long as all that is newer, with the lock held: 1.5 s in 100 000 runs. */
static void task_table_lists_no_page_by_looking_at_all_that_is_newer(void **state) {
    (void)state;
    static struct task *tasks[40000], *page[10000];
    const size_t count = sizeof(tasks) / sizeof(tasks[0]);
    for (size_t i = 0; i < count; i++) {
        tasks[i] = unit_task(&driver, session, (struct task_options){0});
        assert_true(task_table_add(table, tasks[i]));
        atomic_store(&tasks[i]->registered, true);
    }
    for (size_t i = 0; i < count; i++) /* a search may have begun at those that go */
        if (i % 4 != 0)
            task_table_remove(table, tasks[i]);
    int64_t all = time_to_list(0, page, count / 4), longest = 0;
    for (size_t i = 1000; i < count; i += 1000) {
        int64_t took = time_to_list(tasks[i]->serial, page, 1);
        longest = took > longest ? took : longest;
    }
    assert_true(longest < all / 8);
    for (size_t i = 0; i < count; i++) {
        if (i % 4 == 0)
            task_table_remove(table, tasks[i]);
        atomic_store(&tasks[i]->registered, false);
        unit_task_release(tasks[i]);
    }
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(task_table_finds_by_id_what_is_registered),
        TEST(task_table_lists_newest_first_in_pages),
        TEST(task_table_lists_by_serial_whatever_the_order_of_adding),
        TEST(task_table_forgets_the_longest_ended_and_nothing_that_runs),
        TEST(task_table_lists_from_anywhere_whatever_has_gone),
        TEST(task_table_lists_no_page_by_looking_at_all_that_is_newer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
