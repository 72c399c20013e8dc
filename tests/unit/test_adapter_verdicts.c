/* upstream/adapter_*: what events mean for their run. Kinds x forms of an error x ways to write it: each of
 * them fails the run, and no way to write a good event does. */
#include "upstream/adapter.h"
#include "upstream/adapter_body.h"
#include "upstream/error_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct adapter *const adapters[] = {&adapter_adk, &adapter_openai, &adapter_sse};

static const struct adapter_rules rules = {.error_events =
                                               (char *)(uintptr_t) "error,response.failed,RUN_ERROR",
                                           .end_events = (char *)(uintptr_t) "bye,[DONE]"};

/** Judges one event, from copies with nothing after their last byte. */
static enum adapter_verdict judge_next(const struct adapter *adapter, struct adapter_reading *reading,
                                       const char *type, const char *data) {
    size_t type_length = strlen(type), length = strlen(data);
    char *copy = malloc(type_length + length + 1), *data_copy = malloc(length + (length == 0));
    assert_non_null(copy);
    assert_non_null(data_copy);
    memcpy(copy, type, type_length);
    memcpy(data_copy, data, length);
    struct sse_event event = {
        .type = copy, .type_length = type_length, .data = data_copy, .data_length = length};
    enum adapter_verdict verdict = adapter->judge(reading, &event);
    free(copy);
    free(data_copy);
    return verdict;
}

static enum adapter_verdict judge(const struct adapter *adapter, const char *type, const char *data) {
    struct adapter_reading reading = {.rules = &rules};
    return judge_next(adapter, &reading, type, data);
}

static void expect(const struct adapter *adapter, const char *type, const char *data,
                   enum adapter_verdict expected) {
    enum adapter_verdict verdict = judge(adapter, type, data);
    if (verdict != expected)
        fail_msg("%s: %d instead of %d: event: %s data: %s", adapter->name, (int)verdict, (int)expected, type,
                 data);
}

/** The word with the letters of `escaped`, one bit each, as escapes. */
static void write_word(const char *word, unsigned escaped, char *out) {
    for (size_t i = 0; word[i] != '\0'; i++)
        out += escaped >> i & 1 ? sprintf(out, "\\u%04x", (unsigned)word[i]) : sprintf(out, "%c", word[i]);
    *out = '\0';
}

/* ---- errors ------------------------------------------------------------------------------------------ */

/* Around the members of an object, %s. Some are cut off or are no JSON. */
static const char *const frames[] = {
    "{%s}",
    "{%s",
    "[{%s}]",
    "[1,{\"a\":[]},{%s}]",
    " \n\t{ %s }",
    "\xEF\xBB\xBF{%s}",
    " \xEF\xBB\xBF {%s}",
    "{\"x\":1,%s}",
    "{\"x\":1,%s",
    "{\"x\":{\"error\":null},%s}",
    "{\"x\":[{}],%s,\"y\":[",
    "{\"x\":NaN,%s}",
    "{\"x\":\"it said \"no\"\",%s}",
    "{\"x\":\"it said \"no\",%s}",
    "{\"x\":\"}\",%s}",
    "{\"x\":1 %s}",
    "{\"x\":0x1,%s}",
    "{\"error\":null,%s}",
    "{%s,\"error\":null}",
    "{\"object\":\"a\",%s,\"object\":\"b\",\"type\":\"c\"}",
    "{\"type\":null,%s}",
    "{\"ok\":1}{%s}",
};

static const char *const error_values[] = {"\"secret\"", "{\"message\":\"secret\"}", "{}", "true", "0", "[]"};

static void an_error_fails_however_it_is_written(void **state) {
    (void)state;
    char name[64], member[160], data[512];
    for (size_t frame = 0; frame < COUNT(frames); frame++) {
        for (size_t value = 0; value < COUNT(error_values); value++) {
            for (unsigned escaped = 0; escaped < 32; escaped++) {
                write_word("error", escaped, name);
                snprintf(member, sizeof(member), "\"%s\" : %s", name, error_values[value]);
                snprintf(data, sizeof(data), frames[frame], member);
                for (size_t i = 0; i < COUNT(adapters); i++)
                    expect(adapters[i], "message", data, ADAPTER_FAILED);
            }
        }
    }
}

