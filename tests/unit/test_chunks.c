/* The chunked transfer coding as we decode it ourselves. */
#include "http/body.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads `body` in pieces of `step` bytes, up to what ends it; the content goes to `content`. */
static enum chunks_found read_in_steps(const char *body, size_t length, size_t step, char *content,
                                       size_t *ret_left) {
    struct chunks chunks = {0};
    enum chunks_found found = CHUNKS_MORE;
    size_t count = 0;
    for (size_t at = 0; at < length && found == CHUNKS_MORE; at += step) {
        const char *bytes = body + at, *piece;
        size_t left = at + step < length ? step : length - at, piece_length;
        while ((found = chunks_next(&chunks, &bytes, &left, &piece, &piece_length)) == CHUNKS_PIECE) {
            memcpy(content + count, piece, piece_length);
            count += piece_length;
        }
        *ret_left = left;
    }
    content[count] = '\0';
    return found;
}

static void assert_read(const char *body, enum chunks_found wanted, const char *wanted_content) {
    char content[1024];
    size_t left;
    for (size_t step = 1; step <= strlen(body) + 1; step++) {
        assert_int_equal(read_in_steps(body, strlen(body), step, content, &left), wanted);
        if (wanted_content != NULL)
            assert_string_equal(content, wanted_content);
    }
}

static void content_is_read_however_it_is_cut(void **state) {
    (void)state;
    assert_read("3\r\nabc\r\n0\r\n\r\n", CHUNKS_END, "abc");
    assert_read("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", CHUNKS_END, "abcd");
    assert_read("0\r\n\r\n", CHUNKS_END, "");
    assert_read("00000003\r\na\r\n\r\n00\r\n\r\n", CHUNKS_END, "a\r\n");
    assert_read("a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", CHUNKS_END, "01234567890123456789a");
    assert_read("3;x=\"y\"\r\nabc\r\n0;z\r\nA: b\r\nC:\r\n\r\n", CHUNKS_END, "abc");
    assert_read("3 \t;x\r\nabc\r\n0 \r\n\r\n", CHUNKS_END, "abc");
}

static void body_that_is_not_whole_wants_more(void **state) {
    (void)state;
    static const char whole[] = "3;a\r\nabc\r\n0\r\nA: b\r\n\r\n";
    for (size_t length = 0; length < strlen(whole); length++) {
        char body[64];
        snprintf(body, sizeof(body), "%.*s", (int)length, whole);
        assert_read(body, CHUNKS_MORE, NULL);
    }
}

static void what_stands_after_the_end_is_left(void **state) {
    (void)state;
    static const char body[] = "1\r\na\r\n0\r\n\r\nGET /";
    char content[64];
    size_t left;
    assert_int_equal(read_in_steps(body, strlen(body), strlen(body), content, &left), CHUNKS_END);
    assert_int_equal(left, strlen("GET /"));
}

static void what_is_not_in_order_is_malformed(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "\r\n",
        ";a\r\n",
        " 1\r\n",
        "1 0\r\n", /* after a blank there is an extension or the end: others read 16 here */
        "1 x\r\n",
        "1\t 0;a\r\n",
        "0 1\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        "g\r\n",
        "1\na",
        "1\r\nab\r\n",
        "1\r\na\n0\r\n",
        "1\r\na0\r\n",
        "1\ra",
        "1;\x01\r\n",
        "1;\n",
        "1;a\nb\r\n",
        "0\r\nA: b\nC\r",
        "0\r\nA: \x7f\r\n",
        "0\r\n\n",
        "0\r\n\rx",
        "10000000000000000\r\n",
        "1 \x80\n",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        assert_read(bodies[i], CHUNKS_MALFORMED, NULL);
    char content[64];
    size_t left;
    assert_int_equal(read_in_steps("1\0\r\na", 5, 5, content, &left), CHUNKS_MALFORMED);
}

static void malformed_stays_malformed(void **state) {
    (void)state;
    struct chunks chunks = {0};
    const char *bytes = "x0\r\n\r\n", *piece;
    size_t length = 6, piece_length;
    assert_int_equal(chunks_next(&chunks, &bytes, &length, &piece, &piece_length), CHUNKS_MALFORMED);
    assert_int_equal(chunks_next(&chunks, &bytes, &length, &piece, &piece_length), CHUNKS_MALFORMED);
}

/* `count` times `text` after `head`. */
static enum chunks_found read_many(const char *head, const char *text, size_t count) {
    struct chunks chunks = {0};
    const char *piece;
    size_t piece_length, length = strlen(head);
    enum chunks_found found = chunks_next(&chunks, &head, &length, &piece, &piece_length);
    for (size_t i = 0; i < count && found != CHUNKS_MALFORMED; i++) {
        const char *bytes = text;
        length = strlen(text);
        while ((found = chunks_next(&chunks, &bytes, &length, &piece, &piece_length)) == CHUNKS_PIECE)
            ;
    }
    return found;
}

static void framing_between_pieces_is_bounded(void **state) {
    (void)state;
    assert_int_equal(read_many("1;", "a", CHUNKS_FRAMING_BYTES_MAX - 2), CHUNKS_MORE);
    assert_int_equal(read_many("1;", "a", CHUNKS_FRAMING_BYTES_MAX - 1), CHUNKS_MALFORMED);
    assert_int_equal(read_many("", "0", CHUNKS_FRAMING_BYTES_MAX + 1), CHUNKS_MALFORMED);
    assert_int_equal(read_many("0\r\n", "A: b\r\n", CHUNKS_FRAMING_BYTES_MAX / 6), CHUNKS_MALFORMED);
    assert_int_equal(read_many("", "1\r\na\r\n", CHUNKS_FRAMING_BYTES_MAX), CHUNKS_MORE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_is_read_however_it_is_cut),
        cmocka_unit_test(body_that_is_not_whole_wants_more),
        cmocka_unit_test(what_stands_after_the_end_is_left),
        cmocka_unit_test(what_is_not_in_order_is_malformed),
        cmocka_unit_test(malformed_stays_malformed),
        cmocka_unit_test(framing_between_pieces_is_bounded),
    };
    return cmocka_run_group_tests_name("chunks", tests, NULL, NULL);
}
