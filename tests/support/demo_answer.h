/* The demo agent's made-up answer: a stream of ADK events, controlled by words in the message. */
#ifndef SLUICE_TESTS_SUPPORT_DEMO_ANSWER_H
#define SLUICE_TESTS_SUPPORT_DEMO_ANSWER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct demo_answer;

/** An answer to `message` for the client on `socket`, which stays the caller's. It ends early once the client
 *  has gone or `stopping`, an eventfd, is readable. Never NULL: memory that cannot be had ends the program.
 */
struct demo_answer *demo_answer_create(int socket, int stopping, const char *message);
void demo_answer_destroy(void *answer);

/** The next bytes of the stream; waits for them. An MHD_ContentReaderCallback. */
ssize_t demo_answer_read(void *answer, uint64_t position, char *buffer, size_t size);

/** How many answers were begun, and are under way. Any thread. */
unsigned demo_answers_started(void);
unsigned demo_answers_running(void);

/** `memory`, which is not NULL: a demonstration that runs out of memory ends. */
void *must(void *memory);

/** Milliseconds since 1970. */
double demo_now_ms(void);

#endif