static void an_error_of_null_is_none_however_it_is_written(void **state) {
    (void)state;
    char name[64], member[160], data[512];
    for (size_t frame = 0; frame < COUNT(frames); frame++) {
        for (unsigned escaped = 0; escaped < 32; escaped++) {
            write_word("error", escaped, name);
            snprintf(member, sizeof(member), "\"%s\":null", name);
            snprintf(data, sizeof(data), frames[frame], member);
            for (size_t i = 0; i < COUNT(adapters); i++)
                expect(adapters[i], "message", data, ADAPTER_CONTINUE);
        }
    }
}

static void an_error_below_the_outermost_object_is_none(void **state) {
    (void)state;
    static const char *const members[] = {
        "\"content\":{\"parts\":[{\"functionResponse\":{\"response\":{\"error\":\"no such city\"}}}]}",
        "\"a\":[{\"error\":1}]",
        "\"text\":\"say \\\"error\\\": now\"",
        "\"text\":\"{\\\"error\\\":1}\"",
        "\"text\":\"\\u0022error\\u0022: 1\"",
        "\"error_details\":1,\"errors\":2,\"Error\":3",
    };
    char data[512];
    for (size_t frame = 0; frame < COUNT(frames); frame++) {
        for (size_t member = 0; member < COUNT(members); member++) {
            snprintf(data, sizeof(data), frames[frame], members[member]);
            for (size_t i = 0; i < COUNT(adapters); i++)
                expect(adapters[i], "message", data, ADAPTER_CONTINUE);
        }
    }
}

/* So many values that the event is not read into a tree. */
static void an_error_fails_in_an_event_of_too_many_values(void **state) {
    (void)state;
    char *data = malloc(100000);
    assert_non_null(data);
    size_t length = (size_t)sprintf(data, "{\"x\":[0");
    for (int i = 0; i < 30000; i++)
        length += (size_t)sprintf(data + length, ",0");
    sprintf(data + length, "],\"error\":\"secret\"}");
    for (size_t i = 0; i < COUNT(adapters); i++)
        expect(adapters[i], "message", data, ADAPTER_FAILED);
    free(data);
}

/* ---- names ------------------------------------------------------------------------------------------- */

static const char *const blanks[] = {"", " ", "  ", "\t", "\n", " \t \n", "\xEF\xBB\xBF", " \xEF\xBB\xBF "};

static void an_event_called_error_fails_with_blanks_around_its_name(void **state) {
    (void)state;
    static const char *const data[] = {"", "gone", "{\"message\":\"gone\"}", "[DONE]", "bye"};
    char name[64];
    for (size_t before = 0; before < COUNT(blanks); before++) {
        for (size_t after = 0; after < COUNT(blanks); after++) {
            snprintf(name, sizeof(name), "%serror%s", blanks[before], blanks[after]);
            for (size_t i = 0; i < COUNT(data); i++) {
                for (size_t kind = 0; kind < COUNT(adapters); kind++)
                    expect(adapters[kind], name, data[i], ADAPTER_FAILED);
            }
            expect(&adapter_sse, "message", name, ADAPTER_FAILED);
            snprintf(name, sizeof(name), "%sRUN_ERROR%s", blanks[before], blanks[after]);
            expect(&adapter_sse, name, "x", ADAPTER_FAILED);
        }
    }
    for (size_t kind = 0; kind < COUNT(adapters); kind++) {
        expect(adapters[kind], "errors", "x", ADAPTER_CONTINUE);
        expect(adapters[kind], "err or", "x", ADAPTER_CONTINUE);
        expect(adapters[kind], "   ", "x", ADAPTER_CONTINUE);
    }
}

