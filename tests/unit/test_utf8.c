/* base/utf8: what is well-formed, and what becomes of the rest. */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define REPLACEMENT "\xEF\xBF\xBD"

static void assert_replaced(const char *bytes, size_t length, const char *expected, size_t expected_length) {
    struct buffer out;
    buffer_init(&out, 1024);
    assert_true(utf8_append_replaced(&out, bytes, length));
    assert_int_equal(out.length, expected_length);
    assert_memory_equal(out.bytes, expected, expected_length);
    buffer_finish(&out);
}

#define ASSERT_REPLACED(text, expected) assert_replaced(text, sizeof text - 1, expected, sizeof expected - 1)

static void utf8_takes_every_well_formed_sequence_as_it_is(void **state) {
    (void)state;
    static const char text[] = "a\0z \xC2\x80 \xDF\xBF \xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xEF\xBF\xBF "
                               "\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF \xEF\xBB\xBF";
    assert_true(utf8_is_valid(text, sizeof text - 1));
    ASSERT_REPLACED(text, text);
    assert_true(utf8_is_valid("", 0));
}

static void utf8_replaces_each_maximal_part_once(void **state) {
    (void)state;
    ASSERT_REPLACED("a\x80z", "a" REPLACEMENT "z");
    ASSERT_REPLACED("\xC0\xAF", REPLACEMENT REPLACEMENT);
    ASSERT_REPLACED("\xE0\x80\xAF", REPLACEMENT REPLACEMENT REPLACEMENT);
    ASSERT_REPLACED("\xED\xA0\x80", REPLACEMENT REPLACEMENT REPLACEMENT); /* a surrogate */
    ASSERT_REPLACED("\xF4\x90\x80\x80", REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT);
    ASSERT_REPLACED("\xF5\xFF", REPLACEMENT REPLACEMENT);
    ASSERT_REPLACED("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41",
                    REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT "A"); /* Unicode, table 3-11 */
}

static void utf8_replaces_a_sequence_cut_by_the_end_once(void **state) {
    (void)state;
    ASSERT_REPLACED("x\xC3", "x" REPLACEMENT);
    ASSERT_REPLACED("x\xE2\x82", "x" REPLACEMENT);
    ASSERT_REPLACED("x\xF0\x9F\x98", "x" REPLACEMENT);
}

/** What the Encoding standard's "UTF-8 decoder" keeps between two bytes. */
struct decoder {
    size_t needed; /* bytes still missing; 0: between two sequences */
    unsigned char lower, upper;
};

static void await(struct decoder *decoder, size_t needed, unsigned char lower, unsigned char upper) {
    *decoder = (struct decoder){.needed = needed, .lower = lower, .upper = upper};
}

/** The first byte of a sequence; false: an error. */
static bool decode_lead(struct decoder *decoder, unsigned char byte) {
    if (byte >= 0xC2 && byte <= 0xDF)
        await(decoder, 1, 0x80, 0xBF);
    else if (byte >= 0xE0 && byte <= 0xEF)
        await(decoder, 2, byte == 0xE0 ? 0xA0 : 0x80, byte == 0xED ? 0x9F : 0xBF);
    else if (byte >= 0xF0 && byte <= 0xF4)
        await(decoder, 3, byte == 0xF0 ? 0x90 : 0x80, byte == 0xF4 ? 0x8F : 0xBF);
    else
        return byte <= 0x7F;
    return true;
}

/** That decoder, step by step; the code points are written as UTF-8 again. */
static size_t decode_by_the_book(const unsigned char *bytes, size_t length, unsigned char *out,
                                 bool *ret_error) {
    struct decoder decoder = {0};
    size_t used = 0, start = 0, i = 0;
    *ret_error = false;
    while (i < length || decoder.needed > 0) {
        bool good;
        if (decoder.needed == 0) {
            start = i;
            good = decode_lead(&decoder, bytes[i++]);
        } else {
            good = i < length && bytes[i] >= decoder.lower && bytes[i] <= decoder.upper;
            await(&decoder, good ? decoder.needed - 1 : 0, 0x80, 0xBF);
            i += good ? 1 : 0; /* else "restore byte to ioQueue" */
        }
        if (good && decoder.needed > 0)
            continue;
        const void *from = good ? (const void *)(bytes + start) : REPLACEMENT;
        size_t count = good ? i - start : 3;
        memcpy(out + used, from, count);
        used += count;
        *ret_error = *ret_error || !good;
    }
    return used;
}

