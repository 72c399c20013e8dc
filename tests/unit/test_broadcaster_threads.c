/* broadcaster with several threads, each with a loop, an inbox and a fan-out of its own: whatever races, each
 * run ends once, nothing of it comes after its end, and nothing is left in the end. */
#include "base/helgrind.h"
#include "base/metrics.h"
#include "tests/support/unit_sink.h"

#include <pthread.h>
#include <unistd.h>

#define WORKERS 3
#define SINKS_MAX 16
#define TASKS_MAX 20000
#define SECONDS_MAX 600 /* a deadlock is ended by SIGALRM */

/* What one thread does in a turn. */
struct hammer;
typedef void step_function(struct hammer *hammer);

struct hammer {
    struct inbox inbox;
    struct fanout *fanout;
    uv_loop_t loop;
    pthread_t thread;
    struct fake_driver driver;
    step_function *step;
    int steps;
    unsigned seed;
    struct fake_sink *sinks[SINKS_MAX];
    struct task *tasks[TASKS_MAX]; /* all that it ever registered, or tried to: references */
    size_t task_count;
    size_t first_open; /* those before have ended */
};

static struct broadcaster *broadcaster;
static struct fanout_settings settings;
static struct hammer hammers[WORKERS];
static atomic_int at_work; /* threads that still take steps */
static atomic_bool may_close;
static uint64_t slots = 100;     /* runs_max */
static uint64_t queued_max = 50; /* and runs_delayed_max */
static uint64_t sessions_max = 100, places = 1000;
static bool with_delays;
static pthread_barrier_t meeting;

/* ---- what a thread can do ------------------------------------------------------------------------ */

static unsigned draw(struct hammer *hammer, unsigned below) {
    return (unsigned)rand_r(&hammer->seed) % below;
}

static struct session *open_session(struct hammer *hammer, unsigned among) {
    char key[32];
    struct session *session = NULL;
    snprintf(key, sizeof(key), "app/user/%u", draw(hammer, among));
    int result = broadcaster_open_session(broadcaster, key, &session);
    assert_int_equal(result, 0);
    return session;
}

static void register_run(struct hammer *hammer, struct session *session) {
    if (hammer->task_count == TASKS_MAX)
        return;
    struct task_options options = {.on_conflict = (enum on_conflict)draw(hammer, 3),
                                   .on_disconnect = (enum on_disconnect)draw(hammer, 2),
                                   .priority = 1 + (int)draw(hammer, 10),
                                   .delay_ms = with_delays && draw(hammer, 6) == 0};
    struct task *task = unit_task(&hammer->driver, session, options);
    hammer->tasks[hammer->task_count++] = task;
    struct idempotency_entry *entry = draw(hammer, 4) == 0 ? idempotency_entry_create("key", 1) : NULL;
    struct registration registration;
    broadcaster_register_task(broadcaster, task, entry, &registration);
    task_unref(registration.task);
}

static struct task *any_task(struct hammer *hammer) {
    size_t recent = hammer->task_count < 8 ? hammer->task_count : 8;
    return recent > 0 ? hammer->tasks[hammer->task_count - 1 - draw(hammer, (unsigned)recent)] : NULL;
}

/* The next event of a run of this thread. */
static void publish(struct task *task) {
    struct fake_run *run = task->payload;
    char text[64];
    snprintf(text, sizeof(text), "%s %d", task->id, run->published);
    run->published += unit_publish(task, text);
}

static void publish_some(struct hammer *hammer) {
    struct task *task = any_task(hammer);
    for (unsigned i = 0, count = draw(hammer, 5); task != NULL && i < count; i++)
        publish(task);
}

static void drop_sink(struct hammer *hammer, size_t i) {
    if (hammer->sinks[i] == NULL)
        return;
    fake_sink_disconnect(hammer->sinks[i]);
    stream_check_runs(fake_sink_text(hammer->sinks[i]), hammer->sinks[i]->aborted);
    fake_sink_destroy(hammer->sinks[i]);
    hammer->sinks[i] = NULL;
}

