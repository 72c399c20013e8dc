/* What the random test of subscribers draws from: one session, its runs and its readers, and all that can
 * happen to these. The same seed draws the same.
 */
#ifndef SLUICE_TESTS_UNIT_RANDOM_READERS_H
#define SLUICE_TESTS_UNIT_RANDOM_READERS_H

#include "tests/unit/stream_oracle.h"

#define READERS_MAX 12
#define TASKS_MAX 400
#define WORKERS 2 /* fan-outs; the second one is often late */

/* What a seed is about. */
struct course {
    const char *name;
    int steps;
    int seeds;
    uint32_t log_events_min, log_events_max;
    uint32_t burst_max;  /* events at a time */
    uint32_t event_max;  /* bytes of data */
    uint32_t room_max;   /* bytes that a sink takes at a time */
    uint32_t open_share; /* of a hundred sinks: those that take all there is */
};

static struct bench bench;
static struct fanout *fanouts[WORKERS];
static struct oracle oracle;
static struct reader readers[READERS_MAX];
static struct subscriber *prepared; /* and not connected yet, for the reader of that number; NULL: none */
static size_t prepared_for;
static struct task *tasks[TASKS_MAX];
static size_t task_count;
static const struct course *course;
static unsigned seed, state;
static uint32_t late;                /* turns that the second worker takes one of */
static uint64_t taken, taken_before; /* bytes that all sinks took; what the metric stood at */
static bool from_start;              /* the next reader */
static bool draining;

static inline uint32_t draw(uint32_t below) {
    return below > 0 ? (uint32_t)rand_r(&state) % below : 0;
}

static inline uint32_t draw_between(uint32_t least, uint32_t most) {
    return least + draw(most - least + 1);
}

/* Mostly small, sometimes as large as may be. */
static inline uint32_t draw_size(uint32_t most) {
    return draw(4) == 0 ? draw(most + 1) : draw(most / 16 + 2);
}

static inline bool is_open(const struct reader *reader) {
    return reader->sink != NULL && !reader->sink->closed;
}

/* ---- runs ----------------------------------------------------------------------------------------- */

static inline struct session *session_of(void) {
    return oracle.session;
}

static inline void register_run(void) {
    if (task_count == TASKS_MAX || draining)
        return;
    struct task_options options = {.on_conflict = (enum on_conflict)draw(3),
                                   .on_disconnect =
                                       draw(8) == 0 ? ON_DISCONNECT_CANCEL : ON_DISCONNECT_CONTINUE};
    struct task *task = unit_task(&bench.driver, session_of(), options);
    tasks[task_count++] = task;
    (void)unit_register(task);
}

static inline struct task *current(void) {
    bool is_current;
    struct task *task = broadcaster_session_task(session_of(), &is_current);
    task_unref(task); /* the test keeps all of them */
    return is_current ? task : NULL;
}

static inline struct task *any_run(void) {
    return task_count > 0 ? tasks[draw((uint32_t)task_count)] : NULL;
}

static inline struct task *any_recent_run(void) {
    return task_count > 0 ? tasks[task_count - 1 - draw(task_count < 4 ? (uint32_t)task_count : 4)] : NULL;
}

static inline void publish_one(struct task *task) {
    static char text[16384];
    uint32_t length = draw_size(course->event_max);
    for (uint32_t i = 0; i < length; i++)
        text[i] = "abcdefg: \n\r{}\"0"[draw(draw(3) == 0 ? 15 : 9)];
    static const char *const types[] = {"some.type", "run.end", "gap",
                                        "session.end"}; /* the others are ours */
    const char *type = draw(5) == 0 ? types[draw(4)] : NULL;
    struct frame *frame =
        lifecycle_make_agent_event(task->serial, type, type != NULL ? strlen(type) : 0, text, length);
    assert_non_null(frame);
    (void)task_publish(task, frame);
    oracle_note(&oracle);
}

static inline void publish(void) {
    struct task *task = draw(10) == 0 ? any_run() : current();
    for (uint32_t i = 0, count = 1 + draw_size(course->burst_max); task != NULL && i < count; i++)
        publish_one(task);
}

/* Its run.end stands in the middle of the current run's events. */
static inline void cancel_one_that_waits(void) {
    if (task_count == TASKS_MAX || draining)
        return;
    struct task *task =
        unit_task(&bench.driver, session_of(), (struct task_options){.on_conflict = ON_CONFLICT_ENQUEUE});
    tasks[task_count++] = task;
    if (unit_register(task) == REGISTER_OK)
        task_cancel(task, REASON_REQUESTED);
}

static inline void end_run(void) {
    static const struct {
        enum task_status status;
        enum task_reason reason;
        const char *message;
    } ends[] = {{TASK_COMPLETED, REASON_NONE, NULL},
                {TASK_COMPLETED, REASON_NONE, NULL},
                {TASK_FAILED, REASON_UPSTREAM_ERROR, "in text"},
                {TASK_FAILED, REASON_UPSTREAM_ERROR, "the agent's"},
                {TASK_FAILED, REASON_UPSTREAM_TRUNCATED, "cut \"off\"\n\nid: 1"},
                {TASK_CANCELLED, REASON_REQUESTED, NULL},
                {TASK_TIMEOUT, REASON_RUN_TIME, NULL}};
    size_t end = draw(sizeof(ends) / sizeof(ends[0]));
    struct task *task = draw(4) == 0 ? any_run() : current();
    if (task == NULL)
        return;
    const struct task_outcome outcome = {.is_told = ends[end].message != NULL &&
                                                    strcmp(ends[end].message, "the agent's") == 0};
    task_note_outcome(task, &outcome);
    task_end(task, ends[end].status, ends[end].reason, 0, ends[end].message);
}

