/* upstream/sse_parser: the web platform's own cases and streams that providers sent. */
#include "tests/unit/parser_output.h"

#include <cjson/cJSON.h>
#include <stdio.h>

#ifndef TESTS_DIR
#define TESTS_DIR "tests"
#endif

/* ---- recorded cases --------------------------------------------------------------------------------- */

static char *read_data(const char *name, size_t *ret_length) {
    const char *directory = getenv("SLUICE_TESTS_DIR");
    char path[1024];
    snprintf(path, sizeof path, "%s/data/%s", directory != NULL ? directory : TESTS_DIR, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s cannot be opened", path);
    struct buffer text;
    buffer_init(&text, TEXT_BYTES_MAX);
    char piece[4096];
    for (size_t count; (count = fread(piece, 1, sizeof piece, file)) > 0;)
        assert_true(buffer_append(&text, piece, count));
    fclose(file);
    *ret_length = text.length;
    return buffer_detach(&text);
}

static cJSON *read_json(const char *name) {
    size_t length;
    char *text = read_data(name, &length);
    for (char *escape; (escape = strstr(text, "\\u0000")) != NULL;)
        memcpy(escape, "\\uE000", strlen("\\uE000"));
    cJSON *json = cJSON_Parse(text);
    assert_non_null(json);
    free(text);
    return json;
}

static const char *get_text(const cJSON *object, const char *name) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text != NULL ? text : "";
}

static char *bytes_of_hex(const char *hex, size_t *ret_length) {
    size_t length = strlen(hex) / 2;
    char *bytes = malloc(length + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        bytes[i] = (char)byte;
    }
    *ret_length = length;
    return bytes;
}

static void check_case(const cJSON *test) {
    struct buffer events, prelude;
    buffer_init(&events, TEXT_BYTES_MAX);
    buffer_init(&prelude, 1024);
    const cJSON *event;
    cJSON_ArrayForEach(event, cJSON_GetObjectItemCaseSensitive(test, "expected"))
        assert_true(buffer_printf(&events, "%s|%s|%s\n", get_text(event, "type"), get_text(event, "data"),
                                  get_text(event, "lastEventId")));
    const char *first_id = get_text(test, "initialLastEventId");
    assert_true(buffer_append_text(&prelude, "") && buffer_append_text(&events, ""));
    if (*first_id != '\0')
        assert_true(buffer_printf(&prelude, "id:%s\n\n", first_id));
    struct expectation expected = {.prelude = prelude.bytes, .events = events.bytes, .retry_ms = ANY_RETRY};
    char *bytes = bytes_of_hex(get_text(test, "bytes_hex"), &expected.length);
    expected.bytes = bytes;
    const cJSON *retry = cJSON_GetObjectItemCaseSensitive(test, "retry_ms");
    if (retry != NULL)
        expected.retry_ms = (int64_t)retry->valuedouble;
    print_message("    %s\n", get_text(test, "name"));
    check_all_cuts(&expected);
    free(bytes);
    buffer_finish(&events);
    buffer_finish(&prelude);
}

static void sse_parser_passes_the_web_platforms_cases_however_they_are_cut(void **state) {
    (void)state;
    cJSON *file = read_json("wpt-eventsource.json");
    const cJSON *cases = cJSON_GetObjectItemCaseSensitive(file, "cases");
    assert_int_equal(cJSON_GetArraySize(cases), 28);
    const cJSON *test;
    cJSON_ArrayForEach(test, cases) check_case(test);
    cJSON_Delete(file);
}

/** Counts the events by type in the way in which the index has it: {"type": count}. */
static int count_type(void *context, const struct sse_event *event) {
    cJSON *types = context;
    char type[128];
    snprintf(type, sizeof type, "%.*s", (int)event->type_length, event->type);
    cJSON *count = cJSON_GetObjectItemCaseSensitive(types, type);
    if (count == NULL)
        assert_non_null(cJSON_AddNumberToObject(types, type, 1));
    else
        cJSON_SetNumberValue(count, count->valuedouble + 1);
    return 0;
}

static void check_stream(const cJSON *entry, size_t piece) {
    char name[256];
    size_t length;
    snprintf(name, sizeof name, "provider-streams/%s", entry->string);
    char *bytes = read_data(name, &length);
    cJSON *types = cJSON_CreateObject();
    struct sse_parser *parser = sse_parser_create(EVENT_BYTES_MAX, EVENT_BYTES_MAX, count_type, types);
    assert_non_null(parser);
    for (size_t at = 0; at < length; at += piece)
        assert_int_equal(feed(parser, bytes + at, length - at < piece ? length - at : piece), 0);
    sse_parser_destroy(parser);
    if (!cJSON_Compare(types, cJSON_GetObjectItemCaseSensitive(entry, "types"), true))
        fail_msg("%s: other events than in the index", name);
    cJSON_Delete(types);
    free(bytes);
}

static void sse_parser_counts_the_events_of_providers_streams(void **state) {
    (void)state;
    static const size_t pieces[] = {1, 2, 7, 1000, SIZE_MAX / 2};
    cJSON *index = read_json("provider-streams/index.json");
    assert_int_equal(cJSON_GetArraySize(index), 20);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, index) {
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
            check_stream(entry, pieces[i]);
    }
    cJSON_Delete(index);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sse_parser_passes_the_web_platforms_cases_however_they_are_cut),
        cmocka_unit_test(sse_parser_counts_the_events_of_providers_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