static void connect_sink(struct hammer *hammer, struct session *session, size_t i) {
    drop_sink(hammer, i);
    struct task *own = draw(hammer, 3) == 0 ? any_task(hammer) : NULL;
    struct subscriber_spec spec = {.from = (enum subscriber_from)draw(hammer, 3),
                                   .until_run = draw(hammer, 3) == 0};
    if (own != NULL && own->session == session)
        spec.run = own;
    struct subscriber *subscriber;
    if (subscriber_prepare(session, &spec, &subscriber) != SUBSCRIBER_OK)
        return;
    if (draw(hammer, 8) == 0) {
        subscriber_destroy(subscriber);
        return;
    }
    hammer->sinks[i] = fake_sink_create();
    if (draw(hammer, 3) == 0)
        hammer->sinks[i]->room = draw(hammer, 400);
    subscriber_connect(subscriber, hammer->fanout, &hammer->sinks[i]->sink, true);
}

static void open_sinks(struct hammer *hammer) {
    for (size_t i = 0; i < SINKS_MAX; i++) {
        if (hammer->sinks[i] != NULL && hammer->sinks[i]->waiting)
            fake_sink_open(hammer->sinks[i], draw(hammer, 3) == 0 ? SIZE_MAX / 2 : draw(hammer, 300));
    }
}

/* ---- the threads --------------------------------------------------------------------------------- */

static void turn(struct hammer *hammer) {
    uv_run(&hammer->loop, UV_RUN_NOWAIT);
    fanout_flush(hammer->fanout);
    fanout_tick(hammer->fanout);
    open_sinks(hammer);
}

static void *run_hammer(void *argument) {
    struct hammer *hammer = argument;
    inbox_adopt(&hammer->inbox);
    pthread_barrier_wait(&meeting);
    for (int i = 0; i < hammer->steps; i++) {
        hammer->step(hammer);
        turn(hammer);
    }
    atomic_fetch_sub(&at_work, 1);
    while (!atomic_load(&may_close)) {
        turn(hammer);
        usleep(100);
    }
    ANNOTATE_HAPPENS_AFTER(&may_close);
    for (size_t i = 0; i < SINKS_MAX; i++) {
        if (hammer->sinks[i] != NULL && !hammer->sinks[i]->closed)
            fake_sink_open(hammer->sinks[i], SIZE_MAX / 2);
    }
    for (int i = 0; i < 20; i++)
        turn(hammer);
    for (size_t i = 0; i < SINKS_MAX; i++) {
        assert_true(hammer->sinks[i] == NULL || hammer->sinks[i]->closed); /* no wake-up was missed */
        drop_sink(hammer, i);
    }
    while (!fanout_is_idle(hammer->fanout)) /* something is on its way: it comes */
        turn(hammer);
    pthread_barrier_wait(&meeting); /* nobody posts any more */
    fanout_destroy(hammer->fanout);
    inbox_close(&hammer->inbox);
    uv_run(&hammer->loop, UV_RUN_DEFAULT);
    inbox_finish(&hammer->inbox);
    assert_int_equal(uv_loop_close(&hammer->loop), 0);
    return NULL;
}

static void start(struct hammer *hammer, unsigned seed, step_function *step, int steps) {
    memset(hammer, 0, sizeof(*hammer));
    hammer->seed = seed;
    hammer->step = step;
    hammer->steps = steps;
    hammer->driver = FAKE_DRIVER;
    assert_int_equal(uv_loop_init(&hammer->loop), 0);
    assert_int_equal(inbox_init(&hammer->inbox, &hammer->loop), 0);
    hammer->fanout = fanout_create(&hammer->inbox, &settings);
    assert_non_null(hammer->fanout);
}

/* Everybody hammers; then the program stops, as it really does. */
static void hammer_all(step_function *const steps[WORKERS], int count) {
    alarm(SECONDS_MAX);
    atomic_init(&settings.heartbeat_ms, 30);
    atomic_init(&settings.stall_timeout_ms, 50);
    atomic_init(&settings.retry_ms, 2000);
    broadcaster = unit_broadcaster();
    atomic_store(&broadcaster_limits(broadcaster)->log_events_max, 50);
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, slots);
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, queued_max);
    atomic_store(&broadcaster_limits(broadcaster)->runs_delayed_max, queued_max);
    atomic_store(&broadcaster_limits(broadcaster)->sessions_max, sessions_max);
    atomic_store(&broadcaster_limits(broadcaster)->session_ttl_ms, 50);
    atomic_store(&broadcaster_limits(broadcaster)->subscribers_waiting_max, places);
    atomic_store(&broadcaster_limits(broadcaster)->tasks_kept, 100);
    assert_int_equal(pthread_barrier_init(&meeting, NULL, WORKERS), 0);
    atomic_store(&may_close, false);
    atomic_store(&at_work, WORKERS);
    for (int i = 0; i < WORKERS; i++)
        start(&hammers[i], (unsigned)i + 1, steps[i], count);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&hammers[i].thread, NULL, run_hammer, &hammers[i]), 0);
    while (atomic_load(&at_work) > 0)
        usleep(1000);
    broadcaster_drain(broadcaster);
    broadcaster_cancel_all(broadcaster, REASON_SHUTDOWN);
    ANNOTATE_HAPPENS_BEFORE(&may_close);
    atomic_store(&may_close, true);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(hammers[i].thread, NULL);
    pthread_barrier_destroy(&meeting);
    alarm(0);
}