/* Memory is short: the oldest events leave, as far as they were written. */
static inline void shed(void) {
    struct session_effects effects = {0};
    lock_acquire(&session_of()->lock);
    (void)session_shed_locked(session_of(), draw(2) == 0 ? 0 : draw(100000), &effects);
    lock_release(&session_of()->lock);
    session_apply(&effects);
}

/* ---- readers -------------------------------------------------------------------------------------- */

/* The sink is closed: what it was given is judged for the last time. */
static inline void part_with(struct reader *reader) {
    if (reader->sink->aborted)
        oracle_read(&oracle, reader);
    else
        oracle_assert_ended(&oracle, reader);
    taken += reader->sink->taken.length;
    fake_sink_destroy(reader->sink);
    *reader = (struct reader){0};
}

static inline void part_with_closed(void) {
    for (size_t i = 0; i < READERS_MAX; i++) {
        if (readers[i].sink != NULL && readers[i].sink->closed)
            part_with(&readers[i]);
    }
}

static inline void draw_room(struct fake_sink *sink) {
    sink->room = draw(100) < course->open_share ? SIZE_MAX / 2 : draw_size(course->room_max);
}

/* Somewhere in the log, or nowhere. */
static inline struct event_id draw_id(void) {
    struct event_id id = {.ms = 1700000000000 + draw(2000), .n = draw(3)};
    if (draw(4) != 0 && oracle.next > 1)
        id = oracle.events[draw_between(1, (uint32_t)oracle.next - 1)]->id;
    return id;
}

static inline struct subscriber_spec draw_spec(struct reader *reader) {
    struct subscriber_spec spec = {
        .from = (enum subscriber_from)draw(3), .resume = draw(3) == 0, .until_run = draw(3) == 0};
    struct task *run = draw(3) == 0 ? any_recent_run() : NULL;
    if (run != NULL && atomic_load(&run->registered))
        spec.run = run;
    spec.agent_framing = draw(3) == 0;
    if (spec.resume)
        spec.last_id = draw_id();
    if (from_start) {
        spec.from = SUBSCRIBE_FROM_START;
        spec.resume = false;
        spec.until_run = spec.run == NULL;
    }
    *reader = (struct reader){.chunked = draw(3) != 0,
                              .until_run = spec.until_run && spec.run == NULL,
                              .agent_framing = spec.agent_framing,
                              .resumed = spec.resume,
                              .run = spec.run};
    return spec;
}

/* Where it must begin, by what the interface promises. */
static inline void place(struct reader *reader, const struct subscriber_spec *spec) {
    bool is_current;
    struct task *newest = broadcaster_session_task(session_of(), &is_current);
    struct task *run = spec->run != NULL ? spec->run : newest;
    struct task_info info = {0};
    if (run != NULL)
        task_get_info(run, &info);
    uint64_t begin = info.start_sequence > 0 ? info.start_sequence
                     : info.end_sequence > 0 ? info.end_sequence
                                             : oracle.next;
    if (spec->resume) {
        uint64_t sequence = oracle_find(&oracle, spec->last_id);
        reader->unknown = sequence == 0 ? event_id_compare(oracle.floor_id, spec->last_id) != 0
                                        : event_id_compare(oracle.events[sequence]->id, spec->last_id) != 0;
        reader->next = sequence + 1;
        reader->last_id = spec->last_id;
    } else if (spec->from == SUBSCRIBE_FROM_NOW) {
        reader->next = oracle.next;
        if (spec->run == NULL && newest != NULL && !is_current)
            reader->until_after = newest->serial;
    } else {
        reader->next = spec->from == SUBSCRIBE_FROM_START ? 1 : begin;
    }
    task_unref(newest);
}

static inline void connect_prepared(void) {
    if (prepared == NULL)
        return;
    struct reader *reader = &readers[prepared_for];
    reader->sink = fake_sink_create();
    draw_room(reader->sink);
    if (draw(30) == 0)
        reader->sink->error = -ECONNRESET;
    struct subscriber *subscriber = prepared;
    prepared = NULL;
    subscriber_connect(subscriber, fanouts[draw(WORKERS)], &reader->sink->sink, reader->chunked);
}

static inline void prepare(void) {
    size_t i = draw(READERS_MAX);
    if (is_open(&readers[i]) && draw(2) == 0) {
        fake_sink_disconnect(readers[i].sink);
        oracle_note(&oracle);
        part_with_closed();
    }
    if (prepared != NULL || readers[i].sink != NULL || atomic_load(&session_of()->closed))
        return;
    struct reader reader;
    struct subscriber_spec spec = draw_spec(&reader);
    place(&reader, &spec);
    if (subscriber_prepare(session_of(), &spec, &prepared) != SUBSCRIBER_OK)
        return;
    readers[i] = reader;
    prepared_for = i;
    if (draw(4) != 0)
        connect_prepared();
}

static inline void leave(void) {
    struct reader *reader = &readers[draw(READERS_MAX)];
    if (is_open(reader))
        fake_sink_disconnect(reader->sink);
    else if (prepared != NULL && draw(4) == 0) {
        subscriber_destroy(prepared);
        prepared = NULL;
    }
}

static inline void open_sink(void) {
    struct reader *reader = &readers[draw(READERS_MAX)];
    if (!is_open(reader))
        return;
    draw_room(reader->sink);
    reader->sink->error = draw(200) == 0 ? -EPIPE : 0;
    if (reader->sink->waiting)
        subscriber_on_writable(reader->sink->sink.subscriber);
}

#endif
