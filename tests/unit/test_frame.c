/* broadcaster/frame: the bytes of an event, as a chunk and bare. */
#include "broadcaster/frame.h"
#include "broadcaster/lifecycle.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

static const struct event_id id = {1700000000123, 4};

static void assert_span(struct frame_span span, const char *expected) {
    assert_int_equal(span.length, strlen(expected));
    assert_memory_equal(span.bytes, expected, span.length);
}

static void assert_encoded(const char *type, const char *data, size_t length, const char *expected,
                           const char *expected_data) {
    struct frame *frame = lifecycle_make_agent_event(1, type, type != NULL ? strlen(type) : 0, data, length);
    assert_non_null(frame);
    frame_stamp(frame, id);
    char plain[256], chunk[512];
    snprintf(plain, sizeof(plain), "%sid: 1700000000123-4\n\n", expected);
    snprintf(chunk, sizeof(chunk), "%X\r\n%s\r\n", (unsigned)strlen(plain), plain);
    assert_span(frame_plain(frame), plain);
    assert_span(frame_chunked(frame), chunk);
    struct buffer back;
    buffer_init(&back, 256);
    assert_true(frame_append_data(frame, &back));
    assert_int_equal(back.length, strlen(expected_data));
    assert_memory_equal(back.bytes != NULL ? back.bytes : "", expected_data, back.length);
    assert_int_equal(frame->data_length, length);
    buffer_finish(&back);
    frame_unref(frame);
}

static void frame_has_an_id_a_type_and_its_data(void **state) {
    (void)state;
    assert_encoded(NULL, TEXT_AND_LENGTH("hello"), "data: hello\n", "hello");
    assert_encoded("tick", TEXT_AND_LENGTH("{\"a\":1}"), "event: tick\ndata: {\"a\":1}\n", "{\"a\":1}");
    assert_encoded("message", TEXT_AND_LENGTH(" x"), "data:  x\n", " x");
    assert_encoded("", TEXT_AND_LENGTH("x"), "data: x\n", "x");
}

static void frame_parts_lines_at_every_kind_of_line_end(void **state) {
    (void)state;
    assert_encoded(NULL, TEXT_AND_LENGTH("a\nb"), "data: a\ndata: b\n", "a\nb");
    assert_encoded(NULL, TEXT_AND_LENGTH("a\r\nb\rc\nd"), "data: a\ndata: b\ndata: c\ndata: d\n",
                   "a\nb\nc\nd");
    assert_encoded(NULL, TEXT_AND_LENGTH("a\n"), "data: a\ndata: \n", "a\n");
    assert_encoded(NULL, TEXT_AND_LENGTH("\n\n"), "data: \ndata: \ndata: \n", "\n\n");
    assert_encoded(NULL, TEXT_AND_LENGTH("\r"), "data: \ndata: \n", "\n");
    assert_encoded(NULL, TEXT_AND_LENGTH("\r\n\r"), "data: \ndata: \ndata: \n", "\n\n");
}

static void frame_with_empty_data_still_is_an_event(void **state) {
    (void)state;
    assert_encoded(NULL, "", 0, "data: \n", "");
    assert_encoded("t", NULL, 0, "event: t\ndata: \n", "");
}

static void frame_tells_its_type(void **state) {
    (void)state;
    struct frame *typed = lifecycle_make_agent_event(1, "tick", 4, "x", 1);
    struct frame *plain = lifecycle_make_agent_event(1, NULL, 0, "x", 1);
    assert_span(frame_type(typed), "tick");
    assert_span(frame_type(plain), "message");
    frame_unref(typed);
    frame_unref(plain);
    frame_unref(NULL);
}

static void frame_that_was_reserved_takes_as_much_data_as_was_said(void **state) {
    (void)state;
    struct frame *frame = frame_reserve(7, "run.end", 5);
    frame_fill(frame, "12345", 5);
    frame_stamp(frame, (struct event_id){UINT64_MAX, UINT64_MAX});
    assert_span(frame_plain(frame), "event: run.end\ndata: 12345\n"
                                    "id: 18446744073709551615-18446744073709551615\n\n");
    frame_unref(frame);
}