static bool close_one(void *context, struct session *session) {
    (void)context;
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    return true;
}

static int release_all(void) {
    int registered = 0, started = 0, ended = 0;
    broadcaster_for_each_session(broadcaster, close_one, NULL);
    for (int i = 0; i < WORKERS; i++) {
        for (size_t k = 0; k < hammers[i].task_count; k++) {
            registered += atomic_load(&hammers[i].tasks[k]->registered);
            unit_task_release(hammers[i].tasks[k]); /* asserts that it ended once */
        }
        started += hammers[i].driver.started;
        ended += hammers[i].driver.ended;
    }
    assert_int_equal(ended, registered);
    assert_true(started <= registered);
    unit_assert_empty(broadcaster);
    struct broadcaster_stats stats;
    broadcaster_get_stats(broadcaster, &stats);
    assert_in_range(stats.tasks, 0, 100);
    broadcaster_destroy(broadcaster);
    return registered;
}

/* ---- tests --------------------------------------------------------------------------------------- */

/* Whenever its lock is free, a session stands among the idle ones if it is idle, and only then. */
static void check_idleness(struct session *session) {
    lock_acquire(&session->lock);
    bool is_idle = !atomic_load(&session->closed) && session->current == NULL && session->queue_length == 0 &&
                   session->subscribers == 0;
    assert_int_equal(idleness_is_idle(session->idleness), is_idle);
    assert_true(session->idleness != SESSION_EMPTY || session->newest == NULL);
    lock_release(&session->lock);
}

/* Anything at all, in one session or a few. */
static void step_anything(struct hammer *hammer) {
    struct session *session = open_session(hammer, 3);
    switch (draw(hammer, 12)) {
    case 0:
    case 1:
    case 2:
        register_run(hammer, session);
        break;
    case 3:
    case 4:
        publish_some(hammer);
        break;
    case 5:
        if (any_task(hammer) != NULL)
            unit_complete(any_task(hammer));
        break;
    case 6:
        if (any_task(hammer) != NULL)
            task_cancel(any_task(hammer), REASON_REQUESTED);
        break;
    case 7:
    case 8:
        connect_sink(hammer, session, draw(hammer, SINKS_MAX));
        break;
    case 9:
        drop_sink(hammer, draw(hammer, SINKS_MAX));
        break;
    case 10:
        if (draw(hammer, 6) == 0)
            broadcaster_close_session(session, REASON_SESSION_DELETED);
        break;
    default:
        if (draw(hammer, 10) == 0)
            broadcaster_cancel_all(broadcaster, REASON_REQUESTED);
        broadcaster_clean_up(broadcaster);
        broadcaster_trim(broadcaster, draw(hammer, 10000));
        if (draw(hammer, 10) == 0)
            broadcaster_forget(broadcaster);
        broadcaster_cap_logs(broadcaster, draw(hammer, 2) == 0 ? UINT64_MAX : draw(hammer, 5000));
        break;
    }
    check_idleness(session);
    session_unref(session);
}

/* The same in more sessions than there may be: empty ones make room, all the time. */
static void step_in_a_crowd(struct hammer *hammer) {
    struct session *session = NULL;
    char key[32];
    snprintf(key, sizeof(key), "app/crowd/%u", draw(hammer, 50));
    int result = broadcaster_open_session(broadcaster, key, &session);
    if (result == 0) {
        if (draw(hammer, 3) == 0)
            register_run(hammer, session);
        if (draw(hammer, 3) == 0)
            connect_sink(hammer, session, draw(hammer, SINKS_MAX));
        check_idleness(session);
        session_unref(session);
    }
    if (any_task(hammer) != NULL)
        unit_complete(any_task(hammer));
    drop_sink(hammer, draw(hammer, SINKS_MAX));
    struct broadcaster_stats stats;
    broadcaster_get_stats(broadcaster, &stats);
    assert_in_range(stats.sessions, 0, sessions_max + WORKERS); /* each may be about to find out */
    broadcaster_clean_up(broadcaster);
}

