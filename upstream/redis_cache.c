/* The cache that gateways share. See redis_cache.h for the contract.
 *
 * Each worker has one connection, made again after a jittered, growing delay. While there is none, nothing is
 * asked and nobody waits. A circuit breaker that all workers share stands around the commands.
 */
#include "upstream/redis_cache.h"

#include "upstream/redis_connection.h"
#include "upstream/retry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All that is under way to be stored. */
#define SET_BYTES_MAX (16 * 1024 * 1024)
/* From here on the wait is the longest one. */
#define ATTEMPT_MAX 16
/* So many attempts are made before it is said that Redis is away: the first ones may wait for its address. */
#define ATTEMPTS_UNTOLD 2

static const struct retry_settings backoff = {
    .attempts_max = UINT64_MAX, .base_ms = 100, .max_ms = 5000, .total_ms = INT64_MAX};

/* What is said first on a connection; the reply to the last one opens it. */
enum greeting { GREETING_AUTH, GREETING_SELECT, GREETING_PING, GREETING_COUNT };

struct redis_greeting {
    struct redis_command command;
    struct redis_cache *redis;
    bool is_last;
};

struct redis_cache {
    uv_loop_t *loop;
    struct redis_shared *shared;
    upstream_notify *notify;
    struct redis_connection *connection; /* NULL: there is none; the timer will make one */
    struct redis_greeting greetings[GREETING_COUNT];
    bool is_ready; /* greeted: commands may be sent */
    bool is_closing;
    uv_timer_t timer;
    unsigned attempt; /* of connecting since it was ready last */
    size_t set_bytes; /* under way */
};

/** A GET or a SET under way. */
struct redis_job {
    struct redis_command command;
    struct redis_cache *redis;
    struct breaker_pass pass;
    struct redis_lookup *lookup; /* NULL: a SET, or nobody wants to know any more */
    size_t set_bytes;
};

static void count_error(struct redis_cache *redis) {
    atomic_fetch_add_explicit(&redis->shared->errors, 1, memory_order_relaxed);
}

static bool is_error(const redisReply *reply, const char *word) {
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, word, strlen(word)) == 0;
}

/** It is full, a replica, or cannot write to its disk or its replicas: it can be read from all the same. */
static bool refuses_to_store(const redisReply *reply) {
    return is_error(reply, "OOM ") || is_error(reply, "READONLY ") || is_error(reply, "MISCONF ") ||
           is_error(reply, "NOREPLICAS ");
}

/* ---- the connection ------------------------------------------------------------------------------ */

static void redis_on_timer(uv_timer_t *timer);

/* Once, whichever worker finds it first, and once when it is back. */
static void tell_state(const struct redis_cache *redis, bool is_away, const char *message) {
    const struct upstream_notice notice = {.kind = is_away ? NOTICE_REDIS_AWAY : NOTICE_REDIS_BACK,
                                           .message = message};
    if (atomic_exchange(&redis->shared->is_away, is_away) != is_away && redis->notify != NULL)
        redis->notify(&notice);
}

static void lose_server(struct redis_cache *redis, const char *message) {
    redis->connection = NULL;
    if (redis->is_ready)
        atomic_fetch_sub(&redis->shared->connections, 1);
    redis->attempt += redis->attempt < ATTEMPT_MAX;
    bool is_certain = redis->is_ready || redis->attempt > ATTEMPTS_UNTOLD;
    if (is_certain && atomic_load(&redis->shared->connections) == 0)
        tell_state(redis, true, message);
    redis->is_ready = false;
    int64_t delay_ms = retry_delay_ms(&backoff, redis->attempt, 0, 0);
    uv_timer_start(&redis->timer, redis_on_timer, delay_ms > 0 ? (uint64_t)delay_ms : 0, 0);
}

static void redis_on_lost(void *context) {
    struct redis_cache *redis = context;
    lose_server(redis, redis->is_ready ? "The connection to Redis was lost, or Redis did not answer in time."
                                       : "Redis cannot be reached.");
}

/** The server is of no use: it does not let us in, or says what it should not. */
static void give_up(struct redis_cache *redis, const char *message) {
    count_error(redis);
    redis_connection_close(redis->connection);
    lose_server(redis, message);
}

