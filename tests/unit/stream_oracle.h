/* An oracle for what subscribers are written: it keeps every event of one session, and reads what a sink
 * took. Bytes must be whole frames of the log, gaps, notices and ends, in the order of the log; nothing is
 * passed over without a gap, and a gap covers nothing that was still retained.
 *
 *     oracle_note(&oracle);                // after everything that may append
 *     oracle_read(&oracle, &reader);       // at any time
 *     oracle_assert_complete(&oracle, &reader);  // it has all there is
 */
#ifndef SLUICE_TESTS_UNIT_STREAM_ORACLE_H
#define SLUICE_TESTS_UNIT_STREAM_ORACLE_H

#include "tests/support/unit_sink.h"

#define ORACLE_EVENTS_MAX 20000

/* Every event of a session by its sequence, from 1 on; NULL: the log was freed before anybody could look. */
struct oracle {
    struct session *session;
    struct frame *events[ORACLE_EVENTS_MAX];
    struct event_id floor_id; /* the one before the first */
    uint64_t next;
    uint64_t over_at; /* what `next` was when the session was over: a stream may end there; 0: it goes on */
};

/* One sink, and how far its bytes have been read. */
struct reader {
    struct fake_sink *sink;
    bool chunked, until_run, agent_framing;
    struct task *run;     /* the only one that it follows, or NULL: a reference */
    uint64_t until_after; /* serial of a run that does not end it */
    bool resumed;
    bool unknown;  /* it resumed after an id that is none of ours: a gap comes first */
    uint64_t next; /* sequence of the first event that it may not have passed over */
    struct event_id last_id;
    size_t offset; /* bytes read */
    size_t comments, retries, events, gaps;
    bool told_drain, ended;
};

/* ---- what there was ------------------------------------------------------------------------------- */

static inline void oracle_note(struct oracle *oracle) {
    lock_acquire(&oracle->session->lock);
    const struct event_log *log = &oracle->session->log;
    for (; oracle->next < log->next_sequence; oracle->next++) {
        assert_true(oracle->next < ORACLE_EVENTS_MAX);
        bool retained = oracle->next >= log->first_sequence;
        assert_true(retained || log->ring == NULL); /* else the test's log is too small for the test */
        oracle->events[oracle->next] = retained ? frame_ref(event_log_at(log, oracle->next)) : NULL;
    }
    if (oracle->over_at == 0 && session_is_over_locked(oracle->session))
        oracle->over_at = oracle->next;
    lock_release(&oracle->session->lock);
}

static inline void oracle_finish(struct oracle *oracle) {
    for (uint64_t sequence = 1; sequence < oracle->next; sequence++)
        frame_unref(oracle->events[sequence]);
}

