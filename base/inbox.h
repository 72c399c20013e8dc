/* A queue of items by which threads send work to a loop. Posting to an empty queue wakes the loop once.
 *
 * An item is embedded in its object, so posting allocates nothing and cannot fail. The number of objects
 * bounds the queue. The poster holds a reference to the object for the item.
 *
 *     static void on_cancel(struct inbox_item *item) { struct run *run = CONTAINER_OF(item, ...); ... }
 *     run->cancel_item.handle = on_cancel;
 *     inbox_post(&worker->inbox, &run->cancel_item);
 */
#ifndef SLUICE_BASE_INBOX_H
#define SLUICE_BASE_INBOX_H

#include "base/attributes.h"
#include "base/lock.h"

#include <stdbool.h>
#include <uv.h>

struct inbox_item {
    struct inbox_item *next;
    void (*handle)(struct inbox_item *item); /* called once a post, on the loop's thread, no lock held */
};

struct inbox {
    struct lock lock;
    struct inbox_item *first;
    struct inbox_item **last;
    uv_async_t wake;
    pthread_t thread; /* the thread that runs the loop */
};

/** Ties the inbox to `loop`. 0 or a negative errno. */
int inbox_init(struct inbox *inbox, uv_loop_t *loop) MUST_CHECK;

/** Makes the calling thread the loop's thread. It must be the first call on that thread. */
void inbox_adopt(struct inbox *inbox);

/** Returns whether the caller is on the loop's thread. Any thread. */
bool inbox_is_home(const struct inbox *inbox);

/** Queues `item`; its handle() runs on the loop's thread, in the order of posting. After some milliseconds
 * the remaining items wait for further turns of the loop. An item must not be posted again before its
 * handle() was called. Any thread. */
void inbox_post(struct inbox *inbox, struct inbox_item *item);

/** Handles all queued items at once. At tear-down, on the loop's thread. */
void inbox_drain(struct inbox *inbox);

/** Closes the wake-up handle; run the loop once more before inbox_finish(). */
void inbox_close(struct inbox *inbox);
void inbox_finish(struct inbox *inbox);

#endif
