/* The table of all settings. To add one: a line here, and its field in config.h. */
#include "config/keys.h"

#include "config/config.h"

#include <assert.h>
#include <string.h>

/* The offset of a member, which must be of that type. */
#define FIELD(member, field_type)                                                                            \
    .offset = _Generic(((struct config *)NULL)->member, field_type : offsetof(struct config, member))

#define NUMBER(key, value_type, member, field_type, value, min, max)                                         \
    .name = key, .type = &value_type, FIELD(member, field_type), .fallback = value, .minimum = min,          \
    .maximum = max
#define COUNT(key, member, value, min, max) NUMBER(key, config_count, member, uint64_t, value, min, max)
#define BYTES(key, member, value, min, max) NUMBER(key, config_bytes, member, uint64_t, value, min, max)
#define MS(key, member, value, min, max) NUMBER(key, config_ms, member, int64_t, value, min, max)
#define BOOL(key, member, value) .name = key, .type = &config_bool, FIELD(member, bool), .fallback = value
#define TYPED_TEXT(key, value_type, member, max)                                                             \
    .name = key, .type = &value_type, FIELD(member, char *), .fallback = "", .maximum = max
#define TEXT(key, member, max) TYPED_TEXT(key, config_text, member, max)
#define CHOICE(key, member, enum_type, value, list)                                                          \
    .name = key, .type = &config_choice, FIELD(member, enum_type), .fallback = value, .choices = list

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SECOND ((uint64_t)1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

static const struct config_choice log_levels[] = {{"debug", LOG_LEVEL_DEBUG},
                                                  {"info", LOG_LEVEL_INFO},
                                                  {"warn", LOG_LEVEL_WARN},
                                                  {"error", LOG_LEVEL_ERROR},
                                                  {0}};
static const struct config_choice log_formats[] = {{"json", LOG_FORMAT_JSON}, {"text", LOG_FORMAT_TEXT}, {0}};
static const struct config_choice stream_errors[] = {{"by_kind", RETRY_STREAM_ERRORS_BY_KIND},
                                                     {"on", RETRY_STREAM_ERRORS_ON},
                                                     {"off", RETRY_STREAM_ERRORS_OFF},
                                                     {0}};
static const struct config_choice trace_trusts[] = {
    {"none", TRACE_TRUST_NONE}, {"parent", TRACE_TRUST_PARENT}, {"all", TRACE_TRUST_ALL}, {0}};
static const struct config_choice trace_beginners[] = {{"agent", TRACE_BEGIN_AGENT},
                                                       {"unsampled", TRACE_BEGIN_UNSAMPLED},
                                                       {"sampled", TRACE_BEGIN_SAMPLED},
                                                       {0}};
static const struct config_choice run_inputs[] = {
    {"none", RUN_INPUT_NONE}, {"text", RUN_INPUT_TEXT}, {"body", RUN_INPUT_BODY}, {0}};
static const struct config_choice on_disconnects[] = {
    {"cancel", ON_DISCONNECT_CANCEL}, {"continue", ON_DISCONNECT_CONTINUE}, {0}};
static const struct config_choice errors_shown[] = {
    {"full", ERRORS_TO_VIEWERS_FULL}, {"code", ERRORS_TO_VIEWERS_CODE}, {0}};
static const struct config_choice resume_ways[] = {
    {"post", RESUME_BY_POST}, {"location", RESUME_BY_LOCATION}, {0}};
#define KIND(kind) {#kind, 0},
static const struct config_choice kinds[] = {ADAPTER_KINDS(KIND){0}};
#undef KIND

static const struct config_choice resends[] = {
    {"never", UPSTREAM_RESEND_NEVER}, {"unanswered", UPSTREAM_RESEND_UNANSWERED}, {0}};

#define PROCESS .group = "Process"
#define UPSTREAM .group = "Upstream"
#define GUARD .group = "Guard"
#define CACHE .group = "Cache"
#define RUNS .group = "Runs"
#define SESSIONS .group = "Sessions and their event logs"
#define SUBSCRIBERS .group = "Subscribers"
#define HTTP .group = "HTTP"
#define HEALTH .group = "Health"

/* clang-format off */
const struct config_key config_keys[] = {
    {PROCESS, .name = "listen", .type = &config_address, FIELD(listen, struct config_listen), .fallback = "127.0.0.1:8080",
     .meaning = "Address and port to listen on; port 0 takes a free one, which the log tells."},
    {PROCESS, BOOL("allow_unauthenticated", allow_unauthenticated, "false"),
     .meaning = "Listen on an address that other machines reach although no authentication is configured."},
    {PROCESS, COUNT("workers", workers, "0", 0, 256),
     .meaning = "Worker threads; 0 is one for each processor."},
    {PROCESS, CHOICE("log_level", log_level, enum log_level, "info", log_levels),
     .reloadable = true,
     .meaning = "The least severe lines that are logged."},
    {PROCESS, CHOICE("log_format", log_format, enum log_format, "json", log_formats),
     .meaning = "How lines are logged on standard error."},
    {PROCESS, MS("drain_ms", drain_ms, "30000", 0, HOUR),
     .reloadable = true,
     .meaning = "How long runs may go on after SIGTERM before they are cancelled; 0 is not at all."},
    {PROCESS, BYTES("memory_max_bytes", memory_max_bytes, "0", 0, 1024 * GIB),
     .reloadable = true, .limit = true,
     .meaning = "Memory that clients and upstreams may make the gateway take. Near it logs are trimmed, at it new runs and "
                "sessions are refused. 0 is half of the machine's memory, or of what its control groups allow, at least "
                "16MiB."},

    {UPSTREAM, .name = "upstream", .type = &config_url, FIELD(upstream.base_url, char *), .fallback = "http://127.0.0.1:8000",
     .of_upstream = true,
     .meaning = "Base URL of the agent; for the kind sse the URL that runs are posted to, in whose path and query {app}, {user}, "
                "{session} and {task} are filled in. A query is for the kinds sse and openai."},
    {UPSTREAM, .name = "upstream_kind", .type = &config_adapter, FIELD(upstream.adapter, const struct adapter *),
     .fallback = "adk", .choices = kinds,
     .of_upstream = true,
     .meaning = "What the upstream speaks: ADK's api server, any event stream, or chat completions."},
    {UPSTREAM, TEXT("upstream_model", upstream.model, 256),
     .of_upstream = true,
     .meaning = "Model for the kind openai, if a run names none."},
    {UPSTREAM, TYPED_TEXT("upstream_ca_file", config_text, upstream.ca_file, 4 * KIB),
     .of_upstream = true, .reloadable = true,
     .meaning = "PEM file with the certificates of the authorities that may have signed the upstream's, in place of "
                "the system's; for an upstream of https. A reload reads it again, and the system's too."},
    {UPSTREAM, TEXT("upstream_authorization", upstream.authorization, 8 * KIB),
     .of_upstream = true, .secret = true,
     .meaning = "Value of the Authorization header of every request to the upstream. A secret: prefer the "
                "environment or the file to the flag, which other users of the machine can see."},
    {UPSTREAM, TYPED_TEXT("upstream_headers", config_headers, upstream.headers, 8 * KIB),
     .of_upstream = true, .secret = true,
     .meaning = "Further headers of every request to the upstream, such as Azure's \"api-key: 1234\". Secrets: prefer the "
                "environment or the file to the flag."},
    {UPSTREAM, TYPED_TEXT("upstream_body_template", config_template, upstream.body_template, 16 * KIB),
     .of_upstream = true,
     .meaning = "For the kind sse: JSON object that a run's body is made of. {app}, {user}, {session}, {task} and {message} in its "
                "texts are filled in; members of the client's body that it does not have are added. Empty: the body is the "
                "client's."},
    {UPSTREAM, MS("upstream_connect_timeout_ms", upstream.connect_timeout_ms, "10000", 10, HOUR),
     .of_upstream = true, .reloadable = true,
     .meaning = "Time to connect; then the run fails as upstream_connect."},
    {UPSTREAM, MS("upstream_first_byte_timeout_ms", upstream.first_byte_timeout_ms, "60000", 10, DAY),
     .of_upstream = true, .reloadable = true,
     .meaning = "Time until the answer begins; then the run fails as upstream_idle."},
    {UPSTREAM, MS("upstream_idle_timeout_ms", upstream.idle_timeout_ms, "120000", 10, DAY),
     .of_upstream = true, .reloadable = true,
     .meaning = "Time for which the connection may be silent once the answer has begun; any byte counts, comments too. Then "
                "the run fails as upstream_idle."},
    {UPSTREAM, MS("upstream_event_timeout_ms", upstream.event_timeout_ms, "0", 0, DAY),
     .of_upstream = true, .reloadable = true,
     .meaning = "Time from one event to the next, however alive the connection is; then the run fails as upstream_idle. "
                "0 disables this limit."},
    {UPSTREAM, MS("upstream_keepalive_ms", upstream.keepalive_ms, "4000", 0, HOUR),
     .of_upstream = true, .reloadable = true,
     .meaning = "An idle connection older than this is not used again; stay below the upstream's own limit."},
    {UPSTREAM, CHOICE("upstream_resend", upstream.resend, enum upstream_resend, "never", resends),
     .of_upstream = true, .reloadable = true,
     .meaning = "never: a run that was sent and got no answer fails. unanswered: it is sent again, within retry_attempts_max, "
                "and an agent that received it executes it twice."},
    {UPSTREAM, COUNT("upstream_connections_max", upstream.connections_max, "1024", 1, 100000),
     .reloadable = true, .limit = true,
     .meaning = "Idle connections kept open for the next run, for each worker."},
    {UPSTREAM, .name = "upstream_apps", .type = &config_words, FIELD(upstream.apps, char *), .fallback = "*", .minimum = 1,
     .maximum = 4 * KIB,
     .of_upstream = true,
     .meaning = "Apps whose runs it may get: names, or patterns in which * is any text."},
    {UPSTREAM, COUNT("upstream_weight", upstream.weight, "1", 0, 1000),
     .of_upstream = true,
     .meaning = "Its share of the runs among the upstreams that may get them; 0 is only as a fallback."},
    {UPSTREAM, TYPED_TEXT("upstream_fallback", config_name, upstream.fallback, CONFIG_UPSTREAM_NAME_MAX),
     .of_upstream = true,
     .meaning = "Name of the upstream that takes the runs which this one cannot."},
    {UPSTREAM, TEXT("upstream_canned_answer", upstream.canned_answer, 8 * KIB),
     .of_upstream = true,
     .meaning = "Text that answers a run when its upstream and all fallbacks have failed; by default the run fails."},
    {UPSTREAM, TYPED_TEXT("default_app", config_app, routes.default_app, SESSION_PART_MAX),
     .reloadable = true,
     .meaning = "For the kind adk: app of a POST /run_sse or /run whose body names none. Empty: such a body is refused."},
    {UPSTREAM, BOOL("upstream_resumable", upstream.resumable, "false"),
     .of_upstream = true,
     .meaning = "For the kind sse: it sends ids, and after a break goes on behind a Last-Event-ID."},
    {UPSTREAM, CHOICE("upstream_resume", upstream.resume_by, enum resume_by, "post", resume_ways),
     .of_upstream = true,
     .meaning = "How a resumable stream that broke off is asked for again: post repeats the run's request; location gets the "
                "URL that the first answer's Location or Content-Location named, at the same origin, and goes on after the "
                "id before the last, so that the last event must come again."},
    {UPSTREAM, .name = "upstream_error_events", .type = &config_words, FIELD(upstream.rules.error_events, char *),
     .fallback = "error,response.failed,RUN_ERROR", .maximum = KIB,
     .of_upstream = true,
     .meaning = "For the kind sse: an event fails the run if its type, the member \"type\" of its data, or all of its data is "
                "one of these words. With the word error, a member \"error\" that is not null does so too. Empty: none does."},
    {UPSTREAM, TYPED_TEXT("upstream_end_events", config_words, upstream.rules.end_events, KIB),
     .of_upstream = true,
     .meaning = "For the kind sse: events that end a run, named like those of upstream_error_events. If it is set, an "
                "answer that ends without such an event is upstream_truncated."},
    {UPSTREAM, BOOL("upstream_doubt_fails", upstream.rules.doubt_fails, "false"),
     .of_upstream = true,
     .meaning = "For the kind adk: an answer fails whose last word is an errorCode, or a partial event without the whole "
                "one. By default the run is completed, with a warning."},
    {UPSTREAM, MS("upstream_settle_ms", upstream.settle_ms, "100", 0, 10 * SECOND),
     .of_upstream = true, .reloadable = true,
     .meaning = "For the kind adk: after a run of a session was cut off, its agent is left alone for this long before the "
                "session's next run is posted, since it still writes to the session. 0 disables the wait."},
    {UPSTREAM, TYPED_TEXT("upstream_health_path", config_path, upstream.health_path, KIB),
     .of_upstream = true,
     .meaning = "Path that is asked by GET whether the upstream is well, which 2xx says; by default it is not asked."},
    {UPSTREAM, MS("upstream_health_interval_ms", upstream.health_interval_ms, "10000", 10, DAY),
     .of_upstream = true,
     .meaning = "How often upstream_health_path is asked."},

    {GUARD, COUNT("retry_attempts_max", upstream.retry.attempts_max, "1", 1, 20),
     .of_upstream = true, .reloadable = true,
     .meaning = "How often a call is made, the first time included, if it fails before its first event in a way that "
                "may pass: no connection, 429, 502, 503, 504. 1 is never again. See also upstream_resend."},
    {GUARD, MS("retry_base_ms", upstream.retry.base_ms, "200", 1, HOUR),
     .of_upstream = true, .reloadable = true,
     .meaning = "The wait before the second attempt is a random time up to this; it doubles with each attempt."},
    {GUARD, MS("retry_max_ms", upstream.retry.max_ms, "5000", 1, HOUR),
     .of_upstream = true, .reloadable = true,
     .meaning = "The wait doubles up to this; only a Retry-After makes it longer."},
    {GUARD, MS("retry_total_ms", upstream.retry.total_ms, "30000", 1, DAY),
     .of_upstream = true, .reloadable = true,
     .meaning = "No attempt begins later than this after the first."},
    {GUARD, CHOICE("retry_stream_errors", upstream.retry.stream_errors, enum retry_stream_errors, "by_kind", stream_errors),
     .of_upstream = true, .reloadable = true,
     .meaning = "Whether a call is made again if its stream begins with an error, before anything visible. by_kind does so "
                "for openai only: calls of adk and sse may have had effects."},
    {GUARD, COUNT("breaker_failure_percent", upstream.breaker.failure_percent, "0", 0, 100),
     .of_upstream = true,
     .meaning = "Failures among a hundred calls that open the circuit breaker: it then refuses calls. 0 is no breaker."},
    {GUARD, COUNT("breaker_calls_min", upstream.breaker.calls_min, "10", 1, 1000000),
     .of_upstream = true,
     .meaning = "Calls in breaker_window_ms without which the breaker does not open."},
    {GUARD, MS("breaker_window_ms", upstream.breaker.window_ms, "30000", 100, DAY),
     .of_upstream = true,
     .meaning = "How long a call counts for the breaker."},
    {GUARD, MS("breaker_recovery_ms", upstream.breaker.recovery_ms, "5000", 10, HOUR),
     .of_upstream = true,
     .meaning = "How long the breaker stays open the first time, give or take a jitter; this doubles each time in a row."},
    {GUARD, MS("breaker_recovery_max_ms", upstream.breaker.recovery_max_ms, "120000", 10, DAY),
     .of_upstream = true,
     .meaning = "The longest that the breaker stays open, give or take a jitter."},
    {GUARD, COUNT("breaker_probes_max", upstream.breaker.probes_max, "1", 1, 1000),
     .of_upstream = true,
     .meaning = "Calls at once that then pass, to see whether the upstream is back; as many successes close the breaker."},
    {GUARD, COUNT("limiter_rate_calls", upstream.limiter.rate_calls, "0", 0, 1000000),
     .of_upstream = true,
     .meaning = "Calls in limiter_rate_per_ms, and as many at once after a pause; more wait. 0 is no limit."},
    {GUARD, MS("limiter_rate_per_ms", upstream.limiter.rate_per_ms, "60000", 1, DAY),
     .of_upstream = true,
     .meaning = "The time that limiter_rate_calls is for."},
    {GUARD, COUNT("limiter_concurrency_max", upstream.limiter.concurrency_max, "0", 0, 1000000),
     .of_upstream = true,
     .meaning = "Calls at once, over all workers; more wait. 0 is no limit."},
    {GUARD, COUNT("limiter_concurrency_min", upstream.limiter.concurrency_min, "1", 1, 1000000),
     .of_upstream = true,
     .meaning = "Calls at once that an adaptive limiter always lets through."},
    {GUARD, BOOL("limiter_adaptive", upstream.limiter.adaptive, "false"),
     .of_upstream = true,
     .meaning = "Allow half as many calls at once after a 429, a 503 or a late first event, and slowly more again after "
                "good answers."},
    {GUARD, MS("limiter_latency_target_ms", upstream.limiter.latency_target_ms, "0", 0, DAY),
     .of_upstream = true,
     .meaning = "A first event after more than this is late for an adaptive limiter; 0 is never."},
    {GUARD, COUNT("limiter_waiting_max", upstream.limiter.waiting_max, "1000", 0, 1000000),
     .of_upstream = true,
     .meaning = "Calls that wait for the limiter; one more is refused."},
    {GUARD, COUNT("limiter_requests_waiting_max", upstream.queries_waiting_max, "100", 0, 1000000),
     .of_upstream = true, .reloadable = true,
     .meaning = "Of those, requests that are no runs: for sessions, and paths that are passed through. One more is refused, so "
                "that there is room for runs. 0 refuses each that cannot be sent at once."},
    {GUARD, MS("limiter_requests_wait_ms", upstream.queries_wait_ms, "10000", 1, HOUR),
     .of_upstream = true, .reloadable = true,
     .meaning = "How long a request that is no run may wait for the limiter; then it is refused."},

    {CACHE, BOOL("cache", upstream.cache.on, "false"),
     .of_upstream = true,
     .meaning = "Keep completed runs, and answer runs that ask the same with them; those that ask the same at once "
                "share one call."},
    {CACHE, MS("cache_ttl_ms", upstream.cache.ttl_ms, "3600000", 1, 365 * DAY),
     .of_upstream = true, .reloadable = true,
     .meaning = "How long a completed run is kept."},
    {CACHE, BOOL("cache_per_user", upstream.cache.per_user, "true"),
     .of_upstream = true,
     .meaning = "A run is answered with runs of its own user only."},
    {CACHE, BOOL("cache_paced", upstream.cache.paced, "false"),
     .of_upstream = true,
     .meaning = "Answer as fast as the kept run came, not at full speed."},
    {CACHE, TYPED_TEXT("cache_ignore", config_words, upstream.cache.ignore, 4 * KIB),
     .of_upstream = true,
     .meaning = "Members of the request's JSON, at any depth, that may differ in runs that ask the same."},
    {CACHE, BYTES("cache_bytes_max", cache.bytes_max, "64MiB", 0, 1024 * GIB),
     .limit = true,
     .meaning = "Memory of the runs that are kept; those that were not used for longest leave first. 0 is none."},
    {CACHE, BYTES("cache_run_bytes_max", cache.run_bytes_max, "1MiB", KIB, 4 * GIB),
     .limit = true,
     .meaning = "Size of a run; a larger one is not kept."},
    {CACHE, TYPED_TEXT("redis", config_redis, cache.redis, KIB),
     .meaning = "Redis that keeps completed runs too, for several processes together; without it, and while it is "
                "away, there is the process's own memory."},
    {CACHE, TEXT("redis_password", cache.redis_password, KIB),
     .secret = true,
     .meaning = "Password for Redis. A secret: prefer the environment or the file to the flag."},
    {CACHE, MS("redis_timeout_ms", cache.redis_timeout_ms, "500", 10, 60 * SECOND),
     .meaning = "Time for Redis to take a connection and to answer; then it counts as away."},

    {RUNS, COUNT("runs_max", limits.runs_max, "1000", 1, 1000000),
     .reloadable = true, .limit = true,
     .meaning = "Runs at once; one more waits for its turn."},
    {RUNS, COUNT("runs_per_app_max", limits.runs_per_app_max, "0", 0, 1000000),
     .limit = true,
     .meaning = "Runs of one app at once; one more waits for its turn. 0 is no limit."},
    {RUNS, COUNT("runs_per_user_max", limits.runs_per_user_max, "0", 0, 1000000),
     .limit = true,
     .meaning = "Runs of one user of an app at once; one more waits for its turn. 0 is no limit."},
    {RUNS, COUNT("runs_queued_max", limits.runs_queued_max, "1000", 0, 1000000),
     .reloadable = true, .limit = true,
     .meaning = "Runs that wait for their turn, over all sessions; one more is refused."},
    {RUNS, COUNT("runs_queued_per_session_max", limits.runs_queued_per_session_max, "16", 0, 10000),
     .reloadable = true, .limit = true,
     .meaning = "Runs that wait in a session for their turn; one more is refused."},
    {RUNS, COUNT("runs_delayed_max", limits.runs_delayed_max, "1000", 0, 1000000),
     .reloadable = true, .limit = true,
     .meaning = "Runs with a delay_ms that have not started, over all sessions; one more is refused. They take no place in "
                "the queue, not even when they are due and wait."},
    {RUNS, COUNT("runs_delayed_per_user_max", limits.runs_delayed_per_user_max, "100", 0, 1000000),
     .reloadable = true, .limit = true,
     .meaning = "The same for one user of an app. 0 disables the limit."},
    {RUNS, MS("queue_timeout_ms", limits.queue_timeout_ms, "600000", 0, 30 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "How long a run may wait for its turn; then it ends as timeout. 0 is as long as it takes."},
    {RUNS, MS("queue_aging_ms", limits.queue_aging_ms, "10000", 1, DAY),
     .reloadable = true, .limit = true,
     .meaning = "Waiting this long counts as one step of priority, so that no run waits forever."},
    {RUNS, MS("run_timeout_ms", relay.run_timeout_ms, "300000", 10, 30 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "Time a run may take, and the most it may ask for; then it ends as timeout."},
    {RUNS, MS("disconnect_grace_ms", routes.disconnect_grace_ms, "5000", 0, HOUR),
     .reloadable = true,
     .meaning = "A run with on_disconnect: cancel is cancelled when nobody has watched its session for this long after "
                "a client left, so that a client may reconnect. 0 cancels it at once."},
    {RUNS, CHOICE("run_sse_on_disconnect", routes.run_sse_on_disconnect, enum on_disconnect, "cancel", on_disconnects),
     .reloadable = true,
     .meaning = "What on_disconnect is for POST /run_sse if the request does not say it. ADK's clients stop a run by closing."},
    {RUNS, COUNT("run_events_max", relay.run_events_max, "0", 0, 1000000000),
     .reloadable = true, .limit = true,
     .meaning = "Events of one run; one that has more fails as limit. 0 is no limit."},
    {RUNS, BYTES("run_bytes_max", relay.run_bytes_max, "0", 0, 1024 * GIB),
     .reloadable = true, .limit = true,
     .meaning = "Bytes of one run's events, their types included; a run that has more fails as limit. 0 disables the limit."},
    {RUNS, COUNT("run_tokens_max", relay.run_tokens_max, "0", 0, 1000000000),
     .reloadable = true, .limit = true,
     .meaning = "Tokens of one run, where the upstream tells them; one that takes more fails as limit. 0 is no limit."},
    {RUNS, CHOICE("run_start_input", routes.run_input, enum run_input, "text", run_inputs),
     .reloadable = true,
     .meaning = "Of what the user sent, what run.start and /tasks/{id} show as \"input\" to everyone who may see the session: "
                "nothing, the text of the message, or the body as it came."},
    {RUNS, BYTES("run_start_input_bytes_max", routes.run_input_bytes_max, "16KiB", 16, MIB),
     .reloadable = true, .limit = true,
     .meaning = "Size of that input. Of a longer one the beginning is shown, up to where a character ends, and "
                "\"input_truncated\" is true. Never more than log_bytes_max."},
    {RUNS, COUNT("tasks_kept", limits.tasks_kept, "10000", 0, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Ended runs that are remembered; the oldest are forgotten first."},
    {RUNS, MS("idempotency_ttl_ms", limits.idempotency_ttl_ms, "600000", 100, 30 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "How long an Idempotency-Key answers with the run that it started."},
    {RUNS, COUNT("idempotency_keys_per_session_max", limits.idempotency_keys_per_session_max, "128", 0, 100000),
     .reloadable = true, .limit = true,
     .meaning = "Idempotency keys remembered in a session; the oldest are forgotten first."},

    {SESSIONS, COUNT("sessions_max", limits.sessions_max, "100000", 1, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Sessions at once. For one more, a session ends that never had a run and has no subscribers; if there "
                "is none, it is refused."},
    {SESSIONS, MS("session_ttl_ms", limits.session_ttl_ms, "1800000", 10, 365 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "How long a session is kept after its last use; a run that waits or is under way uses it."},
    {SESSIONS, MS("session_empty_ttl_ms", limits.session_empty_ttl_ms, "60000", 10, 365 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "The same for a session that never had a run, while nobody listens to it."},
    {SESSIONS, COUNT("log_events_max", limits.log_events_max, "1000", 1, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Events kept in a session for those who come late; the oldest leave first."},
    {SESSIONS, BYTES("log_bytes_max", limits.log_bytes_max, "4MiB", KIB, 4 * GIB),
     .reloadable = true, .limit = true,
     .meaning = "Bytes of events kept in a session; the oldest leave first."},
    {SESSIONS, BYTES("event_bytes_max", upstream.event_bytes_max, "1MiB", 256, GIB),
     .reloadable = true, .limit = true,
     .meaning = "Size of one event; a run with a larger one fails as limit. Never more than log_bytes_max."},
    {SESSIONS, BYTES("event_type_bytes_max", upstream.event_type_bytes_max, "1KiB", 16, MIB),
     .reloadable = true, .limit = true,
     .meaning = "Size of one event's type; a run with a longer one fails as limit."},
    {SESSIONS, MS("cleanup_interval_ms", cleanup_interval_ms, "15000", 10, DAY),
     .reloadable = true,
     .meaning = "How often expired sessions and old runs are looked for."},

    {SUBSCRIBERS, COUNT("subscribers_max", limits.subscribers_max, "100000", 1, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Subscribers at once; one more is refused."},
    {SUBSCRIBERS, COUNT("subscribers_per_session_max", limits.subscribers_per_session_max, "10000", 1, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Subscribers of one session; one more is refused."},
    {SUBSCRIBERS, COUNT("subscribers_gathered_max", limits.subscribers_gathered_max, "10000", 0, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "So many subscribers of one session are written to by one worker, where its runs are, too: each event "
                "then stays on one core. Those who come beyond are left to the worker that took their connection, "
                "so that a large crowd has all cores."},
    {SUBSCRIBERS, COUNT("subscribers_waiting_max", limits.subscribers_waiting_max, "50000", 0, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Subscribers at once that wait for a session which is not open yet; one more is refused."},
    {SUBSCRIBERS, COUNT("subscribers_waiting_per_address_max", limits.subscribers_waiting_per_address_max, "20000", 0, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "The same for one client address (IPv6: its first 64 bits). 0 disables the limit. Clients behind a proxy share "
                "its address."},
    {SUBSCRIBERS, MS("heartbeat_ms", fanout.heartbeat_ms, "15000", 10, HOUR),
     .reloadable = true,
     .meaning = "A comment is sent to a subscriber after this much silence."},
    {SUBSCRIBERS, MS("retry_ms", fanout.retry_ms, "2000", 1, HOUR),
     .reloadable = true,
     .meaning = "How long clients are told to wait before they connect again, give or take a jitter."},
    {SUBSCRIBERS, MS("stall_timeout_ms", fanout.stall_timeout_ms, "30000", 10, HOUR),
     .reloadable = true,
     .meaning = "A subscriber that takes no byte for this long is closed."},
    {SUBSCRIBERS, BYTES("send_buffer_bytes", http.listener.send_buffer_bytes, "128KiB", 0, 64 * MIB),
     .meaning = "Send buffer of a client's socket (SO_SNDBUF), which bounds what the kernel holds for a slow one; 0 is "
                "the kernel's choice, up to some 4 MB."},

    {HTTP, COUNT("connections_max", http.listener.connections_max, "120000", 2, 10000000),
     .limit = true,
     .meaning = "Client connections at once, subscribers included; one more is refused."},
    {HTTP, COUNT("connections_per_address_max", http.address.connections_max, "0", 0, 10000000),
     .limit = true,
     .meaning = "Client connections of one address (IPv6: of its first 64 bits), subscribers included; one more is "
                "refused. 0 is no limit: clients behind a proxy share its address."},
    {HTTP, COUNT("request_rate_per_address", http.address.requests_per_second, "0", 0, 1000000),
     .limit = true,
     .meaning = "Requests a second of one address; more are answered 429. 0 is no limit."},
    {HTTP, COUNT("request_burst_per_address", http.address.requests_burst, "100", 1, 1000000),
     .limit = true,
     .meaning = "Requests of one address that may come at once after a pause, if there is a request rate."},
    {HTTP, BYTES("request_header_bytes_max", http.listener.request_header_bytes_max, "16KiB", KIB, MIB),
     .limit = true,
     .meaning = "Size of a request's line and headers; more is refused."},
    {HTTP, COUNT("request_headers_max", http.listener.request_headers_max, "100", 8, 10000),
     .limit = true,
     .meaning = "Headers of a request; more are refused."},
    {HTTP, BYTES("request_body_bytes_max", routes.request_body_bytes_max, "1MiB", 256, GIB),
     .reloadable = true, .limit = true,
     .meaning = "Size of a request's body; more is refused."},
    {HTTP, COUNT("request_json_values_max", routes.request_json_values_max, "10000", 100, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "JSON values in a request's body; a body with more is refused. 10000 values keep a worker busy for at "
                "most some 15 ms."},
    {HTTP, MS("request_timeout_ms", http.listener.request_timeout_ms, "15000", SECOND, HOUR),
     .limit = true,
     .meaning = "Time a request may take to arrive, and its answer to stand still; then the connection is closed."},
    {HTTP, .name = "allowed_hosts", .type = &config_hosts, FIELD(allowed_hosts, struct config_list), .fallback = "",
     .reloadable = true,
     .meaning = "Names by which this gateway is asked, as Host headers have them. A listener on a loopback address serves these "
                "besides localhost and loopback addresses, and no others. Other listeners serve any name while the list is "
                "empty. Pages at these names count as the gateway's own."},
    {HTTP, .name = "cors_origins", .type = &config_origins, FIELD(cors_origins, struct config_list), .fallback = "",
     .reloadable = true,
     .meaning = "Origins whose pages may use the gateway from a browser: exact ones, or * for all; none by default."},
    {HTTP, BOOL("cors_credentials", routes.cors_credentials, "false"),
     .reloadable = true,
     .meaning = "Let those pages send cookies and other credentials; only with exact origins."},
    {HTTP, .name = "cors_headers", .type = &config_header_names, FIELD(cors_headers, struct config_list), .fallback = "",
     .reloadable = true,
     .meaning = "Further request headers that those pages may send, such as baggage or sentry-trace. docs/api.md lists "
                "the headers that are always allowed."},
    {HTTP, CHOICE("trace_trust", routes.trace.trust, enum trace_trust, "parent", trace_trusts),
     .reloadable = true,
     .meaning = "What is believed of a client's traceparent. parent: the trace goes on, but its flag 'sampled' is not taken, "
                "so that no client can force recording. all: the flag, too, for clients that are trusted. none: nothing."},
    {HTTP, CHOICE("trace_begin", routes.trace.begin, enum trace_begin, "agent", trace_beginners),
     .reloadable = true,
     .meaning = "What begins the trace of a run whose request has none. agent: no traceparent is sent, and the agent samples by "
                "its own rule. unsampled, sampled: the gateway does, without and with the flag 'sampled'. Agents with the usual "
                "sampler record nothing after the one, and everything after the other."},
    {HTTP, BOOL("passthrough_ui", routes.passthrough_ui, "false"),
     .reloadable = true,
     .meaning = "Serve ADK's web UI at /dev-ui/, with the upstream's own media types. Its scripts then run at the gateway's own "
                "origin and may do everything there: only for an upstream that is trusted as the gateway is."},
    {HTTP, COUNT("tunnels_max", routes.tunnels_max, "100", 0, 10000),
     .reloadable = true, .limit = true,
     .meaning = "WebSockets of /run_live at once, in all. Each is also a run of its app and its user, and holds a slot of its "
                "upstream's limiter. 0: none."},
    {HTTP, MS("tunnel_timeout_ms", routes.tunnel_timeout_ms, "3600000", 10, 30 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "The longest that a WebSocket of /run_live may last. It also ends when its upstream has sent nothing for "
                "upstream_idle_timeout_ms."},
    {HTTP, CHOICE("errors_to_viewers", routes.errors_to_viewers, enum errors_to_viewers, "full", errors_shown),
     .reloadable = true,
     .meaning = "What a run's viewers see of its failure. full: its cause and a message with the upstream's words. code: its "
                "reason and a generic sentence; the rest is in the log and in /tasks. Applies to runs that are accepted from "
                "then on."},
    {HTTP, BOOL("demo", routes.demo, "true"),
     .reloadable = true,
     .meaning = "Serve the demo page at /demo."},

    {HEALTH, BYTES("memory_warn_bytes", routes.memory_warn_bytes, "0", 0, 1024 * GIB),
     .reloadable = true, .limit = true,
     .meaning = "Warn in the log when clients and upstreams make the gateway take more memory; that is degraded. 0 is "
                "fifteen sixteenths of memory_max_bytes: more than what logs are trimmed to."},
    {HEALTH, COUNT("health_queue_percent", routes.health_queue_percent, "80", 1, 100),
     .reloadable = true,
     .meaning = "A queue of runs that is fuller is degraded, in percent of runs_queued_max."},
    {HEALTH, COUNT("health_sessions_percent", routes.health_sessions_percent, "90", 1, 100),
     .reloadable = true,
     .meaning = "More sessions are degraded, in percent of sessions_max."},
};
/* clang-format on */

const size_t config_keys_count = sizeof(config_keys) / sizeof(config_keys[0]);

int config_key_find(const char *name) {
    for (size_t i = 0; i < config_keys_count; i++) {
        if (strcmp(config_keys[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

size_t config_key_index(const char *name) {
    int index = config_key_find(name);

    assert(index >= 0);
    return (size_t)index;
}
