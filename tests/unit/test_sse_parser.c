/* upstream/sse_parser: line ends, fields, limits. */
#include "tests/unit/parser_output.h"

/* ---- single behaviours ------------------------------------------------------------------------------ */

static void sse_parser_dispatches_at_a_cr_without_waiting_for_what_follows(void **state) {
    (void)state;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, EVENT_BYTES_MAX);
    assert_int_equal(feed(parser, "data:a\r\n\r", 9), 0);
    assert_output(&output, "message|a|\n");
    assert_int_equal(feed(parser, "\ndata:b\n\n", 9), 0);
    assert_output(&output, "message|a|\nmessage|b|\n");
    parser_end(parser, &output);
}

static void sse_parser_swallows_one_lf_after_a_cr_and_only_there(void **state) {
    (void)state;
    check_text("data:a\r\ndata:b\r\r", "message|a\nb|\n");
    check_text("data:a\r\n\ndata:b\n\n", "message|a|\nmessage|b|\n");
    check_text("data:a\rdata:b\n\n", "message|a\nb|\n");
    check_text("data:a\r\ndata:b\n\r\n", "message|a\nb|\n");
}

static void sse_parser_replaces_invalid_utf8(void **state) {
    (void)state;
    check_text("event:t\xFF\nid:\xC3\ndata:\xF0\x9F\x98\ndata:\xE2\x82\xAC\n\n",
               "t\xEF\xBF\xBD|\xEF\xBF\xBD\n\xE2\x82\xAC|\xEF\xBF\xBD\n");
    check_text("d\xC3\xA4ta:x\ndata:y\xEF\n\n", "message|y\xEF\xBF\xBD|\n");
}

static void sse_parser_takes_what_only_begins_like_a_bom_for_a_line(void **state) {
    (void)state;
    check_text("\xEF\xBB\ndata:x\n\n", "message|x|\n");
    check_text("\xEF\n\ndata:x\n\n", "message|x|\n");
    check_text("\xEF\xBB"
               "data:x\n\ndata:y\n\n",
               "message|y|\n");
    check_text("\xEF\xBB\xBF:comment\ndata:x\n\n", "message|x|\n");
    check_text("\xEF\xBB\xBF\r\ndata:x\n\n", "message|x|\n");
}

static void sse_parser_does_not_dispatch_a_last_block_without_its_blank_line(void **state) {
    (void)state;
    check_text("data:a\n\ndata:b\n", "message|a|\n");
    check_text("data:a\n\ndata:b", "message|a|\n");
}

static void sse_parser_keeps_a_type_without_data_to_itself(void **state) {
    (void)state;
    check_text("event:a\n\ndata:b\n\n", "message|b|\n");
    check_text("event:a\nevent\ndata:b\n\n", "message|b|\n");
    check_text("id:1\n\ndata:b\n\n", "message|b|1\n");
}

static void sse_parser_takes_only_digits_for_retry(void **state) {
    (void)state;
    struct expectation expected = {.prelude = "", .events = "", .retry_ms = 250};
    expected.bytes = "retry:250\nretry:\nretry:-1\nretry:1 \nretry:0x1\n";
    expected.length = strlen(expected.bytes);
    check_all_cuts(&expected);
    expected.bytes = "retry: 99999999999999999999\n";
    expected.length = strlen(expected.bytes);
    expected.retry_ms = INT64_MAX;
    check_all_cuts(&expected);
}

static void sse_parser_stops_where_the_callback_says_so(void **state) {
    (void)state;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, EVENT_BYTES_MAX);
    output.stop_after = 2;
    assert_int_equal(feed(parser, "data:a\n\ndata:b\n\ndata:c\n\n", 24), 7);
    assert_output(&output, "message|a|\nmessage|b|\n");
    parser_end(parser, &output);
}

/* ---- limits ----------------------------------------------------------------------------------------- */

/** Feeds `head`, `count` times 'x', and `tail`, in pieces, until something else than 0 comes back. */
static int feed_long(struct sse_parser *parser, const char *head, size_t count, const char *tail,
                     size_t piece) {
    struct buffer text;
    buffer_init(&text, TEXT_BYTES_MAX);
    assert_true(buffer_append_text(&text, head) && buffer_reserve(&text, count));
    memset(text.bytes + text.length, 'x', count);
    text.length += count;
    assert_true(buffer_append_text(&text, tail));
    int result = 0;
    for (size_t at = 0; at < text.length && result == 0; at += piece)
        result = feed(parser, text.bytes + at, text.length - at < piece ? text.length - at : piece);
    buffer_finish(&text);
    return result;
}

static void check_limit(size_t bytes_max, const char *head, size_t count, const char *tail, int expected) {
    for (size_t piece = 1000; piece <= 100000; piece *= 10) {
        struct output output;
        struct sse_parser *parser = parser_begin(&output, bytes_max);
        assert_int_equal(feed_long(parser, head, count, tail, piece), expected);
        assert_int_equal(output.count, expected == 0 ? 1 : 0);
        parser_end(parser, &output);
    }
}

static void sse_parser_takes_data_up_to_the_limit_and_not_a_byte_more(void **state) {
    (void)state;
    check_limit(5000, "data: ", 5000, "\n\n", 0);
    check_limit(5000, "data: ", 5001, "\n\n", -EMSGSIZE);
    check_limit(5000, "data:y\ndata:", 4998, "\n\n", 0);
    check_limit(5000, "data:y\ndata:", 4999, "\n\n", -EMSGSIZE);
}

