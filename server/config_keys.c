/* The table of all settings. To add one: a line here, and its field in config.h. */
#include "server/config_keys.h"

#include "server/config.h"

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
#define TEXT(key, member, max)                                                                               \
    .name = key, .type = &config_text, FIELD(member, char *), .fallback = "", .maximum = max
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
static const struct config_choice kinds[] = {{"adk", 0}, {"sse", 0}, {"openai", 0}, {0}};

#define PROCESS .group = "Process"
#define UPSTREAM .group = "Upstream"
#define RUNS .group = "Runs"
#define SESSIONS .group = "Sessions and their event logs"
#define SUBSCRIBERS .group = "Subscribers"
#define HTTP .group = "HTTP"

/* clang-format off */
const struct config_key config_keys[] = {
    {PROCESS, .name = "listen", .type = &config_address, FIELD(listen, struct config_listen),
     .fallback = "127.0.0.1:8080",
     .meaning = "Address and port to listen on; port 0 takes a free one, which the log tells."},
    {PROCESS, BOOL("allow_unauthenticated", allow_unauthenticated, "false"),
     .meaning = "Listen on an address that other machines reach although no authentication is configured."},
    {PROCESS, COUNT("workers", workers, "0", 0, 256),
     .meaning = "Worker threads; 0 is one for each processor."},
    {PROCESS, CHOICE("log_level", log_level, enum log_level, "info", log_levels), .reloadable = true,
     .meaning = "The least severe lines that are logged."},
    {PROCESS, CHOICE("log_format", log_format, enum log_format, "json", log_formats),
     .meaning = "How lines are logged on standard error."},
    {PROCESS, MS("drain_ms", drain_ms, "30000", 0, HOUR), .reloadable = true,
     .meaning = "How long runs may go on after SIGTERM before they are cancelled; 0 is not at all."},
    {PROCESS, BYTES("memory_warn_bytes", memory_warn_bytes, "1GiB", 0, 1024 * GIB), .reloadable = true,
     .meaning = "Warn in the log when event logs, runs and subscribers take more memory; 0 is never."},

    {UPSTREAM, .name = "upstream", .type = &config_url, FIELD(upstream.base_url, char *),
     .fallback = "http://127.0.0.1:8000",
     .meaning = "Base URL of the agent; for the kind sse the URL that runs are posted to, as it is."},
    {UPSTREAM, .name = "upstream_kind", .type = &config_adapter,
     FIELD(upstream.adapter, const struct adapter *), .fallback = "adk", .choices = kinds,
     .meaning = "What the upstream speaks: ADK's api server, any event stream, or chat completions."},
    {UPSTREAM, TEXT("upstream_model", upstream.model, 256),
     .meaning = "Model for the kind openai, if a run names none."},
    {UPSTREAM, TEXT("upstream_authorization", upstream.authorization, 8 * KIB), .secret = true,
     .meaning = "Value of the Authorization header of every request to the upstream. A secret: prefer the "
                "environment or the file to the flag, which other users of the machine can see."},
    {UPSTREAM, MS("upstream_connect_timeout_ms", upstream.connect_timeout_ms, "10000", 10, HOUR),
     .reloadable = true, .meaning = "Time to connect; then the run fails as upstream_connect."},
    {UPSTREAM, MS("upstream_first_byte_timeout_ms", upstream.first_byte_timeout_ms, "60000", 10, DAY),
     .reloadable = true, .meaning = "Time until the answer begins; then the run fails as upstream_idle."},
    {UPSTREAM, MS("upstream_idle_timeout_ms", upstream.idle_timeout_ms, "120000", 10, DAY), .reloadable = true,
     .meaning = "Time from one event to the next; then the run fails as upstream_idle."},
    {UPSTREAM, MS("upstream_keepalive_ms", upstream.keepalive_ms, "4000", 0, HOUR), .reloadable = true,
     .meaning = "An idle connection older than this is not used again; stay below the upstream's own limit."},
    {UPSTREAM, COUNT("upstream_connections_max", upstream.connections_max, "1024", 1, 100000),
     .meaning = "Idle connections kept open for the next run, for each worker."},

    {RUNS, COUNT("runs_max", limits.runs_max, "1000", 1, 1000000), .reloadable = true,
     .meaning = "Runs at once; one more is refused."},
    {RUNS, COUNT("runs_queued_max", limits.runs_queued_max, "1000", 0, 1000000), .reloadable = true,
     .meaning = "Runs that wait for their turn, over all sessions; one more is refused."},
    {RUNS, COUNT("runs_queued_per_session_max", limits.runs_queued_per_session_max, "16", 0, 10000), .reloadable = true,
     .meaning = "Runs that wait in a session for their turn; one more is refused."},
    {RUNS, MS("run_timeout_ms", routes.run_timeout_ms, "300000", 10, 30 * DAY), .reloadable = true,
     .meaning = "Time a run may take, and the most it may ask for; then it ends as timeout."},
    {RUNS, COUNT("tasks_kept", limits.tasks_kept, "10000", 0, 10000000), .reloadable = true,
     .meaning = "Ended runs that are remembered; the oldest are forgotten first."},
    {RUNS, MS("idempotency_ttl_ms", limits.idempotency_ttl_ms, "600000", 100, 30 * DAY), .reloadable = true,
     .meaning = "How long an Idempotency-Key answers with the run that it started."},
    {RUNS, COUNT("idempotency_keys_per_session_max", limits.idempotency_keys_per_session_max, "128", 0, 100000),
     .reloadable = true, .meaning = "Idempotency keys remembered in a session; the oldest are forgotten first."},

    {SESSIONS, COUNT("sessions_max", limits.sessions_max, "100000", 1, 10000000), .reloadable = true,
     .meaning = "Sessions at once; one more is refused."},
    {SESSIONS, MS("session_ttl_ms", limits.session_ttl_ms, "1800000", 10, 365 * DAY), .reloadable = true,
     .meaning = "How long a session is kept after its last use."},
    {SESSIONS, COUNT("log_events_max", limits.log_events_max, "1000", 1, 10000000), .reloadable = true,
     .meaning = "Events kept in a session for those who come late; the oldest leave first."},
    {SESSIONS, BYTES("log_bytes_max", limits.log_bytes_max, "4MiB", KIB, 4 * GIB), .reloadable = true,
     .meaning = "Bytes of events kept in a session; the oldest leave first."},
    {SESSIONS, BYTES("event_bytes_max", upstream.event_bytes_max, "1MiB", 256, GIB), .reloadable = true,
     .meaning = "Size of one event; a run with a larger one fails as limit. Never more than log_bytes_max."},
    {SESSIONS, MS("cleanup_interval_ms", cleanup_interval_ms, "60000", 10, DAY), .reloadable = true,
     .meaning = "How often expired sessions and old runs are looked for."},

    {SUBSCRIBERS, COUNT("subscribers_max", limits.subscribers_max, "100000", 1, 10000000),
     .reloadable = true, .meaning = "Subscribers at once; one more is refused."},
    {SUBSCRIBERS, COUNT("subscribers_per_session_max", limits.subscribers_per_session_max, "10000", 1, 10000000),
     .reloadable = true, .meaning = "Subscribers of one session; one more is refused."},
    {SUBSCRIBERS, MS("heartbeat_ms", fanout.heartbeat_ms, "15000", 10, HOUR), .reloadable = true,
     .meaning = "A comment is sent to a subscriber after this much silence."},
    {SUBSCRIBERS, MS("retry_ms", fanout.retry_ms, "2000", 1, HOUR), .reloadable = true,
     .meaning = "How long clients are told to wait before they connect again, give or take a jitter."},
    {SUBSCRIBERS, MS("stall_timeout_ms", fanout.stall_timeout_ms, "30000", 10, HOUR), .reloadable = true,
     .meaning = "A subscriber that takes no byte for this long is closed."},
    {SUBSCRIBERS, BYTES("send_buffer_bytes", http.send_buffer_bytes, "128KiB", 0, 64 * MIB),
     .meaning = "Send buffer of a subscriber's socket (SO_SNDBUF), which bounds what the kernel holds for a slow one; 0 is "
                "the kernel's choice, up to some 4 MB."},

    {HTTP, COUNT("connections_max", http.connections_max, "120000", 2, 10000000),
     .meaning = "Client connections at once, subscribers included; one more is refused."},
    {HTTP, COUNT("connections_per_address_max", http.address.connections_max, "0", 0, 10000000),
     .meaning = "Client connections of one address (IPv6: of its first 64 bits), subscribers included; one more is "
                "refused. 0 is no limit: clients behind a proxy share its address."},
    {HTTP, COUNT("request_rate_per_address", http.address.requests_per_second, "0", 0, 1000000),
     .meaning = "Requests a second of one address; more are answered 429. 0 is no limit."},
    {HTTP, COUNT("request_burst_per_address", http.address.requests_burst, "100", 1, 1000000),
     .meaning = "Requests of one address that may come at once after a pause, if there is a request rate."},
    {HTTP, BYTES("request_header_bytes_max", http.request_header_bytes_max, "16KiB", KIB, MIB),
     .meaning = "Size of a request's line and headers; more is refused."},
    {HTTP, COUNT("request_headers_max", http.request_headers_max, "100", 8, 10000),
     .meaning = "Headers of a request; more are refused."},
    {HTTP, BYTES("request_body_bytes_max", routes.request_body_bytes_max, "1MiB", 256, GIB), .reloadable = true,
     .meaning = "Size of a request's body; more is refused."},
    {HTTP, MS("request_timeout_ms", http.request_timeout_ms, "15000", SECOND, HOUR),
     .meaning = "Time a request may take to arrive, and its answer to stand still; then the connection is closed."},
    {HTTP, .name = "cors_origins", .type = &config_origins, FIELD(cors_origins, struct config_list),
     .fallback = "", .reloadable = true,
     .meaning = "Origins whose pages may use the gateway from a browser: exact ones, or * for all; none by default."},
    {HTTP, BOOL("cors_credentials", routes.cors_credentials, "false"), .reloadable = true,
     .meaning = "Let those pages send cookies and other credentials; only with exact origins."},
    {HTTP, BOOL("demo", routes.demo, "true"), .reloadable = true,
     .meaning = "Serve the demo page at /demo."},
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

/* How many bytes must be changed, put in or taken out to make `b` of `a` (Levenshtein, one row at a time). */
static size_t distance(const char *a, const char *b) {
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

const struct config_key *config_key_nearest(const char *name) {
    const struct config_key *nearest = NULL;
    size_t least = strlen(name) / 3 + 1;

    if (least > 4)
        least = 4;
    for (size_t i = 0; i < config_keys_count; i++) {
        size_t changes = distance(name, config_keys[i].name);
        if (changes < least) {
            nearest = &config_keys[i];
            least = changes;
        }
    }
    return nearest;
}

bool config_keys_append_names(struct buffer *out) {
    for (size_t i = 0; i < config_keys_count; i++) {
        if (!buffer_printf(out, "%s%s", i > 0 ? ", " : "", config_keys[i].name))
            return false;
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
