/* Recordings as bytes: see recording_code.h. Numbers are little-endian.
 *
 *     "sluicer" version:1 | expires_unix_ms:8
 *     | finish_reason:64 usage_is_known:4 input_tokens:8 output_tokens:8 total_tokens:8
 *     | count:4 | for each event: at_ms:8 type_length:4 data_length:4 type data
 *
 * The finish_reason is filled up with NUL.
 */
#include "upstream/recording_code.h"

#include "base/utf8.h"
#include "upstream/sse_parser.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#define VERSION 2
#define MAGIC "sluicer"
#define MAGIC_LENGTH (sizeof(MAGIC) - 1)
#define OUTCOME_LENGTH (ADAPTER_WORD_SIZE + 4 + 3 * 8)
#define HEAD_LENGTH (MAGIC_LENGTH + 1 + 8 + OUTCOME_LENGTH + 4)
#define EVENT_HEAD_LENGTH (8 + 4 + 4)

/* No replay is paced for longer than any run may take. */
#define AT_MS_MAX (INT64_C(24) * 3600 * 1000)

size_t recording_code_bytes_max(size_t bytes) {
    static_assert(sizeof(struct recording_entry) >= EVENT_HEAD_LENGTH,
                  "an entry must take at least as much memory as its encoded head");
    return HEAD_LENGTH + bytes;
}

/* ---- to bytes ------------------------------------------------------------------------------------ */

static bool put_32(struct buffer *out, uint32_t number) {
    number = htole32(number);
    return buffer_append(out, &number, sizeof(number));
}

static bool put_64(struct buffer *out, int64_t number) {
    uint64_t bits = htole64((uint64_t)number);
    return buffer_append(out, &bits, sizeof(bits));
}

static bool put_event(struct buffer *out, const struct recording_entry *entry) {
    const struct sse_event *event = &entry->event;
    return event->type_length <= UINT32_MAX && event->data_length <= UINT32_MAX &&
           put_64(out, entry->at_ms) && put_32(out, (uint32_t)event->type_length) &&
           put_32(out, (uint32_t)event->data_length) && buffer_append(out, event->type, event->type_length) &&
           buffer_append(out, event->data, event->data_length);
}

static bool put_outcome(struct buffer *out, const struct upstream_outcome *outcome) {
    char reason[ADAPTER_WORD_SIZE] = {0};
    memcpy(reason, outcome->finish_reason, strlen(outcome->finish_reason));
    return buffer_append(out, reason, sizeof(reason)) && put_32(out, outcome->usage.is_known) &&
           put_64(out, (int64_t)outcome->usage.input_tokens) &&
           put_64(out, (int64_t)outcome->usage.output_tokens) &&
           put_64(out, (int64_t)outcome->usage.total_tokens);
}

static void ignore_more(struct recording_reader *reader) {
    (void)reader;
}

/** Appends all events. Their number, or -1. */
static int64_t put_events(struct buffer *out, struct recording_reader *reader) {
    struct recording_batch batch;
    int64_t count = 0;
    do {
        recording_read(reader, &batch);
        for (size_t i = 0; i < batch.count; i++) {
            if (batch.entries[i]->kind != RECORDING_EVENT)
                continue;
            if (count == UINT32_MAX || !put_event(out, batch.entries[i]))
                return -1;
            count++;
        }
    } while (batch.count > 0);
    return count;
}

bool recording_encode(struct recording *recording, int64_t expires_unix_ms, struct buffer *out) {
    struct recording_reader reader = {.on_more = ignore_more};
    uint8_t version = VERSION;
    bool has_room;
    if (!buffer_append(out, MAGIC, MAGIC_LENGTH) || !buffer_append(out, &version, 1) ||
        !put_64(out, expires_unix_ms) || !put_outcome(out, recording_result(recording)->outcome) ||
        !put_32(out, 0) || !recording_join(recording, &reader))
        return false;
    size_t count_at = out->length - sizeof(uint32_t);
    int64_t count = put_events(out, &reader);
    bool told = recording_leave(&reader, &has_room);
    (void)told; /* it has ended: nobody posts */
    uint32_t count_bits = htole32((uint32_t)count);
    if (count >= 0)
        memcpy(out->bytes + count_at, &count_bits, sizeof(count_bits));
    return count >= 0;
}

/* ---- from bytes ---------------------------------------------------------------------------------- */

struct source {
    const char *at;
    size_t left;
};

static const char *take_bytes(struct source *source, size_t length) {
    const char *at = source->at;
    if (length > source->left)
        return NULL;
    source->at += length;
    source->left -= length;
    return at;
}

