/* How threads talk to a loop.
 *
 * The queue is a list of embedded items under a lock. Only the post into an empty queue wakes the loop. The loop
 * takes the whole list at once and calls handlers without the lock, for some milliseconds a turn; items that are
 * left go back in front of those that came meanwhile.
 */
#include "base/inbox.h"

#include "base/clock.h"

#include <assert.h>
#include <stddef.h>

/* In one turn of the loop items are handled for so long: a thousand runs that start or end together take
 * longer. */
#define TURN_MS 2

/* Takes all items. Their last one's link is *ret_last. */
static struct inbox_item *take_items(struct inbox *inbox, struct inbox_item ***ret_last) {
    lock_acquire(&inbox->lock);
    struct inbox_item *first = inbox->first;
    *ret_last = inbox->last;
    inbox->first = NULL;
    inbox->last = &inbox->first;
    lock_release(&inbox->lock);
    return first;
}

/* Back before those that were posted meanwhile. */
static void put_back(struct inbox *inbox, struct inbox_item *first, struct inbox_item **last) {
    lock_acquire(&inbox->lock);
    *last = inbox->first;
    if (inbox->first == NULL)
        inbox->last = last;
    inbox->first = first;
    lock_release(&inbox->lock);
    uv_async_send(&inbox->wake);
}

static struct inbox_item *handle_item(struct inbox_item *item) {
    struct inbox_item *next = item->next; /* handle_item() may post the item again, or free it */
    item->handle(item);
    return next;
}

static void inbox_on_wake(uv_async_t *wake) {
    struct inbox *inbox = CONTAINER_OF(wake, struct inbox, wake);
    struct inbox_item **last, *item = take_items(inbox, &last);
    int64_t until_mono_ms = clock_mono_ms() + TURN_MS;
    while (item != NULL) {
        item = handle_item(item);
        if (item != NULL && clock_mono_ms() >= until_mono_ms) {
            put_back(inbox, item, last);
            return;
        }
    }
}

int inbox_init(struct inbox *inbox, uv_loop_t *loop) {
    int result = uv_async_init(loop, &inbox->wake, inbox_on_wake);
    if (result < 0)
        return result;
    lock_init(&inbox->lock);
    inbox->first = NULL;
    inbox->last = &inbox->first;
    inbox->thread = pthread_self();
    return 0;
}

void inbox_adopt(struct inbox *inbox) {
    inbox->thread = pthread_self();
}

bool inbox_is_home(const struct inbox *inbox) {
    return pthread_equal(inbox->thread, pthread_self()) != 0;
}

void inbox_post(struct inbox *inbox, struct inbox_item *item) {
    item->next = NULL;
    lock_acquire(&inbox->lock);
    bool was_empty = inbox->first == NULL;
    *inbox->last = item;
    inbox->last = &item->next;
    lock_release(&inbox->lock);
    if (was_empty)
        uv_async_send(&inbox->wake);
}

void inbox_drain(struct inbox *inbox) {
    struct inbox_item **last, *item = take_items(inbox, &last);
    while (item != NULL)
        item = handle_item(item);
}

void inbox_close(struct inbox *inbox) {
    uv_close((uv_handle_t *)&inbox->wake, NULL);
}

void inbox_finish(struct inbox *inbox) {
    assert(inbox->first == NULL);
    lock_finish(&inbox->lock);
}