static void utf8_agrees_with_the_standards_algorithm(void **state) {
    (void)state;
    static const unsigned char edges[] = {0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2,
                                          0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
    enum { EDGES = sizeof edges, LENGTH = 4 };
    for (size_t n = 0; n < (size_t)EDGES * EDGES * EDGES * EDGES; n++) {
        unsigned char bytes[LENGTH], expected[3 * LENGTH];
        for (size_t i = 0, rest = n; i < LENGTH; i++, rest /= EDGES)
            bytes[i] = edges[rest % EDGES];
        bool has_error;
        size_t length = decode_by_the_book(bytes, LENGTH, expected, &has_error);
        assert_int_equal(utf8_is_valid((const char *)bytes, LENGTH), !has_error);
        assert_replaced((const char *)bytes, LENGTH, (const char *)expected, length);
    }
}

static void utf8_finds_a_bad_byte_at_any_place_of_a_long_text(void **state) {
    (void)state;
    char text[100];
    for (size_t place = 0; place < sizeof text; place++) {
        memset(text, 'x', sizeof text);
        assert_true(utf8_is_valid(text, sizeof text));
        text[place] = '\xFF';
        assert_false(utf8_is_valid(text, sizeof text));
        assert_true(utf8_is_valid(text, place));
    }
}

static void utf8_beginning_ends_where_a_character_does(void **state) {
    (void)state;
    static const char text[] = "ab\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z"; /* ends at 1 2 4 7 11 12 */
    static const size_t ends[] = {4, 4, 4, 7, 7, 7, 7, 11, 12, 12};
    for (size_t length_max = 4; length_max < 4 + sizeof(ends) / sizeof(ends[0]); length_max++)
        assert_int_equal(utf8_beginning(text, 12, length_max), ends[length_max - 4]);
    assert_int_equal(utf8_beginning("", 0, 4), 0);
    /* What is no character may be cut anywhere, but where the cut would make two of what is one to a decoder.
     */
    assert_int_equal(utf8_beginning("\x80\x80\x80\x80\x80\x80", 6, 4), 4);
    assert_int_equal(utf8_beginning("ab\xE2\x82xyz", 7, 4), 4);
    assert_int_equal(utf8_beginning("abc\xE2\x82xyz", 8, 4), 3);
}

#define HALF_ONE "\xED\xA0\xBD"
#define HALF_TWO "\xED\xB8\x80"

#define ASSERT_JOINED(text, expected)                                                                        \
    do {                                                                                                     \
        char bytes[] = text;                                                                                 \
        assert_int_equal(utf8_join_halves(bytes, sizeof bytes - 1), sizeof expected - 1);                    \
        assert_memory_equal(bytes, expected, sizeof expected - 1);                                           \
    } while (0)

static void utf8_joins_halves_and_replaces_those_that_are_alone(void **state) {
    (void)state;
    ASSERT_JOINED("", "");
    ASSERT_JOINED("a" HALF_ONE HALF_TWO "z", "a\xF0\x9F\x98\x80z");
    ASSERT_JOINED(HALF_ONE HALF_TWO HALF_ONE HALF_TWO, "\xF0\x9F\x98\x80\xF0\x9F\x98\x80");
    ASSERT_JOINED(HALF_ONE "z", REPLACEMENT "z");
    ASSERT_JOINED(HALF_TWO HALF_ONE, REPLACEMENT REPLACEMENT);
    ASSERT_JOINED(HALF_ONE HALF_ONE HALF_TWO HALF_TWO, REPLACEMENT "\xF0\x9F\x98\x80" REPLACEMENT);
    ASSERT_JOINED("\xED\xA0\x80\xED\xB0\x80 \xED\xAF\xBF\xED\xBF\xBF", "\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF");
    ASSERT_JOINED("\xED\x9F\xBF\xED\x80\x80", "\xED\x9F\xBF\xED\x80\x80"); /* characters */
    ASSERT_JOINED("x\xED\xA0", "x\xED\xA0");                               /* not even half a one */
    assert_true(utf8_ends_with_half("a" HALF_ONE, 4));
    assert_false(utf8_ends_with_half("a" HALF_TWO, 4));
    assert_false(utf8_ends_with_half(HALF_ONE "a", 4));
    assert_false(utf8_ends_with_half(HALF_ONE, 2));
    assert_false(utf8_ends_with_half("\xED\x9F\xBF", 3));
}

static void utf8_says_when_the_buffer_is_full(void **state) {
    (void)state;
    struct buffer out;
    buffer_init(&out, 4);
    assert_false(utf8_append_replaced(&out, "ab\xFF", 3));
    buffer_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_takes_every_well_formed_sequence_as_it_is),
        cmocka_unit_test(utf8_replaces_each_maximal_part_once),
        cmocka_unit_test(utf8_replaces_a_sequence_cut_by_the_end_once),
        cmocka_unit_test(utf8_agrees_with_the_standards_algorithm),
        cmocka_unit_test(utf8_finds_a_bad_byte_at_any_place_of_a_long_text),
        cmocka_unit_test(utf8_beginning_ends_where_a_character_does),
        cmocka_unit_test(utf8_joins_halves_and_replaces_those_that_are_alone),
        cmocka_unit_test(utf8_says_when_the_buffer_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
