/* base/random_id: digits that nobody can guess. */
#include "base/random_id.h"

#include "tests/support/unit.h"

#include <string.h>

static void id_is_of_hexadecimal_digits_and_exactly_as_long_as_asked(void **state) {
    (void)state;
    for (size_t length = 2; length <= RANDOM_ID_MAX; length += 2) {
        char out[RANDOM_ID_MAX + 3];
        memset(out, '#', sizeof(out));
        assert_true(random_id(out, length));
        assert_int_equal(strspn(out, "0123456789abcdef"), length);
        assert_int_equal(strlen(out), length);
        assert_int_equal(out[length + 1], '#');
    }
}

static void ids_differ_and_use_every_digit(void **state) {
    (void)state;
    char last[RANDOM_ID_MAX + 1] = "";
    bool is_seen[256] = {false};
    int seen = 0;
    for (int i = 0; i < 200; i++) {
        char out[RANDOM_ID_MAX + 1];
        assert_true(random_id(out, RANDOM_ID_MAX));
        assert_string_not_equal(out, last);
        for (const char *c = out; *c != '\0'; c++) {
            seen += !is_seen[(unsigned char)*c];
            is_seen[(unsigned char)*c] = true;
        }
        memcpy(last, out, sizeof(last));
    }
    assert_int_equal(seen, 16);
}

static void id_is_never_of_zeros_alone(void **state) {
    (void)state;
    for (int i = 0; i < 20000; i++) { /* one in 256 is drawn as two zeros */
        char out[3];
        assert_true(random_id(out, 2));
        assert_string_not_equal(out, "00");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(id_is_of_hexadecimal_digits_and_exactly_as_long_as_asked),
        cmocka_unit_test(ids_differ_and_use_every_digit),
        cmocka_unit_test(id_is_never_of_zeros_alone),
    };
    return cmocka_run_group_tests_name("random_id", tests, NULL, NULL);
}
