/* Where a stream of events broke off, and which events are sent again when it is resumed there.
 *
 * The last id stands for the event that brought it. Events after that without an id of their own (the parser
 * gives them the same) are remembered by the hashes of their data: the tail. An upstream that goes on after
 * the id sends the tail again, and some send the event with the id again, too:
 *
 *     delivered:      id 7: A,  B,  C       then the connection breaks; the tail is B, C
 *     resumed by 7:             B,  C,  D   skipped: B, C
 *             or:     id 7: A,  B,  C,  D   skipped: A, B, C
 *             or:                  id 8: D  nothing is skipped
 *
 * What was delivered before the first id, the preface, may be a greeting that comes with each answer. So an
 * answer is read in two ways at once, without and with a greeting, until it brings something new:
 *
 *     delivered:      X, id 1: A, B         then the connection breaks
 *     resumed by 1:   B, C                  skipped: B
 *             or:     X, B, C               skipped: X, B
 *
 * A way ends when an event is not the one that must come. If both have ended, the upstream sends other events
 * than before, or begins anew: it cannot be resumed, and that is reported. An event that is the greeting in
 * one way and new in the other is taken for the greeting, unless the same one has come between others before:
 * then nothing can tell, and the stream is not resumed.
 *
 * A server may begin to send what comes live before it has sent what it kept. What came in between is then in
 * both, so an answer that was asked for by an id may go back once it has gone on:
 *
 *     delivered:      id 7: A               then the connection breaks
 *     resumed by 7:   id 8: B, id 9: C, id 8: B, id 9: C, id 10: D     skipped: the second B and C
 *
 * An id is brought by one event. Where a stream uses it for a second one, no server can be asked for what
 * comes after the first: that stream has no place to resume at. But if each event brought an id, the place
 * may be one id earlier. What has the last id must come again then, and is skipped:
 *
 *     delivered:      id 7: A, id 8: B      then the connection breaks
 *     resumed by 7:   id 8: B, id 8: C      skipped: B
 *             or:     id 9: D               lost: it did not go on where it was asked to
 */
#ifndef SLUICE_UPSTREAM_RESUME_POINT_H
#define SLUICE_UPSTREAM_RESUME_POINT_H

#include "base/buffer.h"
#include "upstream/sse_parser.h"

#include <stdbool.h>
#include <stdint.h>

/** An id longer than this is taken for none: it has to fit a header. */
#define RESUME_ID_BYTES_MAX 1024
/** Events without an id before the first id, and after the last one. With more there is no place to resume
 * at. */
#define RESUME_PREFACE_MAX 16
#define RESUME_TAIL_MAX 1024
/** The last events with an id of resumed answers: how far such an answer may go back. */
#define RESUME_RECENT_MAX 512

/** Events as hashes of their data, in order. */
struct resume_events {
    struct buffer hashes;
    bool is_over; /* there were more than may be kept */
};

/** One way to read an answer. */
struct resume_way {
    bool is_open;
    bool had_id_event; /* the event that brought the id came again */
    size_t greeted;    /* events of the preface that came again */
    size_t repeated;   /* events of the tail that came again */
};

struct resume_point {
    bool is_on;            /* the upstream can be resumed: set by the owner before the first event */
    bool overlaps;         /* it may be asked for by the id before the last: set by the owner, too */
    struct buffer first;   /* the first id that there was; empty: none yet */
    struct buffer id;      /* the last; empty: there is no place to resume at */
    struct buffer earlier; /* the one before, if each event so far brought its own */
    uint64_t id_hash;      /* of the event that brought it */
    bool has_id_event;     /* false: a block without data brought it */
    bool was_brought;      /* an event brought it, perhaps again after such a block */
    struct resume_events preface, tail;
    bool preface_recurs; /* the first event of the preface has come between others, too */
    bool is_repeating;   /* resumed, and nothing new came yet */
    bool was_resumed;    /* and no new id came since: an event without one belongs to the one we asked for */
    struct resume_way plain, greeted;
    bool is_overlapping;  /* this answer was asked for by the earlier id */
    size_t overlapped;    /* events with the last id that came again in it */
    bool has_unnamed;     /* an event brought no id, or a block without data did */
    bool ids_recur;       /* an id was brought by several events */
    bool is_recording;    /* resumed once: events with an id are remembered from then on */
    bool is_behind;       /* the answer went back, and nothing new came since */
    struct buffer recent; /* those events as hashes, a ring */
    size_t recent_oldest; /* once it is full */
};

enum resume_verdict {
    RESUME_NEW,
    RESUME_REPEATED, /* it was delivered before */
    RESUME_LOST,     /* begun anew, or with other events: there is no place to resume at any more */
};

void resume_point_init(struct resume_point *point);
void resume_point_finish(struct resume_point *point);

/** The id to ask for; NULL: there is none. */
const char *resume_point_id(const struct resume_point *point);

/** Whether an answer that was asked for again has not yet brought what must come again: it is not whole then,
 * however it ends. */
bool resume_point_owes(const struct resume_point *point);

/** The stream is asked for again, after resume_point_id(). */
void resume_point_begin(struct resume_point *point);

/** Notes one event. */
enum resume_verdict resume_point_take(struct resume_point *point, const struct sse_event *event) MUST_CHECK;

/** Notes the id that the stream had when it broke off, if a block without data brought it (WHATWG HTML,
 * "dispatch the event", step 1). */
void resume_point_note_id(struct resume_point *point, const char *id, size_t length);

#endif
