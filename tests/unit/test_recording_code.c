/* upstream/recording_code: what was written is read again, and nothing else is. */
#include "upstream/recording_code.h"

#include "tests/support/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BYTES_MAX (64 * 1024)
#define EXPIRES INT64_C(1700000123456)
#define HEAD_LENGTH (7 + 1 + 8 + ADAPTER_WORD_SIZE + 4 + 3 * 8 + 4)

static void on_more(struct recording_reader *reader) {
    (void)reader;
}

static void append(struct recording *recording, const char *type, const char *data, size_t length,
                   int64_t at_ms) {
    const struct sse_event event = {
        .type = type, .type_length = strlen(type), .data = data, .data_length = length, .last_event_id = ""};
    assert_true(recording_append_event(recording, &event, at_ms));
}

static struct recording *make_recording(void) {
    const struct upstream_retry retry = {.attempt = 2, .failure = {.message = ""}};
    struct recording *recording = recording_create(BYTES_MAX);
    assert_non_null(recording);
    assert_true(recording_append_retry(recording, &retry)); /* neither this */
    assert_true(recording_append_sent(recording));          /* nor this is for others */
    append(recording, "message", TEXT_AND_LENGTH("one\ntwo"), 3);
    append(recording, "t\xc3\xa4g", TEXT_AND_LENGTH(""), 3);
    append(recording, "message", TEXT_AND_LENGTH("a\0b \xe2\x82\xac"), 5000);
    const struct upstream_result result = {.end = UPSTREAM_COMPLETED, .message = ""};
    recording_end(recording, &result);
    return recording;
}

static void encode(struct buffer *out) {
    struct recording *recording = make_recording();
    buffer_init(out, recording_code_bytes_max(recording_bytes(recording)));
    assert_true(recording_encode(recording, EXPIRES, out));
    recording_unref(recording);
}

/* What it is taken for; a recording that it gives is thrown away. From memory of exactly that size. */
static int decode(const char *bytes, size_t length) {
    struct recording *recording = NULL;
    struct upstream_outcome said;
    int64_t expires_unix_ms;
    char *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    int result = recording_decode(copy, length, BYTES_MAX, &recording, &said, &expires_unix_ms);
    assert_true((result == 0) == (recording != NULL));
    recording_unref(recording);
    free(copy);
    return result;
}

static void check_event(const struct recording_entry *entry, const char *type, const char *data,
                        size_t length, int64_t at_ms) {
    assert_int_equal(entry->kind, RECORDING_EVENT);
    assert_int_equal(entry->event.type_length, strlen(type));
    assert_memory_equal(entry->event.type, type, strlen(type));
    assert_int_equal(entry->event.data_length, length);
    assert_memory_equal(entry->event.data, data, length);
    assert_int_equal(entry->at_ms, at_ms);
}

static void events_are_read_as_they_were_written(void **state) {
    (void)state;
    struct buffer bytes;
    struct recording *recording;
    struct recording_reader reader = {.on_more = on_more};
    struct recording_batch batch;
    struct upstream_outcome said;
    int64_t expires_unix_ms;
    bool has_room;
    encode(&bytes);
    assert_int_equal(
        recording_decode(bytes.bytes, bytes.length, BYTES_MAX, &recording, &said, &expires_unix_ms), 0);
    assert_int_equal(expires_unix_ms, EXPIRES);
    assert_true(recording_join(recording, &reader));
    recording_read(&reader, &batch);
    assert_int_equal(batch.count, 3);
    check_event(batch.entries[0], "message", TEXT_AND_LENGTH("one\ntwo"), 3);
    check_event(batch.entries[1], "t\xc3\xa4g", TEXT_AND_LENGTH(""), 3);
    check_event(batch.entries[2], "message", TEXT_AND_LENGTH("a\0b \xe2\x82\xac"), 5000);
    assert_false(recording_leave(&reader, &has_room));
    recording_unref(recording);
    buffer_finish(&bytes);
}

static void an_empty_recording_is_one_too(void **state) {
    (void)state;
    const struct upstream_result result = {.end = UPSTREAM_COMPLETED, .message = ""};
    struct recording *recording = recording_create(BYTES_MAX);
    struct buffer bytes;
    buffer_init(&bytes, recording_code_bytes_max(0));
    recording_end(recording, &result);
    assert_true(recording_encode(recording, EXPIRES, &bytes));
    assert_int_equal(bytes.length, HEAD_LENGTH);
    assert_int_equal(decode(bytes.bytes, bytes.length), 0);
    buffer_finish(&bytes);
    recording_unref(recording);
}

static void a_part_of_it_is_none(void **state) {
    (void)state;
    struct buffer bytes;
    encode(&bytes);
    for (size_t length = 0; length < bytes.length; length++)
        assert_int_equal(decode(bytes.bytes, length), -EBADMSG);
    char *longer = calloc(1, bytes.length + 1);
    assert_non_null(longer);
    memcpy(longer, bytes.bytes, bytes.length);
    assert_int_equal(decode(longer, bytes.length + 1), -EBADMSG);
    free(longer);
    buffer_finish(&bytes);
}

