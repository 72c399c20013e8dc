/* Taking connections while no descriptors are left. Not for valgrind, which keeps the limit by closing what
 * the kernel has accepted. */
#include "tests/support/unit_worker.h"

#include <sys/resource.h>
#include <time.h>

#define CLIENTS 20

static int set_up(void **state) {
    (void)state;
    static const char *const flags[] = {NULL};
    return worker_set_up(flags);
}

static int64_t cpu_ms(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

/* Lowers the limit to `count` descriptors more than there are; returns what it was. */
static rlim_t leave_descriptors(rlim_t count) {
    struct rlimit limit;
    int next = dup(STDERR_FILENO);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = (rlim_t)next + count;
    close(next);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

static void restore_descriptors(rlim_t before) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = before;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void connections_wait_while_there_are_no_descriptors(void **state) {
    (void)state;
    size_t descriptors = count_descriptors();
    int fds[CLIENTS];
    int count = 0;
    /* Sockets of clients first, so that there are enough of them; then they take all the worker could use. */
    while (count < CLIENTS)
        fds[count++] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rlim_t before = leave_descriptors(5);
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < count; i++)
        assert_int_equal(connect(fds[i], (const struct sockaddr *)&address, sizeof(address)), 0);
    for (int i = 0; i < 5; i++)
        assert_served(fds[i]);
    int64_t used_ms = cpu_ms();
    usleep(500 * 1000);
    assert_true(cpu_ms() - used_ms < 100); /* it does not try again and again */
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    for (int i = 5; i < 10; i++)
        assert_served(fds[i]);
    restore_descriptors(before);
    for (int i = 10; i < count; i++)
        assert_served(fds[i]);
    for (int i = 5; i < count; i++)
        close(fds[i]);
    int last = client_connect(); /* it listens still when all have gone */
    assert_served(last);
    close(last);
    wait_for_descriptors(descriptors);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(connections_wait_while_there_are_no_descriptors, set_up,
                                        worker_tear_down),
    };
    return cmocka_run_group_tests_name("http_descriptors", tests, NULL, NULL);
}
