/* base/log: one event a line, and never a wait for whoever reads it. */
#include "base/clock.h"
#include "base/log.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int saved_stderr;
static char path[] = "/tmp/sluice-test-log-XXXXXX";

/* Standard error becomes an empty file. */
static int set_up(void **state) {
    (void)state;
    saved_stderr = dup(STDERR_FILENO);
    strcpy(path + strlen(path) - 6, "XXXXXX");
    int fd = mkstemp(path);
    dup2(fd, STDERR_FILENO);
    close(fd);
    clock_fake(0, 1769847300123);
    return saved_stderr < 0;
}

static int tear_down(void **state) {
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    unlink(path);
    clock_real();
    return 0;
}

static void assert_logged(const char *expected) {
    static char text[8192];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text, expected);
}

static void log_writes_json(void **state) {
    (void)state;
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_info("run_ended", LOG_STR("reason", "a \"b\"\n"), LOG_INT("events", -12));
    assert_logged("{\"event\":\"run_ended\",\"reason\":\"a \\\"b\\\"\\n\",\"events\":-12,\"level\":\"info\","
                  "\"time\":\"2026-01-31T08:15:00.123Z\"}\n");
}

static void log_writes_text(void **state) {
    (void)state;
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_warn("odd", LOG_STR("what", "x y"), LOG_INT("n", 7));
    assert_logged("2026-01-31T08:15:00.123Z warn  odd what=\"x y\" n=7\n");
}

/* What an agent or a client says stays one line, and shows what it is. */
static void log_escapes_what_deceives_its_readers(void **state) {
    (void)state;
    static const char text[] = "a\xc2\x85\xe2\x80\xa8\xe2\x80\xae"
                               "b\x1b[2J\xd8\x9c";
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_warn("odd", LOG_STR("what", text));
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_warn("odd", LOG_STR("what", text));
    assert_logged(
        "2026-01-31T08:15:00.123Z warn  odd what=\"a\\u0085\\u2028\\u202eb\\u001b[2J\\u061c\"\n"
        "{\"event\":\"odd\",\"what\":\"a\\u0085\\u2028\\u202eb\\u001b[2J\\u061c\",\"level\":\"warn\","
        "\"time\":\"2026-01-31T08:15:00.123Z\"}\n");
}

/* A line that is too long would be lost as a whole. */
static void log_cuts_a_text_that_is_too_long(void **state) {
    (void)state;
    char *text = malloc(100001), expected[5000];
    memset(text, 'x', 100000);
    text[100000] = '\0';
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_warn("odd", LOG_STR("what", text), LOG_INT("n", 7));
    snprintf(expected, sizeof(expected), "2026-01-31T08:15:00.123Z warn  odd what=\"%.4096s\" n=7\n", text);
    assert_logged(expected);
    free(text);
}

static void log_leaves_out_what_is_below_its_level(void **state) {
    (void)state;
    log_init(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    assert_false(log_enabled(LOG_LEVEL_INFO));
    log_info("quiet", LOG_INT("n", 1));
    assert_logged("");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("loud", LOG_INT("n", 2));
    assert_logged("2026-01-31T08:15:00.123Z debug loud n=2\n");
}

/* It wrote over what others had written by the descriptor that it was given, and they over its lines. */
static void log_shares_a_file_with_whoever_else_writes_to_it(void **state) {
    (void)state;
    int given = dup(STDERR_FILENO);
    dprintf(given, "before\n");
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("one", LOG_INT("n", 1));
    dprintf(given, "between\n");
    log_info("two", LOG_INT("n", 2));
    close(given);
    assert_logged("before\n2026-01-31T08:15:00.123Z info  one n=1\n"
                  "between\n2026-01-31T08:15:00.123Z info  two n=2\n");
}

/* Else a shell that shares the pipe could be told EAGAIN. */
static void log_leaves_the_pipe_that_it_was_given_blocking_for_others(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    assert_int_not_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
    close(ends[0]);
    close(ends[1]);
}

static size_t read_all(int fd, char *out, size_t size) {
    size_t length = 0;
    for (ssize_t count; (count = read(fd, out + length, size - 1 - length)) > 0;)
        length += (size_t)count;
    out[length] = '\0';
    return length;
}

static int sum_of_lost_lines(const char *text) {
    static const char mark[] = "{\"event\":\"log_lines_lost\",\"lines\":";
    int sum = 0;
    for (const char *at = text; (at = strstr(at, mark)) != NULL; at += strlen(mark))
        sum += atoi(at + strlen(mark));
    return sum;
}

static void log_drops_lines_for_a_full_pipe_and_tells_how_many(void **state) {
    (void)state;
    static char text[1 << 20], word[2000];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    memset(word, 'x', sizeof(word) - 1);
    uint64_t before = log_dropped();
    int written = 0;
    for (; log_dropped() < before + 3; written++) /* a log that waits would hang here */
        log_info("line", LOG_STR("word", word));
    size_t length = read_all(ends[0], text, sizeof(text));
    log_info("last", LOG_INT("n", 1));
    read_all(ends[0], text + length, sizeof(text) - length);
    assert_true(written > 3);
    assert_int_equal(sum_of_lost_lines(text), 3);
    assert_non_null(strstr(text, "\n{\"event\":\"last\",\"n\":1,"));
    close(ends[0]);
}

static void log_tears_no_more_than_one_line_when_a_pipe_takes_a_part(void **state) {
    (void)state;
    static char text[1 << 20], word[9000];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    memset(word, 'x', sizeof(word) - 1); /* longer than what a pipe takes at once or not at all */
    for (uint64_t before = log_dropped(); log_dropped() == before;)
        log_info("line", LOG_STR("word", word));
    size_t length = read_all(ends[0], text, sizeof(text));
    assert_int_not_equal(text[length - 1], '\n'); /* else nothing was torn, and this shows nothing */
    log_info("after", LOG_INT("n", 1));
    read_all(ends[0], text, sizeof(text));
    assert_int_equal(text[0], '\n');
    assert_non_null(strstr(text, "\n{\"event\":\"after\",\"n\":1,"));
    close(ends[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(log_writes_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(log_writes_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(log_escapes_what_deceives_its_readers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(log_cuts_a_text_that_is_too_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(log_leaves_out_what_is_below_its_level, set_up, tear_down),
        cmocka_unit_test_setup_teardown(log_shares_a_file_with_whoever_else_writes_to_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(log_leaves_the_pipe_that_it_was_given_blocking_for_others, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(log_drops_lines_for_a_full_pipe_and_tells_how_many, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(log_tears_no_more_than_one_line_when_a_pipe_takes_a_part, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
