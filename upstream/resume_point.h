/* Where a stream of events broke off, and which events are sent again when it is resumed there.
 *
 * The last id stands for the event that brought it; events behind that without an id of their own (the parser
 * gives them the same) are counted. An upstream that is asked to go on behind the id sends those again, and
 * some send the event with the id again, too. Both are skipped, as many as had been delivered:
 *
 *     delivered:      id 7: A,  B,  C       then the connection breaks; delivered = 3
 *     resumed by 7:             B,  C,  D   skipped: B, C
 *             or:     id 7: A,  B,  C,  D   skipped: A, B, C
 *             or:                  id 8: D  nothing is skipped
 *
 * An upstream that begins anew, whatever it is asked, is recognized by the first id of all, and by the id
 * that it was asked for if that comes behind an event without one. What was delivered before the first id
 * comes again then, and with each answer if it is a greeting; so as many events without an id are skipped, if
 * the first of them is the same as it was:
 *
 *     delivered:      X, id 1: A, id 2: B   then the connection breaks
 *     resumed by 2:   X, id 1: A            skipped: X; then it is known to have begun anew
 *             or:     X, id 3: C            skipped: X, a greeting
 *
 * One that sends other events than before is not resumable, and nothing here can tell.
 */
#ifndef SLUICE_UPSTREAM_RESUME_POINT_H
#define SLUICE_UPSTREAM_RESUME_POINT_H

#include "base/buffer.h"
#include "upstream/sse_parser.h"

#include <stdbool.h>
#include <stdint.h>

/** An id longer than this is taken for none: it has to fit a header. */
#define RESUME_ID_BYTES_MAX 1024

struct resume_point {
    struct buffer first;   /* the first id that there was; empty: none yet */
    struct buffer id;      /* the last; empty: there is no place to resume at */
    uint64_t delivered;    /* events since the one that brought the id, which is counted */
    uint64_t repeated;     /* of those, came again by now */
    uint64_t preface;      /* events before the first id */
    uint64_t preface_hash; /* of the first of them */
    uint64_t preface_left; /* of those, may come again from here */
    bool is_repeating;     /* resumed, and nothing new came yet */
    bool began_without_id; /* resumed, and no event has brought one yet */
    bool was_resumed; /* and no new id came since: an event without one goes on from the one we asked for */
};

enum resume_verdict {
    RESUME_NEW,
    RESUME_REPEATED, /* it was delivered before */
    RESUME_ANEW,     /* the upstream has begun anew: there is no place to resume at any more */
};

void resume_point_init(struct resume_point *point);
void resume_point_finish(struct resume_point *point);

/** The id to ask for; NULL: there is none. */
const char *resume_point_id(const struct resume_point *point);

/** The stream is asked for again, behind resume_point_id(). */
void resume_point_begin(struct resume_point *point);

/** Notes one event. */
enum resume_verdict resume_point_take(struct resume_point *point, const struct sse_event *event) MUST_CHECK;

#endif
