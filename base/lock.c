/* A mutex that knows which thread holds it.
 *
 * The holder is written by the thread that has just taken the mutex, and cleared by it before it releases. Another
 * thread may read either value, but never its own id, and a thread compares with its own id only.
 */
#include "base/lock.h"

#include "base/helgrind.h"

#include <assert.h>

void lock_init(struct lock *lock) {
    pthread_mutex_init(&lock->mutex, NULL);
    atomic_init(&lock->holder, 0);
}

void lock_finish(struct lock *lock) {
    assert(atomic_load_explicit(&lock->holder, memory_order_relaxed) == 0);
    pthread_mutex_destroy(&lock->mutex);
    VALGRIND_HG_ENABLE_CHECKING(&lock->holder, sizeof(lock->holder));
}

void lock_acquire(struct lock *lock) {
    VALGRIND_HG_DISABLE_CHECKING(&lock->holder, sizeof(lock->holder)); /* each thread looks only for itself */
    assert(atomic_load_explicit(&lock->holder, memory_order_relaxed) != pthread_self());
    pthread_mutex_lock(&lock->mutex);
    atomic_store_explicit(&lock->holder, pthread_self(), memory_order_relaxed);
}

void lock_release(struct lock *lock) {
    lock_assert_held(lock);
    atomic_store_explicit(&lock->holder, 0, memory_order_relaxed);
    pthread_mutex_unlock(&lock->mutex);
}
