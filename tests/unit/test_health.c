/* routes: what /health judges, and what /health, /stats and /metrics show of many upstreams. */
#include "base/log.h"
#include "routes/handlers.h"
#include "routes/health.h"
#include "tests/support/unit_broadcaster.h"
#include "tests/support/unit_memory.h"

#include <cjson/cJSON.h>

#define UPSTREAMS_MAX 64

static struct upstream_settings settings[UPSTREAMS_MAX];
static char names[UPSTREAMS_MAX][96];
static struct upstreams upstreams;
static struct upstream_worker upstream_worker;
static struct routes_settings routes_settings;
static const struct relay_settings relay_settings;
static struct routes_context context;
static struct fake_driver driver;
static struct health_report report;

static uint64_t no_connections(void) {
    return 0;
}

/* A gateway with these many upstreams that have all there is to have. */
static void begin(size_t count) {
    clock_fake(100000, 1700000000000);
    log_set_level(LOG_LEVEL_ERROR);
    driver = FAKE_DRIVER;
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof(names[i]), "%02zu-%061d", i, 0); /* as long as a name may be */
        settings[i] = (struct upstream_settings){
            .name = names[i],
            .adapter = &adapter_adk,
            .apps = (char *)(uintptr_t) "*",
            .weight = 1,
            .event_bytes_max = 1 << 20,
            .event_type_bytes_max = 1024,
            .health_path = (char *)(uintptr_t) "/health",
            .breaker = {.failure_percent = 50,
                        .calls_min = 2,
                        .window_ms = 30000,
                        .recovery_ms = 1000,
                        .recovery_max_ms = 1000,
                        .probes_max = 1},
            .limiter = {.concurrency_max = 10, .concurrency_min = 1, .waiting_max = 10, .rate_per_ms = 60000},
        };
    }
    upstream_worker =
        (struct upstream_worker){.upstreams = &upstreams, .settings = {.count = count, .items = settings}};
    assert_true(upstreams_init(&upstreams, &upstream_worker.settings));
    static const struct limit_in_force limit = {"runs_queued_max", 50};
    routes_settings = (struct routes_settings){.limits = &limit,
                                               .limits_count = 1,
                                               .health_queue_percent = 80,
                                               .health_sessions_percent = 90,
                                               .memory_warn_bytes = UINT64_MAX};
    context =
        (struct routes_context){.broadcaster = unit_broadcaster(),
                                .relay = {.upstream_worker = &upstream_worker, .settings = &relay_settings},
                                .settings = &routes_settings,
                                .version = "1.2.3",
                                .workers = 1,
                                .started_unix_ms = 1700000000000,
                                .connections = no_connections};
}

static int end(void **state) {
    (void)state;
    broadcaster_destroy(context.broadcaster);
    upstreams_finish(&upstreams);
    clock_real();
    return 0;
}

/* The report's codes, in their order, with a space between them. */
static void assert_report(enum health_status status, const char *codes) {
    char text[4096] = "";
    health_report_make(&context, &report);
    for (size_t i = 0; i < report.count; i++) {
        strcat(text, i > 0 ? " " : "");
        strcat(text, report.reasons[i].code);
        assert_true(strlen(report.reasons[i].message) > 10);
    }
    assert_string_equal(text, codes);
    assert_int_equal(report.status, status);
}

static void call(size_t index, enum breaker_outcome outcome) {
    struct breaker_pass pass;
    assert_true(breaker_enter(upstreams.items[index].breaker, &pass, NULL));
    breaker_leave(upstreams.items[index].breaker, &pass, outcome);
}

static void open_breaker(size_t index) {
    call(index, BREAKER_FAILURE);
    call(index, BREAKER_FAILURE);
}

/* The answer's body; the request must be given back by reply_finish(). */
static const char *answer(struct request *request, void (*handle)(struct request *request), int status) {
    *request = (struct request){.context = &context, .path = "/"};
    handle(request);
    assert_int_equal(request->reply.kind, REPLY_BODY);
    assert_int_equal(request->reply.status, status);
    return request->reply.body;
}

/* ---- the judgement ------------------------------------------------------------------------------- */

static void health_is_good_if_nothing_is_wrong(void **state) {
    (void)state;
    begin(2);
    assert_report(HEALTH_HEALTHY, "");
    call(0, BREAKER_FAILURE); /* not enough to say anything */
    assert_report(HEALTH_HEALTHY, "");
}

static void health_is_degraded_while_one_breaker_is_open(void **state) {
    (void)state;
    begin(2);
    open_breaker(1);
    assert_report(HEALTH_DEGRADED, "breaker_open");
    assert_string_equal(report.reasons[0].upstream, names[1]);
    clock_fake_advance(1000);
    assert_report(HEALTH_DEGRADED, "breaker_half_open");
    call(1, BREAKER_SUCCESS);
    assert_report(HEALTH_HEALTHY, "");
}

