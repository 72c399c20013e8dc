/* Last-Event-ID: what is an id, and where a reader goes on in a real log that trims, held against a list of
 * all events there ever were.
 *
 * input: [events_max: 1] [bytes_max: 2] [unwritten_from: 1] [count: 1] count * [clock step: 1, data: 1]
 * header
 */
#include "broadcaster/event_log.h"
#include "broadcaster/lifecycle.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#define EVENTS_MAX 255

/* The log, and every id that it ever gave out; the place of an id is its sequence - 1. */
struct history {
    struct event_log log;
    struct event_log_limits limits;
    struct event_id begin; /* what ids begin after */
    struct event_id ids[EVENTS_MAX];
    size_t count;
};

/* ---- the text of an id ---------------------------------------------------------------------------- */

/* Digits without a leading zero, that fit 64 bits: strtoull() says what they are worth. */
static bool reference_number(const char *text, size_t length, uint64_t *ret_number) {
    char digits[24];
    if (length == 0 || length >= sizeof(digits) || strspn(text, "0123456789") < length ||
        (text[0] == '0' && length > 1))
        return false;
    memcpy(digits, text, length);
    digits[length] = '\0';
    errno = 0;
    *ret_number = strtoull(digits, NULL, 10);
    return errno == 0;
}

static bool reference_parse(const char *text, struct event_id *ret_id) {
    const char *dash = strchr(text, '-');
    return dash != NULL && reference_number(text, (size_t)(dash - text), &ret_id->ms) &&
           reference_number(dash + 1, strlen(dash + 1), &ret_id->n);
}

static bool check_text(const char *text, struct event_id *ret_id) {
    struct event_id expected, id = {.ms = 7, .n = 8};
    bool is_id = event_id_parse(text, &id);
    REQUIRE(is_id == reference_parse(text, &expected));
    if (!is_id) {
        REQUIRE(id.ms == 7 && id.n == 8);
        return false;
    }
    char again[EVENT_ID_SIZE];
    REQUIRE(id.ms == expected.ms && id.n == expected.n);
    REQUIRE(event_id_format(id, again) == strlen(text) && strcmp(again, text) == 0);
    *ret_id = id;
    return true;
}

/* ---- the log -------------------------------------------------------------------------------------- */

static bool is_before(struct event_id a, struct event_id b) {
    return a.ms < b.ms || (a.ms == b.ms && a.n < b.n);
}

static bool is_same(struct event_id a, struct event_id b) {
    return a.ms == b.ms && a.n == b.n;
}

static void check_bounds(const struct history *history) {
    const struct event_log *log = &history->log;
    uint64_t count = log->next_sequence - log->first_sequence;
    bool wide = history->limits.unwritten_from != 0;
    REQUIRE(log->next_sequence == history->count + 1);
    REQUIRE(count >= 1 && count <= history->limits.events_max + (wide ? EVENT_LOG_BURST_MAX : 0));
    REQUIRE(count == 1 || log->bytes <= history->limits.bytes_max * (wide ? 2 : 1));
    uint64_t bytes = 0;
    for (uint64_t at = log->first_sequence; at < log->next_sequence; at++) {
        REQUIRE(is_same(event_log_at(log, at)->id, history->ids[at - 1]));
        bytes += frame_memory(event_log_at(log, at));
    }
    REQUIRE(bytes == log->bytes);
}

/* What leaves the log leaves from its old end, each once. */
static void check_evicted(struct frame *evicted, uint64_t first_before, const struct history *history) {
    uint64_t count = history->log.first_sequence - first_before;
    for (const struct frame *frame = evicted; frame != NULL; frame = frame->next) {
        REQUIRE(count > 0);
        count--;
        REQUIRE(is_same(frame->id, history->ids[first_before - 1 + count]));
    }
    REQUIRE(count == 0);
    frame_unref_list(evicted);
}