static void threads_that_open_too_many_sessions_end_empty_ones(void **state) {
    (void)state;
    step_function *const steps[WORKERS] = {step_in_a_crowd, step_in_a_crowd, step_in_a_crowd};
    uint64_t evicted_before = metrics_get(METRIC_SESSIONS_EVICTED);
    sessions_max = 8;
    hammer_all(steps, 2500);
    sessions_max = 100;
    assert_true(release_all() > 100);
    assert_true(metrics_get(METRIC_SESSIONS_EVICTED) > evicted_before);
}

static void threads_that_do_anything_at_once_leave_nothing_behind(void **state) {
    (void)state;
    step_function *const steps[WORKERS] = {step_anything, step_anything, step_anything};
    hammer_all(steps, 2500);
    assert_true(release_all() > 100);
}

/* The same with fewer slots than sessions, so that runs wait for them, and others for their time. */
static void step_for_a_slot(struct hammer *hammer) {
    step_anything(hammer);
    struct task *task = any_task(hammer);
    if (task != NULL && atomic_load(&task->registered)) {
        task_become_due(task);
        task_check_queue(task);
    }
    struct scheduler_info info;
    scheduler_get_info(broadcaster_scheduler(broadcaster), &info);
    assert_in_range(info.running, 0, slots);
    assert_true(info.waiting == 0 || info.running == slots); /* no slot is free while somebody waits */
    assert_in_range(info.queued, 0, 3);
    assert_in_range(info.delayed, 0, 3);
}

static void threads_that_share_too_few_slots_use_them_all_and_no_more(void **state) {
    (void)state;
    step_function *const steps[WORKERS] = {step_for_a_slot, step_for_a_slot, step_for_a_slot};
    slots = 2;
    queued_max = 3; /* of each kind */
    with_delays = true;
    uint64_t refused_before = metrics_get(METRIC_RUNS_DELAYED_REFUSED);
    hammer_all(steps, 2500);
    slots = 100;
    queued_max = 50;
    with_delays = false;
    assert_true(metrics_get(METRIC_RUNS_DELAYED_REFUSED) > refused_before);
    assert_true(release_all() > 100);
}

/* Sessions that are waited for, opened, run in, left and deleted, by all of them. */
static void step_wait(struct hammer *hammer) {
    char key[32];
    snprintf(key, sizeof(key), "app/waiting/%u", draw(hammer, 3));
    size_t i = draw(hammer, SINKS_MAX);
    struct subscriber *subscriber;
    struct session *session = NULL;
    switch (draw(hammer, 4)) {
    case 0:
        drop_sink(hammer, i);
        break;
    case 1:
        if (broadcaster_open_session(broadcaster, key, &session) != 0)
            break;
        register_run(hammer, session);
        publish_some(hammer);
        if (draw(hammer, 4) > 0)
            broadcaster_close_session(session, REASON_SESSION_DELETED);
        break;
    default:
        drop_sink(hammer, i);
        if (subscriber_await(broadcaster, key, &(struct subscriber_spec){0}, &subscriber) != SUBSCRIBER_OK)
            break;
        if (draw(hammer, 2) == 0) {
            subscriber_destroy(subscriber);
            break;
        }
        hammer->sinks[i] = fake_sink_create();
        subscriber_connect(subscriber, hammer->fanout, &hammer->sinks[i]->sink, true);
        break;
    }
    session_unref(session);
    struct broadcaster_stats stats;
    broadcaster_get_stats(broadcaster, &stats);
    assert_in_range(stats.sessions + stats.sessions_awaited, 0, 3 + WORKERS);
    assert_in_range(stats.subscribers_waiting, 0, places);
}