static void health_is_critical_while_no_upstream_can_take_a_run(void **state) {
    (void)state;
    begin(2);
    open_breaker(0);
    atomic_store(&upstreams.items[1].is_unhealthy, true);
    assert_report(HEALTH_CRITICAL, "no_upstream breaker_open upstream_unhealthy");
    assert_null(report.reasons[0].upstream);
    assert_string_equal(report.reasons[2].upstream, names[1]);
    clock_fake_advance(1000); /* a probe may go through */
    assert_report(HEALTH_DEGRADED, "breaker_half_open upstream_unhealthy");
    settings[1].health_path = NULL; /* a reload: it is not asked any more */
    assert_report(HEALTH_DEGRADED, "breaker_half_open");
}

/* The run that tests whether the upstream is back hangs: no other run passes until it is given up. */
static void health_is_critical_while_the_only_probe_hangs(void **state) {
    (void)state;
    struct breaker_pass probe;
    struct request request;
    begin(1);
    open_breaker(0);
    clock_fake_advance(1000);
    assert_report(HEALTH_DEGRADED, "breaker_half_open");
    assert_true(breaker_enter(upstreams.items[0].breaker, &probe, NULL));
    assert_report(HEALTH_CRITICAL, "no_upstream breaker_half_open");
    answer(&request, handle_health, 503);
    reply_finish(&request.reply);
    answer(&request, handle_readyz, 200); /* as with an open breaker: the gateway itself is ready */
    reply_finish(&request.reply);
    clock_fake_advance(1000); /* it is given up */
    assert_report(HEALTH_DEGRADED, "breaker_half_open");
}

static void health_is_degraded_while_an_upstream_has_asked_for_a_pause(void **state) {
    (void)state;
    struct limiter_ticket ticket = {0};
    const struct limiter_report report_429 = {.overloaded = true, .retry_after_ms = 5000};
    begin(2);
    assert_int_equal(limiter_enter(upstreams.items[1].limiter, &ticket), LIMITER_GRANTED);
    assert_true(limiter_leave(upstreams.items[1].limiter, &ticket, &report_429));
    assert_report(HEALTH_DEGRADED, "upstream_paused");
    assert_string_equal(report.reasons[0].upstream, names[1]);
    clock_fake_advance(5000);
    assert_report(HEALTH_HEALTHY, "");
}

static void health_tells_a_bounded_number_of_reasons_and_the_worst_first(void **state) {
    (void)state;
    begin(UPSTREAMS_MAX);
    for (size_t i = 0; i < UPSTREAMS_MAX; i++) {
        open_breaker(i);
        atomic_store(&upstreams.items[i].is_unhealthy, true);
    }
    health_report_make(&context, &report);
    assert_int_equal(report.status, HEALTH_CRITICAL);
    assert_int_equal(report.count, HEALTH_REASONS_MAX);
    assert_string_equal(report.reasons[0].code, "no_upstream");
}

static void health_is_degraded_while_the_queue_is_nearly_full(void **state) {
    (void)state;
    struct task *tasks[6];
    begin(1);
    atomic_store(&broadcaster_limits(context.broadcaster)->runs_queued_max, 5);
    struct session *session = unit_session(context.broadcaster, "app/user/session");
    for (int i = 0; i < 6; i++) {
        tasks[i] = unit_task(&driver, session, (struct task_options){.on_conflict = ON_CONFLICT_ENQUEUE});
        assert_report(HEALTH_HEALTHY, "");
        assert_int_equal(unit_register(tasks[i]), REGISTER_OK);
    }
    assert_report(HEALTH_DEGRADED, "queue_high");
    assert_int_equal(report.reasons[0].value, 5);
    assert_int_equal(report.reasons[0].limit, 4);
    assert_true(task_cancel(tasks[5], REASON_REQUESTED));
    assert_report(HEALTH_HEALTHY, "");
    broadcaster_cancel_all(context.broadcaster, REASON_SHUTDOWN);
    for (int i = 0; i < 6; i++)
        unit_task_release(tasks[i]);
    session_unref(session);
}

static void health_is_degraded_while_nearly_all_sessions_are_open(void **state) {
    (void)state;
    begin(1);
    atomic_store(&broadcaster_limits(context.broadcaster)->sessions_max, 10);
    for (int i = 0; i < 10; i++) {
        char key[32];
        assert_report(HEALTH_HEALTHY, "");
        snprintf(key, sizeof(key), "app/user/%d", i);
        session_unref(unit_session(context.broadcaster, key));
    }
    assert_report(HEALTH_DEGRADED, "sessions_high");
    assert_int_equal(report.reasons[0].value, 10);
    assert_int_equal(report.reasons[0].limit, 9);
}

