/* base/metrics and routes/exposition: what is counted is shown as Prometheus reads it. */
#include "base/metrics.h"
#include "routes/exposition.h"
#include "routes/process_info.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- histograms ---------------------------------------------------------------------------------- */

static void histogram_counts_each_duration_up_to_its_bound(void **state) {
    (void)state;
    struct histogram_reading before, after;
    metrics_read_histogram(HISTOGRAM_QUEUE_WAIT, &before);
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        metrics_observe_ms(HISTOGRAM_QUEUE_WAIT, histogram_bounds_ms[i]);
        metrics_observe_ms(HISTOGRAM_QUEUE_WAIT, histogram_bounds_ms[i] + 1);
    }
    metrics_read_histogram(HISTOGRAM_QUEUE_WAIT, &after);
    uint64_t sum_ms = HISTOGRAM_BOUNDS;
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        assert_int_equal(after.up_to[i] - before.up_to[i], 2 * i + 1);
        sum_ms += 2 * (uint64_t)histogram_bounds_ms[i];
    }
    assert_int_equal(after.count - before.count, 2 * HISTOGRAM_BOUNDS);
    assert_int_equal(after.sum_ms - before.sum_ms, sum_ms);
}

static void histogram_does_not_count_what_is_not_known(void **state) {
    (void)state;
    struct histogram_reading before, after;
    metrics_read_histogram(HISTOGRAM_EXECUTION_DELAY, &before);
    metrics_observe_ms(HISTOGRAM_EXECUTION_DELAY, -1);
    metrics_read_histogram(HISTOGRAM_EXECUTION_DELAY, &after);
    assert_int_equal(after.count, before.count);
    assert_int_equal(after.sum_ms, before.sum_ms);
    metrics_observe_ms(HISTOGRAM_EXECUTION_DELAY, 0);
    metrics_read_histogram(HISTOGRAM_EXECUTION_DELAY, &after);
    assert_int_equal(after.up_to[0], before.up_to[0] + 1);
}

static void histogram_bounds_grow_and_hold_the_alert_s(void **state) {
    (void)state;
    bool has_5_s = false;
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        assert_true(i == 0 || histogram_bounds_ms[i] > histogram_bounds_ms[i - 1]);
        has_5_s = has_5_s || histogram_bounds_ms[i] == 5000;
    }
    assert_true(has_5_s);
}

#define THREADS 4
#define OBSERVATIONS 5000

static void *observe(void *unused) {
    for (int i = 0; i < OBSERVATIONS; i++)
        metrics_observe_ms(HISTOGRAM_RUN_DURATION, i % 700);
    return unused;
}

static void histogram_loses_nothing_of_several_threads(void **state) {
    (void)state;
    struct histogram_reading before, now;
    pthread_t threads[THREADS];
    metrics_read_histogram(HISTOGRAM_RUN_DURATION, &before);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, observe, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    metrics_read_histogram(HISTOGRAM_RUN_DURATION, &now);
    assert_int_equal(now.count - before.count, THREADS * OBSERVATIONS);
}

/* ---- names --------------------------------------------------------------------------------------- */

static void metrics_have_names_of_their_own(void **state) {
    (void)state;
    const char *names[METRIC_COUNT + HISTOGRAM_COUNT];
    size_t count = 0;
    for (int i = 0; i < METRIC_COUNT; i++) {
        names[count++] = metrics_name((enum metric)i);
        const char *end = strstr(metrics_name((enum metric)i), "_total");
        assert_true(end != NULL && end[6] == '\0');
        assert_null(strpbrk(metrics_help((enum metric)i), "\\\n"));
    }
    for (int i = 0; i < HISTOGRAM_COUNT; i++) {
        names[count++] = histogram_name((enum histogram)i);
        const char *end = strstr(histogram_name((enum histogram)i), "_seconds");
        assert_true(end != NULL && end[8] == '\0');
        assert_null(strpbrk(histogram_help((enum histogram)i), "\\\n"));
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(strncmp(names[i], "sluice_", 7), 0);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(names[i], names[k]);
    }
}

/* ---- the text ------------------------------------------------------------------------------------ */

static void exposition_writes_families_labels_and_seconds(void **state) {
    (void)state;
    struct exposition exposition;
    exposition_init(&exposition, 4096);
    exposition_add(&exposition, "a_total", "counter", "All a", UINT64_MAX);
    exposition_family(&exposition, "b", "gauge", "Some b");
    exposition_sample(&exposition, (const struct exposition_label[]){{"x", "1"}, {"y", "2"}, {0}}, 3);
    exposition_sample_ms(&exposition, (const struct exposition_label[]){{"x", ""}, {0}}, 12005);
    exposition_sample_ms(&exposition, NULL, 0);
    assert_false(exposition.failed);
    assert_string_equal(exposition.text.bytes, "# HELP a_total All a\n# TYPE a_total counter\n"
                                               "a_total 18446744073709551615\n"
                                               "# HELP b Some b\n# TYPE b gauge\n"
                                               "b{x=\"1\",y=\"2\"} 3\nb{x=\"\"} 12.005\nb 0.000\n");
    exposition_finish(&exposition);
}