static void a_type_fails_however_it_is_written(void **state) {
    (void)state;
    static const char *const words[] = {"error", "RUN_ERROR"};
    char name[64], value[80], member[180], data[512];
    for (size_t frame = 0; frame < COUNT(frames); frame++) {
        for (unsigned escaped = 0; escaped < 32; escaped++) {
            write_word("type", escaped & 15, name);
            write_word(words[escaped % 2], escaped * 3, value);
            snprintf(member, sizeof(member), "\"%s\":\"%s\"", name, value);
            snprintf(data, sizeof(data), frames[frame], member);
            expect(&adapter_sse, "message", data, ADAPTER_FAILED);
            expect(&adapter_sse, "bye", data, ADAPTER_FAILED);
            snprintf(member, sizeof(member), "\"item\":{\"%s\":\"%s\"}", name, value);
            snprintf(data, sizeof(data), frames[frame], member);
            expect(&adapter_sse, "message", data, ADAPTER_CONTINUE);
        }
    }
}

static void an_end_event_that_reports_an_error_fails(void **state) {
    (void)state;
    expect(&adapter_sse, "bye", "{\"ok\":1}", ADAPTER_LAST);
    expect(&adapter_sse, "bye", "{\"error\":null}", ADAPTER_LAST);
    expect(&adapter_sse, "bye", "{\"error\":\"x\"}", ADAPTER_FAILED);
    expect(&adapter_sse, "bye", "error", ADAPTER_FAILED);
    expect(&adapter_sse, "message", "{\"type\":\"bye\",\"error\":\"x\"}", ADAPTER_FAILED);
    expect(&adapter_sse, "message", "{\"type\":\"bye\",\"type\":\"error\"}", ADAPTER_FAILED);
    expect(&adapter_sse, "message", "{\"type\":\"b\\u0079e\"}", ADAPTER_LAST);
}

static void an_object_called_error_fails_however_it_is_written(void **state) {
    (void)state;
    char name[64], value[64], member[160], data[512];
    for (size_t frame = 0; frame < COUNT(frames); frame++) {
        for (unsigned escaped = 0; escaped < 64; escaped++) {
            write_word("object", escaped, name);
            write_word("error", escaped / 2, value);
            snprintf(member, sizeof(member), "\"%s\":\"%s\"", name, value);
            snprintf(data, sizeof(data), frames[frame], member);
            for (size_t i = 0; i < COUNT(adapters); i++)
                expect(adapters[i], "message", data, ADAPTER_FAILED);
        }
    }
}

/* ---- openai ------------------------------------------------------------------------------------------ */

static void a_choice_that_ended_by_an_error_fails(void **state) {
    (void)state;
    static const char *const choices[] = {
        "{\"finish_reason\":\"error\"}",
        "{\"finish_reason\":\"\\u0065rror\"}",
        "{\"\\u0066inish_reason\":\"error\"}",
        "{\"finish_reason\":\"error\",\"finish_reason\":\"stop\"}",
        "{\"finish_reason\":\"stop\",\"finish_reason\":\"error\"}",
        "{\"finish_reason\":\"error\",\"finish_reason\":null}",
        "{\"delta\":{},\"finish_reason\":null,\"error\":{\"code\":502}}",
        "{\"index\":99,\"error\":\"x\"}",
        "{\"finish_reason\":\"error\",\"x\":\"it said \"no\"\"}",
    };
    char data[512];
    for (size_t i = 0; i < COUNT(choices); i++) {
        snprintf(data, sizeof(data), "{\"choices\":[{\"index\":0},%s]}", choices[i]);
        expect(&adapter_openai, "message", data, ADAPTER_FAILED);
    }
    expect(&adapter_openai, "message", "{\"choices\":[{\"finish_reason\":null,\"error\":null}]}",
           ADAPTER_CONTINUE);
    expect(&adapter_openai, "message",
           "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"error\":1}]},\"finish_reason\":\"stop\"}]}",
           ADAPTER_CONTINUE);
}

static enum adapter_ending end_of(const struct adapter *adapter, const char *const *events,
                                  char warning[ADAPTER_WORD_SIZE]) {
    struct adapter_reading reading = {.rules = &rules};
    const char *word = "";
    for (; *events != NULL; events++)
        assert_int_equal(judge_next(adapter, &reading, "message", *events), ADAPTER_CONTINUE);
    enum adapter_ending ending = adapter->judge_end(&reading, &word);
    snprintf(warning, ADAPTER_WORD_SIZE, "%s", word);
    return ending;
}

