/* A mutex that records its holder, so that `_locked` functions can assert that the lock is held. */
#ifndef SLUICE_BASE_LOCK_H
#define SLUICE_BASE_LOCK_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

/** A thread that holds a lock never waits, does I/O, calls back, or takes a second lock of the same kind. */
struct lock {
    pthread_mutex_t mutex;
    _Atomic(pthread_t) holder; /* 0 while free */
};

/** For a lock that lives as long as the process. */
#define LOCK_INITIALIZER                                                                                     \
    { .mutex = PTHREAD_MUTEX_INITIALIZER }

void lock_init(struct lock *lock);

/** The lock must be free. */
void lock_finish(struct lock *lock);

/** Takes the lock. Asserts that this thread does not hold it already. */
void lock_acquire(struct lock *lock);

/** Releases the lock. Asserts that this thread holds it. */
void lock_release(struct lock *lock);

/** Asserts that this thread holds the lock: the first line of each `_locked` function. */
static inline void lock_assert_held(const struct lock *lock) {
    assert(atomic_load_explicit(&lock->holder, memory_order_relaxed) == pthread_self());
    (void)lock;
}

#endif
