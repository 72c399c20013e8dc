/* Where a stream broke off, and what comes again when it is resumed: see resume_point.h. */
#include "upstream/resume_point.h"

#include "base/hash.h"

#include <string.h>

/* ---- events as hashes -------------------------------------------------------------------------------- */

static uint64_t hash_of(const struct sse_event *event) {
    return hash_bytes(event->data, event->data_length) * 31 + hash_bytes(event->type, event->type_length);
}

static size_t count_of(const struct resume_events *events) {
    return events->hashes.length / sizeof(uint64_t);
}

static bool is_at(const struct resume_events *events, size_t index, uint64_t hash) {
    uint64_t kept;
    if (index >= count_of(events))
        return false;
    memcpy(&kept, events->hashes.bytes + index * sizeof(kept), sizeof(kept));
    return kept == hash;
}

/* Without room or memory for it, the place cannot be resumed at. */
static void note_event(struct resume_events *events, uint64_t hash) {
    events->is_over = events->is_over || !buffer_append(&events->hashes, &hash, sizeof(hash));
}

static void forget_events(struct resume_events *events) {
    buffer_clear(&events->hashes);
    events->is_over = false;
}

/** Whether an event with an id came before in an answer that was resumed; if not, it is remembered. Without
 * memory for that it counts as lost, for it may come again. */
static enum resume_verdict look_back(struct resume_point *point, const struct sse_event *event,
                                     uint64_t hash) {
    uint64_t named = hash * 31 + hash_bytes(event->last_event_id, event->last_event_id_length), kept;
    struct buffer *recent = &point->recent;
    for (size_t at = 0; at < recent->length; at += sizeof(kept)) {
        memcpy(&kept, recent->bytes + at, sizeof(kept));
        if (kept == named)
            return RESUME_REPEATED;
    }
    if (recent->length < RESUME_RECENT_MAX * sizeof(named))
        return buffer_append(recent, &named, sizeof(named)) ? RESUME_NEW : RESUME_LOST;
    memcpy(recent->bytes + point->recent_oldest * sizeof(named), &named, sizeof(named));
    point->recent_oldest = (point->recent_oldest + 1) % RESUME_RECENT_MAX;
    return RESUME_NEW;
}

/* ---- its life ---------------------------------------------------------------------------------------- */

void resume_point_init(struct resume_point *point) {
    *point = (struct resume_point){0};
    buffer_init(&point->first, RESUME_ID_BYTES_MAX);
    buffer_init(&point->id, RESUME_ID_BYTES_MAX);
    buffer_init(&point->earlier, RESUME_ID_BYTES_MAX);
    buffer_init(&point->preface.hashes, RESUME_PREFACE_MAX * sizeof(uint64_t));
    buffer_init(&point->tail.hashes, RESUME_TAIL_MAX * sizeof(uint64_t));
    buffer_init(&point->recent, RESUME_RECENT_MAX * sizeof(uint64_t));
}

void resume_point_finish(struct resume_point *point) {
    buffer_finish(&point->first);
    buffer_finish(&point->id);
    buffer_finish(&point->earlier);
    buffer_finish(&point->preface.hashes);
    buffer_finish(&point->tail.hashes);
    buffer_finish(&point->recent);
}

/** Whether the place is the earlier id. */
static bool is_earlier(const struct resume_point *point) {
    return point->overlaps && !point->has_unnamed && point->id.length > 0 && point->earlier.length > 0;
}

const char *resume_point_id(const struct resume_point *point) {
    bool is_known = point->id.length > 0 && !point->preface.is_over && !point->tail.is_over;
    if (is_known && is_earlier(point))
        return point->earlier.bytes;
    return is_known && !point->ids_recur ? point->id.bytes : NULL;
}

/** Events that brought the last id. */
static size_t overlap_of(const struct resume_point *point) {
    return 1 + count_of(&point->tail);
}