static void the_last_finish_reason_of_a_choice_counts(void **state) {
    (void)state;
    static const struct {
        const char *choice;
        enum adapter_ending ending;
    } cases[] = {
        {"{\"finish_reason\":\"stop\"}", ADAPTER_WHOLE},
        {"{\"\\u0066inish_reason\":\"stop\"}", ADAPTER_WHOLE},
        {"{\"finish_reason\":null,\"finish_reason\":\"stop\"}", ADAPTER_WHOLE},
        {"{\"finish_reason\":\"stop\",\"finish_reason\":null}", ADAPTER_CUT},
        {"{\"index\":0,\"index\":1,\"finish_reason\":\"stop\"}", ADAPTER_CUT},
        {"{\"finish_reason\":\"stop\"},{\"index\":1}", ADAPTER_CUT},
    };
    char data[512], warning[ADAPTER_WORD_SIZE];
    for (size_t i = 0; i < COUNT(cases); i++) {
        snprintf(data, sizeof(data), "{\"choices\":[%s]}", cases[i].choice);
        const char *const events[] = {"{\"choices\":[{\"index\":0,\"delta\":{}}]}", data, NULL};
        if (end_of(&adapter_openai, events, warning) != cases[i].ending)
            fail_msg("%s", data);
    }
}

/* ---- adk --------------------------------------------------------------------------------------------- */

#define ANSWER "{\"content\":{\"parts\":[{\"text\":\"a\"}]}}"

static void adk_warns_of_a_code_however_it_is_written(void **state) {
    (void)state;
    static const struct {
        const char *event, *warning;
    } cases[] = {
        {"{\"errorCode\":\"SAFETY\"}", "SAFETY"},
        {"{\"error\\u0043ode\":\"SAFETY\"}", "SAFETY"},
        {"{\"errorCode\":\"S\\u0041FETY\"}", "SAFETY"},
        {"{\"errorCode\":\"SAFETY\",\"errorCode\":null}", "SAFETY"},
        {"{\"errorCode\":null,\"errorCode\":\"SAFETY\"}", "SAFETY"},
        {"{\"errorCode\":\"\",\"errorCode\":\"SAFETY\"}", "SAFETY"},
        {"{\"errorCode\":\"SAFETY\",\"errorCode\":\"\"}", "SAFETY"},
        {"{\"errorCode\":\"ONE\",\"errorCode\":\"TWO\"}", "TWO"},
        {"{\"errorCode\":\"SAFETY\",\"errorMessage\":\"it said \"no\"\"}", "SAFETY"},
        {"{\"errorMessage\":\"it said \"no\",\"errorCode\":\"SAFETY\"}", "SAFETY"},
        {"{\"x\":1,\"errorCode\":\"SAFETY\"", "SAFETY"},
        {"{\"errorCode\":\"SAFETY", "SAFETY"},
        {"{\"errorCode\":500}", "500"},
        {"{\"errorCode\":{\"a\":1}}", "errorCode"},
        {"{\"errorCode\":", "errorCode"},
        {"{\"partial\":true,\"errorCode\":\"SAFETY\"}", "SAFETY"},
        {"{\"errorCode\":null}", ""},
        {"{\"errorCode\":\"\"}", ""},
        {"{\"x\":{\"errorCode\":\"SAFETY\"}}", ""},
        {"{\"text\":\"\\\"errorCode\\\":\\\"SAFETY\\\"\"}", ""},
    };
    char warning[ADAPTER_WORD_SIZE];
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const events[] = {ANSWER, cases[i].event, NULL};
        const char *const with_answer[] = {cases[i].event, ANSWER, NULL};
        enum adapter_ending ending = end_of(&adapter_adk, events, warning);
        if (strcmp(warning, cases[i].warning) != 0 ||
            ending != (warning[0] != '\0' ? ADAPTER_DOUBTFUL : ADAPTER_WHOLE))
            fail_msg("\"%s\" after %s", warning, cases[i].event);
        assert_int_equal(end_of(&adapter_adk, with_answer, warning), ADAPTER_WHOLE);
    }
}

#define PARTIAL "{\"partial\":true,\"content\":{\"parts\":[{\"text\":\"a\"}]}}"

