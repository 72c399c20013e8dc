/* Faults planted on purpose, one by its name: valgrind must find each, and nothing in `none`. */
#include "base/lock.h"
#include "base/refcount.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct object {
    atomic_uint references;
    struct lock lock;
    int number;
};

static struct object object;
static atomic_bool came;
static bool forgets_lock, writes_late;

/* Has a reference, and works with the object. The other thread knows from `came` alone that it is through. */
static void *work(void *unused) {
    if (!forgets_lock)
        lock_acquire(&object.lock);
    object.number++;
    if (!forgets_lock)
        lock_release(&object.lock);
    if (!writes_late)
        object.number++; /* main looks at it once it has the last reference, and no sooner */
    bool last = refcount_drop(&object.references);
    if (writes_late)
        object.number++;
    atomic_store(&came, true);
    return last ? &object : unused;
}

static int share(void) {
    pthread_t thread;
    void *was_last;
    lock_init(&object.lock);
    atomic_init(&object.references, 2);
    if (pthread_create(&thread, NULL, work, NULL) != 0)
        return 1;
    if (forgets_lock) {
        lock_acquire(&object.lock);
        object.number++;
        lock_release(&object.lock);
    }
    while (!atomic_load(&came))
        continue;
    int number = refcount_drop(&object.references) ? object.number : 0;
    pthread_join(thread, &was_last);
    lock_finish(&object.lock);
    return number >= 2 && was_last == NULL ? 0 : 1;
}

static int invert_locks(void) {
    struct lock first, second;
    lock_init(&first);
    lock_init(&second);
    lock_acquire(&first);
    lock_acquire(&second);
    lock_release(&second);
    lock_release(&first);
    lock_acquire(&second);
    lock_acquire(&first);
    lock_release(&first);
    lock_release(&second);
    lock_finish(&first);
    lock_finish(&second);
    return 0;
}

/* Volatile, so that the compiler does not see through it. */
static int misuse_memory(bool loses, bool overruns, bool leaves_unset) {
    char *volatile bytes = malloc(16);
    if (bytes == NULL)
        return 1;
    if (!leaves_unset)
        memset(bytes, 0, 16);
    char *volatile at = bytes;
    int status = at[overruns ? 16 : 15] == 'x' ? 1 : 0;
    if (!loses)
        free(bytes);
    bytes = at = NULL;
    return status;
}

int main(int count, char **arguments) {
    const char *fault = count > 1 ? arguments[1] : "";
    if (strcmp(fault, "order") == 0)
        return invert_locks();
    forgets_lock = strcmp(fault, "race") == 0;
    writes_late = strcmp(fault, "late") == 0;
    int status =
        misuse_memory(strcmp(fault, "leak") == 0, strcmp(fault, "overrun") == 0, strcmp(fault, "unset") == 0);
    return share() != 0 ? 1 : status;
}