bool resume_point_owes(const struct resume_point *point) {
    return point->is_repeating && point->is_overlapping && point->overlapped < overlap_of(point);
}

void resume_point_begin(struct resume_point *point) {
    point->plain = (struct resume_way){.is_open = true};
    point->greeted = (struct resume_way){.is_open = count_of(&point->preface) > 0};
    point->is_repeating = true;
    point->was_resumed = true;
    point->is_recording = true;
    point->is_behind = false;
    point->is_overlapping = is_earlier(point);
    point->overlapped = 0;
}

/* ---- ids --------------------------------------------------------------------------------------------- */

static bool is_id(const struct buffer *id, const char *text, size_t length) {
    return length > 0 && length == id->length && memcmp(text, id->bytes, length) == 0;
}

static bool has_id(const struct sse_event *event, const struct buffer *id) {
    return is_id(id, event->last_event_id, event->last_event_id_length);
}

/* An id that does not fit, or for which there is no memory, is none: the stream cannot be resumed there. */
static void set_id(struct buffer *id, const char *text, size_t length) {
    buffer_clear(id);
    if (length > 0 && !buffer_append(id, text, length))
        buffer_clear(id);
}

static void begin_id(struct resume_point *point, const char *text, size_t length) {
    if (point->first.length == 0)
        set_id(&point->first, text, length);
    if (point->overlaps && point->id.length > 0)
        set_id(&point->earlier, point->id.bytes, point->id.length);
    set_id(&point->id, text, length);
    forget_events(&point->tail);
    point->has_id_event = false;
    point->was_brought = false;
    point->was_resumed = false;
}

void resume_point_note_id(struct resume_point *point, const char *id, size_t length) {
    bool is_same = length == point->id.length && (length == 0 || is_id(&point->id, id, length));
    if (!point->is_on || is_same)
        return;
    point->has_unnamed = true;
    begin_id(point, id, length);
}

/* ---- an answer that was asked for by the id ----------------------------------------------------------- */

/* What an event is in one way; RESUME_LOST: it cannot come there. */
static enum resume_verdict follow_way(const struct resume_point *point, struct resume_way *way,
                                      size_t greeting, const struct sse_event *event, uint64_t hash) {
    bool is_ours = has_id(event, &point->id);
    if (way->greeted < greeting)
        return event->last_event_id_length == 0 && is_at(&point->preface, way->greeted++, hash)
                   ? RESUME_REPEATED
                   : RESUME_LOST;
    if (event->last_event_id_length > 0 && !is_ours)
        return RESUME_NEW;
    bool is_id_event = is_ours && event->has_own_id && point->has_id_event && !way->had_id_event &&
                       way->repeated == 0 && hash == point->id_hash;
    if (is_id_event) {
        way->had_id_event = true;
        return RESUME_REPEATED;
    }
    if (way->repeated == count_of(&point->tail))
        return is_ours && !way->had_id_event && event->has_own_id ? RESUME_LOST : RESUME_NEW;
    return is_at(&point->tail, way->repeated++, hash) ? RESUME_REPEATED : RESUME_LOST;
}

static enum resume_verdict follow_if_open(const struct resume_point *point, struct resume_way *way,
                                          size_t greeting, const struct sse_event *event, uint64_t hash) {
    enum resume_verdict verdict = way->is_open ? follow_way(point, way, greeting, event, hash) : RESUME_LOST;
    way->is_open = verdict != RESUME_LOST;
    return verdict;
}

static enum resume_verdict read_again(struct resume_point *point, const struct sse_event *event,
                                      uint64_t hash) {
    bool is_greeting = point->greeted.is_open && point->greeted.greeted < count_of(&point->preface);
    enum resume_verdict plain = follow_if_open(point, &point->plain, 0, event, hash);
    enum resume_verdict greeted =
        follow_if_open(point, &point->greeted, count_of(&point->preface), event, hash);
    if (!point->plain.is_open || !point->greeted.is_open || plain == greeted)
        return point->plain.is_open ? plain : greeted;
    if (!is_greeting || point->preface_recurs)
        return RESUME_LOST; /* nothing can tell which it is */
    point->plain.is_open = false;
    return greeted;
}