static void redis_on_greeted(struct redis_command *command, const redisReply *reply) {
    struct redis_greeting *greeting = CONTAINER_OF(command, struct redis_greeting, command);
    struct redis_cache *redis = greeting->redis;
    if (reply == NULL)
        return;
    bool is_welcome =
        reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, greeting->is_last ? "PONG" : "OK") == 0;
    /* One that cannot save says so to a PING, too. */
    if (!is_welcome && !(greeting->is_last && refuses_to_store(reply))) {
        give_up(redis, reply->type == REDIS_REPLY_ERROR ? reply->str
                                                        : "The server does not speak the protocol of Redis.");
    } else if (greeting->is_last) {
        redis->is_ready = true;
        redis->attempt = 0;
        atomic_fetch_add(&redis->shared->connections, 1);
        tell_state(redis, false, NULL);
    }
}

static bool send_greeting(struct redis_cache *redis, enum greeting which, const char *word,
                          const char *argument) {
    struct redis_greeting *greeting = &redis->greetings[which];
    const char *arguments[] = {word, argument};
    const size_t lengths[] = {strlen(word), argument != NULL ? strlen(argument) : 0};
    *greeting = (struct redis_greeting){
        .command.on_reply = redis_on_greeted, .redis = redis, .is_last = which == GREETING_PING};
    return redis_connection_send(redis->connection, &greeting->command, argument != NULL ? 2 : 1, arguments,
                                 lengths);
}

static void redis_on_open(void *context) {
    struct redis_cache *redis = context;
    const struct redis_shared *shared = redis->shared;
    char database[16];
    snprintf(database, sizeof(database), "%" PRIu32, shared->database);
    if ((shared->password != NULL && !send_greeting(redis, GREETING_AUTH, "AUTH", shared->password)) ||
        (shared->database > 0 && !send_greeting(redis, GREETING_SELECT, "SELECT", database)) ||
        !send_greeting(redis, GREETING_PING, "PING", NULL))
        give_up(redis, "Memory ran out.");
}

static void redis_on_timer(uv_timer_t *timer) {
    struct redis_cache *redis = timer->data;
    struct redis_connection_settings settings = {.timeout_ms = redis->shared->timeout_ms,
                                                 .reply_bytes_max = redis->shared->value_bytes_max + 64,
                                                 .on_open = redis_on_open,
                                                 .on_lost = redis_on_lost,
                                                 .context = redis};
    if (redis_resolver_get(redis->shared->resolver, &settings.place))
        redis->connection = redis_connection_open(redis->loop, &settings);
    if (redis->connection == NULL)
        lose_server(redis, "The address of Redis is unknown, or memory ran out.");
}

struct redis_cache *redis_cache_create(uv_loop_t *loop, struct redis_shared *shared,
                                       upstream_notify *notify) {
    struct redis_cache *redis = calloc(1, sizeof(*redis));
    if (redis == NULL)
        return NULL;
    redis->loop = loop;
    redis->shared = shared;
    redis->notify = notify;
    uv_timer_init(loop, &redis->timer);
    redis->timer.data = redis;
    uv_timer_start(&redis->timer, redis_on_timer, 0, 0);
    return redis;
}

static void redis_on_timer_closed(uv_handle_t *handle) {
    free(handle->data);
}

void redis_cache_close(struct redis_cache *redis) {
    if (redis == NULL)
        return;
    redis->is_closing = true;
    if (redis->connection != NULL)
        redis_connection_close(redis->connection);
    if (redis->is_ready)
        atomic_fetch_sub(&redis->shared->connections, 1);
    uv_close((uv_handle_t *)&redis->timer, redis_on_timer_closed);
}

/* ---- commands ------------------------------------------------------------------------------------ */

/** The error is one of the value, or of storing at all: the server is there. */
static bool is_harmless_error(const struct redis_job *job, const redisReply *reply) {
    return is_error(reply, "WRONGTYPE ") || refuses_to_store(reply) ||
           (job->set_bytes > 0 && is_error(reply, "NOPERM "));
}

/** What the reply says of the server, not of the value. */
static enum breaker_outcome job_outcome(const struct redis_job *job, const redisReply *reply, int wanted) {
    if (reply == NULL)
        return job->redis->is_closing ? BREAKER_NEITHER : BREAKER_FAILURE;
    return reply->type == wanted || is_harmless_error(job, reply) ? BREAKER_SUCCESS : BREAKER_FAILURE;
}