/* The last sequence whose id is not after `id`; 0: none. */
static inline uint64_t oracle_find(const struct oracle *oracle, struct event_id id) {
    uint64_t low = 0, high = oracle->next - 1;
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        if (event_id_compare(oracle->events[middle]->id, id) <= 0)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static inline bool oracle_is_type(const struct frame *frame, const char *type) {
    struct frame_span span = frame_type(frame);
    return span.length == strlen(type) && memcmp(span.bytes, type, span.length) == 0;
}

/* By what run.end says: whether a stream of the agent's events alone must be told of it. */
static inline bool oracle_ends_unheard(const struct frame *frame) {
    struct buffer data;
    buffer_init(&data, 1 << 16);
    assert_true(frame_append_data(frame, &data) && buffer_append(&data, "", 1));
    bool is_bad = strstr(data.bytes, "\"status\":\"completed\"") == NULL;
    bool is_heard = strstr(data.bytes, "\"reason\":\"upstream_error\"") != NULL &&
                    strstr(data.bytes, "\"message\":\"the agent's\"") != NULL;
    buffer_finish(&data);
    return is_bad && !is_heard;
}

/* Where the events of its run begin; 0: nowhere yet. */
static inline uint64_t oracle_begin(const struct reader *reader) {
    struct task_info info;
    task_get_info(reader->run, &info);
    return info.start_sequence > 0 ? info.start_sequence : info.end_sequence;
}

static inline bool oracle_wants(const struct reader *reader, const struct frame *frame, uint64_t sequence) {
    if (reader->run != NULL) {
        uint64_t begin = oracle_begin(reader);
        if (begin == 0 || sequence < begin ||
            (frame->task_serial != 0 && frame->task_serial != reader->run->serial))
            return false;
    }
    return !reader->agent_framing || (frame->task_serial != 0 && !oracle_is_type(frame, "run.start") &&
                                      (!oracle_is_type(frame, "run.end") || oracle_ends_unheard(frame)));
}

/* No event that the reader wants stands from its place on and before `end`; if `retained`: none that is
 * retained. */
static inline void oracle_assert_nothing_missed(const struct oracle *oracle, const struct reader *reader,
                                                uint64_t end, bool retained) {
    for (uint64_t sequence = reader->next; sequence < end; sequence++) {
        if (retained && sequence < oracle->session->log.first_sequence)
            continue;
        assert_non_null(oracle->events[sequence]);
        assert_false(oracle_wants(reader, oracle->events[sequence], sequence));
    }
}

/* ---- what was said -------------------------------------------------------------------------------- */

static inline void oracle_read_event(const struct oracle *oracle, struct reader *reader, uint64_t sequence) {
    assert_false(reader->unknown);
    assert_true(sequence >= reader->next);
    oracle_assert_nothing_missed(oracle, reader, sequence, false);
    assert_true(oracle_wants(reader, oracle->events[sequence], sequence));
    reader->next = sequence + 1;
    reader->last_id = oracle->events[sequence]->id;
    reader->events++;
}

static inline void oracle_read_loss(const struct oracle *oracle, struct reader *reader, struct event_id to) {
    uint64_t last = oracle_find(oracle, to);
    if (!reader->unknown) {
        assert_true(last >= reader->next);
        if (reader->run != NULL && !reader->resumed) /* what came before its run is no loss to it */
            assert_true(oracle_begin(reader) > 0 && last >= oracle_begin(reader));
        oracle_assert_nothing_missed(oracle, reader, last + 1, true);
    }
    reader->unknown = false;
    reader->next = last + 1;
    reader->last_id = to;
    reader->gaps++;
}

static inline void oracle_read_gap(const struct oracle *oracle, struct reader *reader, struct event_id id,
                                   const char *data) {
    char from[EVENT_ID_SIZE + 2], to[EVENT_ID_SIZE], reason[16];
    struct event_id from_id = {0}, to_id;
    int length = 0;
    assert_int_equal(sscanf(data, "{\"from\":%43[^,],\"to\":\"%41[^\"]\",\"reason\":\"%15[a-z_]\"}\n%n", from,
                            to, reason, &length),
                     3);
    assert_int_equal((size_t)length, strlen(data));
    assert_true(event_id_parse(to, &to_id) && event_id_compare(id, to_id) == 0);
    if (strcmp(from, "null") != 0) {
        from[strlen(from) - 1] = '\0';
        assert_true(from[0] == '"' && event_id_parse(from + 1, &from_id));
    }
    /* Those that are live share what they have passed: it may be later, but is before what is missing. */
    assert_true(event_id_compare(from_id, reader->last_id) >= 0);
    if (strcmp(reason, "unknown_id") == 0)
        assert_true(reader->unknown && event_id_compare(from_id, to_id) >= 0);
    else
        assert_true(strcmp(reason, "trimmed") == 0 && event_id_compare(from_id, to_id) < 0);
    assert_true(reader->unknown || oracle_find(oracle, from_id) < reader->next);
    oracle_read_loss(oracle, reader, to_id);
}

/* In the agent's framing: how the run ended, in place of its run.end. */
static inline void oracle_read_error(const struct oracle *oracle, struct reader *reader, uint64_t sequence,
                                     const char *data) {
    assert_true(strncmp(data, "{\"error\":\"run ", 14) == 0 && strcmp(data + strlen(data) - 3, "\"}\n") == 0);
    assert_true(sequence > 0 && oracle_is_type(oracle->events[sequence], "run.end"));
    oracle_read_event(oracle, reader, sequence);
}

/* Whether the text is this event of the log, as the reader must get it: in the agent's framing by the name
 * that the agent gave it. */
static inline bool oracle_is_event(const struct oracle *oracle, const struct reader *reader,
                                   uint64_t sequence, struct event_id id, const char *text) {
    if (sequence == 0 || event_id_compare(oracle->events[sequence]->id, id) != 0)
        return false;
    struct frame *frame = oracle->events[sequence];
    bool is_sent = reader->agent_framing && frame_is_renamed(frame);
    frame = is_sent ? frame_create_as_sent(frame) : frame_ref(frame);
    assert_non_null(frame);
    struct frame_span span = frame_plain(frame);
    bool is_event = span.length == strlen(text) && memcmp(span.bytes, text, span.length) == 0;
    frame_unref(frame);
    return is_event;
}

/* The id, which is the last line of the block. Returns the length of what stands before it. */
static inline size_t oracle_read_id(const char *text, struct event_id *ret_id) {
    char id_text[EVENT_ID_SIZE];
    int length = 0;
    const char *line = text + strlen(text);
    while (line > text && strncmp(line, "\nid: ", 5) != 0)
        line--;
    assert_int_equal(sscanf(line, "\nid: %41[0-9-]%n", id_text, &length), 1);
    assert_string_equal(line + length, "\n\n");
    assert_true(event_id_parse(id_text, ret_id));
    return (size_t)(line + 1 - text);
}

/* `text`: an event's lines and the empty one, or a notice's line. */
static inline void oracle_read_block(const struct oracle *oracle, struct reader *reader, const char *text) {
    static const char loss[] = "data: {\"error\":\"Some events are no longer retained and were lost.\"}\n";
    struct event_id id;
    assert_false(reader->ended);
    if (strcmp(text, ":\n") == 0) {
        reader->comments++;
        return;
    }
    if (strncmp(text, "retry: ", 7) == 0) {
        assert_int_equal(strlen(text), 7 + strspn(text + 7, "0123456789") + 1);
        assert_false(reader->agent_framing);
        reader->retries++;
        return;
    }
    if (strcmp(text, "event: server.drain\ndata: {\"reason\":\"shutdown\"}\n\n") == 0) {
        assert_true(oracle->session->draining);
        assert_false(reader->agent_framing);
        assert_false(reader->told_drain);
        reader->told_drain = true;
        return;
    }
    size_t length = oracle_read_id(text, &id);
    uint64_t sequence = oracle_find(oracle, id);
    char *data = strndup(text, length); /* what stands before the id */
    if (oracle_is_event(oracle, reader, sequence, id, text))
        oracle_read_event(oracle, reader, sequence);
    else if (!reader->agent_framing && strncmp(data, "event: gap\ndata: ", 17) == 0)
        oracle_read_gap(oracle, reader, id, data + 17);
    else if (reader->agent_framing && strcmp(data, loss) == 0)
        oracle_read_loss(oracle, reader, id);
    else if (reader->agent_framing && strncmp(data, "data: ", 6) == 0)
        oracle_read_error(oracle, reader, sequence, data + 6);
    else
        fail_msg("no event, gap, notice or end: \"%s\"", text);
    free(data);
}

/* The next whole block: its beginning and length, and how many bytes it takes in all; false: it is not whole
 * yet. */
static inline bool oracle_next_block(const struct reader *reader, const char *bytes,
                                     struct frame_span *ret_text, size_t *ret_taken) {
    if (!reader->chunked) {
        bool is_notice = bytes[0] == ':' || strncmp(bytes, "retry: ", 7) == 0;
        const char *end = strstr(bytes, is_notice ? "\n" : "\n\n");
        if (end == NULL)
            return false;
        *ret_taken = (size_t)(end - bytes) + (is_notice ? 1 : 2);
        *ret_text = (struct frame_span){bytes, *ret_taken};
        return true;
    }
    size_t digits = strspn(bytes, "0123456789abcdefABCDEF");
    assert_true(digits <= 8 && (bytes[digits] == '\0' || (digits > 0 && bytes[digits] == '\r')));
    size_t length = strtoul(bytes, NULL, 16), head = digits + 2;
    if (strlen(bytes) < head + length + 2)
        return false;
    assert_memory_equal(bytes + digits, "\r\n", 2);
    assert_memory_equal(bytes + head + length, "\r\n", 2);
    *ret_text = (struct frame_span){bytes + head, length};
    *ret_taken = head + length + 2;
    return true;
}

static inline void oracle_read(const struct oracle *oracle, struct reader *reader) {
    struct frame_span text;
    size_t taken;
    while (oracle_next_block(reader, fake_sink_text(reader->sink) + reader->offset, &text, &taken)) {
        reader->offset += taken;
        if (text.length == 0) {
            assert_false(reader->ended);
            reader->ended = true;
            continue;
        }
        char *block = strndup(text.bytes, text.length);
        assert_int_equal(strlen(block), text.length);
        const char *end = strstr(block, "\n\n");
        assert_true(end == NULL ? text.bytes[text.length - 1] == '\n' : end[2] == '\0'); /* one a chunk */
        oracle_read_block(oracle, reader, block);
        free(block);
    }
    if (reader->sink->closed && !reader->sink->aborted)
        assert_int_equal(reader->offset, reader->sink->taken.length);
}

/* ---- whether it was all --------------------------------------------------------------------------- */

/* Whether its stream must have ended, now that it has all there is; it then has all that it was to have. */
static inline bool oracle_is_over(const struct oracle *oracle, const struct reader *reader) {
    struct session *session = oracle->session;
    lock_acquire(&session->lock);
    const struct task *task = reader->run != NULL ? reader->run : reader->until_run ? session->newest : NULL;
    bool run_ended = task != NULL && task_status_is_end(task->status) && task->serial != reader->until_after;
    uint64_t end = run_ended ? task->end_sequence + 1 : oracle->over_at > 0 ? oracle->over_at : oracle->next;
    lock_release(&session->lock);
    oracle_assert_nothing_missed(oracle, reader, end, false);
    return run_ended || oracle->over_at > 0;
}

/* Its sink took all there was, in as many turns as were needed. */
static inline void oracle_assert_complete(const struct oracle *oracle, struct reader *reader) {
    oracle_read(oracle, reader);
    if (reader->sink->aborted)
        return;
    assert_int_equal(oracle_is_over(oracle, reader), reader->sink->closed);
    if (!reader->sink->closed)
        assert_int_equal(reader->offset, reader->sink->taken.length);
}

static inline bool oracle_is_run_end(const struct oracle *oracle, const struct reader *reader, uint64_t end) {
    const struct frame *last = end < oracle->next ? oracle->events[end] : NULL;
    if (last == NULL || !oracle_is_type(last, "run.end") || last->task_serial == reader->until_after)
        return false;
    for (uint64_t sequence = 1; sequence < end; sequence++) {
        if (oracle->events[sequence] != NULL && oracle->events[sequence]->task_serial == last->task_serial &&
            oracle_is_type(oracle->events[sequence], "run.start"))
            return true;
    }
    return false;
}

/* Whether the last event that it got is the end of a run that had started: it may have been the newest one
 * then, and the last chunk had to wait. */
static inline bool oracle_has_run_end(const struct oracle *oracle, const struct reader *reader) {
    uint64_t end = reader->next > 1 ? reader->next - 1 : 1;
    while (reader->agent_framing && end + 1 < oracle->next && oracle->events[end] != NULL &&
           (end < reader->next || !oracle_wants(reader, oracle->events[end], end)) &&
           !oracle_is_run_end(oracle, reader, end))
        end++; /* it does not see a good end */
    return oracle_is_run_end(oracle, reader, end);
}

/* Its stream has just come to its end. */
static inline void oracle_assert_ended(const struct oracle *oracle, struct reader *reader) {
    oracle_read(oracle, reader);
    assert_true(reader->ended || !reader->chunked);
    assert_true((reader->until_run && oracle_has_run_end(oracle, reader)) || oracle_is_over(oracle, reader));
}

#endif
