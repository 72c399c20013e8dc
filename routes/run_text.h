/* The text that a person would read of all that a run produced, written piece by piece.
 *
 * While an answer streams, an upstream may send its pieces first and then the whole of it once more. So
 * pieces count only if no whole text follows them: the last one is looked for first, from the end.
 *
 *     events:   piece piece WHOLE piece piece WHOLE piece piece
 *     read:                 WHOLE             WHOLE piece piece
 *
 * An upstream whose run is one answer (answers_once) may send that answer in pieces and then the whole, more
 * than once. So there the last whole text that any piece came before is all.
 *
 * A text may end with half a surrogate pair. It waits until the next text brings the other half.
 */
#ifndef SLUICE_ROUTES_RUN_TEXT_H
#define SLUICE_ROUTES_RUN_TEXT_H

#include "base/utf8.h"
#include "broadcaster/broadcaster.h"
#include "routes/json_answer.h"
#include "upstream/adapter.h"

struct run_text {
    struct session *session; /* a reference */
    const struct adapter *adapter;
    uint64_t run;         /* its serial */
    struct log_span span; /* what is left to be written */
    uint64_t sought_to;   /* from here on it was looked for */
    uint64_t last_whole;  /* sequence of the last whole text, once sought; 0: there is none */
    bool sought;
    struct buffer data, text;
    size_t text_written;        /* of the event that is being written */
    char half[UTF8_HALF_BYTES]; /* of a surrogate pair, that the text so far ends with, if it has_half */
    bool has_half;
    bool is_unread; /* an event that may have had a text could not be read */
};

void run_text_init(struct run_text *text, struct session *session, struct log_span span, uint64_t run,
                   const struct adapter *adapter);
void run_text_finish(struct run_text *text);

/** Writes on a text that was begun, as far as there is room. True: all of it is written, and text->is_unread
 * says whether something of it may be missing. */
bool run_text_write(struct run_text *text, struct json_answer *answer);

#endif
