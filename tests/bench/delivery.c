/* What was published, and who got it: see delivery.h. */
#include "tests/bench/delivery.h"

#include "tests/bench/source_event.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the ledger ---------------------------------------------------------------------------------- */

static void make_event(char *event, size_t size) {
    static const char before[] =
        EVENT_OPENING "0000000000:0000000000000000000\",\"author\":\"bench\",\"partial\":"
                      "true,\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"";
    static const char after[] = "\"}]}}";
    size_t text = size - strlen(before) - strlen(after);
    memcpy(event, before, strlen(before));
    memset(event + strlen(before), 'x', text);
    memcpy(event + strlen(before) + text, after, strlen(after));
}

void ledger_begin(struct ledger *ledger, size_t event_bytes, size_t window, uint32_t readers) {
    ledger_finish(ledger);
    ledger->event_bytes = event_bytes;
    ledger->readers = readers;
    ledger->entry_count = window + 1;
    ledger->entries = must_calloc(ledger->entry_count, sizeof *ledger->entries);
    for (size_t i = 0; i < ledger->entry_count; i++) {
        ledger->entries[i].event = must_calloc(1, event_bytes);
        make_event(ledger->entries[i].event, event_bytes);
    }
    ledger_clear_counts(ledger);
}

void ledger_clear_counts(struct ledger *ledger) {
    ledger->deliveries = 0;
    memset(&ledger->latency, 0, sizeof ledger->latency);
    memset(&ledger->last_latency, 0, sizeof ledger->last_latency);
}

void ledger_finish(struct ledger *ledger) {
    for (size_t i = 0; i < ledger->entry_count; i++)
        free(ledger->entries[i].event);
    free(ledger->entries);
    ledger->entries = NULL;
    ledger->entry_count = 0;
}

static struct ledger_entry *entry_of(const struct ledger *ledger, uint64_t number) {
    return &ledger->entries[number % ledger->entry_count];
}

const char *ledger_publish(struct ledger *ledger) {
    struct ledger_entry *entry = entry_of(ledger, ledger->published);
    entry->published_ns = now_ns();
    entry->received = 0;
    event_write_digits(entry->event + EVENT_NUMBER_AT, EVENT_NUMBER_DIGITS, ledger->published);
    event_write_digits(entry->event + EVENT_TIME_AT, EVENT_TIME_DIGITS, (uint64_t)entry->published_ns);
    ledger->published++;
    return entry->event;
}

static void ledger_note(struct ledger *ledger, uint64_t number) {
    struct ledger_entry *entry = entry_of(ledger, number);
    int64_t latency = ledger->now_ns - entry->published_ns;
    histogram_add(&ledger->latency, latency);
    ledger->deliveries++;
    if (++entry->received == ledger->readers) {
        histogram_add(&ledger->last_latency, latency);
        ledger->completed++;
    }
}

/* ---- the text between events --------------------------------------------------------------------- */

static const char gap_line[] = "\nevent: gap";

/* A line end and an e are common, a v is not: without one, only the last bytes can be the start of such a
 * line. */
static void look_for_gap(struct reader *reader, const char *text, size_t length) {
    if (reader->gap_matched <= 2 && length > 2 && memchr(text, 'v', length) == NULL) {
        reader->gap_matched = 0;
        text += length - 2;
        length = 2;
    }
    for (size_t i = 0; i < length; i++) {
        bool goes_on = text[i] == gap_line[reader->gap_matched];
        reader->gap_matched = goes_on ? (uint8_t)(reader->gap_matched + 1) : text[i] == '\n';
        if (gap_line[reader->gap_matched] == '\0')
            die("subscriber %u was told of a gap, before event %llu", reader->index,
                (unsigned long long)reader->next);
    }
}

/* ---- events -------------------------------------------------------------------------------------- */

/* How many of the first bytes are the same. */
static size_t common(const char *one, const char *other, size_t length) {
    size_t same = 0;
    while (same < length && one[same] == other[same])
        same++;
    return same;
}