/* What an event is where the answer was asked for by the earlier id: what has the last id must come again. */
static enum resume_verdict read_overlap(struct resume_point *point, const struct sse_event *event,
                                        uint64_t hash) {
    bool is_over = point->overlapped == overlap_of(point);
    if (event->has_own_id && has_id(event, &point->earlier))
        return RESUME_REPEATED;
    if (is_over || !event->has_own_id || !has_id(event, &point->id))
        return is_over ? RESUME_NEW : RESUME_LOST;
    size_t index = point->overlapped++;
    bool is_same = index == 0 ? hash == point->id_hash : is_at(&point->tail, index - 1, hash);
    return is_same ? RESUME_REPEATED : RESUME_LOST;
}

/* ---- one event --------------------------------------------------------------------------------------- */

/* Whether it has no id of its own: the last one goes on. */
static bool is_of_tail(const struct resume_point *point, const struct sse_event *event) {
    if (event->last_event_id_length == 0)
        return point->was_resumed || point->id.length == 0;
    return has_id(event, &point->id);
}

static void note_new(struct resume_point *point, const struct sse_event *event, uint64_t hash) {
    point->has_unnamed = point->has_unnamed || !event->has_own_id;
    bool has_begun = point->first.length > 0;
    if (!has_begun && event->last_event_id_length == 0) {
        note_event(&point->preface, hash);
        return;
    }
    if (is_of_tail(point, event)) {
        point->ids_recur = point->ids_recur || (event->has_own_id && point->was_brought);
        point->was_brought = point->was_brought || event->has_own_id;
        point->preface_recurs = point->preface_recurs || is_at(&point->preface, 0, hash);
        note_event(&point->tail, hash);
        return;
    }
    begin_id(point, event->last_event_id, event->last_event_id_length);
    point->has_id_event = event->has_own_id;
    point->was_brought = event->has_own_id;
    point->id_hash = hash;
    if (!event->has_own_id)
        note_event(&point->tail, hash); /* a block without data brought the id before it */
}

/** What an event of an answer is that was asked for by an id. */
static enum resume_verdict judge_resumed(struct resume_point *point, const struct sse_event *event,
                                         uint64_t hash) {
    if (point->is_behind && !event->has_own_id)
        return RESUME_LOST; /* nothing can tell whether it came before */
    enum resume_verdict verdict = !point->is_repeating    ? RESUME_NEW
                                  : point->is_overlapping ? read_overlap(point, event, hash)
                                                          : read_again(point, event, hash);
    if (!event->has_own_id || verdict == RESUME_LOST)
        return verdict;
    enum resume_verdict before = look_back(point, event, hash);
    if (verdict == RESUME_REPEATED && before != RESUME_LOST)
        return RESUME_REPEATED;
    point->is_behind = before == RESUME_REPEATED;
    return before;
}

enum resume_verdict resume_point_take(struct resume_point *point, const struct sse_event *event) {
    if (!point->is_on)
        return RESUME_NEW;
    uint64_t hash = hash_of(event);
    bool is_anew = point->was_resumed && has_id(event, &point->first) && !has_id(event, &point->id) &&
                   !(point->is_overlapping && has_id(event, &point->earlier));
    enum resume_verdict verdict = is_anew               ? RESUME_LOST
                                  : point->is_recording ? judge_resumed(point, event, hash)
                                                        : RESUME_NEW;
    if (verdict == RESUME_LOST)
        buffer_clear(&point->id);
    if (verdict != RESUME_NEW)
        return verdict;
    point->is_repeating = false;
    note_new(point, event, hash);
    return RESUME_NEW;
}
