/* base/json_parse: values are counted before cJSON makes the first of them. */
#include "base/json_parse.h"

#include "base/metrics.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

static size_t made; /* values, since it was last set to 0 */

static void *count_values(size_t size) {
    made += size == sizeof(cJSON); /* the strings of these tests are shorter */
    return malloc(size);
}

static cJSON *parse(const char *text, size_t length, size_t values_max, const char **ret_end) {
    char *copy = malloc(length + 1); /* exactly as long, so that a sanitizer sees a step too far */
    assert_non_null(copy);
    memcpy(copy, text, length);
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = count_values, .free_fn = free});
    made = 0;
    const char *end = NULL;
    cJSON *json = json_parse(copy, length, values_max, &end);
    cJSON_InitHooks(NULL);
    if (ret_end != NULL)
        *ret_end = text + (end != NULL ? end - copy : 0);
    free(copy);
    return json;
}

/* The text holds so many values: it is read with room for as many, and not touched with room for one less. */
static void assert_values(const char *text, size_t count) {
    uint64_t refused = metrics_get(METRIC_JSON_REFUSED);
    cJSON *json = parse(text, strlen(text), count, NULL);
    assert_non_null(json);
    assert_int_equal(made, count);
    cJSON_Delete(json);
    assert_int_equal(metrics_get(METRIC_JSON_REFUSED), refused);
    assert_null(parse(text, strlen(text), count - 1, NULL));
    assert_int_equal(made, 0);
    assert_int_equal(metrics_get(METRIC_JSON_REFUSED), refused + 1);
}

static void json_values_are_counted_as_they_are(void **state) {
    (void)state;
    assert_values("0", 1);
    assert_values("{}", 1);
    assert_values(" [ \t\r\n] ", 1);
    assert_values("[0]", 2);
    assert_values("[0,0,[0,0]]", 6);
    assert_values("[[],{},[ ],{ }]", 5);
    assert_values("{\"a\":1,\"b\":[{\"c\":null}]}", 5);
    assert_values("[\"a,b\",\"[{\",\"\\\",[\",\"\\\\\",\"\\\\\\\"[\",\"\"]", 7);
    assert_values("{\",\":\",\",\"[\":\"\\\\\"}", 3);
}

static void json_of_more_values_is_not_begun(void **state) {
    (void)state;
    enum { LENGTH = 1 << 20 };
    char *text = malloc(LENGTH);
    for (size_t i = 0; i < LENGTH; i++)
        text[i] = i % 2 == 0 ? '0' : ',';
    text[0] = '[';
    text[1] = '0';
    text[2] = ',';
    text[LENGTH - 1] = ']';
    assert_null(parse(text, LENGTH, JSON_UPSTREAM_VALUES_MAX, NULL));
    assert_int_equal(made, 0);
    memset(text, '[', LENGTH);
    assert_null(parse(text, LENGTH, JSON_UPSTREAM_VALUES_MAX, NULL));
    assert_int_equal(made, 0);
    memset(text + 1, ',', LENGTH - 1);
    text[0] = '"'; /* a string of commas that never ends */
    assert_null(parse(text, LENGTH, JSON_UPSTREAM_VALUES_MAX, NULL));
    text[LENGTH - 1] = '"';
    cJSON *json = parse(text, LENGTH, 1, NULL);
    assert_true(cJSON_IsString(json));
    cJSON_Delete(json);
    free(text);
}

static void json_parse_says_where_the_json_ends(void **state) {
    (void)state;
    static const char text[] = "[1] x";
    const char *end;
    cJSON *json = parse(text, strlen(text), 10, &end);
    assert_true(cJSON_IsArray(json));
    assert_ptr_equal(end, text + 3);
    cJSON_Delete(json);
    assert_null(parse("[1", 2, 10, NULL));
    assert_null(parse("", 0, 10, NULL));
}

static void append_random_value(char *text, int depth) {
    static const char *const plain[] = {"0",        "-1e5", "null", "\"a,[\"", "\"\\\"{\"",
                                        "\"\\\\\"", " [ ]", "{\n}", "true",    "\"\""};
    long kind = random() % 3, count = random() % 4;
    if (depth == 0 || kind == 0) {
        strcat(text, plain[(size_t)random() % (sizeof(plain) / sizeof(plain[0]))]);
        return;
    }
    strcat(text, kind == 1 ? "[" : "{");
    for (long i = 0; i < count; i++) {
        strcat(text, i > 0 ? " ," : "");
        strcat(text, kind == 1 ? "" : "\"b\\\\\":");
        append_random_value(text, depth - 1);
    }
    strcat(text, kind == 1 ? "]" : "}");
}

/* Whatever the text is, JSON or nearly: cJSON never makes more values than were counted. */
static void json_values_are_never_more_than_were_counted(void **state) {
    (void)state;
    static const char bytes[] = "[]{},\"\\:0 n\x01";
    srandom(7);
    for (int round = 0; round < 100000; round++) {
        char text[4096] = "";
        append_random_value(text, 4);
        size_t length = strlen(text);
        for (long changes = random() % 3; changes > 0; changes--)
            text[(size_t)random() % length] = bytes[(size_t)random() % (sizeof(bytes) - 1)];
        cJSON_Delete(parse(text, length, 1000, NULL));
        if (made > 1)
            assert_true(json_exceeds(text, length, made - 1));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_values_are_counted_as_they_are),
        cmocka_unit_test(json_of_more_values_is_not_begun),
        cmocka_unit_test(json_parse_says_where_the_json_ends),
        cmocka_unit_test(json_values_are_never_more_than_were_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