static void health_is_degraded_above_the_memory_it_should_take(void **state) {
    (void)state;
    begin(1);
    session_unref(unit_session(context.broadcaster, "app/user/session"));
    uint64_t bytes = memory_total();
    routes_settings.memory_warn_bytes = bytes;
    assert_report(HEALTH_HEALTHY, "");
    routes_settings.memory_warn_bytes = bytes - 1;
    assert_report(HEALTH_DEGRADED, "memory_high");
    assert_int_equal(report.reasons[0].value, bytes);
    assert_int_equal(report.reasons[0].limit, bytes - 1);
    routes_settings.memory_warn_bytes = 1; /* new runs are accepted however much more it is */
    assert_report(HEALTH_DEGRADED, "memory_high");
}

static void health_is_critical_while_no_run_has_room(void **state) {
    (void)state;
    begin(1);
    unit_memory_at(15);
    assert_report(HEALTH_HEALTHY, "");
    unit_memory_at(16);
    assert_report(HEALTH_CRITICAL, "memory_full");
    assert_true(report.reasons[0].value >= UNIT_MEMORY_MAX);
    assert_int_equal(report.reasons[0].limit, UNIT_MEMORY_MAX);
    unit_memory_at(14);
    assert_report(HEALTH_HEALTHY, "");
    unit_memory_at(0);
}

static void health_is_degraded_while_draining(void **state) {
    (void)state;
    begin(1);
    broadcaster_drain(context.broadcaster);
    assert_report(HEALTH_DEGRADED, "draining");
}

/* ---- what is shown ------------------------------------------------------------------------------- */

static const char *text_of(const cJSON *object, const char *name) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    assert_non_null(text);
    return text;
}

static void health_is_answered_with_its_reasons(void **state) {
    (void)state;
    struct request request;
    begin(2);
    open_breaker(1);
    cJSON *json = cJSON_Parse(answer(&request, handle_health, 200));
    assert_string_equal(text_of(json, "status"), "degraded");
    const cJSON *reasons = cJSON_GetObjectItemCaseSensitive(json, "reasons");
    assert_int_equal(cJSON_GetArraySize(reasons), 1);
    assert_string_equal(text_of(reasons->child, "code"), "breaker_open");
    assert_string_equal(text_of(reasons->child, "upstream"), names[1]);
    const cJSON *shown = cJSON_GetObjectItemCaseSensitive(json, "upstreams");
    assert_int_equal(cJSON_GetArraySize(shown), 2);
    assert_string_equal(text_of(shown->child, "state"), "closed");
    assert_string_equal(text_of(shown->child->next, "state"), "open");
    cJSON_Delete(json);
    reply_finish(&request.reply);
    open_breaker(0);
    json = cJSON_Parse(answer(&request, handle_health, 503));
    assert_string_equal(text_of(json, "status"), "critical");
    cJSON_Delete(json);
    reply_finish(&request.reply);
}

/* As many as may be configured, with names as long as they may be. */
static void stats_and_metrics_have_room_for_all_upstreams(void **state) {
    (void)state;
    struct request request;
    begin(UPSTREAMS_MAX);
    for (size_t i = 0; i < UPSTREAMS_MAX; i++) {
        atomic_store(&upstreams.items[i].calls, UINT64_MAX);
        atomic_store(&upstreams.items[i].in_phase[UPSTREAM_PHASE_STREAMING], UINT64_MAX);
    }
    cJSON *json = cJSON_Parse(answer(&request, handle_stats, 200));
    const cJSON *shown = cJSON_GetObjectItemCaseSensitive(json, "upstreams");
    assert_int_equal(cJSON_GetArraySize(shown), UPSTREAMS_MAX);
    assert_non_null(cJSON_GetObjectItemCaseSensitive(shown->child, "limiter"));
    assert_non_null(cJSON_GetObjectItemCaseSensitive(json, "cache"));
    assert_non_null(cJSON_GetObjectItemCaseSensitive(json, "queue"));
    cJSON_Delete(json);
    reply_finish(&request.reply);
    assert_non_null(strstr(answer(&request, handle_metrics, 200), names[UPSTREAMS_MAX - 1]));
    reply_finish(&request.reply);
}

static void assert_line(const char *text, const char *line) {
    const char *at = strstr(text, line);
    assert_non_null(at);
    assert_true(at == text || at[-1] == '\n');
    assert_true(at[strlen(line)] == '\n');
}

