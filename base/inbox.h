/* How threads talk to a loop: a queue of items, and one wake-up when it was empty.
 *
 * An item is embedded in the object it speaks of, so posting allocates nothing and cannot fail; the queue
 * is bounded by the number of such objects. Whoever posts holds a reference to that object for the item.
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
    pthread_t thread; /* the one that runs the loop */
};

/** Ties the inbox to `loop`. 0 or a negative errno. */
int inbox_init(struct inbox *inbox, uv_loop_t *loop) MUST_CHECK;

/** The calling thread is the one that runs the loop from now on: call it first thing on that thread. */
void inbox_adopt(struct inbox *inbox);

/** Whether the caller is on the loop's thread. Any thread. */
bool inbox_is_home(const struct inbox *inbox);

/** Queues `item`; its handle() runs on the loop's thread, in the order of posting. What takes longer than
 * some ms is left for further turns of the loop. Any thread. An item may not be posted again before its
 * handle() was called. */
void inbox_post(struct inbox *inbox, struct inbox_item *item);

/** Handles what is queued at once: at tear-down, on the loop's thread. */
void inbox_drain(struct inbox *inbox);

/** Closes the wake-up handle; run the loop once more before inbox_finish(). */
void inbox_close(struct inbox *inbox);
void inbox_finish(struct inbox *inbox);

#endif
