/* Notices that libmicrohttpd asks to be run again at once although nothing happens. Private to the listener.
 *
 * In external mode the library has one way to ask for more time: MHD_get_timeout() returns 0. It does so for
 * a connection that still has bytes to read, and also for one that can neither read nor go on: in 0.9.75 a
 * chunk-size line that is longer than the connection's buffer makes it ask for ever, at the price of a core.
 *
 *     listener turn --> the library has called us, or wants no further turn: all is well, counting starts
 * anew
 *                  \--> TURNS_LOOK turns without a call: end the requests whose buffer is full
 *                   \-> TURNS_MAX turns without a call: count the turn, and pause before the next one
 *
 * The second step knows which request to blame. The third one needs no knowledge: whatever makes the library
 * ask, it costs little. Reading a long head needs some turns without a call, but fewer than TURNS_MAX: the
 * library grows its buffer by an eighth of what is left of it, at the end by 128 bytes.
 */
#ifndef SLUICE_HTTP_PROGRESS_H
#define SLUICE_HTTP_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_TURNS_LOOK 8
#define PROGRESS_TURNS_MAX 256
#define PROGRESS_PAUSE_MS 10

struct http_listener;

/** All zeros at the beginning. */
struct http_progress {
    bool was_called;       /* by the library, since it was run last */
    unsigned turns;        /* in a row without a call, each of which asked for another one */
    unsigned stuck;        /* requests that were ended, and that the library has not closed yet */
    int64_t until_mono_ms; /* the end of a pause */
};

/** The library has been run. `asks`: it asks for another turn at once. */
void http_progress_after_turn(struct http_listener *listener, bool asks);

/** For how many ms another turn that is asked for should wait; 0: not at all. */
int64_t http_progress_pause_ms(const struct http_listener *listener);

#endif