static void metrics_tell_of_each_upstream(void **state) {
    (void)state;
    struct request request;
    struct limiter_ticket ticket = {0};
    begin(2);
    settings[0].name = (char *)(uintptr_t) "a\"b";
    settings[1].name = (char *)(uintptr_t) "two";
    open_breaker(1);
    atomic_store(&upstreams.items[1].retries, 7);
    atomic_store(&upstreams.items[1].in_phase[UPSTREAM_PHASE_FIRST_BYTE], 3);
    atomic_store(&upstreams.items[0].is_unhealthy, true);
    assert_int_equal(limiter_enter(upstreams.items[0].limiter, &ticket), LIMITER_GRANTED);
    const char *text = answer(&request, handle_metrics, 200);
    assert_line(text, "sluice_upstream_info{upstream=\"a\\\"b\",kind=\"adk\"} 1");
    assert_line(text, "sluice_upstream_retries_total{upstream=\"a\\\"b\"} 0");
    assert_line(text, "sluice_upstream_retries_total{upstream=\"two\"} 7");
    assert_line(text, "sluice_upstream_breaker_state{upstream=\"two\",state=\"closed\"} 0");
    assert_line(text, "sluice_upstream_breaker_state{upstream=\"two\",state=\"half_open\"} 0");
    assert_line(text, "sluice_upstream_breaker_state{upstream=\"two\",state=\"open\"} 1");
    assert_line(text, "sluice_upstream_breaker_opened_total{upstream=\"two\"} 1");
    assert_line(text, "sluice_upstream_score{upstream=\"two\"} 0");
    assert_line(text, "sluice_upstream_healthy{upstream=\"a\\\"b\"} 0");
    assert_line(text, "sluice_upstream_healthy{upstream=\"two\"} 1");
    assert_line(text, "sluice_upstream_limiter_slots{upstream=\"a\\\"b\"} 10");
    assert_line(text, "sluice_upstream_limiter_slots_used{upstream=\"a\\\"b\"} 1");
    assert_line(text, "sluice_upstream_limiter_slots_used{upstream=\"two\"} 0");
    assert_line(text, "sluice_upstream_limiter_paused_seconds{upstream=\"two\"} 0.000");
    assert_line(text, "sluice_limit{limit=\"runs_queued_max\"} 50");
    assert_line(text, "sluice_runs_ended_total{status=\"timeout\",reason=\"queue_time\"} 0");
    assert_line(text, "sluice_runs_ended_total{status=\"failed\",reason=\"circuit_open\"} 0");
    assert_line(text, "sluice_subscriber_lag_events 0");
    assert_line(text, "sluice_redis_state{state=\"off\"} 1");
    assert_line(text, "process_start_time_seconds 1700000000.000");
    char phase[128];
    snprintf(phase, sizeof(phase), "sluice_upstream_calls_in_phase{upstream=\"two\",phase=\"%s\"} 3",
             upstream_phase_name(UPSTREAM_PHASE_FIRST_BYTE));
    assert_line(text, phase);
    reply_finish(&request.reply);
    assert_true(limiter_leave(upstreams.items[0].limiter, &ticket, &(struct limiter_report){.unused = true}));
}

/* An upstream without a breaker has no state to show, and one that is not asked no health. */
static void metrics_are_silent_about_what_an_upstream_does_not_have(void **state) {
    (void)state;
    struct request request;
    begin(1);
    upstreams_finish(&upstreams);
    settings[0].breaker.failure_percent = 0;
    settings[0].limiter.concurrency_max = 0;
    settings[0].health_path = NULL;
    assert_true(upstreams_init(&upstreams, &upstream_worker.settings));
    const char *text = answer(&request, handle_metrics, 200);
    assert_null(strstr(text, "sluice_upstream_breaker_state{"));
    assert_null(strstr(text, "sluice_upstream_limiter_slots{"));
    assert_null(strstr(text, "sluice_upstream_healthy{"));
    assert_non_null(strstr(text, "sluice_upstream_score{"));
    reply_finish(&request.reply);
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, end)
    const struct CMUnitTest tests[] = {
        TEST(health_is_good_if_nothing_is_wrong),
        TEST(health_is_degraded_while_one_breaker_is_open),
        TEST(health_is_critical_while_no_upstream_can_take_a_run),
        TEST(health_is_critical_while_the_only_probe_hangs),
        TEST(health_is_degraded_while_an_upstream_has_asked_for_a_pause),
        TEST(health_tells_a_bounded_number_of_reasons_and_the_worst_first),
        TEST(health_is_degraded_while_the_queue_is_nearly_full),
        TEST(health_is_degraded_while_nearly_all_sessions_are_open),
        TEST(health_is_degraded_above_the_memory_it_should_take),
        TEST(health_is_critical_while_no_run_has_room),
        TEST(health_is_degraded_while_draining),
        TEST(health_is_answered_with_its_reasons),
        TEST(stats_and_metrics_have_room_for_all_upstreams),
        TEST(metrics_tell_of_each_upstream),
        TEST(metrics_are_silent_about_what_an_upstream_does_not_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
