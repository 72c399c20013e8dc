/* How threads talk to a loop: see inbox.h. */
#include "base/inbox.h"

#include <assert.h>
#include <stddef.h>

static void on_wake(uv_async_t *wake) {
    inbox_drain(CONTAINER_OF(wake, struct inbox, wake));
}

int inbox_init(struct inbox *inbox, uv_loop_t *loop) {
    int result = uv_async_init(loop, &inbox->wake, on_wake);
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
    lock_acquire(&inbox->lock);
    struct inbox_item *item = inbox->first;
    inbox->first = NULL;
    inbox->last = &inbox->first;
    lock_release(&inbox->lock);
    while (item != NULL) {
        struct inbox_item *next = item->next; /* handle() may post the item again, or free it */
        item->handle(item);
        item = next;
    }
}

void inbox_close(struct inbox *inbox) {
    uv_close((uv_handle_t *)&inbox->wake, NULL);
}

void inbox_finish(struct inbox *inbox) {
    assert(inbox->first == NULL);
    lock_finish(&inbox->lock);
}