static void sse_parser_counts_replaced_bytes(void **state) {
    (void)state;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, 8);
    assert_int_equal(feed(parser, "data:\xFF\xFF\n\n", 9), 0);
    assert_int_equal(feed(parser, "data:\xFF\xFF\xFF\n\n", 10), -EMSGSIZE);
    parser_end(parser, &output);
}

static void sse_parser_refuses_a_line_that_does_not_end(void **state) {
    (void)state;
    check_limit(5000, "unknown: ", 6000, "", -EMSGSIZE);
    check_limit(5000, "", 6000, "\ndata:y\n\n", -EMSGSIZE);
    check_limit(5000, "id:", 5001, "\ndata:y\n\n", -EMSGSIZE);
    check_limit(5000, "event:", 6000, "\ndata:y\n\n", -EMSGSIZE);
}

static void sse_parser_refuses_an_event_of_endless_lines(void **state) {
    (void)state;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, 1000);
    int result = 0;
    size_t fed = 0;
    for (; fed < 1001 && result == 0; fed++)
        result = feed(parser, "data\n", 5);
    assert_int_equal(result, 0); /* 1000 line feeds between 1001 empty lines */
    assert_int_equal(feed(parser, "data\n", 5), -EMSGSIZE);
    parser_end(parser, &output);
}

static void sse_parser_bounds_the_type_by_itself(void **state) {
    (void)state;
    check_limit(5000, "event:", TYPE_BYTES_MAX, "\ndata:y\n\n", 0);
    check_limit(5000, "event:", TYPE_BYTES_MAX + 1, "\ndata:y\n\n", -ENAMETOOLONG);
    check_limit(5000, "event:y\nevent: ", TYPE_BYTES_MAX + 1, "\nevent:z\ndata:y\n\n", -ENAMETOOLONG);
}

/* Feeds `count` data lines of `length` bytes each, and the blank line; returns what came of it. */
static int feed_lines(size_t count, size_t length) {
    struct output output;
    struct buffer text;
    struct sse_parser *parser = parser_begin(&output, EVENT_BYTES_MAX);
    buffer_init(&text, TEXT_BYTES_MAX);
    for (size_t i = 0; i < count; i++)
        assert_true(buffer_append_text(&text, "data: ") && buffer_append(&text, "xxxxxxxx", length) &&
                    buffer_append_text(&text, "\n"));
    assert_true(buffer_append_text(&text, "\n"));
    int result = feed(parser, text.bytes, text.length);
    assert_int_equal(output.count, result == 0 ? 1 : 0);
    buffer_finish(&text);
    parser_end(parser, &output);
    return result;
}

static void sse_parser_refuses_an_event_that_is_mostly_line_ends(void **state) {
    (void)state;
    assert_int_equal(feed_lines(1000000, 0), -E2BIG);
    assert_int_equal(feed_lines(10000, 0), -E2BIG);
    assert_int_equal(feed_lines(1000, 0), 0); /* 6 KB more than its data: that is left to it */
    assert_int_equal(feed_lines(500000, 1), 0);
    assert_int_equal(feed_lines(1, 0), 0);
}

static void sse_parser_counts_the_lines_of_each_event_anew(void **state) {
    (void)state;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, EVENT_BYTES_MAX);
    for (size_t event = 0; event < 20; event++) {
        for (size_t line = 0; line < 500; line++)
            assert_int_equal(feed(parser, "data\n", 5), 0);
        assert_int_equal(feed(parser, "\n", 1), 0);
    }
    assert_int_equal(output.count, 20);
    parser_end(parser, &output);
}

static void sse_parser_skips_a_comment_far_over_the_limit(void **state) {
    (void)state;
    check_limit(5000, ":", 1000000, "\ndata:y\n\n", 0);
    check_limit(5000, "data:y\n: ", 1000000, "\r\n\r\n", 0);
}

static void sse_parser_reads_lines_of_many_megabytes(void **state) {
    (void)state;
    size_t count = 16 << 20;
    struct output output;
    struct sse_parser *parser = parser_begin(&output, count);
    assert_int_equal(feed_long(parser, "data:", count, "\r\n\r\n", 16384), 0);
    assert_int_equal(output.count, 1);
    assert_int_equal(output.text.length, strlen("message||\n") + count);
    parser_end(parser, &output);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sse_parser_dispatches_at_a_cr_without_waiting_for_what_follows),
        cmocka_unit_test(sse_parser_swallows_one_lf_after_a_cr_and_only_there),
        cmocka_unit_test(sse_parser_replaces_invalid_utf8),
        cmocka_unit_test(sse_parser_takes_what_only_begins_like_a_bom_for_a_line),
        cmocka_unit_test(sse_parser_does_not_dispatch_a_last_block_without_its_blank_line),
        cmocka_unit_test(sse_parser_keeps_a_type_without_data_to_itself),
        cmocka_unit_test(sse_parser_takes_only_digits_for_retry),
        cmocka_unit_test(sse_parser_stops_where_the_callback_says_so),
        cmocka_unit_test(sse_parser_takes_data_up_to_the_limit_and_not_a_byte_more),
        cmocka_unit_test(sse_parser_counts_replaced_bytes),
        cmocka_unit_test(sse_parser_refuses_a_line_that_does_not_end),
        cmocka_unit_test(sse_parser_refuses_an_event_of_endless_lines),
        cmocka_unit_test(sse_parser_bounds_the_type_by_itself),
        cmocka_unit_test(sse_parser_refuses_an_event_that_is_mostly_line_ends),
        cmocka_unit_test(sse_parser_counts_the_lines_of_each_event_anew),
        cmocka_unit_test(sse_parser_skips_a_comment_far_over_the_limit),
        cmocka_unit_test(sse_parser_reads_lines_of_many_megabytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
