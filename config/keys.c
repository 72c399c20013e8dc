/* The table of all settings. To add one: a line here, and its field in config.h or in the struct of its room.
 *
 * Everything else follows from the table: flags, environment, file, --help, --check-config, the documentation, the
 * checks of bounds, reloads, and which limits /stats and /metrics show. The text of an entry states the value and
 * its effect, then advice. `make docs` writes the pages that are made from it.
 */
#include "config/keys.h"

#include "config/config.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
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
     .meaning = "Address and port to listen on. Port 0 takes a free port; the log event listening reports it."},
    {PROCESS, BOOL("allow_unauthenticated", allow_unauthenticated, "false"),
     .meaning = "Allow a listening address that other machines reach although no authentication is configured."},
    {PROCESS, COUNT("workers", workers, "0", 0, 256),
     .meaning = "Number of worker threads. 0 starts one for each processor."},
    {PROCESS, CHOICE("log_level", log_level, enum log_level, "info", log_levels),
     .reloadable = true,
     .meaning = "Lowest level of the lines that are logged."},
    {PROCESS, CHOICE("log_format", log_format, enum log_format, "json", log_formats),
     .meaning = "Format of the log lines on standard error."},
    {PROCESS, MS("drain_ms", drain_ms, "30000", 0, HOUR),
     .reloadable = true,
     .meaning = "Time that runs get to end after SIGTERM before they are cancelled. 0 cancels them at once."},
    {PROCESS, BYTES("memory_max_bytes", memory_max_bytes, "0", 0, 1024 * GIB),
     .reloadable = true, .limit = true,
     .meaning = "Limit of the memory that clients and upstreams may make the gateway take. Near the limit logs are trimmed; "
                "at the limit new runs and sessions are refused. 0 sets it to half of the memory that the machine or its "
                "control groups allow, at least 16MiB."},

    {UPSTREAM, .name = "upstream", .type = &config_url, FIELD(upstream.base_url, char *), .fallback = "http://127.0.0.1:8000",
     .of_upstream = true,
     .meaning = "Base URL of the agent. For the kind sse it is the URL that runs are posted to. {app}, {user}, {session} and "
                "{task} in its path and query are filled in. Only the kinds sse and openai take a query."},
    {UPSTREAM, .name = "upstream_kind", .type = &config_adapter, FIELD(upstream.adapter, const struct adapter *),
     .fallback = "adk", .choices = kinds,
     .of_upstream = true,
     .meaning = "Protocol of the upstream: adk is ADK's API server, sse is any event stream, openai is chat completions."},
    {UPSTREAM, TEXT("upstream_model", upstream.model, 256),
     .of_upstream = true,
     .meaning = "For the kind openai: model of a run that names none."},
    {UPSTREAM, TYPED_TEXT("upstream_ca_file", config_text, upstream.ca_file, 4 * KIB),
     .of_upstream = true, .reloadable = true,
     .meaning = "PEM file with the certificate authorities that the gateway trusts for this https upstream, instead of the "
                "system's. A reload reads the file and the system's authorities again."},
    {UPSTREAM, TEXT("upstream_authorization", upstream.authorization, 8 * KIB),
     .of_upstream = true, .secret = true,
     .meaning = "Value of the Authorization header of every request to the upstream. It is a secret: prefer the environment "
                "or the file, since other users of the machine can see flags."},
    {UPSTREAM, TYPED_TEXT("upstream_headers", config_headers, upstream.headers, 8 * KIB),
     .of_upstream = true, .secret = true,
     .meaning = "Further headers of every request to the upstream, such as Azure's \"api-key: 1234\". They are secrets: prefer "
                "the environment or the file to the flag."},
    {UPSTREAM, TYPED_TEXT("upstream_body_template", config_template, upstream.body_template, 16 * KIB),
     .of_upstream = true,
     .meaning = "For the kind sse: JSON object from which the body of each run is made. {app}, {user}, {session}, {task} and "
                "{message} in its texts are filled in. Members that only the client's body has are added. Empty sends the "
                "client's body."},
    {UPSTREAM, MS("upstream_connect_timeout_ms", upstream.connect_timeout_ms, "10000", 10, HOUR),
     .of_upstream = true, .reloadable = true,
     .meaning = "Time limit for connecting. After that the run fails with reason upstream_connect."},
    {UPSTREAM, MS("upstream_first_byte_timeout_ms", upstream.first_byte_timeout_ms, "60000", 10, DAY),
     .of_upstream = true, .reloadable = true,
     .meaning = "Time limit for the beginning of the answer. After that the run fails with reason upstream_idle."},
    {UPSTREAM, MS("upstream_idle_timeout_ms", upstream.idle_timeout_ms, "120000", 10, DAY),
     .of_upstream = true, .reloadable = true,
     .meaning = "Longest silence of the connection after the answer has begun. Any byte ends the silence, including a "
                "comment's. After a longer silence the run fails with reason upstream_idle."},
    {UPSTREAM, MS("upstream_event_timeout_ms", upstream.event_timeout_ms, "0", 0, DAY),
     .of_upstream = true, .reloadable = true,
     .meaning = "Longest time from one event to the next, even if comments arrive. After that the run fails with reason "
                "upstream_idle. 0 disables this limit."},
    {UPSTREAM, MS("upstream_keepalive_ms", upstream.keepalive_ms, "4000", 0, HOUR),
     .of_upstream = true, .reloadable = true,
     .meaning = "Age at which an idle connection is no longer used for another run. Choose less than the upstream's own "
                "keep-alive limit."},
    {UPSTREAM, CHOICE("upstream_resend", upstream.resend, enum upstream_resend, "never", resends),
     .of_upstream = true, .reloadable = true,
     .meaning = "never: a run that was sent and got no answer fails. unanswered: the run is sent again, within "
                "retry_attempts_max; an agent that received it before executes it twice."},
    {UPSTREAM, COUNT("upstream_connections_max", upstream.connections_max, "1024", 1, 100000),
     .reloadable = true, .limit = true,
     .meaning = "Idle connections that each worker keeps open for the next runs."},
    {UPSTREAM, .name = "upstream_apps", .type = &config_words, FIELD(upstream.apps, char *), .fallback = "*", .minimum = 1,
     .maximum = 4 * KIB,
     .of_upstream = true,
     .meaning = "Apps whose runs the upstream may get: names, or patterns in which * matches any text."},
    {UPSTREAM, COUNT("upstream_weight", upstream.weight, "1", 0, 1000),
     .of_upstream = true,
     .meaning = "Share of the runs among the upstreams that may get them. 0 makes the upstream a fallback only."},
    {UPSTREAM, TYPED_TEXT("upstream_fallback", config_name, upstream.fallback, CONFIG_UPSTREAM_NAME_MAX),
     .of_upstream = true,
     .meaning = "Name of the upstream that takes the runs which this upstream cannot take."},
    {UPSTREAM, TEXT("upstream_canned_answer", upstream.canned_answer, 8 * KIB),
     .of_upstream = true,
     .meaning = "Text that answers a run after its upstream and all fallbacks have failed. Empty lets such a run fail."},
    {UPSTREAM, TYPED_TEXT("default_app", config_app, routes.default_app, SESSION_PART_MAX),
     .reloadable = true,
     .meaning = "For the kind adk: app of a POST /run_sse or /run whose body names none. Empty refuses such a body."},
    {UPSTREAM, BOOL("upstream_resumable", upstream.resumable, "false"),
     .of_upstream = true,
     .meaning = "For the kind sse: the upstream sends event ids, and continues after a given Last-Event-ID when a stream "
                "breaks off."},
    {UPSTREAM, CHOICE("upstream_resume", upstream.resume_by, enum resume_by, "post", resume_ways),
     .of_upstream = true,
     .meaning = "Request that continues a resumable stream which broke off. post repeats the run's request. location gets the "
                "URL of the first answer's Location or Content-Location at the same origin. The request gives the id before "
                "the last one, so that the last event must come again."},
    {UPSTREAM, .name = "upstream_error_events", .type = &config_words, FIELD(upstream.rules.error_events, char *),
     .fallback = "error,response.failed,RUN_ERROR", .maximum = KIB,
     .of_upstream = true,
     .meaning = "For the kind sse: an event fails the run if its type, its data's member \"type\" or its whole data is one of "
                "these words. The word error also matches a member \"error\" that is not null. Empty: no event fails a run."},
    {UPSTREAM, TYPED_TEXT("upstream_end_events", config_words, upstream.rules.end_events, KIB),
     .of_upstream = true,
     .meaning = "For the kind sse: events that end a run, matched like upstream_error_events. If words are set, an answer "
                "that ends without such an event fails with reason upstream_truncated."},
    {UPSTREAM, BOOL("upstream_doubt_fails", upstream.rules.doubt_fails, "false"),
     .of_upstream = true,
     .meaning = "For the kind adk: fail a run whose last event has an errorCode, or is partial and never followed by the "
                "whole event. By default such a run completes with a warning."},
    {UPSTREAM, MS("upstream_settle_ms", upstream.settle_ms, "100", 0, 10 * SECOND),
     .of_upstream = true, .reloadable = true,
     .meaning = "For the kind adk: pause of a session after one of its runs was cut off. The next run is posted after the "
                "pause, because the agent still writes to the session. 0 disables the pause."},
    {UPSTREAM, TYPED_TEXT("upstream_health_path", config_path, upstream.health_path, KIB),
     .of_upstream = true,
     .meaning = "Path of the health check; a GET must answer 2xx. Empty disables the check."},
    {UPSTREAM, MS("upstream_health_interval_ms", upstream.health_interval_ms, "10000", 10, DAY),
     .of_upstream = true,
     .meaning = "Time between two health checks."},

    {GUARD, COUNT("retry_attempts_max", upstream.retry.attempts_max, "1", 1, 20),
     .of_upstream = true, .reloadable = true,
     .meaning = "Maximum number of attempts of a call, the first included. A call is attempted again after a failure before "
                "its first event that may pass: no connection, 429, 502, 503 or 504. 1 disables retries. See also "
                "upstream_resend."},
    {GUARD, MS("retry_base_ms", upstream.retry.base_ms, "200", 1, HOUR),
     .of_upstream = true, .reloadable = true,
     .meaning = "Upper bound of the random wait before the second attempt. The bound doubles with each attempt."},
    {GUARD, MS("retry_max_ms", upstream.retry.max_ms, "5000", 1, HOUR),
     .of_upstream = true, .reloadable = true,
     .meaning = "Largest bound that the wait between two attempts reaches. Only a Retry-After makes the wait longer."},
    {GUARD, MS("retry_total_ms", upstream.retry.total_ms, "30000", 1, DAY),
     .of_upstream = true, .reloadable = true,
     .meaning = "Time since the first attempt after which no further attempt begins."},
    {GUARD, CHOICE("retry_stream_errors", upstream.retry.stream_errors, enum retry_stream_errors, "by_kind", stream_errors),
     .of_upstream = true, .reloadable = true,
     .meaning = "Whether a call is attempted again if its stream begins with an error before any visible event. by_kind does "
                "so for openai only, since a call of adk or sse may have had effects."},
    {GUARD, COUNT("breaker_failure_percent", upstream.breaker.failure_percent, "0", 0, 100),
     .of_upstream = true,
     .meaning = "Failure rate, in percent, at which the circuit breaker opens and refuses calls. 0 disables the breaker."},
    {GUARD, COUNT("breaker_calls_min", upstream.breaker.calls_min, "10", 1, 1000000),
     .of_upstream = true,
     .meaning = "Minimum number of calls in breaker_window_ms before the breaker may open."},
    {GUARD, MS("breaker_window_ms", upstream.breaker.window_ms, "30000", 100, DAY),
     .of_upstream = true,
     .meaning = "Time for which the breaker counts a call."},
    {GUARD, MS("breaker_recovery_ms", upstream.breaker.recovery_ms, "5000", 10, HOUR),
     .of_upstream = true,
     .meaning = "Time for which the breaker stays open at first, plus or minus a jitter. The time doubles with each failed "
                "recovery."},
    {GUARD, MS("breaker_recovery_max_ms", upstream.breaker.recovery_max_ms, "120000", 10, DAY),
     .of_upstream = true,
     .meaning = "Longest time for which the breaker stays open, plus or minus a jitter."},
    {GUARD, COUNT("breaker_probes_max", upstream.breaker.probes_max, "1", 1, 1000),
     .of_upstream = true,
     .meaning = "Calls that may pass at once as probes when the breaker's open time is over. The same number of successes "
                "closes the breaker."},
    {GUARD, COUNT("limiter_rate_calls", upstream.limiter.rate_calls, "0", 0, 1000000),
     .of_upstream = true,
     .meaning = "Calls allowed in limiter_rate_per_ms, and at once after a pause. Further calls wait. 0 disables the rate "
                "limit."},
    {GUARD, MS("limiter_rate_per_ms", upstream.limiter.rate_per_ms, "60000", 1, DAY),
     .of_upstream = true,
     .meaning = "Period of limiter_rate_calls."},
    {GUARD, COUNT("limiter_concurrency_max", upstream.limiter.concurrency_max, "0", 0, 1000000),
     .of_upstream = true,
     .meaning = "Calls at once, over all workers. Further calls wait. 0 disables this limit."},
    {GUARD, COUNT("limiter_concurrency_min", upstream.limiter.concurrency_min, "1", 1, 1000000),
     .of_upstream = true,
     .meaning = "Calls at once that an adaptive limiter always allows."},
    {GUARD, BOOL("limiter_adaptive", upstream.limiter.adaptive, "false"),
     .of_upstream = true,
     .meaning = "Halve the number of calls at once after a 429, a 503 or a late first event. Good answers raise the number "
                "again slowly."},
    {GUARD, MS("limiter_latency_target_ms", upstream.limiter.latency_target_ms, "0", 0, DAY),
     .of_upstream = true,
     .meaning = "Time after which an adaptive limiter counts a first event as late. 0 counts none as late."},
    {GUARD, COUNT("limiter_waiting_max", upstream.limiter.waiting_max, "1000", 0, 1000000),
     .of_upstream = true,
     .meaning = "Calls that may wait for the limiter. When the limit is reached, a further call is refused."},
    {GUARD, COUNT("limiter_requests_waiting_max", upstream.queries_waiting_max, "100", 0, 1000000),
     .of_upstream = true, .reloadable = true,
     .meaning = "Requests other than runs that may wait for the limiter, as a part of limiter_waiting_max. The limit leaves "
                "room for runs; a further request is refused. 0 refuses each request that cannot be sent at once."},
    {GUARD, MS("limiter_requests_wait_ms", upstream.queries_wait_ms, "10000", 1, HOUR),
     .of_upstream = true, .reloadable = true,
     .meaning = "Time that a request other than a run may wait for the limiter. After that it is refused."},

    {CACHE, BOOL("cache", upstream.cache.on, "false"),
     .of_upstream = true,
     .meaning = "Keep completed runs, and answer identical runs with them. Identical runs at the same time share one call."},
    {CACHE, MS("cache_ttl_ms", upstream.cache.ttl_ms, "3600000", 1, 365 * DAY),
     .of_upstream = true, .reloadable = true,
     .meaning = "Time for which a completed run is kept."},
    {CACHE, BOOL("cache_per_user", upstream.cache.per_user, "true"),
     .of_upstream = true,
     .meaning = "Answer a run only with runs of the same user."},
    {CACHE, BOOL("cache_paced", upstream.cache.paced, "false"),
     .of_upstream = true,
     .meaning = "Replay a kept run at the speed at which it came. By default it is replayed at full speed."},
    {CACHE, TYPED_TEXT("cache_ignore", config_words, upstream.cache.ignore, 4 * KIB),
     .of_upstream = true,
     .meaning = "Members of the request's JSON, at any depth, that are ignored when runs are compared."},
    {CACHE, BYTES("cache_bytes_max", cache.bytes_max, "64MiB", 0, 1024 * GIB),
     .limit = true,
     .meaning = "Memory of the runs that are kept. The least recently used runs are dropped first. 0 keeps no run in memory."},
    {CACHE, BYTES("cache_run_bytes_max", cache.run_bytes_max, "1MiB", KIB, 4 * GIB),
     .limit = true,
     .meaning = "Size limit of a kept run. A larger run is not kept."},
    {CACHE, TYPED_TEXT("redis", config_redis, cache.redis, KIB),
     .meaning = "Address of a Redis that keeps completed runs for several processes. Without Redis, or while it is away, each "
                "process uses its own memory."},
    {CACHE, TEXT("redis_password", cache.redis_password, KIB),
     .secret = true,
     .meaning = "Password for Redis. It is a secret: prefer the environment or the file to the flag."},
    {CACHE, MS("redis_timeout_ms", cache.redis_timeout_ms, "500", 10, 60 * SECOND),
     .meaning = "Time limit for Redis to accept a connection and to answer. After that Redis counts as away."},

    {RUNS, COUNT("runs_max", limits.runs_max, "1000", 1, 1000000),
     .reloadable = true, .limit = true,
     .meaning = "Runs at once. Further runs wait in the queue."},
    {RUNS, COUNT("runs_per_app_max", limits.runs_per_app_max, "0", 0, 1000000),
     .limit = true,
     .meaning = "Runs of one app at once. Further runs wait in the queue. 0 disables the limit."},
    {RUNS, COUNT("runs_per_user_max", limits.runs_per_user_max, "0", 0, 1000000),
     .limit = true,
     .meaning = "Runs of one user of an app at once. Further runs wait in the queue. 0 disables the limit."},
    {RUNS, COUNT("runs_queued_max", limits.runs_queued_max, "1000", 0, 1000000),
     .reloadable = true, .limit = true,
     .meaning = "Runs that may wait in the queue, over all sessions. When the limit is reached, a further run is refused."},
    {RUNS, COUNT("runs_queued_per_session_max", limits.runs_queued_per_session_max, "16", 0, 10000),
     .reloadable = true, .limit = true,
     .meaning = "Runs of one session that may wait in the queue. When the limit is reached, a further run is refused."},
    {RUNS, COUNT("runs_delayed_max", limits.runs_delayed_max, "1000", 0, 1000000),
     .reloadable = true, .limit = true,
     .meaning = "Runs with a delay_ms that have not started, over all sessions. When the limit is reached, a further one is "
                "refused. Delayed runs take no place in the queue, even when they are due and wait."},
    {RUNS, COUNT("runs_delayed_per_user_max", limits.runs_delayed_per_user_max, "100", 0, 1000000),
     .reloadable = true, .limit = true,
     .meaning = "Runs with a delay_ms of one user of an app that have not started. 0 disables the limit."},
    {RUNS, MS("queue_timeout_ms", limits.queue_timeout_ms, "600000", 0, 30 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "Time that a run may wait in the queue. After that it ends with status timeout. 0 disables the limit."},
    {RUNS, MS("queue_aging_ms", limits.queue_aging_ms, "10000", 1, DAY),
     .reloadable = true, .limit = true,
     .meaning = "Waiting time that raises the priority of a run by one step, so that no run waits forever."},
    {RUNS, MS("run_timeout_ms", relay.run_timeout_ms, "300000", 10, 30 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "Time limit of a run, and the highest limit that a client may ask for. After that the run ends with status "
                "timeout."},
    {RUNS, MS("disconnect_grace_ms", routes.disconnect_grace_ms, "5000", 0, HOUR),
     .reloadable = true,
     .meaning = "Time without any client on a session after which a run with on_disconnect: cancel is cancelled. A client can "
                "reconnect during this time. 0 cancels the run at once."},
    {RUNS, CHOICE("run_sse_on_disconnect", routes.run_sse_on_disconnect, enum on_disconnect, "cancel", on_disconnects),
     .reloadable = true,
     .meaning = "Default of on_disconnect for POST /run_sse. ADK's clients stop a run by closing the connection."},
    {RUNS, COUNT("run_events_max", relay.run_events_max, "0", 0, 1000000000),
     .reloadable = true, .limit = true,
     .meaning = "Events that one run may send. A run with more fails with reason limit. 0 disables the limit."},
    {RUNS, BYTES("run_bytes_max", relay.run_bytes_max, "0", 0, 1024 * GIB),
     .reloadable = true, .limit = true,
     .meaning = "Bytes of events, types included, that one run may send. A run with more fails with reason limit. 0 disables "
                "the limit."},
    {RUNS, COUNT("run_tokens_max", relay.run_tokens_max, "0", 0, 1000000000),
     .reloadable = true, .limit = true,
     .meaning = "Tokens that one run may take, if the upstream reports them. A run that takes more fails with reason limit. 0 "
                "disables the limit."},
    {RUNS, CHOICE("run_start_input", routes.run_input, enum run_input, "text", run_inputs),
     .reloadable = true,
     .meaning = "Part of the user's request that run.start and /tasks/{id} show as \"input\" to everyone who may see the "
                "session. none shows nothing, text shows the text of the message, body shows the whole body."},
    {RUNS, BYTES("run_start_input_bytes_max", routes.run_input_bytes_max, "16KiB", 16, MIB),
     .reloadable = true, .limit = true,
     .meaning = "Size of that \"input\", never more than log_bytes_max. A longer input is cut at the end of a character and "
                "marked by \"input_truncated\": true."},
    {RUNS, COUNT("tasks_kept", limits.tasks_kept, "10000", 0, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Ended runs that are remembered. The oldest are forgotten first."},
    {RUNS, MS("idempotency_ttl_ms", limits.idempotency_ttl_ms, "600000", 100, 30 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "Time for which a request with a known Idempotency-Key gets the run that the key started."},
    {RUNS, COUNT("idempotency_keys_per_session_max", limits.idempotency_keys_per_session_max, "128", 0, 100000),
     .reloadable = true, .limit = true,
     .meaning = "Idempotency keys that one session remembers. The oldest are forgotten first."},

    {SESSIONS, COUNT("sessions_max", limits.sessions_max, "100000", 1, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Sessions at once. When the limit is reached, a new session replaces one without runs and subscribers. If "
                "there is none, the new session is refused."},
    {SESSIONS, MS("session_ttl_ms", limits.session_ttl_ms, "1800000", 10, 365 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "Time for which a session is kept after its last use. A session with a waiting or running run is in use."},
    {SESSIONS, MS("session_empty_ttl_ms", limits.session_empty_ttl_ms, "60000", 10, 365 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "Time for which a session is kept that never had a run and has no subscriber."},
    {SESSIONS, COUNT("log_events_max", limits.log_events_max, "1000", 1, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Events that a session keeps for clients that come late. The oldest are dropped first."},
    {SESSIONS, BYTES("log_bytes_max", limits.log_bytes_max, "4MiB", KIB, 4 * GIB),
     .reloadable = true, .limit = true,
     .meaning = "Bytes of events that a session keeps. The oldest are dropped first; a client that still needed them gets a "
                "gap event."},
    {SESSIONS, BYTES("event_bytes_max", upstream.event_bytes_max, "1MiB", 256, GIB),
     .reloadable = true, .limit = true,
     .meaning = "Size limit of one event, never more than log_bytes_max. A run with a larger event fails with reason limit."},
    {SESSIONS, BYTES("event_type_bytes_max", upstream.event_type_bytes_max, "1KiB", 16, MIB),
     .reloadable = true, .limit = true,
     .meaning = "Size limit of the type of one event. A run with a longer type fails with reason limit."},
    {SESSIONS, MS("cleanup_interval_ms", cleanup_interval_ms, "15000", 10, DAY),
     .reloadable = true,
     .meaning = "Time between two searches for expired sessions and old runs."},

    {SUBSCRIBERS, COUNT("subscribers_max", limits.subscribers_max, "100000", 1, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Subscribers at once. When the limit is reached, a further subscriber is refused."},
    {SUBSCRIBERS, COUNT("subscribers_per_session_max", limits.subscribers_per_session_max, "10000", 1, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Subscribers of one session at once. When the limit is reached, a further subscriber is refused."},
    {SUBSCRIBERS, COUNT("subscribers_gathered_max", limits.subscribers_gathered_max, "10000", 0, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Number of subscribers of one session that are served by the worker of its runs, so that each event stays on "
                "one core. Further subscribers stay with the worker that accepted their connection, so that a large crowd "
                "uses all cores."},
    {SUBSCRIBERS, COUNT("subscribers_waiting_max", limits.subscribers_waiting_max, "50000", 0, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Subscribers at once that wait for a session which is not open yet. When the limit is reached, a further one "
                "is refused."},
    {SUBSCRIBERS, COUNT("subscribers_waiting_per_address_max", limits.subscribers_waiting_per_address_max, "20000", 0, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Subscribers of one client address (IPv6: first 64 bits) that wait for a session. Clients of one proxy share "
                "its address. 0 disables the limit."},
    {SUBSCRIBERS, MS("heartbeat_ms", fanout.heartbeat_ms, "15000", 10, HOUR),
     .reloadable = true,
     .meaning = "Silence after which a subscriber gets a comment as a heartbeat."},
    {SUBSCRIBERS, MS("retry_ms", fanout.retry_ms, "2000", 1, HOUR),
     .reloadable = true,
     .meaning = "Time that clients should wait before they reconnect, plus or minus a jitter. Each stream begins with this "
                "time."},
    {SUBSCRIBERS, MS("stall_timeout_ms", fanout.stall_timeout_ms, "30000", 10, HOUR),
     .reloadable = true,
     .meaning = "A subscriber that takes no byte for this time is closed."},
    {SUBSCRIBERS, BYTES("send_buffer_bytes", http.listener.send_buffer_bytes, "128KiB", 0, 64 * MIB),
     .meaning = "Send buffer of a client's socket (SO_SNDBUF), which bounds the data that the kernel holds for a slow client. "
                "0 leaves the size to the kernel, up to about 4 MB."},

    {HTTP, COUNT("connections_max", http.listener.connections_max, "120000", 2, 10000000),
     .limit = true,
     .meaning = "Client connections at once, subscribers included. When the limit is reached, a further connection is "
                "refused."},
    {HTTP, COUNT("connections_per_address_max", http.address.connections_max, "0", 0, 10000000),
     .limit = true,
     .meaning = "Client connections of one address (IPv6: first 64 bits), subscribers included. Clients of one proxy share "
                "its address. 0 disables the limit."},
    {HTTP, COUNT("request_rate_per_address", http.address.requests_per_second, "0", 0, 1000000),
     .limit = true,
     .meaning = "Requests a second of one address. Further requests get a 429. 0 disables the limit."},
    {HTTP, COUNT("request_burst_per_address", http.address.requests_burst, "100", 1, 1000000),
     .limit = true,
     .meaning = "Requests that one address may send at once after a pause, if request_rate_per_address is set."},
    {HTTP, BYTES("request_header_bytes_max", http.listener.request_header_bytes_max, "16KiB", KIB, MIB),
     .limit = true,
     .meaning = "Size limit of the request line and headers. A larger request is refused."},
    {HTTP, COUNT("request_headers_max", http.listener.request_headers_max, "100", 8, 10000),
     .limit = true,
     .meaning = "Maximum number of headers of a request. A request with more is refused."},
    {HTTP, BYTES("request_body_bytes_max", routes.request_body_bytes_max, "1MiB", 256, GIB),
     .reloadable = true, .limit = true,
     .meaning = "Size limit of a request's body. A request with a larger body is refused."},
    {HTTP, COUNT("request_json_values_max", routes.request_json_values_max, "10000", 100, 10000000),
     .reloadable = true, .limit = true,
     .meaning = "Maximum number of JSON values in a request's body. A body with more is refused. 10000 values keep a worker "
                "busy for up to about 15 ms."},
    {HTTP, MS("request_timeout_ms", http.listener.request_timeout_ms, "15000", SECOND, HOUR),
     .limit = true,
     .meaning = "Time limit for a request to arrive, and for its answer to stand still. After that the connection is closed."},
    {HTTP, .name = "allowed_hosts", .type = &config_hosts, FIELD(allowed_hosts, struct config_list), .fallback = "",
     .reloadable = true,
     .meaning = "Host names of this gateway, as Host headers have them. A listener on a loopback address serves only these "
                "names, localhost and loopback addresses. Any other listener serves all names while the list is empty. Pages "
                "at these names count as the gateway's own."},
    {HTTP, .name = "cors_origins", .type = &config_origins, FIELD(cors_origins, struct config_list), .fallback = "",
     .reloadable = true,
     .meaning = "Origins whose pages may use the gateway from a browser: exact origins, or * for all. Empty allows none."},
    {HTTP, BOOL("cors_credentials", routes.cors_credentials, "false"),
     .reloadable = true,
     .meaning = "Let pages of cors_origins send cookies and other credentials. This needs exact origins."},
    {HTTP, .name = "cors_headers", .type = &config_header_names, FIELD(cors_headers, struct config_list), .fallback = "",
     .reloadable = true,
     .meaning = "Further request headers that pages of cors_origins may send, such as baggage or sentry-trace. docs/api.md "
                "lists the headers that are always allowed."},
    {HTTP, CHOICE("trace_trust", routes.trace.trust, enum trace_trust, "parent", trace_trusts),
     .reloadable = true,
     .meaning = "Trust in a client's traceparent. parent continues the trace without its flag \"sampled\", so that no client "
                "can force recording. all also takes the flag, for trusted clients. none ignores the header."},
    {HTTP, CHOICE("trace_begin", routes.trace.begin, enum trace_begin, "agent", trace_beginners),
     .reloadable = true,
     .meaning = "Beginning of the trace of a run whose request has none. agent sends no traceparent, and the agent samples by "
                "its own rule. unsampled and sampled send a traceparent without or with the flag \"sampled\". Most agents then "
                "record nothing or everything."},
    {HTTP, BOOL("passthrough_ui", routes.passthrough_ui, "false"),
     .reloadable = true,
     .meaning = "Serve ADK's web UI at /dev-ui/ with the upstream's own media types. Its scripts then run at the gateway's "
                "own origin with all rights there. Enable it only for an upstream that is trusted like the gateway."},
    {HTTP, COUNT("tunnels_max", routes.tunnels_max, "100", 0, 10000),
     .reloadable = true, .limit = true,
     .meaning = "WebSockets of /run_live at once. Each is also a run of its app and user, and holds a slot of its upstream's "
                "limiter. 0 refuses all."},
    {HTTP, MS("tunnel_timeout_ms", routes.tunnel_timeout_ms, "3600000", 10, 30 * DAY),
     .reloadable = true, .limit = true,
     .meaning = "Time limit of a WebSocket of /run_live. It also ends when its upstream has sent nothing for "
                "upstream_idle_timeout_ms."},
    {HTTP, CHOICE("errors_to_viewers", routes.errors_to_viewers, enum errors_to_viewers, "full", errors_shown),
     .reloadable = true,
     .meaning = "Details of a failure that a run's viewers see. full shows the cause and a message with the upstream's words. "
                "code shows the reason and a generic sentence; the log and /tasks show the rest. A change applies to runs "
                "that are accepted later."},
    {HTTP, BOOL("demo", routes.demo, "true"),
     .reloadable = true,
     .meaning = "Serve the demo page at /demo."},

    {HEALTH, BYTES("memory_warn_bytes", routes.memory_warn_bytes, "0", 0, 1024 * GIB),
     .reloadable = true, .limit = true,
     .meaning = "Memory taken for clients and upstreams at which the log warns and /health reports degraded. 0 sets it to "
                "fifteen sixteenths of memory_max_bytes, which is above the level at which logs are trimmed."},
    {HEALTH, COUNT("health_queue_percent", routes.health_queue_percent, "80", 1, 100),
     .reloadable = true,
     .meaning = "Fill level of the queue of runs, in percent of runs_queued_max, above which /health reports degraded."},
    {HEALTH, COUNT("health_sessions_percent", routes.health_sessions_percent, "90", 1, 100),
     .reloadable = true,
     .meaning = "Number of sessions, in percent of sessions_max, above which /health reports degraded."},
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

/* ---- names ---------------------------------------------------------------------------------------- */

/* The names of a scope have the indexes 0 to config_keys_count. NULL: there is none at this one. */
static const char *name_at(enum config_scope scope, size_t index) {
    if (index < config_keys_count)
        return scope != CONFIG_SCOPE_ITEM || config_keys[index].of_upstream ? config_keys[index].name : NULL;
    switch (scope) {
    case CONFIG_SCOPE_FILE:
        return CONFIG_LIST_NAME;
    case CONFIG_SCOPE_ITEM:
        return CONFIG_ITEM_NAME;
    case CONFIG_SCOPE_FLAGS:
        break;
    }
    return NULL;
}

bool config_name_is_known(enum config_scope scope, const char *name) {
    for (size_t i = 0; i <= config_keys_count; i++) {
        const char *known = name_at(scope, i);
        if (known != NULL && strcmp(known, name) == 0)
            return true;
    }
    return false;
}

/* How many bytes must be changed, put in or taken out to make `b` of `a` (Levenshtein, one row at a time). */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[CONFIG_NAME_SIZE];
    size_t length = strlen(b);

    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[length];
}

const char *config_name_nearest(enum config_scope scope, const char *name) {
    const char *nearest = NULL;
    size_t least = strlen(name) / 3 + 1;

    if (least > 4)
        least = 4;
    for (size_t i = 0; i <= config_keys_count; i++) {
        const char *known = name_at(scope, i);
        size_t changes = known != NULL ? edit_distance(name, known) : least;
        if (changes < least) {
            nearest = known;
            least = changes;
        }
    }
    return nearest;
}

bool config_names_append(enum config_scope scope, struct buffer *out) {
    bool first = true;

    for (size_t i = 0; i <= config_keys_count; i++) {
        const char *known = name_at(scope, i);
        if (known == NULL)
            continue;
        if (!buffer_printf(out, "%s%s", first ? "" : ", ", known))
            return false;
        first = false;
    }
    return true;
}

void config_key_flag(const struct config_key *key, char out[CONFIG_NAME_SIZE]) {
    snprintf(out, CONFIG_NAME_SIZE, "--%s", key->name);
    for (char *c = out; *c != '\0'; c++) {
        if (*c == '_')
            *c = '-';
    }
}

void config_key_variable(const struct config_key *key, char out[CONFIG_NAME_SIZE]) {
    snprintf(out, CONFIG_NAME_SIZE, "SLUICE_%s", key->name);
    for (char *c = out; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
}
