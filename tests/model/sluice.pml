/* The swap, cancel, end, waiting, subscriber removal, clean-up and shutdown of one session, for the model checker spin.
 *
 * Checked: no deadlock; each run that was registered ends exactly once, and runs that were refused never; nothing is
 * appended to the log after a run's end (the fence); a run that was registered is never lost: at all times it is the
 * current one, or waits in the queue behind one that is, or waits for its time, or has ended; a current one runs, or has a
 * slot, or waits for one, which is not free then; each waiter is told exactly once, or has given up; a session that was opened
 * is not closed by a subscriber that waited for it and leaves; a closed one has no run that has not ended.
 *
 * Who takes part beside three registrations, their streams, the worker and the shutdown is chosen by -DWAIT, -DCANCEL,
 * -DSUBSCRIBER, -DCLEAN_UP, -DSLOT, a run of another session that has the one slot at first, -DDELAY, with which run 2 is for
 * later, and -DAWAIT, with which the session is not open at first and two subscribers wait for it: all of them together take
 * long, any two of them seconds.
 *
 * That these checks can fail is checked too: -DWITHOUT_FENCE, -DWITHOUT_ONE_END, -DWITHOUT_NEXT, -DWITHOUT_UNLINK,
 * -DWITHOUT_GRANT, -DWITHOUT_PLACE and -DWITHOUT_RECHECK each leave something out, and must be found.
 *
 * Each step says in brackets which function it stands for. Every section under the lock is what that function does
 * between lock_acquire() and lock_release(); what follows the release is session_apply(). A section is one atomic step
 * here, as it waits for nothing: were the lock taken twice in one, the step could not go on, which is found.
 */
#ifndef RUNS
#define RUNS 3 /* run 1 replaces, run 2 waits its turn, run 3 replaces */
#endif
#ifndef EVENTS
#define EVENTS 1 /* of a stream: more make the search longer, not different */
#endif
#define NONE 0
#define OTHER 255 /* a run of another session */

mtype = {fresh, pending, running, ended};   /* enum task_status; `ended` is all of its ends */
mtype = {start, over};                      /* what the inbox brings: driver_start(), driver_ended() */

byte lock;                /* session->lock: 0, or 1 + the process that holds it */
byte current;             /* session->current */
byte queued;              /* session->queue, of one place here */
byte delayed;             /* session->delayed, likewise */
bool closed, draining;    /* session->closed, broadcaster->draining */
#ifdef AWAIT
bool opened;              /* session->opened */
#else
bool opened = true;
#endif
byte subscribers;         /* session->subscribers */
mtype status[RUNS + 1];   /* task->status */
bool registered[RUNS + 1];
byte run_ends[RUNS + 1];  /* run.end events in the log */
bool released[RUNS + 1];  /* run->ended: the worker has let go of it */
bool open[RUNS + 1];      /* run->call */
byte slot;                /* who has the scheduler's one slot */
byte asks;                /* the run of this session that waits for it */
bool waiting;             /* task_waiter.linked, of the one waiter for run 1 */
byte told;                /* its item was posted */

/* The worker's inbox: it has room for every item that can be under way, for each is embedded in its task. */
chan inbox = [2 * RUNS] of {mtype, byte};

/* Effects: decided under the lock, done after it. */
#define EFFECTS byte fx_ended1 = NONE, fx_ended2 = NONE, fx_started = NONE, fx_granted = NONE; \
                bool fx_tell = false; byte r = NONE

inline acquire() { /* [lock_acquire] asserts that it is not held by the same thread */
    assert(lock != 1 + _pid);
    atomic { lock == 0 -> lock = 1 + _pid }
}

