/* base/machine_memory: the smallest of the machine's memory and the limits of all control groups. */
#include "base/machine_memory.h"
#include "tests/support/unit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define GIB ((uint64_t)1 << 30)

static char root[64];

/* Writes a file below the root, its directories included. */
static void put(const char *path, const char *text) {
    char full[PATH_MAX];
    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *slash = full + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* A machine of 8 GiB. */
static int begin(void **state) {
    (void)state;
    snprintf(root, sizeof(root), "/tmp/sluice-test-XXXXXX");
    assert_non_null(mkdtemp(root));
    put("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree:         1000 kB\n");
    return 0;
}

static int end(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

static void memory_is_the_machine_s_without_control_groups(void **state) {
    (void)state;
    assert_int_equal(machine_memory_bytes(root), 8 * GIB);
}

static void memory_of_version_2_is_the_smallest_limit_of_the_group_and_those_above(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/outer/inner/job\n");
    put("/proc/self/mountinfo", "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/outer/inner/job/memory.max", "max\n");
    assert_int_equal(machine_memory_bytes(root), 8 * GIB);
    put("/sys/fs/cgroup/outer/memory.max", "2147483648\n");
    assert_int_equal(machine_memory_bytes(root), 2 * GIB);
    put("/sys/fs/cgroup/outer/inner/memory.max", "3221225472\n"); /* larger than the one above it */
    assert_int_equal(machine_memory_bytes(root), 2 * GIB);
    put("/sys/fs/cgroup/outer/inner/job/memory.max", "1073741824\n");
    assert_int_equal(machine_memory_bytes(root), GIB);
    put("/sys/fs/cgroup/outer/inner/job/memory.high",
        "536870912\n"); /* the kernel slows us down from there */
    assert_int_equal(machine_memory_bytes(root), GIB / 2);
}

static void memory_of_version_1_is_the_smallest_limit_of_the_group_and_those_above(void **state) {
    (void)state;
    put("/proc/self/cgroup", "9:name=systemd:/\n5:cpu,cpuacct:/other\n4:hugetlb,memory:/outer/job\n0::/\n");
    put("/proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
                                "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                                "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n");
    put("/sys/fs/cgroup/memory/outer/job/memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    assert_int_equal(machine_memory_bytes(root), 8 * GIB);
    put("/sys/fs/cgroup/memory/outer/memory.limit_in_bytes", "2147483648\n");
    assert_int_equal(machine_memory_bytes(root), 2 * GIB);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    assert_int_equal(machine_memory_bytes(root), GIB);
    put("/sys/fs/cgroup/cpu/other/memory.limit_in_bytes", "1\n"); /* another hierarchy */
    assert_int_equal(machine_memory_bytes(root), GIB);
}

static void memory_of_a_container_is_found_where_a_part_of_the_hierarchy_is_mounted(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/docker/c1/job\n");
    put("/proc/self/mountinfo", "25 30 0:23 /docker/c1 /sys/fs/my\\040groups ro - cgroup2 cgroup2 rw\n");
    put("/sys/fs/my groups/memory.max", "2147483648\n");
    assert_int_equal(machine_memory_bytes(root), 2 * GIB);
    put("/sys/fs/my groups/job/memory.max", "1073741824\n");
    assert_int_equal(machine_memory_bytes(root), GIB);
    put("/proc/self/cgroup", "0::/docker/c1\n");
    assert_int_equal(machine_memory_bytes(root), 2 * GIB);
}

static void memory_is_that_of_the_mount_if_the_group_is_not_below_it(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/../elsewhere\n");
    put("/proc/self/mountinfo", "25 30 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/memory.max", "2147483648\n");
    put("/sys/fs/elsewhere/memory.max", "1\n");
    assert_int_equal(machine_memory_bytes(root), 2 * GIB);
    put("/proc/self/cgroup", "0::/docker/c11\n");
    put("/proc/self/mountinfo", "25 30 0:23 /docker/c1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    assert_int_equal(machine_memory_bytes(root), 2 * GIB);
}

static void memory_of_both_versions_at_once_is_the_smaller(void **state) {
    (void)state;
    put("/proc/self/cgroup", "4:memory:/a\n0::/b\n");
    put("/proc/self/mountinfo", "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"
                                "36 31 0:33 / /cg/unified rw - cgroup2 cgroup2 rw\n");
    put("/cg/memory/a/memory.limit_in_bytes", "2147483648\n");
    put("/cg/unified/b/memory.max", "1073741824\n");
    assert_int_equal(machine_memory_bytes(root), GIB);
}

static void memory_is_the_machine_s_if_the_files_are_nonsense(void **state) {
    (void)state;
    put("/proc/self/cgroup", "\n::\n0::\nnonsense\n4:memory\n0::/a\n");
    put("/proc/self/mountinfo",
        "\n - cgroup2\n1 2 3 / /cg - - cgroup2\n25 30 0:23 / /cg rw - cgroup2 c rw\n");
    put("/cg/a/memory.max", "many\n");
    put("/cg/memory.max", "");
    assert_int_equal(machine_memory_bytes(root), 8 * GIB);
}

static void memory_of_this_machine_is_some(void **state) {
    (void)state;
    uint64_t bytes = machine_memory_bytes("");
    assert_true(bytes > 1 << 20 && bytes < UINT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_is_the_machine_s_without_control_groups, begin, end),
        cmocka_unit_test_setup_teardown(
            memory_of_version_2_is_the_smallest_limit_of_the_group_and_those_above, begin, end),
        cmocka_unit_test_setup_teardown(
            memory_of_version_1_is_the_smallest_limit_of_the_group_and_those_above, begin, end),
        cmocka_unit_test_setup_teardown(
            memory_of_a_container_is_found_where_a_part_of_the_hierarchy_is_mounted, begin, end),
        cmocka_unit_test_setup_teardown(memory_is_that_of_the_mount_if_the_group_is_not_below_it, begin, end),
        cmocka_unit_test_setup_teardown(memory_of_both_versions_at_once_is_the_smaller, begin, end),
        cmocka_unit_test_setup_teardown(memory_is_the_machine_s_if_the_files_are_nonsense, begin, end),
        cmocka_unit_test(memory_of_this_machine_is_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
