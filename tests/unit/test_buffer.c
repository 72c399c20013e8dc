/* base/buffer: it grows up to its maximum and never loses what it held. */
#include "base/buffer.h"
#include "tests/support/unit_memory.h"

#include <stdlib.h>

static void buffer_holds_what_was_appended_and_a_nul_behind_it(void **state) {
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100);
    assert_true(buffer_append(&buffer, "a\0b", 3));
    assert_true(buffer_append_text(&buffer, "cd"));
    assert_true(buffer_printf(&buffer, "%d", 42));
    assert_true(buffer_append(&buffer, NULL, 0));
    assert_int_equal(buffer.length, 7);
    assert_memory_equal(buffer.bytes, "a\0bcd42", 8);
    buffer_finish(&buffer);
}

static void buffer_takes_its_maximum_and_not_a_byte_more(void **state) {
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 200);
    for (int i = 0; i < 200; i++)
        assert_true(buffer_append(&buffer, "x", 1));
    assert_false(buffer_append(&buffer, "y", 1));
    assert_false(buffer_printf(&buffer, "%s", "y"));
    assert_false(buffer_reserve(&buffer, SIZE_MAX));
    assert_true(buffer_append(&buffer, "", 0));
    assert_int_equal(buffer.length, 200);
    assert_int_equal(strlen(buffer.bytes), 200);
    buffer_finish(&buffer);
}

static void buffer_is_unchanged_by_what_does_not_fit(void **state) {
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 5);
    assert_true(buffer_append_text(&buffer, "abc"));
    assert_false(buffer_append_text(&buffer, "def"));
    assert_false(buffer_printf(&buffer, "%d", 100));
    assert_string_equal(buffer.bytes, "abc");
    assert_true(buffer_append_text(&buffer, "de"));
    assert_string_equal(buffer.bytes, "abcde");
    buffer_finish(&buffer);
}

static void buffer_consumes_from_the_front(void **state) {
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100);
    buffer_consume(&buffer, 0);
    assert_true(buffer_append_text(&buffer, "abcdef"));
    buffer_consume(&buffer, 2);
    assert_string_equal(buffer.bytes, "cdef");
    buffer_consume(&buffer, 4);
    assert_int_equal(buffer.length, 0);
    assert_string_equal(buffer.bytes, "");
    buffer_finish(&buffer);
}

static void buffer_hands_over_its_bytes_and_begins_anew(void **state) {
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100);
    char *empty = buffer_detach(&buffer);
    assert_string_equal(empty, "");
    free(empty);
    assert_true(buffer_append_text(&buffer, "abc"));
    char *bytes = buffer_detach(&buffer);
    assert_string_equal(bytes, "abc");
    free(bytes);
    assert_int_equal(buffer.length, 0);
    assert_null(buffer.bytes);
    assert_true(buffer_append_text(&buffer, "d"));
    buffer_clear(&buffer);
    assert_string_equal(buffer.bytes, "");
    buffer_finish(&buffer);
}

static void buffer_in_storage_of_its_caller_stays_there(void **state) {
    (void)state;
    char storage[6] = "......";
    struct buffer buffer;
    buffer_init_fixed(&buffer, storage, sizeof(storage));
    assert_string_equal(buffer.bytes, "");
    assert_true(buffer_append_text(&buffer, "abc"));
    assert_false(buffer_printf(&buffer, "%d", 100));
    assert_true(buffer_printf(&buffer, "%d", 10));
    assert_false(buffer_append_text(&buffer, "x"));
    assert_ptr_equal(buffer.bytes, storage);
    assert_string_equal(storage, "abc10");
}

static void buffer_charges_its_memory_for_as_long_as_it_has_it(void **state) {
    (void)state;
    struct buffer buffer;
    buffer_init_counted(&buffer, 100000, MEMORY_BODIES);
    assert_int_equal(memory_used(MEMORY_BODIES), 0);
    for (int i = 0; i < 50000; i++) {
        assert_true(buffer_append(&buffer, "x", 1));
        assert_int_equal(memory_used(MEMORY_BODIES), memory_block(buffer.capacity));
    }
    buffer_clear(&buffer);
    assert_int_equal(memory_used(MEMORY_BODIES), memory_block(buffer.capacity));
    buffer_finish(&buffer);
    assert_int_equal(memory_used(MEMORY_BODIES), 0);
    assert_true(buffer_append_text(&buffer, "again")); /* it is of the same kind still */
    assert_int_equal(memory_used(MEMORY_BODIES), memory_block(buffer.capacity));
    char *bytes = buffer_detach(&buffer);
    assert_string_equal(bytes, "again");
    assert_int_equal(memory_used(MEMORY_BODIES), 0);
    free(bytes);
    assert_false(buffer_append(&buffer, "", 100001));
    assert_int_equal(memory_used(MEMORY_BODIES), 0);
}

static void buffer_that_is_counted_does_not_grow_while_nothing_may(void **state) {
    (void)state;
    struct buffer body, answer, plain;
    char bytes[20000] = "";
    buffer_init_counted(&body, 100000, MEMORY_BODIES);
    buffer_init_counted(&answer, 100000, MEMORY_ANSWERS);
    buffer_init(&plain, 100000);
    assert_int_equal(unit_memory_at(18), MEMORY_OVER);
    assert_true(buffer_append(&body, bytes, 10000));
    assert_false(buffer_append(&body, bytes, sizeof(bytes)));
    assert_int_equal(body.length, 10000);
    assert_true(buffer_append(&answer, bytes, sizeof(bytes))); /* it says that there is none */
    assert_true(buffer_append(&plain, bytes, sizeof(bytes)));
    unit_memory_at(0);
    assert_true(buffer_append(&body, bytes, sizeof(bytes)));
    buffer_finish(&body);
    buffer_finish(&answer);
    buffer_finish(&plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_that_is_counted_does_not_grow_while_nothing_may),
        cmocka_unit_test(buffer_charges_its_memory_for_as_long_as_it_has_it),
        cmocka_unit_test(buffer_holds_what_was_appended_and_a_nul_behind_it),
        cmocka_unit_test(buffer_takes_its_maximum_and_not_a_byte_more),
        cmocka_unit_test(buffer_is_unchanged_by_what_does_not_fit),
        cmocka_unit_test(buffer_consumes_from_the_front),
        cmocka_unit_test(buffer_hands_over_its_bytes_and_begins_anew),
        cmocka_unit_test(buffer_in_storage_of_its_caller_stays_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