inline release() { /* [lock_release] and what must be true whenever the lock is free */
    d_step {
        assert(lock == 1 + _pid);
        assert(queued == NONE || current != NONE); /* nobody waits for nothing */
        assert(asks == NONE || slot != NONE);
        assert(!closed || (current == NONE && queued == NONE && delayed == NONE));
        r = 1;
        do
        :: r <= RUNS ->
            assert(!registered[r] || status[r] == ended || current == r || queued == r || delayed == r); /* never lost */
            assert(status[r] != running || (current == r && slot == r));
            assert(current != r || status[r] == running || slot == r || asks == r); /* it will be started */
            assert(run_ends[r] == (status[r] == ended -> 1 : 0));                        /* ends exactly once */
            r++
        :: else -> break
        od;
        r = NONE;
        lock = 0
    }
}

/* The scheduler has a lock of its own, taken last and held for as long as one of these steps takes. */

inline ask(task, old) { /* [scheduler_ask]: in the place of `old`, if there is one */
    if
    :: old != NONE && slot == old -> slot = task
    :: old != NONE && slot != old -> assert(asks == old); asks = task
    :: old == NONE && slot == NONE -> slot = task
    :: old == NONE && slot != NONE -> assert(asks == NONE); asks = task
    fi
}

inline leave(task) { /* [scheduler_leave] */
    if
    :: asks == task -> asks = NONE
    :: slot == task ->
#ifdef WITHOUT_GRANT
        slot = NONE
#else
        slot = asks; fx_granted = asks; asks = NONE
#endif
    :: else -> skip
    fi
}

inline end_run(task) { /* [session_end_task_locked] */
    if
#ifndef WITHOUT_ONE_END
    :: status[task] == ended -> skip /* somebody was faster */
#endif
    :: else ->
        if
        :: current == task -> current = NONE
        :: current != task && queued == task -> queued = NONE
        :: else -> assert(delayed == task); delayed = NONE
        fi;
        leave(task);
        status[task] = ended;
        run_ends[task]++;
        if
#ifdef WITHOUT_UNLINK
        :: task == 1 && waiting -> fx_tell = true
#else
        :: task == 1 && waiting -> waiting = false; fx_tell = true /* [detach_waiters_locked] */
#endif
        :: else -> skip
        fi;
        if
        :: fx_ended1 == NONE -> fx_ended1 = task
        :: else -> assert(fx_ended2 == NONE); fx_ended2 = task
        fi
    fi
}

inline start_run(task) { /* [session_admit_locked] */
    assert(current == task && slot == task);
    status[task] = running;
    fx_started = task
}

inline claim(task) { /* [session_claim_locked]; it has asked before */
    assert(current == NONE && !closed);
    current = task;
    status[task] = pending;
    if
    :: slot == task -> start_run(task)
    :: else -> skip
    fi
}

inline start_next() { /* [session_start_next_locked] */
    if
#ifdef WITHOUT_NEXT
    :: true -> skip
#endif
    :: current == NONE && queued != NONE -> r = queued; queued = NONE; ask(r, NONE); claim(r); r = NONE
    :: else -> skip
    fi
}

inline end_waiting() { /* [end_waiting_locked] */
    if
    :: queued != NONE -> r = queued; end_run(r); r = NONE
    :: else -> skip
    fi;
    if
    :: delayed != NONE -> r = delayed; end_run(r); r = NONE
    :: else -> skip
    fi;
    if
    :: current != NONE && status[current] == pending -> r = current; end_run(r); r = NONE
    :: else -> skip
    fi
}

inline end_current() {
    if
    :: current != NONE -> r = current; end_run(r); r = NONE
    :: else -> skip
    fi
}

inline apply() { /* [session_apply]: no lock is held; nothing here waits, for the inbox has room */
    if
    :: fx_tell -> d_step { told++; assert(told == 1); fx_tell = false }
    :: else -> skip
    fi;
    if
    :: fx_ended1 != NONE -> atomic { inbox!over(fx_ended1); fx_ended1 = NONE }
    :: else -> skip
    fi;
    if
    :: fx_ended2 != NONE -> atomic { inbox!over(fx_ended2); fx_ended2 = NONE }
    :: else -> skip
    fi;
    if
    :: fx_started != NONE -> atomic { inbox!start(fx_started); fx_started = NONE }
    :: else -> skip
    fi;
    if
    :: fx_granted != NONE -> /* [start_granted] */
        atomic {
            acquire();
            if
            :: current == fx_granted && status[fx_granted] == pending -> start_run(fx_granted)
            :: else -> skip /* it has ended meanwhile, and has left */
            fi;
            fx_granted = NONE;
            release()
        };
        if
        :: fx_started != NONE -> atomic { inbox!start(fx_started); fx_started = NONE }
        :: else -> skip
        fi
    :: else -> skip
    fi
}