static void adk_knows_a_partial_event_by_its_outermost_member(void **state) {
    (void)state;
    static const struct {
        const char *events[3];
        const char *warning;
    } cases[] = {
        {{PARTIAL, NULL}, "partial"},
        {{PARTIAL, ANSWER, NULL}, ""},
        {{ANSWER, PARTIAL, NULL}, "partial"},
        {{"{\"\\u0070artial\":true,\"content\":{}}", NULL}, "partial"},
        {{"{\"partial\":true,\"content\":{\"parts\":[{\"functionCall\":{\"args\":{\"partial\":false}}}]}}"},
         "partial"},
        {{"{\"content\":{\"parts\":[{\"functionCall\":{\"args\":{\"partial\":false}}}]},\"partial\":true}"},
         "partial"},
        {{"{\"content\":{\"parts\":[{\"functionResponse\":{\"response\":{\"partial\":true}}}]}}"}, ""},
        {{PARTIAL, "{\"content\":{\"parts\":[{\"functionResponse\":{\"response\":{\"partial\":true}}}]}}"},
         ""},
        {{"{\"partial\":false,\"partial\":true,\"content\":{}}"}, "partial"},
        {{"{\"partial\":true,\"partial\":false,\"content\":{}}"}, ""},
        {{PARTIAL, "{\"content\":null}", NULL}, "partial"},
    };
    char warning[ADAPTER_WORD_SIZE];
    for (size_t i = 0; i < COUNT(cases); i++) {
        (void)end_of(&adapter_adk, cases[i].events, warning);
        if (strcmp(warning, cases[i].warning) != 0)
            fail_msg("\"%s\" after %s", warning, cases[i].events[0]);
    }
}

/* ---- what is said ------------------------------------------------------------------------------------ */

static void an_error_in_broken_text_has_its_words(void **state) {
    (void)state;
    static const struct {
        const char *data, *text;
    } cases[] = {
        {"{\"x\":1,\"error\":\"secret\"", "secret"},
        {"{\"x\":1,\"error\":\"secret\"}", "secret"},
        {"{\"x\":1,\"error\":\"it said \"no\"\"}", "it said \"no\""},
        {"{\"error\":\"it said \"no\"\"}", "it said \"no\""},
        {"{\"error\":\"it said \"no\", twice\"}", "it said \"no\", twice"},
        {"{\"error\":null,\"error\":\"secret\"", "secret"},
        {"{\"\\u0065rror\":\"it said \"no\"\"}", "it said \"no\""},
        {"{\"x\":0x1,\"error\":{\"code\":1,\"message\":\"deep\"}}", "deep"},
        {"{\"x\":1,\"error\":\"cut", "cut"},
        {"{\"error\":null,\"error\":\"secret\"}", "secret"},
        {"{\"error\":\"secret\",\"error\":null}", "secret"},
        {"\xEF\xBB\xBF{\"error\":\"secret\"}", "secret"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out;
        buffer_init(&out, 1000);
        assert_true(error_text_append_any(&out, cases[i].data, strlen(cases[i].data)));
        assert_string_equal(out.bytes, cases[i].text);
        buffer_finish(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_fails_however_it_is_written),
        cmocka_unit_test(an_error_of_null_is_none_however_it_is_written),
        cmocka_unit_test(an_error_below_the_outermost_object_is_none),
        cmocka_unit_test(an_error_fails_in_an_event_of_too_many_values),
        cmocka_unit_test(an_event_called_error_fails_with_blanks_around_its_name),
        cmocka_unit_test(a_type_fails_however_it_is_written),
        cmocka_unit_test(an_end_event_that_reports_an_error_fails),
        cmocka_unit_test(an_object_called_error_fails_however_it_is_written),
        cmocka_unit_test(a_choice_that_ended_by_an_error_fails),
        cmocka_unit_test(the_last_finish_reason_of_a_choice_counts),
        cmocka_unit_test(adk_warns_of_a_code_however_it_is_written),
        cmocka_unit_test(adk_knows_a_partial_event_by_its_outermost_member),
        cmocka_unit_test(an_error_in_broken_text_has_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
