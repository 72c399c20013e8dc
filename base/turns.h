/* Turns on a loop, for work that is too long for one turn. Work that is not finished waits in a line, and
 * each turn of the loop calls one waiter. So the length of a turn does not depend on the length of the line.
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
    struct inbox_item item; /* posted while the line is not empty */
    bool posted;
    struct turn_list waiting;
};

/** Makes an empty line. `inbox` belongs to the loop. */
void turns_init(struct turns *turns, struct inbox *inbox);

/** Puts `turn` at the end of the line, unless it waits already. Its take() is called once, in a later turn of
 * the loop. */
void turns_wait(struct turns *turns, struct turn *turn);

/** Removes the next waiter from the line and returns it. A take() that was short calls that waiter in the
 * same turn. NULL: the line is empty. */
struct turn *turns_next(struct turns *turns) MUST_CHECK;

/** Removes `turn` from the line, if it waits. */
void turns_leave(struct turns *turns, struct turn *turn);

#endif
