/* The pump: what a subscriber wants next, and writing it to its sink. */
#include "broadcaster/subscriber_internal.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "broadcaster/fanout_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* What one look into the log found for a subscriber. */
struct find {
    struct frame *frames[SEND_FRAMES_MAX]; /* references */
    uint64_t sequences[SEND_FRAMES_MAX];
    size_t count;
    uint64_t cursor;                     /* behind all that was looked at */
    bool drain;                          /* the drain is to be told; nothing else was looked for */
    bool gap;                            /* something was lost before the cursor; nor was more looked for */
    const struct error_form *error_form; /* its form, in the agent's framing */
    bool at_head;                        /* there is no more in the log */
    bool ended;                          /* nothing will come any more */
};

/* ---- what it wants next -------------------------------------------------------------------------- */

/* The sequence behind the last event that it will ever want, or UINT64_MAX. */
static uint64_t end_locked(const struct subscriber *subscriber) {
    lock_assert_held(&subscriber->session->lock);
    const struct task *task = subscriber->run;
    if (task == NULL && subscriber->until_run)
        task = subscriber->session->newest;
    if (task == NULL || task->serial == subscriber->until_after || !task_status_is_end(task->status))
        return UINT64_MAX;
    return task->end_sequence + 1;
}

/* Moves its cursor to the first event that it could want and that is retained. */
static void move_cursor_locked(struct subscriber *subscriber) {
    lock_assert_held(&subscriber->session->lock);
    const struct session *session = subscriber->session;
    if (subscriber->run != NULL) { /* what came before its run is no loss to it */
        uint64_t begin = subscriber_run_begin_locked(session, subscriber->run);
        if (subscriber->cursor < begin)
            subscriber->cursor = begin;
    }
    if (subscriber->cursor < session->log.first_sequence) {
        subscriber->cursor = session->log.first_sequence;
        subscriber->gap_to = session->log.floor_id;
        subscriber->gap_due = true;
    }
}

static void find_frames_locked(struct subscriber *subscriber, struct find *find) {
    lock_assert_held(&subscriber->session->lock);
    struct session *session = subscriber->session;
    const struct event_log *log = &session->log;
    find->count = 0;
    find->drain = session->draining && !subscriber->drain_told && !atomic_load(&session->closed);
    if (find->drain)
        return;
    move_cursor_locked(subscriber);
    find->gap = subscriber->gap_due;
    if (find->gap) {
        find->error_form = task_error_form(subscriber->run != NULL ? subscriber->run : session->newest);
        return;
    }
    uint64_t end = end_locked(subscriber);
    uint64_t sequence = subscriber->cursor;
    for (; sequence < log->next_sequence && sequence < end && find->count < SEND_FRAMES_MAX; sequence++) {
        struct frame *frame =
            subscriber_choose(subscriber->run, subscriber->agent_framing, event_log_at(log, sequence));
        if (frame == NULL)
            continue;
        find->frames[find->count] = frame_ref(frame);
        find->sequences[find->count++] = sequence;
    }
    find->cursor = sequence;
    find->at_head = sequence >= log->next_sequence;
    find->ended = sequence >= end || (find->at_head && session_is_over_locked(session));
}

/* ---- writing ------------------------------------------------------------------------------------- */

static struct frame_span span_of_frame(const struct subscriber *subscriber, const struct frame *frame) {
    return subscriber->chunked ? frame_chunked(frame) : frame_plain(frame);
}

/* Takes over the reference to `frame`. */
static void set_rest(struct subscriber *subscriber, struct frame_span span, struct frame *frame) {
    assert(subscriber->rest.length == 0 && subscriber->rest.frame == NULL);
    subscriber->rest = (struct subscriber_rest){.bytes = span.bytes, .length = span.length, .frame = frame};
}

static ssize_t send_frame_parts(struct subscriber *subscriber, const struct iovec *parts, int count) {
    ssize_t written = subscriber->sink->operations->send(subscriber->sink, parts, count);
    if (written > 0) {
        subscriber->last_write_ms = clock_mono_ms();
        fanout_note_progress(subscriber->watch->fanout, subscriber);
        metrics_add(METRIC_BYTES_OUT, (uint64_t)written);
    }
    return written;
}

/* 0: nothing is left; -EAGAIN: blocked; or another negative errno. */
static int write_rest(struct subscriber *subscriber) {
    struct subscriber_rest *rest = &subscriber->rest;
    while (rest->length > 0) {
        const struct iovec part = {.iov_base = (void *)(uintptr_t)rest->bytes, .iov_len = rest->length};
        ssize_t written = send_frame_parts(subscriber, &part, 1);
        if (written < 0)
            return (int)written;
        rest->bytes += written;
        rest->length -= (size_t)written;
    }
    frame_unref(rest->frame);
    rest->frame = NULL;
    return 0;
}

size_t subscriber_keep_rest(struct subscriber *subscriber, struct frame *const *frames, size_t count,
                            size_t written) {
    size_t begun = 0;
    for (; begun < count && written > 0; begun++) {
        struct frame_span span = span_of_frame(subscriber, frames[begun]);
        if (written < span.length) {
            struct frame_span rest = {span.bytes + written, span.length - written};
            set_rest(subscriber, rest, frame_ref(frames[begun]));
            written = 0;
        } else {
            written -= span.length;
        }
        subscriber->position = frames[begun]->id;
    }
    return begun;
}

