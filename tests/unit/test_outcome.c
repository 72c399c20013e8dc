/* upstream/outcome: what each end of an attempt brings about, and that the documents show the same table.
 *
 *   build/tests/unit/test_outcome --print    prints the table for docs/internals/call.md
 */
#include "upstream/outcome.h"

#include "base/buffer.h"
#include "broadcaster/task.h"
#include "tests/support/unit.h"

#include <ctype.h>

#define DOCUMENT "docs/internals/call.md"

static const struct outcome *row_of(enum upstream_end end, int http_status) {
    const struct upstream_result result = {.end = end, .http_status = http_status, .message = ""};
    const struct outcome *row = outcome_of(&result);
    assert_int_equal(row->end, end);
    assert_true(http_status >= row->status_min && http_status <= row->status_max);
    return row;
}

/* ---- the rules ----------------------------------------------------------------------------------- */

static void outcome_is_known_of_every_end_and_status(void **state) {
    (void)state;
    for (int end = 0; end < UPSTREAM_END_COUNT; end++) {
        for (int status = 0; status <= 999; status++)
            row_of((enum upstream_end)end, status);
    }
}

static void outcome_is_retried_if_the_failure_may_pass(void **state) {
    (void)state;
    assert_int_equal(row_of(UPSTREAM_CONNECT, 0)->retry, OUTCOME_RETRY);
    assert_int_equal(row_of(UPSTREAM_NO_DESCRIPTOR, 0)->retry, OUTCOME_RETRY);
    for (int status = 0; status <= 999; status++) {
        bool may_pass = status == 429 || (status >= 502 && status <= 504);
        assert_int_equal(row_of(UPSTREAM_STATUS, status)->retry, may_pass ? OUTCOME_RETRY : OUTCOME_NO_RETRY);
        assert_int_equal(row_of(UPSTREAM_STATUS, status)->resumes, may_pass);
    }
    for (int end = 0; end < UPSTREAM_END_COUNT; end++) {
        bool may_pass = end == UPSTREAM_CONNECT || end == UPSTREAM_NO_DESCRIPTOR || end == UPSTREAM_STATUS;
        assert_int_equal(row_of((enum upstream_end)end, 503)->retry == OUTCOME_RETRY, may_pass);
    }
}

/* What may have reached the agent is sent again only if a setting says so. */
static void outcome_is_resent_only_by_a_setting(void **state) {
    (void)state;
    assert_int_equal(row_of(UPSTREAM_TRUNCATED, 0)->retry, OUTCOME_RETRY_RESEND);
    assert_int_equal(row_of(UPSTREAM_IDLE, 0)->retry, OUTCOME_RETRY_RESEND);
    assert_int_equal(row_of(UPSTREAM_ERROR, 200)->retry, OUTCOME_RETRY_STREAM_ERRORS);
}

static void outcome_counts_for_the_breaker_what_the_upstream_could_not_do(void **state) {
    (void)state;
    for (int status = 0; status <= 999; status++) {
        enum breaker_outcome expected = status >= 500 ? BREAKER_FAILURE : BREAKER_SUCCESS;
        assert_int_equal(row_of(UPSTREAM_STATUS, status)->breaker,
                         status == 429 ? BREAKER_NEITHER : expected);
        assert_int_equal(row_of(UPSTREAM_STATUS, status)->is_overload, status == 429 || status == 503);
        assert_int_equal(row_of(UPSTREAM_STATUS, status)->falls_back, status == 429 || status >= 500);
    }
    struct upstream_result unsettled = {.end = UPSTREAM_ERROR, .message = "", .is_unsettled = true};
    assert_int_equal(outcome_for_breaker(&unsettled), BREAKER_NEITHER);
    unsettled.is_unsettled = false;
    assert_int_equal(outcome_for_breaker(&unsettled), BREAKER_FAILURE);
}

/* ---- the document -------------------------------------------------------------------------------- */

