/* Detects that libmicrohttpd asks for another turn at once although nothing happens. Private to the
 * listener.
 *
 * In external mode the library asks for more time in one way: MHD_get_timeout() returns 0. It does so for a
 * connection that still has bytes to read. It also does so for a connection that can neither read nor go on.
 * In 0.9.75 a chunk-size line that is longer than the connection's buffer makes it ask for ever, which takes
 * a whole core.
 *
 *     listener turn --> the library called us, or wants no further turn: start to count anew
 *                  \--> TURNS_LOOK turns without a call: end the requests whose buffer is full
 *                   \-> TURNS_MAX turns without a call: count the turn, and pause before the next one
 *
 * The second step knows the guilty request. The third step needs no knowledge: any cause of further turns
 * then costs little. Reading a long head needs some turns without a call, but fewer than TURNS_MAX. The
 * library grows its buffer by an eighth of the rest, and at the end by 128 bytes.
 */
#ifndef SLUICE_HTTP_PROGRESS_H
#define SLUICE_HTTP_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_TURNS_LOOK 8
#define PROGRESS_TURNS_MAX 256
#define PROGRESS_PAUSE_MS 10

struct http_listener;

/** Begins with all zeros. */
struct http_progress {
    bool was_called;       /* by the library, in its last turn */
    unsigned turns;        /* turns in a row without a call that asked for another turn */
    unsigned stuck;        /* ended requests that the library has not closed yet */
    int64_t until_mono_ms; /* the end of a pause */
};

/** Counts a turn of the library. `asks`: the library asks for another turn at once. */
void http_progress_after_turn(struct http_listener *listener, bool asks);

/** Returns the milliseconds that a further requested turn should wait; 0 for no wait. */
int64_t http_progress_pause_ms(const struct http_listener *listener);

#endif