static void threads_that_wait_for_sessions_and_open_them_leave_nothing_behind(void **state) {
    (void)state;
    step_function *const steps[WORKERS] = {step_wait, step_wait, step_wait};
    uint64_t refused_before = metrics_get(METRIC_SUBSCRIBERS_WAITING_REFUSED);
    uint64_t opened_before = metrics_get(METRIC_SESSIONS_OPENED);
    places = 4;
    hammer_all(steps, 4000);
    places = 1000;
    assert_true(release_all() > 100);
    assert_true(metrics_get(METRIC_SUBSCRIBERS_WAITING_REFUSED) > refused_before);
    assert_true(metrics_get(METRIC_SESSIONS_OPENED) > opened_before + 100);
}

/* Swaps in one session, published to by all. */
static void step_swap(struct hammer *hammer) {
    struct session *session = open_session(hammer, 1);
    struct task *task = unit_task(&hammer->driver, session, (struct task_options){0});
    hammer->tasks[hammer->task_count++] = task;
    assert_int_equal(unit_register(task), REGISTER_OK);
    for (int i = 0; i < 3; i++)
        publish(task);
    if (hammer->sinks[0] == NULL || hammer->sinks[0]->closed || draw(hammer, 50) == 0)
        connect_sink(hammer, session, 0);
    session_unref(session);
}

static void threads_that_swap_in_one_session_end_each_run_once(void **state) {
    (void)state;
    enum { SWAPS = 600 };
    step_function *const steps[WORKERS] = {step_swap, step_swap, step_swap};
    hammer_all(steps, SWAPS);
    uint64_t replaced = broadcaster_ended_count(broadcaster, TASK_REPLACED, REASON_NONE);
    assert_int_equal(release_all(), WORKERS * SWAPS);
    assert_true(replaced >= WORKERS * SWAPS / 2);
}

static void step_cancel(struct hammer *hammer) {
    struct session *session = open_session(hammer, 1);
    register_run(hammer, session);
    publish_some(hammer);
    bool is_current;
    struct task *task = broadcaster_session_task(session, &is_current); /* anybody's */
    if (task != NULL)
        task_cancel(task, REASON_REQUESTED);
    task_unref(task);
    session_unref(session);
}

static void step_connect_and_leave(struct hammer *hammer) {
    struct session *session = open_session(hammer, 1);
    connect_sink(hammer, session, 0);
    drop_sink(hammer, 0);
    session_unref(session);
}

/* The systems before this one deadlocked here. */
static void cancel_while_a_subscriber_of_the_same_session_is_being_removed(void **state) {
    (void)state;
    step_function *const steps[WORKERS] = {step_cancel, step_connect_and_leave, step_connect_and_leave};
    hammer_all(steps, 2000);
    assert_true(release_all() > 500);
}

static void complete_recent(struct hammer *hammer) {
    for (size_t i = hammer->task_count; i > 0 && hammer->task_count - i < 32; i--) {
        if (atomic_load(&hammer->tasks[i - 1]->registered))
            unit_complete(hammer->tasks[i - 1]);
    }
}

/* In the session of the others, or in one where nobody comes: there it finds something whenever all runs have
 * ended. */
static void step_clean_up(struct hammer *hammer) {
    struct session *session = open_session(hammer, 2);
    register_run(hammer, session);
    session_unref(session);
    if (draw(hammer, 2) == 0)
        complete_recent(hammer);
    atomic_store(&broadcaster_limits(broadcaster)->session_ttl_ms, 0); /* whatever has no subscriber now */
    broadcaster_clean_up(broadcaster);
}

/* And here: clean-up took the lock again that it held. */
static void clean_up_while_a_subscriber_of_the_same_session_is_being_removed(void **state) {
    (void)state;
    step_function *const steps[WORKERS] = {step_clean_up, step_connect_and_leave, step_connect_and_leave};
    uint64_t expired_before = metrics_get(METRIC_SESSIONS_EXPIRED);
    hammer_all(steps, 2000);
    assert_true(release_all() > 500);
    assert_true(metrics_get(METRIC_SESSIONS_EXPIRED) > expired_before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_share_too_few_slots_use_them_all_and_no_more),
        cmocka_unit_test(threads_that_do_anything_at_once_leave_nothing_behind),
        cmocka_unit_test(threads_that_open_too_many_sessions_end_empty_ones),
        cmocka_unit_test(threads_that_wait_for_sessions_and_open_them_leave_nothing_behind),
        cmocka_unit_test(threads_that_swap_in_one_session_end_each_run_once),
        cmocka_unit_test(cancel_while_a_subscriber_of_the_same_session_is_being_removed),
        cmocka_unit_test(clean_up_while_a_subscriber_of_the_same_session_is_being_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