/** The end of each job: its pass and its memory are given back. */
static void job_end(struct redis_job *job, const redisReply *reply, int wanted) {
    struct redis_cache *redis = job->redis;
    enum breaker_outcome outcome = job_outcome(job, reply, wanted);
    if (outcome == BREAKER_FAILURE || (reply != NULL && is_harmless_error(job, reply)))
        count_error(redis);
    breaker_leave(redis->shared->breaker, &job->pass, outcome);
    redis->set_bytes -= job->set_bytes;
    free(job);
}

static void redis_on_value(struct redis_command *command, const redisReply *reply) {
    struct redis_job *job = CONTAINER_OF(command, struct redis_job, command);
    struct redis_cache *redis = job->redis;
    struct redis_lookup *lookup = redis->is_closing ? NULL : job->lookup;
    bool came = reply != NULL && reply->type == REDIS_REPLY_STRING;
    bool is_there = came && reply->len > 0 && reply->len <= redis->shared->value_bytes_max;
    if (came && !is_there)
        atomic_fetch_add_explicit(&redis->shared->misses, 1, memory_order_relaxed);
    if (job->lookup != NULL)
        job->lookup->job = NULL;
    job_end(job, reply, REDIS_REPLY_STRING);
    if (lookup != NULL)
        lookup->on_value(lookup, is_there ? reply->str : NULL, is_there ? reply->len : 0);
}

static void redis_on_stored(struct redis_command *command, const redisReply *reply) {
    struct redis_job *job = CONTAINER_OF(command, struct redis_job, command);
    if (reply != NULL && reply->type == REDIS_REPLY_STATUS)
        atomic_fetch_add_explicit(&job->redis->shared->stored, 1, memory_order_relaxed);
    job_end(job, reply, REDIS_REPLY_STATUS);
}

/** NULL: nothing can be sent now. */
static struct redis_job *job_create(struct redis_cache *redis, void (*on_reply)(struct redis_command *command,
                                                                                const redisReply *reply)) {
    struct redis_job *job = redis->is_ready ? malloc(sizeof(*job)) : NULL;
    if (job == NULL)
        return NULL;
    *job = (struct redis_job){.command.on_reply = on_reply, .redis = redis};
    if (breaker_enter(redis->shared->breaker, &job->pass, NULL))
        return job;
    free(job);
    return NULL;
}

/** False: it could not be sent; the job is gone. */
static bool job_send(struct redis_job *job, int count, const char **arguments, const size_t *lengths) {
    if (redis_connection_send(job->redis->connection, &job->command, count, arguments, lengths))
        return true;
    breaker_leave(job->redis->shared->breaker, &job->pass, BREAKER_NEITHER);
    free(job);
    return false;
}

bool redis_cache_get(struct redis_cache *redis, struct redis_lookup *lookup, const char *key) {
    struct redis_job *job = job_create(redis, redis_on_value);
    if (job == NULL)
        return false;
    /* A part of the value, and one byte more than it may have: nobody can make us read any more. */
    char end[32];
    snprintf(end, sizeof(end), "%zu", redis->shared->value_bytes_max);
    const char *arguments[] = {"GETRANGE", key, "0", end};
    const size_t lengths[] = {strlen("GETRANGE"), strlen(key), 1, strlen(end)};
    job->lookup = lookup;
    if (!job_send(job, 4, arguments, lengths))
        return false;
    lookup->job = job;
    return true;
}

void redis_cache_cancel(struct redis_lookup *lookup) {
    if (lookup->job != NULL)
        lookup->job->lookup = NULL;
    lookup->job = NULL;
}

void redis_cache_set(struct redis_cache *redis, const char *key, const char *bytes, size_t length,
                     int64_t ttl_ms) {
    if (length > redis->shared->value_bytes_max || redis->set_bytes + length > SET_BYTES_MAX || ttl_ms <= 0)
        return;
    struct redis_job *job = job_create(redis, redis_on_stored);
    if (job == NULL)
        return;
    char ttl[32];
    snprintf(ttl, sizeof(ttl), "%" PRId64, ttl_ms);
    const char *arguments[] = {"SET", key, bytes, "PX", ttl};
    const size_t lengths[] = {3, strlen(key), length, 2, strlen(ttl)};
    if (!job_send(job, 5, arguments, lengths))
        return;
    job->set_bytes = length;
    redis->set_bytes += length;
}
