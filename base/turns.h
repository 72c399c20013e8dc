/* Turns on a loop, for work that is too long for one: those that have more to do wait in line, and one of
 * them is called in each turn of the loop. What a turn takes then does not depend on how many wait.
 *
 *     static void on_turn(struct turn *turn) { ...a part of the work...; turns_wait(turns, turn); }
 *     thing->turn.take = on_turn;
 *     turns_wait(&context->turns, &thing->turn);
 *
 * All on the loop's thread.
 */
#ifndef SLUICE_BASE_TURNS_H
#define SLUICE_BASE_TURNS_H

#include "base/inbox.h"

#include <sys/queue.h>

struct turn {
    TAILQ_ENTRY(turn) entry;
    void (*take)(struct turn *turn);
    bool waits;
};

TAILQ_HEAD(turn_list, turn);

struct turns {
    struct inbox *inbox;
    struct inbox_item item; /* posted while anybody waits */
    bool posted;
    struct turn_list waiting;
};

/** Nobody waits. `inbox` belongs to the loop. */
void turns_init(struct turns *turns, struct inbox *inbox);

/** take() will be called once, in a later turn of the loop, after those that wait already. One that waits
 * keeps its place. */
void turns_wait(struct turns *turns, struct turn *turn);

/** For take(), if it was short: the next one, which waits no more; to be called in the same turn. NULL:
 * nobody.
 */
struct turn *turns_next(struct turns *turns) MUST_CHECK;

/** Waits no more, if it does. */
void turns_leave(struct turns *turns, struct turn *turn);

#endif
