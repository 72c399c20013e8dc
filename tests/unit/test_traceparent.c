/* base/traceparent: what the W3C recommendation says of good and bad headers, its own examples among them.
 */
#include "base/traceparent.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

#define ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"
#define GOOD "00-" ID "-" PARENT "-01"

static struct trace read_both(const char *traceparent, const char *tracestate) {
    struct trace trace;
    memset(&trace, 0xa5, sizeof(trace));
    trace_read(&trace, &(struct trace_rules){TRACE_TRUST_ALL, TRACE_BEGIN_UNSAMPLED}, traceparent,
               tracestate);
    return trace;
}

/* A trace of our own has a valid id that is not the one of the tests, is not sampled, and has no state. */
static void assert_begun(const struct trace *trace) {
    assert_int_equal(strlen(trace->id), 32);
    assert_int_equal(strspn(trace->id, "0123456789abcdef"), 32);
    assert_true(strspn(trace->id, "0") < 32);
    assert_string_not_equal(trace->id, ID);
    assert_false(trace->sampled);
    assert_string_equal(trace->state, "");
}

static void assert_taken(const char *traceparent, bool sampled) {
    struct trace trace = read_both(traceparent, NULL);
    assert_string_equal(trace.id, ID);
    assert_int_equal(trace.sampled, sampled);
    assert_string_equal(trace.state, "");
}

