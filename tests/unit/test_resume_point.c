/* upstream/resume_point: what comes again is skipped, and nothing else. */
#include "upstream/resume_point.h"

#include "tests/support/unit.h"

static enum resume_verdict take_data(struct resume_point *point, const char *id, const char *data) {
    const struct sse_event event = {.type = "message",
                                    .type_length = 7,
                                    .data = data,
                                    .data_length = strlen(data),
                                    .last_event_id = id,
                                    .last_event_id_length = strlen(id)};
    return resume_point_take(point, &event);
}

static enum resume_verdict take(struct resume_point *point, const char *id) {
    return take_data(point, id, "");
}

/* Each digit is an event that brings this id, each letter the data of one that brings none. */
static void check_each(struct resume_point *point, const char *events, const char *verdicts) {
    char id[2] = "", data[2] = "";
    assert_int_equal(strlen(events), strlen(verdicts));
    for (; *events != '\0'; events++, verdicts++) {
        data[0] = *events;
        if (*events >= '0' && *events <= '9')
            id[0] = *events;
        static const char names[] = {[RESUME_NEW] = 'n', [RESUME_REPEATED] = 'r', [RESUME_ANEW] = 'a'};
        assert_int_equal(names[take_data(point, id, data)], *verdicts);
    }
}

/* The verdicts on `after` when the stream has broken off behind `before`. */
static void check_resumed(const char *before, const char *after, const char *verdicts) {
    static const char all_new[] = "nnnnnnnn";
    struct resume_point point;
    resume_point_init(&point);
    check_each(&point, before, all_new + strlen(all_new) - strlen(before));
    resume_point_begin(&point);
    check_each(&point, after, verdicts);
    resume_point_finish(&point);
}

static void resume_point_is_where_the_last_id_was(void **state) {
    (void)state;
    struct resume_point point;
    char long_id[RESUME_ID_BYTES_MAX + 2] = "";
    memset(long_id, 'x', sizeof long_id - 1);
    resume_point_init(&point);
    assert_null(resume_point_id(&point));
    assert_int_equal(take(&point, ""), RESUME_NEW);
    assert_null(resume_point_id(&point));
    assert_int_equal(take(&point, "1"), RESUME_NEW);
    assert_int_equal(take(&point, "2"), RESUME_NEW);
    assert_string_equal(resume_point_id(&point), "2");
    assert_int_equal(take(&point, long_id), RESUME_NEW); /* no header takes it */
    assert_null(resume_point_id(&point));
    assert_int_equal(take(&point, "3"), RESUME_NEW);
    assert_int_equal(take(&point, ""), RESUME_NEW); /* the stream took its id back */
    assert_null(resume_point_id(&point));
    resume_point_finish(&point);
}

static void resume_point_skips_what_came_again_and_nothing_else(void **state) {
    (void)state;
    struct resume_point point;
    resume_point_init(&point);
    assert_int_equal(take(&point, "7"), RESUME_NEW); /* A */
    assert_int_equal(take(&point, "7"), RESUME_NEW); /* B, without an id of its own */
    resume_point_begin(&point);
    assert_int_equal(take(&point, ""), RESUME_REPEATED); /* B */
    resume_point_begin(&point);                          /* it broke off again */
    assert_int_equal(take(&point, ""), RESUME_REPEATED); /* B */
    assert_int_equal(take(&point, ""), RESUME_NEW);      /* C */
    resume_point_begin(&point);
    assert_int_equal(take(&point, "7"),
                     RESUME_REPEATED); /* A: this one begins with the event that has the id */
    assert_int_equal(take(&point, "7"), RESUME_REPEATED); /* B */
    assert_int_equal(take(&point, "7"), RESUME_REPEATED); /* C */
    assert_int_equal(take(&point, "7"), RESUME_NEW);      /* D */
    resume_point_begin(&point);
    assert_int_equal(take(&point, "8"), RESUME_NEW);
    assert_string_equal(resume_point_id(&point), "8");
    assert_int_equal(take(&point, "8"), RESUME_NEW);
    resume_point_finish(&point);
}

static void resume_point_knows_an_upstream_that_begins_anew(void **state) {
    (void)state;
    struct resume_point point;
    resume_point_init(&point);
    assert_int_equal(take(&point, ""), RESUME_NEW);
    assert_int_equal(take(&point, "1"), RESUME_NEW);
    resume_point_begin(&point);
    assert_int_equal(take(&point, "1"), RESUME_REPEATED); /* that may be either */
    assert_int_equal(take(&point, "2"), RESUME_NEW);
    assert_int_equal(take(&point, "1"), RESUME_NEW); /* it was not asked to go on here */
    assert_int_equal(take(&point, "2"), RESUME_NEW);
    resume_point_begin(&point);
    assert_int_equal(take(&point, "1"), RESUME_ANEW);
    assert_null(resume_point_id(&point));
    resume_point_finish(&point);
}

static void resume_point_knows_one_that_begins_anew_without_an_id(void **state) {
    (void)state;
    check_resumed("X12", "X1", "ra");
    check_resumed("XYZ12", "XYZ1", "rrra");
    check_resumed("XY12c", "XY1", "rra"); /* X is taken for c */
    check_resumed("X1", "X1", "ra");
    check_resumed("X1c", "X1", "ra");
    check_resumed("X12", "Z1", "na"); /* it begins with another word each time */
    check_resumed("12", "Z1", "na");
}

static void resume_point_skips_a_greeting_that_comes_with_each_answer(void **state) {
    (void)state;
    check_resumed("X12", "X3", "rn");
    check_resumed("XY12", "XYcd3", "rrnnn");
    check_resumed("X12", "XX3", "rnn");
}

static void resume_point_takes_no_other_event_for_the_greeting(void **state) {
    (void)state;
    check_resumed("X12", "c3", "nn");
    check_resumed("X12", "cX3", "nnn");
    check_resumed("XY12", "Y3", "nn");
    check_resumed("X1Xc", "Xcd", "rrn"); /* counted as those behind the id */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resume_point_is_where_the_last_id_was),
        cmocka_unit_test(resume_point_skips_what_came_again_and_nothing_else),
        cmocka_unit_test(resume_point_knows_an_upstream_that_begins_anew),
        cmocka_unit_test(resume_point_knows_one_that_begins_anew_without_an_id),
        cmocka_unit_test(resume_point_skips_a_greeting_that_comes_with_each_answer),
        cmocka_unit_test(resume_point_takes_no_other_event_for_the_greeting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