static void exposition_escapes_the_values_of_labels(void **state) {
    (void)state;
    struct exposition exposition;
    exposition_init(&exposition, 4096);
    exposition_family(&exposition, "a", "gauge", "It");
    buffer_clear(&exposition.text);
    exposition_sample(&exposition, (const struct exposition_label[]){{"x", "a\"b\\c\nd{},=\xc3\xa9"}, {0}},
                      1);
    exposition_sample(&exposition, (const struct exposition_label[]){{"x", "\\\""}, {0}}, 1);
    assert_string_equal(exposition.text.bytes,
                        "a{x=\"a\\\"b\\\\c\\nd{},=\xc3\xa9\"} 1\na{x=\"\\\\\\\"\"} 1\n");
    exposition_finish(&exposition);
}

static void exposition_writes_a_histogram_in_seconds(void **state) {
    (void)state;
    struct exposition exposition;
    struct histogram_reading reading = {.count = 9, .sum_ms = 61234};
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++)
        reading.up_to[i] = i < 8 ? i : 8;
    exposition_init(&exposition, 4096);
    exposition_add_histogram(&exposition, "h", "It", &reading);
    assert_string_equal(
        exposition.text.bytes,
        "# HELP h It\n# TYPE h histogram\n"
        "h_bucket{le=\"0.001\"} 0\nh_bucket{le=\"0.005\"} 1\nh_bucket{le=\"0.01\"} 2\nh_bucket{le=\"0.025\"} "
        "3\n"
        "h_bucket{le=\"0.05\"} 4\nh_bucket{le=\"0.1\"} 5\nh_bucket{le=\"0.25\"} 6\nh_bucket{le=\"0.5\"} 7\n"
        "h_bucket{le=\"1\"} 8\nh_bucket{le=\"2.5\"} 8\nh_bucket{le=\"5\"} 8\nh_bucket{le=\"10\"} 8\n"
        "h_bucket{le=\"30\"} 8\nh_bucket{le=\"60\"} 8\nh_bucket{le=\"120\"} 8\nh_bucket{le=\"300\"} 8\n"
        "h_bucket{le=\"600\"} 8\nh_bucket{le=\"+Inf\"} 9\nh_sum 61.234\nh_count 9\n");
    exposition_finish(&exposition);
}

static void exposition_remembers_that_it_was_too_long(void **state) {
    (void)state;
    struct exposition exposition;
    exposition_init(&exposition, 60);
    exposition_add(&exposition, "a", "gauge", "It is far too long for sixty bytes of text", 1);
    assert_true(exposition.failed);
    exposition_sample(&exposition, NULL, 1);
    assert_true(exposition.failed);
    exposition_finish(&exposition);
}

/* ---- the process --------------------------------------------------------------------------------- */

static void process_info_is_what_the_kernel_says(void **state) {
    (void)state;
    struct process_info before, after;
    process_info_get(&before);
    assert_true(before.threads >= 1);
    assert_true(before.resident_bytes > 100 << 10 && before.resident_bytes < before.virtual_bytes);
    assert_true(before.descriptors_max > 0);
    do /* until it has taken some time of the processor */
        process_info_get(&after);
    while (after.cpu_ms < before.cpu_ms + 10);
}

static void process_info_counts_descriptors_if_the_kernel_does(void **state) {
    (void)state;
    struct process_info before, after;
    process_info_get(&before);
    if (before.descriptors == 0)
        return; /* before Linux 6.2 */
    assert_true(before.descriptors >= 3 && before.descriptors < before.descriptors_max);
    int fds[5];
    for (int i = 0; i < 5; i++)
        assert_true((fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
    process_info_get(&after);
    assert_int_equal(after.descriptors, before.descriptors + 5);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    process_info_get(&after);
    assert_int_equal(after.descriptors, before.descriptors);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histogram_counts_each_duration_up_to_its_bound),
        cmocka_unit_test(histogram_does_not_count_what_is_not_known),
        cmocka_unit_test(histogram_bounds_grow_and_hold_the_alert_s),
        cmocka_unit_test(histogram_loses_nothing_of_several_threads),
        cmocka_unit_test(metrics_have_names_of_their_own),
        cmocka_unit_test(exposition_writes_families_labels_and_seconds),
        cmocka_unit_test(exposition_escapes_the_values_of_labels),
        cmocka_unit_test(exposition_writes_a_histogram_in_seconds),
        cmocka_unit_test(exposition_remembers_that_it_was_too_long),
        cmocka_unit_test(process_info_is_what_the_kernel_says),
        cmocka_unit_test(process_info_counts_descriptors_if_the_kernel_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