static bool take_32(struct source *source, uint32_t *ret_number) {
    const char *at = take_bytes(source, sizeof(*ret_number));
    if (at == NULL)
        return false;
    memcpy(ret_number, at, sizeof(*ret_number));
    *ret_number = le32toh(*ret_number);
    return true;
}

static bool take_64(struct source *source, int64_t *ret_number) {
    uint64_t bits;
    const char *at = take_bytes(source, sizeof(bits));
    if (at == NULL)
        return false;
    memcpy(&bits, at, sizeof(bits));
    *ret_number = (int64_t)le64toh(bits);
    return true;
}

static size_t count_data_lines(const char *data, size_t length) {
    size_t lines = 1;
    const char *end = data + length, *at = data;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        lines++;
        at++;
    }
    return lines;
}

/** Whether the parser could have made such an event: nothing in it may end a line of a frame too early, or
 * make a frame far larger than its data. */
static bool is_event(const struct sse_event *event) {
    return event->type_length > 0 && memchr(event->type, '\n', event->type_length) == NULL &&
           memchr(event->type, '\r', event->type_length) == NULL &&
           memchr(event->data, '\r', event->data_length) == NULL &&
           utf8_is_valid(event->type, event->type_length) && utf8_is_valid(event->data, event->data_length) &&
           sse_lines_are_in_proportion(count_data_lines(event->data, event->data_length), event->data_length);
}

static int take_event(struct source *source, int64_t *last_ms, struct recording *recording) {
    struct sse_event event = {.last_event_id = ""};
    uint32_t type_length, data_length;
    int64_t at_ms;
    if (!take_64(source, &at_ms) || !take_32(source, &type_length) || !take_32(source, &data_length) ||
        at_ms < *last_ms || at_ms > AT_MS_MAX)
        return -EBADMSG;
    *last_ms = at_ms;
    event.type_length = type_length;
    event.data_length = data_length;
    event.type = take_bytes(source, type_length);
    event.data = event.type != NULL ? take_bytes(source, data_length) : NULL;
    if (event.data == NULL || !is_event(&event))
        return -EBADMSG;
    if (!recording_append_event(recording, &event, at_ms))
        return -ENOMEM;
    return recording_is_whole(recording) ? 0 : -EMSGSIZE;
}

/** Text that is filled up with NUL, and has one at its end. */
static bool is_padded_word(const char *text, size_t size) {
    size_t length = strnlen(text, size);
    for (size_t i = length; i < size; i++) {
        if (text[i] != '\0')
            return false;
    }
    return length < size && utf8_is_valid(text, length);
}

static bool take_outcome(struct source *source, struct upstream_outcome *ret_outcome) {
    const char *reason = take_bytes(source, ADAPTER_WORD_SIZE);
    uint32_t is_known;
    int64_t input, output, total;
    *ret_outcome = (struct upstream_outcome){0};
    if (reason == NULL || !is_padded_word(reason, ADAPTER_WORD_SIZE) || !take_32(source, &is_known) ||
        is_known > 1 || !take_64(source, &input) || !take_64(source, &output) || !take_64(source, &total))
        return false;
    memcpy(ret_outcome->finish_reason, reason, ADAPTER_WORD_SIZE);
    ret_outcome->usage = (struct adapter_usage){.is_known = is_known == 1,
                                                .input_tokens = (uint64_t)input,
                                                .output_tokens = (uint64_t)output,
                                                .total_tokens = (uint64_t)total};
    return true;
}

int recording_decode(const void *bytes, size_t length, size_t bytes_max, struct recording **ret_recording,
                     struct upstream_outcome *ret_outcome, int64_t *ret_expires_unix_ms) {
    struct source source = {.at = bytes, .left = length};
    const char *magic = take_bytes(&source, MAGIC_LENGTH), *version = take_bytes(&source, 1);
    uint32_t count;
    int64_t expires_unix_ms, last_ms = 0;
    if (magic == NULL || version == NULL || memcmp(magic, MAGIC, MAGIC_LENGTH) != 0)
        return -EBADMSG;
    if (*version != VERSION)
        return -EPROTONOSUPPORT;
    if (!take_64(&source, &expires_unix_ms) || !take_outcome(&source, ret_outcome) ||
        !take_32(&source, &count) || expires_unix_ms < 0)
        return -EBADMSG;
    struct recording *recording = recording_create(bytes_max);
    int result = recording != NULL ? 0 : -ENOMEM;
    for (; count > 0 && result == 0; count--)
        result = take_event(&source, &last_ms, recording);
    if (result == 0 && source.left > 0)
        result = -EBADMSG;
    if (result < 0) {
        recording_unref(recording);
        return result;
    }
    *ret_recording = recording;
    *ret_expires_unix_ms = expires_unix_ms;
    return 0;
}