inline open_session() { /* [broadcaster_open_session]; one that is closed is made anew, which is another session */
#ifdef AWAIT
    atomic {
        acquire();
        if
        :: !closed && !draining -> opened = true
        :: else -> skip
        fi;
        release()
    }
#else
    skip
#endif
}

inline check_opened() { /* who waited has not closed what was opened */
#ifndef CLEAN_UP
    assert(!opened || !closed)
#else
    skip
#endif
}

proctype Register(byte task; bool enqueue) { /* [broadcaster_register_task] */
    EFFECTS;
    open_session();
    atomic {
        acquire();
        check_opened();
        if
        :: draining || closed -> skip /* refused: it never runs and never ends */
        :: else ->
            if
            :: enqueue && current != NONE && queued != NONE -> skip /* REGISTER_QUEUE_FULL */
            :: enqueue && current != NONE && queued == NONE ->
                registered[task] = true; status[task] = pending; queued = task
            :: else ->
                registered[task] = true;
                ask(task, current);
                end_current(); /* the swap */
                claim(task)
            fi
        fi;
        release()
    };
    apply()
}

proctype Delay(byte task) { /* the same with a delay, then [task_become_due] by its worker's timer */
    EFFECTS;
    open_session();
    atomic {
        acquire();
        check_opened();
        if
        :: draining || closed -> skip
        :: else -> registered[task] = true; status[task] = pending; delayed = task
        fi;
        release()
    };
    atomic {
        acquire();
        if
        :: delayed == task ->
            delayed = NONE;
#ifndef WITHOUT_PLACE /* it has kept its place, so it is never refused now */
            ask(task, current);
            end_current();
            claim(task)
#endif
        :: else -> skip /* it has ended, or was never registered */
        fi;
        release()
    };
    apply()
}

proctype Stream(byte task) { /* the runner's callbacks: any number of events, then an end, if it is not cancelled first */
    EFFECTS;
    byte events = 0;
    do
    :: open[task] && events < EVENTS -> /* [task_publish] */
        atomic {
            acquire();
            if
#ifdef WITHOUT_FENCE
            :: true -> assert(run_ends[task] == 0)
#else
            :: current == task -> assert(run_ends[task] == 0) /* the fence: appended only while it is current */
#endif
            :: else -> skip
            fi;
            release()
        };
        events++
    :: open[task] -> /* [task_end]: completed, failed or out of time */
        atomic {
            acquire();
            end_run(task); start_next();
            release()
        };
        apply();
        break
    :: !open[task] -> break /* [upstream_stream_cancel] */
    od
}

active proctype Worker() { /* [inbox_drain] with [on_start] and [on_ended] of the runner */
    byte task;
end_of_work:
    do
    :: atomic {
            inbox?start(task) ->
            if
            :: released[task] -> skip /* two threads brought the items in the other order */
            :: else -> open[task] = true; run Stream(task)
            fi
        }
    :: atomic {
            inbox?over(task) ->
            assert(!released[task]);
            released[task] = true;
            open[task] = false
        }
    od
}

proctype Cancel() { /* [task_cancel] of whatever is current */
    EFFECTS;
    atomic {
        acquire();
        end_current(); start_next();
        release()
    };
    apply()
}