static void trace_takes_the_examples_of_the_recommendation(void **state) {
    (void)state;
    assert_taken("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true);
    assert_taken("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", false);
    struct trace trace = read_both("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                   "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
    assert_string_equal(trace.id, "0af7651916cd43dd8448eb211c80319c");
    assert_string_equal(trace.state, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
}

static void trace_looks_at_the_sampled_bit_alone(void **state) {
    (void)state;
    assert_taken("00-" ID "-" PARENT "-09", true);
    assert_taken("00-" ID "-" PARENT "-ff", true);
    assert_taken("00-" ID "-" PARENT "-10", false);
    assert_taken("00-" ID "-" PARENT "-fe", false);
}

static void trace_takes_blanks_around_a_header(void **state) {
    (void)state;
    assert_taken(" \t" GOOD, true);
    assert_taken(GOOD "\t ", true);
}

static void trace_takes_what_it_knows_of_a_later_version(void **state) {
    (void)state;
    assert_taken("01-" ID "-" PARENT "-01", true);
    assert_taken("cc-" ID "-" PARENT "-01", true);
    assert_taken("cc-" ID "-" PARENT "-01-what-the-future-will-be-like", true);
    assert_taken("fe-" ID "-" PARENT "-00-", false);
}

static void trace_is_begun_if_there_is_no_valid_parent(void **state) {
    (void)state;
    static const char *const bad[] = {
        NULL,
        "",
        " ",
        "00",
        "ff-" ID "-" PARENT "-01",
        "FF-" ID "-" PARENT "-01",
        "0f-" ID "-" PARENT "-0",
        "cc-" ID "-" PARENT "-01.what-the-future-will-be-like",
        GOOD "-",
        GOOD ".",
        GOOD "-what-the-future-will-be-like",
        "000-" ID "-" PARENT "-01",
        "0-" ID "-" PARENT "-01",
        ".0-" ID "-" PARENT "-01",
        "0.-" ID "-" PARENT "-01",
        "0A-" ID "-" PARENT "-01",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" ID "-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01",
        "00-" ID "-00F067AA0BA902B7-01",
        "00-.bf92f3577b34da6a3ce929d0e0e4736-" PARENT "-01",
        "00-" ID "0-" PARENT "-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-" PARENT "-01",
        "00-" ID "-" PARENT "0-01",
        "00-" ID "-00f067aa0ba902b-01",
        "00-" ID "-" PARENT "-.1",
        "00-" ID "-" PARENT "-1.",
        "00-" ID "-" PARENT "-1",
        "00-" ID "-" PARENT "-1F",
        "00-" ID "-" PARENT "-001",
        "00_" ID "-" PARENT "-01",
        "00-" ID "_" PARENT "-01",
        "00-" ID "-" PARENT "_01",
        "00-" ID "-" PARENT "-0 1",
        GOOD ", " GOOD,
        GOOD "," GOOD,
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct trace trace = read_both(bad[i], "rojo=00f067aa0ba902b7");
        assert_begun(&trace);
    }
    struct trace one = read_both(NULL, NULL), other = read_both(NULL, NULL);
    assert_string_not_equal(one.id, other.id);
}

/* Each of its bytes wrong, in turn: no prefix and no mutation of a header is read past its end. */
static void trace_reads_no_byte_behind_the_header(void **state) {
    (void)state;
    for (size_t length = 0; length < strlen(GOOD); length++) {
        char *exact = strndup(GOOD, length);
        struct trace trace = read_both(exact, NULL);
        assert_begun(&trace);
        free(exact);
    }
}

static void assert_state(const char *tracestate, const char *expected) {
    struct trace trace = read_both(GOOD, tracestate);
    assert_string_equal(trace.id, ID);
    assert_string_equal(trace.state, expected);
}

static void trace_passes_a_valid_state_on_in_its_order(void **state) {
    (void)state;
    assert_state(NULL, "");
    assert_state("", "");
    assert_state(" ,\t, ", "");
    assert_state("foo=1,bar=2", "foo=1,bar=2");
    assert_state(" foo=1 \t,\t bar=2 ,,", "foo=1,bar=2");
    assert_state("foo=  a b", "foo=  a b");
    assert_state("foo@bar=1,0a=2,a_-*/@0=3", "foo@bar=1,0a=2,a_-*/@0=3");
    assert_state("k=!~+;:\"", "k=!~+;:\"");
}

static void trace_leaves_out_a_state_that_is_no_list(void **state) {
    (void)state;
    static const char *const bad[] = {
        "foo",    "foo=",   "=1",       "foo=1,bar",    "foo=1=2",  "Foo=1", "foo =1",   "foo.a=1",
        "@foo=1", "_foo=1", "foo=\x7f", "foo=\xc3\xa9", "foo=1\t2", "foo@=", "foo=1 ,=", "f\to=1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_state(bad[i], "");
}

static void trace_bounds_keys_values_and_members(void **state) {
    (void)state;
    char text[2048];
    snprintf(text, sizeof(text), "k=%0200d", 7); /* a value of 200 */
    assert_state(text, text);
    snprintf(text, sizeof(text), "k=%0257d", 7);
    assert_state(text, "");
    snprintf(text, sizeof(text), "%0257d=1", 7);
    assert_state(text, "");
    char *end = text;
    for (int i = 0; i < 32; i++)
        end += sprintf(end, "%sk%d=v", i > 0 ? "," : "", i);
    assert_state(text, text);
    strcpy(end, ",one=more");
    assert_state(text, "");
}

static void trace_leaves_out_whole_members_of_a_state_that_is_too_long(void **state) {
    (void)state;
    char text[2048], expected[TRACE_STATE_MAX + 1];
    /* 512 exactly fit, however long a member is. */
    snprintf(text, sizeof(text), "a=%0251d,b=%0256d", 1, 2);
    assert_int_equal(strlen(text), 512);
    assert_state(text, text);
    /* One more: those over 128 leave, and the short ones stay. */
    snprintf(text, sizeof(text), "a=1,long=%0251d,b=2,long2=%0251d,c=3", 1, 2);
    assert_state(text, "a=1,b=2,c=3");
    /* Short ones alone: the last ones leave. */
    char *end = text;
    for (int i = 0; i < 6; i++)
        end += sprintf(end, "%sk%d=%097d", i > 0 ? "," : "", i, i); /* 100 each */
    snprintf(expected, sizeof(expected), "%.504s", text);
    assert_state(text, expected);
}

/* A client cannot make the agents record its requests. */
static void trace_takes_no_flag_from_a_client_that_is_not_trusted(void **state) {
    (void)state;
    struct trace trace;
    memset(&trace, 0xa5, sizeof(trace));
    trace_read(&trace, &(struct trace_rules){.trust = TRACE_TRUST_PARENT}, "00-" ID "-" PARENT "-01",
               "rojo=1");
    assert_string_equal(trace.id, ID);
    assert_false(trace.sampled);
    assert_string_equal(trace.state, "rojo=1");
    trace_read(&trace, &(struct trace_rules){.trust = TRACE_TRUST_PARENT}, "01-" ID "-" PARENT "-ff-more",
               NULL);
    assert_false(trace.sampled);
}

static void trace_takes_nothing_from_a_client_that_is_not_trusted_at_all(void **state) {
    (void)state;
    struct trace trace;
    memset(&trace, 0xa5, sizeof(trace));
    trace_read(&trace, &(struct trace_rules){TRACE_TRUST_NONE, TRACE_BEGIN_UNSAMPLED},
               "00-" ID "-" PARENT "-01", "rojo=1");
    assert_begun(&trace);
}

/* Under a parent without the flag the usual sampler of an agent records nothing. */
static void trace_is_begun_as_the_settings_say(void **state) {
    (void)state;
    struct trace trace;
    char parent[TRACE_PARENT_SIZE];
    memset(&trace, 0xa5, sizeof(trace));
    trace_read(&trace, &(struct trace_rules){TRACE_TRUST_ALL, TRACE_BEGIN_AGENT}, "nonsense", "rojo=1");
    assert_string_equal(trace.id, "");
    assert_string_equal(trace.state, "");
    assert_false(trace.sampled);
    assert_false(trace_make_parent(trace.id, trace.sampled, parent));
    trace_read(&trace, &(struct trace_rules){TRACE_TRUST_NONE, TRACE_BEGIN_AGENT}, GOOD, NULL);
    assert_string_equal(trace.id, "");
    trace_read(&trace, &(struct trace_rules){TRACE_TRUST_ALL, TRACE_BEGIN_UNSAMPLED}, NULL, NULL);
    assert_begun(&trace);
    trace_read(&trace, &(struct trace_rules){TRACE_TRUST_ALL, TRACE_BEGIN_SAMPLED}, NULL, NULL);
    assert_true(trace.sampled);
    trace.sampled = false;
    assert_begun(&trace);
    trace_read(&trace, &(struct trace_rules){TRACE_TRUST_PARENT, TRACE_BEGIN_SAMPLED}, GOOD, NULL);
    assert_string_equal(trace.id, ID);
    assert_false(trace.sampled);
}

static void trace_makes_a_new_parent_of_the_same_trace_each_time(void **state) {
    (void)state;
    char one[TRACE_PARENT_SIZE], other[TRACE_PARENT_SIZE];
    struct trace trace = read_both("cc-" ID "-" PARENT "-0b-more", NULL);
    assert_true(trace_make_parent(trace.id, trace.sampled, one));
    assert_true(trace_make_parent(trace.id, trace.sampled, other));
    assert_int_equal(strlen(one), TRACE_PARENT_SIZE - 1);
    assert_memory_equal(one, "00-" ID "-", 36);
    assert_string_equal(one + 52, "-01");
    assert_memory_not_equal(one + 36, PARENT, 16);
    assert_memory_not_equal(one + 36, other + 36, 16);
    struct trace again = read_both(one, NULL); /* it is valid itself */
    assert_string_equal(again.id, ID);
    trace = read_both(NULL, NULL);
    assert_true(trace_make_parent(trace.id, trace.sampled, one));
    assert_string_equal(one + 52, "-00");
    assert_memory_equal(one + 3, trace.id, 32);
    trace.id[0] = '\0';
    assert_false(trace_make_parent(trace.id, trace.sampled, one));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trace_takes_the_examples_of_the_recommendation),
        cmocka_unit_test(trace_looks_at_the_sampled_bit_alone),
        cmocka_unit_test(trace_takes_blanks_around_a_header),
        cmocka_unit_test(trace_takes_what_it_knows_of_a_later_version),
        cmocka_unit_test(trace_is_begun_if_there_is_no_valid_parent),
        cmocka_unit_test(trace_reads_no_byte_behind_the_header),
        cmocka_unit_test(trace_passes_a_valid_state_on_in_its_order),
        cmocka_unit_test(trace_leaves_out_a_state_that_is_no_list),
        cmocka_unit_test(trace_bounds_keys_values_and_members),
        cmocka_unit_test(trace_leaves_out_whole_members_of_a_state_that_is_too_long),
        cmocka_unit_test(trace_takes_no_flag_from_a_client_that_is_not_trusted),
        cmocka_unit_test(trace_takes_nothing_from_a_client_that_is_not_trusted_at_all),
        cmocka_unit_test(trace_is_begun_as_the_settings_say),
        cmocka_unit_test(trace_makes_a_new_parent_of_the_same_trace_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