static void frame_chunk_says_the_length_of_every_size(void **state) {
    (void)state;
    static char data[70000];
    memset(data, 'x', sizeof(data));
    for (size_t length = 0; length < sizeof(data); length = length * 2 + 1) {
        struct frame *frame = lifecycle_make_agent_event(1, NULL, 0, data, length);
        frame_stamp(frame, id);
        struct frame_span chunk = frame_chunked(frame), plain = frame_plain(frame);
        char *end;
        assert_int_equal(strtoul(chunk.bytes, &end, 16), plain.length);
        assert_ptr_equal(end + 2, plain.bytes);
        assert_memory_equal(plain.bytes + plain.length, "\r\n", 2);
        assert_ptr_equal(chunk.bytes + chunk.length, plain.bytes + plain.length + 2);
        frame_unref(frame);
    }
}

/* Took minutes once: each line looked for its end through all that was left. */
static void frame_of_a_million_lines_is_made_in_no_time(void **state) {
    (void)state;
    enum { LENGTH = 1 << 20 };
    for (const char *ends = "\r\n"; *ends != '\0'; ends++) {
        char *data = malloc(LENGTH);
        memset(data, *ends, LENGTH);
        struct frame *frame = lifecycle_make_agent_event(1, NULL, 0, data, LENGTH);
        frame_stamp(frame, id);
        assert_int_equal(frame_plain(frame).length, 20 + 7 * (LENGTH + 1) + 1);
        frame_unref(frame);
        free(data);
    }
}

/* ---- the agent's words and the gateway's ---------------------------------------------------------- */

static const char *const names_of_the_gateway[] = {"run.start",
                                                   "run.end",
                                                   "run.retry",
                                                   "gap",
                                                   "session.end",
                                                   "session.state",
                                                   "session.",
                                                   "session.xy",
                                                   "server.",
                                                   "server.drain",
                                                   "auth.expiring",
                                                   "auth.expired",
                                                   "auth.",
                                                   "auth.x.y",
                                                   "session. x",
                                                   "server.\xC3\xA9",
                                                   "run.end ",
                                                   " gap",
                                                   "\tgap\t",
                                                   "  session.end",
                                                   "\x1frun.end",
                                                   "run.end\x01",
                                                   "run.end\x7f",
                                                   "\xC2\x85gap",
                                                   "gap\xC2\xA0",
                                                   "\xE1\x9A\x80gap",
                                                   "gap\xE1\xA0\x8E",
                                                   "\xE2\x80\x80run.end",
                                                   "run.end\xE2\x80\x8B",
                                                   "gap\xE2\x80\xA8",
                                                   "\xE2\x80\xA9gap",
                                                   "gap\xE2\x80\xAF",
                                                   "\xE2\x81\x9Fgap",
                                                   "gap\xE3\x80\x80",
                                                   "\xEF\xBB\xBFrun.start",
                                                   " \xEF\xBB\xBF auth.x\xC2\xA0 "};

static void frame_of_the_agent_cannot_bear_a_name_of_the_gateway(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(names_of_the_gateway) / sizeof(names_of_the_gateway[0]); i++) {
        const char *name = names_of_the_gateway[i];
        char line[128], type[64];
        snprintf(type, sizeof(type), "upstream.%s", name);
        snprintf(line, sizeof(line), "event: %s\ndata: x\ndata: y\n", type);
        assert_encoded(name, TEXT_AND_LENGTH("x\ny"), line, "x\ny");
        struct frame *frame = lifecycle_make_agent_event(1, name, strlen(name), "x", 1);
        assert_true(frame_is_renamed(frame));
        assert_span(frame_type(frame), type);
        frame_unref(frame);
    }
}

/* A client written in C ends a name at its first NUL. */
static void frame_of_the_agent_hides_no_name_behind_nul(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        bool is_renamed;
    } names[] = {{TEXT_AND_LENGTH("run.end\0"), true},    {TEXT_AND_LENGTH("run.end\0x"), true},
                 {TEXT_AND_LENGTH("gap\0\0 x"), true},    {TEXT_AND_LENGTH("\0gap\0x"), true},
                 {TEXT_AND_LENGTH(" run.end \0x"), true}, {TEXT_AND_LENGTH("auth.\0x"), true},
                 {TEXT_AND_LENGTH("x\0run.end"), false},  {TEXT_AND_LENGTH("run.\0end"), false},
                 {TEXT_AND_LENGTH("\0"), false},          {TEXT_AND_LENGTH("\0\0x"), false}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct frame *frame = lifecycle_make_agent_event(1, names[i].bytes, names[i].length, "x", 1);
        assert_int_equal(frame_is_renamed(frame), names[i].is_renamed);
        frame_unref(frame);
    }
}