static void another_version_is_none(void **state) {
    (void)state;
    struct buffer bytes;
    encode(&bytes);
    bytes.bytes[7]++;
    assert_int_equal(decode(bytes.bytes, bytes.length), -EPROTONOSUPPORT);
    bytes.bytes[7]--;
    bytes.bytes[0]++;
    assert_int_equal(decode(bytes.bytes, bytes.length), -EBADMSG);
    buffer_finish(&bytes);
}

/* Whatever byte is changed to whatever value, it is read safely; memory checkers look on. */
static void any_byte_may_be_wrong(void **state) {
    (void)state;
    struct buffer bytes;
    size_t refused = 0;
    encode(&bytes);
    for (size_t at = 0; at < bytes.length; at++) {
        for (int value = 0; value < 256; value += 15) {
            char before = bytes.bytes[at];
            bytes.bytes[at] = (char)value;
            refused += decode(bytes.bytes, bytes.length) < 0;
            bytes.bytes[at] = before;
        }
    }
    assert_true(refused > bytes.length);
    buffer_finish(&bytes);
}

static void garbage_is_none(void **state) {
    (void)state;
    unsigned seed = 7;
    char bytes[200];
    for (int i = 0; i < 20000; i++) {
        size_t length = (size_t)i % sizeof(bytes);
        for (size_t k = 0; k < length; k++)
            bytes[k] = (char)((seed = seed * 1103515245u + 12345u) >> 16);
        if (length >= 8 && i % 2 == 0)
            memcpy(bytes, "sluicer\1", 8);
        assert_true(decode(bytes, length) < 0);
    }
}

/* One event behind a proper head. */
static int decode_event(const char *type, size_t type_length, const char *data, size_t data_length,
                        int64_t at_ms) {
    struct buffer bytes;
    uint32_t lengths[] = {(uint32_t)type_length, (uint32_t)data_length};
    buffer_init(&bytes, 1 << 20);
    static const char head[HEAD_LENGTH] = {'s', 'l', 'u', 'i', 'c', 'e', 'r', 2, [HEAD_LENGTH - 4] = 1};
    assert_true(buffer_append(&bytes, head, HEAD_LENGTH));
    assert_true(buffer_append(&bytes, &at_ms, 8) && buffer_append(&bytes, lengths, 8));
    assert_true(buffer_append(&bytes, type, type_length) && buffer_append(&bytes, data, data_length));
    int result = decode(bytes.bytes, bytes.length);
    buffer_finish(&bytes);
    return result;
}

static void an_event_that_no_stream_could_have_brought_is_none(void **state) {
    (void)state;
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t"), TEXT_AND_LENGTH("a\nb"), 0), 0);
    assert_int_equal(decode_event(TEXT_AND_LENGTH(""), TEXT_AND_LENGTH("a"), 0), -EBADMSG);
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t\nid: 1"), TEXT_AND_LENGTH("a"), 0), -EBADMSG);
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t\rid: 1"), TEXT_AND_LENGTH("a"), 0), -EBADMSG);
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t"), TEXT_AND_LENGTH("a\rid: 1"), 0), -EBADMSG);
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t\xff"), TEXT_AND_LENGTH("a"), 0), -EBADMSG);
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t"), TEXT_AND_LENGTH("\xc3"), 0), -EBADMSG);
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t"), TEXT_AND_LENGTH("a"), -1), -EBADMSG);
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t"), TEXT_AND_LENGTH("a"), INT64_MAX), -EBADMSG);
}

static void an_event_that_is_mostly_line_ends_is_none(void **state) {
    (void)state;
    char lines[10000];
    memset(lines, '\n', sizeof(lines));
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t"), lines, sizeof(lines), 0), -EBADMSG);
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t"), lines, 600, 0), 0);
    for (size_t i = 0; i < sizeof(lines); i += 2)
        lines[i] = 'x';
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t"), lines, sizeof(lines), 0), 0);
}

static void too_much_of_it_is_refused(void **state) {
    (void)state;
    char *large = malloc(BYTES_MAX);
    assert_non_null(large);
    memset(large, 'x', BYTES_MAX);
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t"), large, BYTES_MAX, 0), -EMSGSIZE);
    assert_int_equal(decode_event(TEXT_AND_LENGTH("t"), large, BYTES_MAX / 2, 0), 0);
    free(large);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_read_as_they_were_written),
        cmocka_unit_test(an_empty_recording_is_one_too),
        cmocka_unit_test(a_part_of_it_is_none),
        cmocka_unit_test(another_version_is_none),
        cmocka_unit_test(any_byte_may_be_wrong),
        cmocka_unit_test(garbage_is_none),
        cmocka_unit_test(an_event_that_no_stream_could_have_brought_is_none),
        cmocka_unit_test(an_event_that_is_mostly_line_ends_is_none),
        cmocka_unit_test(too_much_of_it_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
