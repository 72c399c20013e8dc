/* Turns on a loop.
 *
 * One item in the loop's inbox stands for all that wait: it is posted again as long as there are some, because
 * items that are posted while the inbox is handled come in the next turn. So each turn of the loop serves one.
 */
#include "base/turns.h"

static void post_turns(struct turns *turns) {
    if (turns->posted || TAILQ_EMPTY(&turns->waiting))
        return;
    turns->posted = true;
    inbox_post(turns->inbox, &turns->item);
}

/* An item that is posted while the inbox is handled comes in the next turn of the loop. */
static void turns_on_item(struct inbox_item *item) {
    struct turns *turns = CONTAINER_OF(item, struct turns, item);
    struct turn *first = turns_next(turns);
    turns->posted = false;
    post_turns(turns);
    if (first != NULL)
        first->take(first);
}

void turns_init(struct turns *turns, struct inbox *inbox) {
    *turns = (struct turns){.inbox = inbox, .item.handle = turns_on_item};
    TAILQ_INIT(&turns->waiting);
}

void turns_wait(struct turns *turns, struct turn *turn) {
    if (turn->waits)
        return;
    turn->waits = true;
    TAILQ_INSERT_TAIL(&turns->waiting, turn, entry);
    post_turns(turns);
}

struct turn *turns_next(struct turns *turns) {
    struct turn *first = TAILQ_FIRST(&turns->waiting);
    if (first != NULL)
        turns_leave(turns, first);
    return first;
}

void turns_leave(struct turns *turns, struct turn *turn) {
    if (turn->waits)
        TAILQ_REMOVE(&turns->waiting, turn, entry);
    turn->waits = false;
}
