/* Where a stream broke off: see resume_point.h. */
#include "upstream/resume_point.h"

#include "base/hash.h"

#include <string.h>

void resume_point_init(struct resume_point *point) {
    *point = (struct resume_point){0};
    buffer_init(&point->first, RESUME_ID_BYTES_MAX);
    buffer_init(&point->id, RESUME_ID_BYTES_MAX);
}

void resume_point_finish(struct resume_point *point) {
    buffer_finish(&point->first);
    buffer_finish(&point->id);
}

const char *resume_point_id(const struct resume_point *point) {
    return point->id.length > 0 ? point->id.bytes : NULL;
}

void resume_point_begin(struct resume_point *point) {
    point->repeated = 0;
    point->preface_left = point->preface;
    point->is_repeating = true;
    point->began_without_id = false;
    point->was_resumed = true;
}

/* ---- behind the last id ------------------------------------------------------------------------------ */

static bool has_id(const struct sse_event *event, const struct buffer *id) {
    return event->last_event_id_length > 0 && event->last_event_id_length == id->length &&
           memcmp(event->last_event_id, id->bytes, id->length) == 0;
}

/** Whether the event carries the id that we know last: by itself, or as one that goes on from it. */
static bool goes_on(const struct resume_point *point, const struct sse_event *event) {
    if (event->last_event_id_length == 0)
        return point->was_resumed;
    return has_id(event, &point->id);
}

static bool is_repeated(struct resume_point *point, const struct sse_event *event) {
    if (!goes_on(point, event))
        return false;
    if (event->last_event_id_length == 0 && point->repeated == 0)
        point->repeated = 1; /* it began behind the event that brought the id */
    if (point->repeated >= point->delivered)
        return false;
    point->repeated++;
    return true;
}

/* ---- before the first id ----------------------------------------------------------------------------- */

static void note_preface(struct resume_point *point, const struct sse_event *event) {
    if (point->preface++ == 0)
        point->preface_hash = hash_bytes(event->data, event->data_length);
}

/** Whether it may be what came before the first id. That comes at once, or not at all. */
static bool is_preface(struct resume_point *point, const struct sse_event *event) {
    bool is_first = point->preface_left == point->preface;
    if (point->preface_left == 0)
        return false;
    if (event->last_event_id_length > 0 ||
        (is_first && hash_bytes(event->data, event->data_length) != point->preface_hash)) {
        point->preface_left = 0;
        return false;
    }
    point->preface_left--;
    return true;
}

/* ---- one event --------------------------------------------------------------------------------------- */

/** An id that does not fit, or for which there is no memory, is none: it cannot be resumed there. */
static void copy_id(struct buffer *id, const struct sse_event *event) {
    buffer_clear(id);
    if (event->last_event_id_length > 0 &&
        !buffer_append(id, event->last_event_id, event->last_event_id_length))
        buffer_clear(id);
}

static void note_id(struct resume_point *point, const struct sse_event *event) {
    if (point->first.length == 0)
        copy_id(&point->first, event);
    copy_id(&point->id, event);
    point->delivered = 1;
    point->was_resumed = false;
}

static bool is_anew(const struct resume_point *point, const struct sse_event *event) {
    if (!point->was_resumed)
        return false;
    if (has_id(event, &point->id))
        return point->began_without_id;
    return has_id(event, &point->first);
}

enum resume_verdict resume_point_take(struct resume_point *point, const struct sse_event *event) {
    bool has_none = event->last_event_id_length == 0;
    bool may_be_preface = is_preface(point, event);
    if (is_anew(point, event)) {
        buffer_clear(&point->id);
        return RESUME_ANEW;
    }
    point->began_without_id = point->was_resumed && has_none;
    if ((point->is_repeating && is_repeated(point, event)) || may_be_preface)
        return RESUME_REPEATED;
    point->is_repeating = false;
    if (has_none && point->first.length == 0)
        note_preface(point, event);
    if (goes_on(point, event))
        point->delivered++;
    else
        note_id(point, event);
    return RESUME_NEW;
}