#define NAME_OF(end, reason) [UPSTREAM_##end] = #end,
#define REASON_OF(end, reason) [UPSTREAM_##end] = REASON_##reason,
static const char *const names[] = {UPSTREAM_ENDS(NAME_OF)};
static const enum task_reason reasons[] = {UPSTREAM_ENDS(REASON_OF)};

static const char *const breaker_words[] = {
    [BREAKER_SUCCESS] = "success", [BREAKER_FAILURE] = "failure", [BREAKER_NEITHER] = "not counted"};
static const char *const retry_words[] = {[OUTCOME_NO_RETRY] = "no",
                                          [OUTCOME_RETRY] = "yes",
                                          [OUTCOME_RETRY_STREAM_ERRORS] = "`retry_stream_errors`",
                                          [OUTCOME_RETRY_RESEND] = "`upstream_resend`"};

static void write_status(const struct outcome *row, char text[16]) {
    if (row->status_min == 0)
        strcpy(text, "any");
    else if (row->status_max == 999)
        snprintf(text, 16, "%d up", row->status_min);
    else if (row->status_min == row->status_max)
        snprintf(text, 16, "%d", row->status_min);
    else
        snprintf(text, 16, "%d to %d", row->status_min, row->status_max);
}

static void write_row(struct buffer *out, const struct outcome *row) {
    char name[32] = "", status[16];
    const char *reason = task_reason_name(reasons[row->end]);
    for (size_t i = 0; names[row->end][i] != '\0'; i++)
        name[i] = names[row->end][i] == '_' ? ' ' : (char)tolower(names[row->end][i]);
    write_status(row, status);
    assert_true(buffer_printf(
        out, "| %s | %s | %s%s%s | %s | %s | %s | %s | %s |\n", name, status, reason != NULL ? "`" : "",
        reason != NULL ? reason : "none", reason != NULL ? "`" : "", breaker_words[row->breaker],
        row->is_overload                                                    ? "overloaded"
        : row->breaker == BREAKER_SUCCESS && row->end == UPSTREAM_COMPLETED ? "good"
                                                                            : "neither",
        retry_words[row->retry], row->falls_back ? "yes" : "no", row->resumes ? "yes" : "no"));
}

static void write_table(struct buffer *out) {
    assert_true(buffer_append_text(
        out, "| end | status | reason | breaker | limiter | same upstream again | next upstream | resumed |\n"
             "|---|---|---|---|---|---|---|---|\n"));
    for (size_t i = 0; i < outcomes_count; i++)
        write_row(out, &outcomes[i]);
}

static void outcome_table_stands_in_the_documents(void **state) {
    (void)state;
    static char document[64 * 1024];
    struct buffer table;
    FILE *file = fopen(DOCUMENT, "rb");
    assert_non_null(file); /* the tests run in the project's directory */
    size_t length = fread(document, 1, sizeof(document) - 1, file);
    assert_true(length > 0 && length < sizeof(document) - 1);
    fclose(file);
    buffer_init(&table, 16 * 1024);
    write_table(&table);
    assert_true(buffer_append(&table, "", 1));
    assert_non_null(strstr(document, table.bytes)); /* else --print shows what should stand there */
    buffer_finish(&table);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcome_is_known_of_every_end_and_status),
        cmocka_unit_test(outcome_is_retried_if_the_failure_may_pass),
        cmocka_unit_test(outcome_is_resent_only_by_a_setting),
        cmocka_unit_test(outcome_counts_for_the_breaker_what_the_upstream_could_not_do),
        cmocka_unit_test(outcome_table_stands_in_the_documents),
    };
    if (argc > 1 && strcmp(argv[1], "--print") == 0) {
        struct buffer table;
        buffer_init(&table, 16 * 1024);
        write_table(&table);
        printf("%.*s", (int)table.length, table.bytes);
        buffer_finish(&table);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