static void append(struct history *history, int64_t now_ms, size_t data_length) {
    static const char data[256] = "";
    struct event_log *log = &history->log;
    struct frame *frame = lifecycle_make_agent_event(1, NULL, 0, data, data_length);
    struct frame *evicted;
    struct event_id before = log->last_id;
    uint64_t first_before = log->first_sequence;
    REQUIRE(frame != NULL);
    event_log_append(log, &history->limits, frame, now_ms, &evicted);
    history->ids[history->count++] = frame->id;
    REQUIRE(is_before(before, frame->id));
    check_evicted(evicted, first_before, history);
    check_bounds(history);
}

static void fill(struct history *history, struct fuzz_input *input) {
    int64_t now_ms = 1000;
    *history = (struct history){0};
    history->limits.events_max = 1 + fuzz_take_byte(input);
    history->limits.bytes_max = fuzz_take_pair(input);
    history->limits.unwritten_from = fuzz_take_byte(input);
    size_t count = fuzz_take_byte(input);
    REQUIRE(event_log_init(&history->log, now_ms));
    history->begin = history->log.last_id;
    for (size_t i = 0; i < count && input->length > 0; i++) {
        now_ms += (int8_t)fuzz_take_byte(input) / 16; /* clocks stand still, and go back */
        append(history, now_ms, fuzz_take_byte(input));
    }
}

/* ---- resuming ------------------------------------------------------------------------------------- */

/* Where a reader goes on who has seen everything up to `id`, as the contract has it: everything after it, in
 * order, nothing twice; if part of it is gone or the id is nobody's, a gap is told first. */
static void check_resume(const struct history *history, struct event_id id) {
    const struct event_log *log = &history->log;
    struct event_log_position position = event_log_find(log, id);
    bool from_the_future = is_before(log->last_id, id);
    bool is_ours = is_same(id, history->begin), misses_nothing = true;
    REQUIRE(position.sequence >= log->first_sequence && position.sequence <= log->next_sequence);
    for (uint64_t at = 1; at < log->next_sequence; at++) {
        struct event_id event = history->ids[at - 1];
        bool is_wanted = is_before(id, event) || from_the_future;
        is_ours = is_ours || is_same(event, id);
        if (at < log->first_sequence)
            misses_nothing = misses_nothing && !is_wanted;
        else
            REQUIRE(is_wanted == (at >= position.sequence));
    }
    REQUIRE(position.known == (is_ours && misses_nothing));
    if (position.known)
        return;
    REQUIRE(position.sequence == log->next_sequence ||
            is_before(position.lost_to, event_log_at(log, position.sequence)->id));
    bool from_the_start = from_the_future || is_before(id, log->floor_id);
    REQUIRE(is_same(position.lost_to, from_the_start ? log->floor_id : id));
}

static void check_neighbours(const struct history *history, struct event_id id) {
    check_resume(history, id);
    check_resume(history, (struct event_id){id.ms, id.n + 1});
    check_resume(history, (struct event_id){id.ms + 1, 0});
    check_resume(history, (struct event_id){id.ms - 1, UINT64_MAX});
}

static void check_all(const struct history *history) {
    check_neighbours(history, history->begin);
    for (size_t i = 0; i < history->count; i++)
        check_neighbours(history, history->ids[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct history history;
    struct fuzz_input input = {data, size};
    struct event_id id;
    fill(&history, &input);
    check_all(&history);
    char *header = fuzz_take_text(&input);
    if (check_text(header, &id))
        check_neighbours(&history, id);
    free(header);

    if (history.count > 0) {
        uint64_t first_before = history.log.first_sequence;
        history.limits = (struct event_log_limits){.events_max = 1 + history.limits.events_max / 2,
                                                   .bytes_max = history.limits.bytes_max};
        check_evicted(event_log_trim(&history.log, &history.limits), first_before, &history);
        check_bounds(&history);
        check_all(&history);
    }
    event_log_finish(&history.log);
    return 0;
}