proctype Wait() { /* [task_wait] for run 1, then [task_unwait] when its time is up */
    byte r = NONE;
    bool linked;
    atomic {
        acquire();
        waiting = registered[1] && status[1] != ended;
        linked = waiting;
        release()
    };
    if
    :: !linked -> skip /* there is nothing to wait for */
    :: else ->
        if
        :: told > 0 -> skip
        :: true -> /* out of time */
            atomic {
                acquire();
                linked = waiting;
                waiting = false;
                release()
            };
            if
            :: linked -> assert(told == 0)
            :: else -> told > 0 /* the item is on its way, and must arrive */
            fi
        fi
    fi
}

proctype Subscriber() { /* [subscriber_prepare], then [subscriber_destroy]; its run wants to end with the last of them */
    EFFECTS;
    bool counted = false;
    atomic {
        acquire();
        if
        :: !closed -> subscribers++; counted = true
        :: else -> skip
        fi;
        release()
    };
    if
    :: !counted -> skip
    :: else ->
        atomic {
            acquire();
            /* [session_remove_subscriber_locked] */
            subscribers--;
            if
            :: subscribers == 0 -> end_current(); start_next()
            :: else -> skip
            fi;
            release()
        };
        apply()
    fi
}

proctype Await() { /* [subscriber_await] for a session that is not open, then [subscriber_destroy] */
    EFFECTS;
    bool counted = false, forgets = false;
    atomic {
        acquire();
        if
        :: !closed -> subscribers++; counted = true
        :: else -> skip
        fi;
        release()
    };
    if
    :: !counted -> skip
    :: else ->
        atomic {
            acquire();
            subscribers--;
            forgets = !opened;
            release()
        };
        if
        :: !forgets -> skip
        :: else -> /* [broadcaster_forget_session] */
            atomic {
                acquire();
                if
#ifdef WITHOUT_RECHECK
                :: true -> closed = true
#else
                :: !opened && subscribers == 0 -> closed = true
#endif
                :: else -> skip
                fi;
                release()
            }
        fi
    fi
}

proctype CleanUp() { /* [broadcaster_clean_up] -> [close_session] of a session out of its time */
    EFFECTS;
    atomic {
        acquire();
        if
        :: !closed && opened && subscribers == 0 -> end_waiting(); end_current(); closed = true
        :: else -> skip
        fi;
        release()
    };
    apply()
}

proctype Other() { /* a run of another session ends, and leaves its slot */
    EFFECTS;
    atomic { leave(OTHER) };
    apply()
}

proctype Shutdown() {
    EFFECTS;
    draining = true; /* [broadcaster_drain] */
    atomic {
        acquire();
        end_waiting();
        release()
    };
    apply();
    atomic {
        acquire();
        /* [broadcaster_cancel_all] */
        end_waiting(); end_current();
        release()
    };
    apply()
}

init {
    byte task = 1;
    atomic {
        do
        :: task <= RUNS -> status[task] = fresh; task++
        :: else -> break
        od;
        run Register(1, false);
#ifdef DELAY
        run Delay(2);
#else
        run Register(2, true);
#endif
#ifdef AWAIT
        run Await();
        run Await();
#endif
#if RUNS > 2
        run Register(3, false);
#endif
#ifdef WAIT
        run Wait();
#endif
#ifdef CANCEL
        run Cancel();
#endif
#ifdef SUBSCRIBER
        run Subscriber();
#endif
#ifdef CLEAN_UP
        run CleanUp();
#endif
#ifdef SLOT
        slot = OTHER;
        run Other();
#endif
        run Shutdown()
    }
    /* Everybody has finished but the worker, and it has nothing left to do. */
    _nr_pr == 2 && empty(inbox);
    assert(lock == 0 && current == NONE && queued == NONE && delayed == NONE && subscribers == 0 && !waiting);
    assert(slot == NONE && asks == NONE);
    task = 1;
    do
    :: task <= RUNS ->
        assert(registered[task] -> (status[task] == ended && run_ends[task] == 1 && released[task])
                               : (status[task] == fresh && run_ends[task] == 0));
        task++
    :: else -> break
    od
}
