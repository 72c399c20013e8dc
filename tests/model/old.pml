/* The design of the systems that Sluice descends from, which the model checker must find guilty: so we know that it can.
 *
 * Their broadcaster held its lock while it awaited a cancelled task, and that task's own clean-up took the same lock
 * (-DREGISTER: register_task, -DCANCEL: cancel_task); their cleanup_expired_sessions called reset_subscribers, which
 * took the lock that its caller held (-DCLEAN_UP). Each of the three ends in a deadlock: an invalid end state.
 */
bool lock;
bool cancelled, done;

inline acquire() {
    atomic { !lock -> lock = true }
}

inline release() {
    lock = false
}

inline reset_subscribers() {
    acquire();
    release()
}

proctype Task() {
    cancelled;
    reset_subscribers(); /* what the task's `finally` did */
    done = true
}

inline cancel_and_await() { /* task.cancel(); await task: under the lock */
    acquire();
    cancelled = true;
    done;
    release()
}

init {
    atomic {
        run Task();
#if defined(REGISTER) || defined(CANCEL)
        skip
    }
    cancel_and_await()
#else /* CLEAN_UP */
        cancelled = true
    }
    done;
    acquire();
    reset_subscribers();
    release()
#endif
}