static void frame_of_the_agent_keeps_any_other_name(void **state) {
    (void)state;
    static const char *const names[] = {"run",         "run.",
                                        "run.star",    "run.started",
                                        "run. end",    "run.retry2",
                                        "run.ends",    "Run.end",
                                        "ga",          "gaps",
                                        "gap.",        "Gap",
                                        "session",     "sessions.x",
                                        "Session.end", "server",
                                        "auth",        "authx",
                                        "ping",        "tool",
                                        "r",           "s",
                                        "g",           "message",
                                        "a",           "upstream.run.end",
                                        "upstream.x",  "g ap",
                                        "author.x",    "gap\xC2\xA1",
                                        "\xC3\xA0gap", "gap\xE2\x80\x8C",
                                        " ",           "\xEF\xBB\xBF",
                                        "x gap",       "gap x"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct frame *frame = lifecycle_make_agent_event(1, names[i], strlen(names[i]), "x", 1);
        assert_false(frame_is_renamed(frame));
        assert_span(frame_type(frame), names[i]);
        frame_unref(frame);
    }
}

/* NUL is a byte like any other in a name, and one that Java strips. */
static void frame_of_the_agent_cannot_hide_a_name_by_NUL(void **state) {
    (void)state;
    struct frame *frame = lifecycle_make_agent_event(1, "\0run.end\0", 9, "x", 1);
    assert_true(frame_is_renamed(frame));
    assert_int_equal(frame->type_length, strlen("upstream.") + 9);
    frame_unref(frame);
}

static void frame_of_the_gateway_keeps_its_name(void **state) {
    (void)state;
    struct frame *frame = frame_reserve(1, "run.retry", 1);
    assert_false(frame_is_renamed(frame));
    assert_span(frame_type(frame), "run.retry");
    frame_unref(frame);
}

/* Whatever the names and the data are: no byte of the one may be taken for one of the other. */
static void frame_that_was_renamed_can_be_had_as_the_agent_sent_it(void **state) {
    (void)state;
    static const char *const datas[] = {"", "x", "a\nb", "\n", "event: upstream.gap"};
    for (size_t i = 0; i < sizeof(datas) / sizeof(datas[0]); i++) {
        struct frame *frame = lifecycle_make_agent_event(7, "gap", 3, datas[i], strlen(datas[i]));
        struct frame *twin = lifecycle_make_agent_event(7, "tap", 3, datas[i], strlen(datas[i]));
        frame_stamp(frame, id);
        frame_stamp(twin, id);
        struct frame *sent = frame_create_as_sent(frame);
        assert_span(frame_type(sent), "gap");
        assert_int_equal(sent->task_serial, 7);
        assert_int_equal(sent->data_length, frame->data_length);
        assert_int_equal(event_id_compare(sent->id, id), 0);
        *(char *)(uintptr_t)frame_type(twin).bytes = 'g';
        struct frame_span chunk = frame_chunked(twin), plain = frame_plain(sent);
        assert_int_equal(frame_chunked(sent).length, chunk.length);
        assert_memory_equal(frame_chunked(sent).bytes, chunk.bytes, chunk.length);
        assert_int_equal(plain.length, frame_plain(twin).length);
        frame_unref(sent);
        frame_unref(twin);
        frame_unref(frame);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_has_an_id_a_type_and_its_data),
        cmocka_unit_test(frame_parts_lines_at_every_kind_of_line_end),
        cmocka_unit_test(frame_with_empty_data_still_is_an_event),
        cmocka_unit_test(frame_tells_its_type),
        cmocka_unit_test(frame_that_was_reserved_takes_as_much_data_as_was_said),
        cmocka_unit_test(frame_chunk_says_the_length_of_every_size),
        cmocka_unit_test(frame_of_a_million_lines_is_made_in_no_time),
        cmocka_unit_test(frame_of_the_agent_cannot_bear_a_name_of_the_gateway),
        cmocka_unit_test(frame_of_the_agent_hides_no_name_behind_nul),
        cmocka_unit_test(frame_of_the_agent_keeps_any_other_name),
        cmocka_unit_test(frame_of_the_agent_cannot_hide_a_name_by_NUL),
        cmocka_unit_test(frame_of_the_gateway_keeps_its_name),
        cmocka_unit_test(frame_that_was_renamed_can_be_had_as_the_agent_sent_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