/* 0; -EAGAIN: not all of it went out; or another negative errno. The cursor stands behind what went out. */
static int write_found(struct subscriber *subscriber, const struct find *find) {
    struct iovec parts[SEND_FRAMES_MAX];
    size_t total = 0;
    for (size_t i = 0; i < find->count; i++) {
        struct frame_span span = span_of_frame(subscriber, find->frames[i]);
        parts[i] = (struct iovec){.iov_base = (void *)(uintptr_t)span.bytes, .iov_len = span.length};
        total += span.length;
    }
    ssize_t written = send_frame_parts(subscriber, parts, (int)find->count);
    if (written < 0)
        return (int)written;
    size_t begun = subscriber_keep_rest(subscriber, find->frames, find->count, (size_t)written);
    metrics_add(METRIC_EVENTS_OUT, begun);
    if (begun == find->count)
        subscriber->cursor = find->cursor;
    else if (begun > 0)
        subscriber->cursor = find->sequences[begun - 1] + 1;
    return (size_t)written == total ? 0 : -EAGAIN;
}

/* A stream in the agent's framing holds nothing of the gateway's, so there the agent's events have the names
 * that the agent gave them. */
static bool restore_names(struct find *find) {
    for (size_t i = 0; i < find->count; i++) {
        if (!frame_is_renamed(find->frames[i]))
            continue;
        struct frame *sent = frame_create_as_sent(find->frames[i]);
        if (sent == NULL)
            return false;
        frame_unref(find->frames[i]);
        find->frames[i] = sent;
    }
    return true;
}

static int write_all(struct subscriber *subscriber, struct find *find) {
    int result = 0;
    if (subscriber->agent_framing && !restore_names(find))
        result = -ENOMEM;
    else if (find->count > 0)
        result = write_found(subscriber, find);
    else
        subscriber->cursor = find->cursor;
    for (size_t i = 0; i < find->count; i++)
        frame_unref(find->frames[i]);
    return result;
}

/* ---- the pump ------------------------------------------------------------------------------------ */

enum pump_result { PUMP_MORE, PUMP_BLOCKED, PUMP_CAUGHT_UP, PUMP_ENDED, PUMP_FAILED };

static enum pump_result tell_gap(struct subscriber *subscriber, const struct error_form *form) {
    struct frame *frame = subscriber_make_gap(subscriber, form);
    if (frame == NULL)
        return PUMP_FAILED;
    subscriber->gap_due = false;
    subscriber->position = subscriber->gap_to;
    set_rest(subscriber, span_of_frame(subscriber, frame), frame);
    metrics_add(METRIC_GAPS, 1);
    return PUMP_MORE;
}

/* The last bytes: the end of the chunks. A client that keeps connections must not take this one for a good
 * one. */
static enum pump_result begin_finish(struct subscriber *subscriber) {
    static const char last_chunk[] = "0\r\n\r\n"; /* RFC 9112, section 7.1 */
    struct sink *sink = subscriber->sink;
    subscriber->finishing = true;
    if (subscriber->chunked && sink->operations->hold != NULL)
        sink->operations->hold(sink);
    if (subscriber->chunked)
        set_rest(subscriber, (struct frame_span){last_chunk, strlen(last_chunk)}, NULL);
    return PUMP_MORE;
}

static enum pump_result tell_drain(struct subscriber *subscriber) {
    subscriber->drain_told = true;
    if (!subscriber->agent_framing)
        subscriber->notices |= NOTICE_RETRY | NOTICE_DRAIN;
    return PUMP_MORE;
}

static enum pump_result tell_notice(struct subscriber *subscriber) {
    set_rest(subscriber, subscriber_take_notice(subscriber), NULL);
    return PUMP_MORE;
}

/* Each step begins with the rest of the one before, so that nothing else is said before that is through. */
static enum pump_result pump_once(struct subscriber *subscriber) {
    int result = write_rest(subscriber);
    if (result != 0)
        return result == -EAGAIN ? PUMP_BLOCKED : PUMP_FAILED;
    if (subscriber->finishing)
        return PUMP_ENDED;
    if (subscriber->notices != 0)
        return tell_notice(subscriber);
    struct find find;
    lock_acquire(&subscriber->session->lock);
    find_frames_locked(subscriber, &find);
    lock_release(&subscriber->session->lock);
    if (find.drain)
        return tell_drain(subscriber);
    if (find.gap)
        return tell_gap(subscriber, find.error_form);
    result = write_all(subscriber, &find);
    if (result != 0)
        return result == -EAGAIN ? PUMP_BLOCKED : PUMP_FAILED;
    if (find.ended)
        return begin_finish(subscriber);
    return find.at_head ? PUMP_CAUGHT_UP : PUMP_MORE;
}

void subscriber_pump(struct subscriber *subscriber) {
    assert(!subscriber->live);
    struct fanout *fanout = subscriber->watch->fanout;
    enum pump_result result = PUMP_MORE;
    for (int rounds = 0; result == PUMP_MORE && rounds < SEND_ROUNDS_MAX; rounds++)
        result = pump_once(subscriber);
    switch (result) {
    case PUMP_BLOCKED:
        fanout_note_blocked(fanout, subscriber);
        break;
    case PUMP_CAUGHT_UP:
        fanout_note_unblocked(fanout, subscriber);
        subscriber_join_live(subscriber);
        break;
    case PUMP_MORE:
        fanout_note_unblocked(fanout, subscriber);
        watch_post_later(subscriber->watch);
        break;
    case PUMP_ENDED:
    case PUMP_FAILED:
        subscriber_end(subscriber, result == PUMP_FAILED);
        break;
    }
}

void subscriber_say(struct subscriber *subscriber, enum subscriber_notice notice) {
    subscriber->notices |= (uint8_t)notice;
    if (subscriber->blocked)
        return;
    subscriber_demote(subscriber);
    subscriber_pump(subscriber);
}