/* Of an event that is not the one that is due, or not whole, `same` bytes are right. */
static _Noreturn void complain(const struct reader *reader, const char *bytes, size_t length, size_t same) {
    unsigned long long due = reader->next, published = reader->ledger->published;
    size_t known = reader->matched, number_end = EVENT_NUMBER_AT + EVENT_NUMBER_DIGITS;
    if (known + same >= number_end && due < published)
        die("subscriber %u: event %llu of %llu came damaged", reader->index, due, published);
    char came[EVENT_STAMP_END] = {0};
    size_t more = number_end > known ? number_end - known : 0;
    memcpy(came, entry_of(reader->ledger, reader->next)->event, known < number_end ? known : number_end);
    memcpy(came + known, bytes, length < more ? length : more);
    die("subscriber %u: event %llu of %llu was due, but there came %s", reader->index, due, published, came);
}

/* Compares with the event that is due; returns how many bytes were taken. */
static size_t match_event(struct reader *reader, const char *bytes, size_t length) {
    const struct ledger *ledger = reader->ledger;
    bool is_published = reader->next < ledger->published;
    const char *event = entry_of(ledger, reader->next)->event + reader->matched;
    size_t left = ledger->event_bytes - reader->matched;
    size_t here = length < left ? length : left;
    if (is_published && memcmp(bytes, event, here) == 0) {
        reader->matched += (uint32_t)here;
        if (here == left) {
            reader->matched = 0;
            ledger_note(reader->ledger, reader->next++);
        }
        return here;
    }
    size_t same = common(bytes, event, here);
    if (reader->matched + same >= EVENT_OPENING_BYTES)
        complain(reader, bytes, length, same);
    /* Another object, such as a lifecycle event's; or the opening of what was never published, cut off here.
     */
    reader->matched = same == here ? reader->matched + (uint32_t)same : 0;
    return same;
}

static void take_text(struct reader *reader, const char *bytes, size_t length) {
    const char *end = bytes + length;
    while (bytes < end) {
        if (reader->matched == 0) {
            const char *brace = memchr(bytes, EVENT_OPENING[0], (size_t)(end - bytes));
            const char *skip_to = brace != NULL ? brace : end;
            look_for_gap(reader, bytes, (size_t)(skip_to - bytes));
            bytes = skip_to;
            if (brace == NULL)
                return;
        }
        bytes += match_event(reader, bytes, (size_t)(end - bytes));
    }
}

/* ---- chunks -------------------------------------------------------------------------------------- */

static uint64_t digit_of(const struct reader *reader, char digit) {
    if (isdigit((unsigned char)digit))
        return (uint64_t)(digit - '0');
    if (!isxdigit((unsigned char)digit))
        die("subscriber %u: a bad chunk", reader->index);
    return (uint64_t)(tolower((unsigned char)digit) - 'a' + 10);
}

/* One byte of the line before a chunk, or of the line end behind the chunk before. */
static void take_line_byte(struct reader *reader, char byte) {
    if (byte == '\r')
        return;
    if (byte != '\n') {
        reader->chunk_size = reader->chunk_size * 16 + digit_of(reader, byte);
        reader->in_size = true;
        return;
    }
    reader->ended |= reader->in_size && reader->chunk_size == 0;
    reader->chunk_left = reader->chunk_size;
    reader->chunk_size = 0;
    reader->in_size = false;
}

void reader_feed(struct reader *reader, const char *bytes, size_t length) {
    if (!reader->is_chunked) {
        take_text(reader, bytes, length);
        return;
    }
    while (length > 0 && !reader->ended) {
        size_t taken = 1;
        if (reader->chunk_left > 0) {
            taken = length < reader->chunk_left ? length : reader->chunk_left;
            take_text(reader, bytes, taken);
            reader->chunk_left -= taken;
        } else {
            take_line_byte(reader, *bytes);
        }
        bytes += taken;
        length -= taken;
    }
}
