/* A JSON answer that is made while it is sent, a piece at a time: for what may be long.
 *
 * Of all such answers of a worker, one makes its next piece in each turn of the loop (base/turns.h), and only
 * when its client has taken the piece before. So an answer takes little memory whatever its length, and a
 * turn of the loop takes as long as one piece, whatever the number of answers.
 *
 *     static bool make(struct json_answer *answer) {
 *         while (json_answer_has_room(answer))
 *             ...write on with answer->json, json_answer_worked(answer, bytes_looked_at); return false at the
 * end return true;
 *     }
 */
#ifndef SLUICE_ROUTES_JSON_ANSWER_H
#define SLUICE_ROUTES_JSON_ANSWER_H

#include "base/json_writer.h"
#include "base/turns.h"
#include "routes/request.h"

struct json_answer;

struct json_answer_operations {
    /** Writes the next piece to answer->json. False: that was the last one. */
    bool (*make)(struct json_answer *answer);
    /** The answer is sent, or its client has gone. Frees it. */
    void (*destroy)(struct json_answer *answer);
};

/** Embedded in an answer. */
struct json_answer {
    const struct json_answer_operations *operations;
    struct request *request;
    struct turn turn;
    struct json_writer json; /* the piece; members and commas go on across pieces */
    size_t sent;             /* bytes of the piece that were */
    size_t work;             /* that this piece took */
    bool ended;              /* this piece is the last one */
};

/** Answers a request with 200 and what make() will write. Takes over the answer, which is zeroed but for what
 * is the caller's own. */
void json_answer_start(struct json_answer *answer, struct request *request,
                       const struct json_answer_operations *operations);

/** Whether more should be written to this piece. */
bool json_answer_has_room(const struct json_answer *answer);

/** Looking at so many bytes took time, even if little or nothing was written. */
void json_answer_worked(struct json_answer *answer, size_t bytes);

/** Writes on a text that was begun, from *at on, as far as there is room. True: all of it is written. */
bool json_answer_write_text(struct json_answer *answer, const struct buffer *text, size_t *at);

#endif
