/* The answer to a request.
 *
 * Every answer is decided by decide_reply(), once, and sent by the listener later. So a second answer, and
 * a success for a request that has not passed the gate of access, are found in one place. An answer that
 * could not be made in full, for want of memory, is not sent in part: the connection is closed instead. */
#include "base/json_writer.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "broadcaster/subscriber.h"
#include "routes/refusal.h"
#include "routes/request.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MESSAGE_SIZE 512
#define ERROR_BYTES_MAX (8 * MESSAGE_SIZE)

/* After so long it is worth while to ask again. */
#define RETRY_AFTER_429_MS 1000
#define RETRY_AFTER_503_MS 2000

static const char json_type[] = "application/json";

/* One block of all that is charged: released as one, too. */
void reply_charge(struct reply *reply, size_t bytes) {
    if (reply->memory > 0)
        memory_release(MEMORY_ANSWERS, reply->memory);
    reply->memory += bytes;
    if (reply->memory > 0)
        memory_charge(MEMORY_ANSWERS, reply->memory);
}

/* ---- headers ------------------------------------------------------------------------------------- */

static bool is_clean(const char *value) {
    for (; *value != '\0'; value++) {
        if ((unsigned char)*value < 0x20 || *value == 0x7f)
            return false;
    }
    return true;
}

bool reply_header(struct request *request, const char *name, const char *value) {
    struct reply *reply = &request->reply;
    if (reply->header_count == REPLY_HEADERS_MAX || !is_clean(value))
        return false;
    char *own_name = strdup(name);
    char *own_value = strdup(value);
    if (own_name == NULL || own_value == NULL) {
        reply->is_mutilated = true;
        free(own_name);
        free(own_value);
        return false;
    }
    reply->headers[reply->header_count++] = (struct reply_header){own_name, own_value};
    /* cppcheck-suppress memleak ; the reply has them, reply_finish() frees them */
    return true;
}

/* ---- deciding ------------------------------------------------------------------------------------ */

static const char *const method_names[] = {
    [METHOD_GET] = "GET",         [METHOD_HEAD] = "HEAD",   [METHOD_POST] = "POST",
    [METHOD_PUT] = "PUT",         [METHOD_PATCH] = "PATCH", [METHOD_DELETE] = "DELETE",
    [METHOD_OPTIONS] = "OPTIONS", [METHOD_OTHER] = "OTHER"};

void reply_retry_after(struct request *request, int64_t retry_after_ms) {
    request->reply.retry_after_ms = retry_after_ms > 0 ? retry_after_ms : 1;
}

static bool has_header(const struct reply *reply, const char *name) {
    for (size_t i = 0; i < reply->header_count; i++) {
        if (strcasecmp(reply->headers[i].name, name) == 0)
            return true;
    }
    return false;
}

/* Unless the upstream's own is passed on. */
static void add_retry_after(struct request *request, int64_t usual_ms) {
    if (has_header(&request->reply, "Retry-After"))
        return;
    int64_t ms = request->reply.retry_after_ms > 0 ? request->reply.retry_after_ms : usual_ms;
    char seconds[24];
    snprintf(seconds, sizeof(seconds), "%" PRId64, (ms + 999) / 1000);
    reply_header(request, "Retry-After", seconds);
}

/* Every answer goes through here, once. False: there is one already, and what the caller brought must be
 * freed. */
static bool decide_reply(struct request *request, enum reply_kind kind, int status) {
    if (request->reply.kind != REPLY_NONE) {
        request_break(request, "routes/reply.c: answered twice");
        return false;
    }
    if (request->route != NULL && !request->let_in && (kind != REPLY_BODY || status < 400)) {
        request_break(request, "routes/reply.c: answered without having been let in");
        return false;
    }
    request->reply.kind = kind;
    request->reply.status = status;
    if (!has_header(&request->reply, "X-Content-Type-Options"))
        reply_header(request, "X-Content-Type-Options", "nosniff");
    if (status == 429 || status == 503)
        add_retry_after(request, status == 429 ? RETRY_AFTER_429_MS : RETRY_AFTER_503_MS);
    metrics_add(METRIC_HTTP_ERRORS, status >= 400);
    if (log_enabled(LOG_LEVEL_DEBUG))
        log_debug("request", LOG_STR("method", method_names[request->method]), LOG_STR("path", request->path),
                  LOG_INT("status", status));
    return true;
}

static void decide_body(struct request *request, int status, const char *content_type, char *body,
                        size_t length, bool is_static) {
    if (!decide_reply(request, REPLY_BODY, status)) {
        if (!is_static)
            free(body);
        return;
    }
    request->reply.body = body;
    request->reply.body_length = length;
    request->reply.body_is_static = is_static;
    if (!is_static)
        reply_charge(&request->reply, length);
    reply_header(request, "Content-Type", content_type);
    reply_header(request, "Cache-Control", "no-store");
}

void reply_body(struct request *request, int status, const char *content_type, char *body, size_t length) {
    decide_body(request, status, content_type, body, length, false);
}

void reply_static(struct request *request, int status, const char *content_type, const char *body,
                  size_t length) {
    decide_body(request, status, content_type, (char *)(uintptr_t)body, length, true);
}

void reply_empty(struct request *request, int status) {
    if (decide_reply(request, REPLY_BODY, status))
        request->reply.body_is_static = true;
}

void reply_stream(struct request *request, struct subscriber *subscriber, bool greeting) {
    if (!decide_reply(request, subscriber != NULL ? REPLY_SUBSCRIBER : REPLY_BODY, 200)) {
        if (subscriber != NULL)
            subscriber_destroy(subscriber);
        return;
    }
    request->reply.body_is_static = true;
    request->reply.subscriber = subscriber;
    request->reply.greeting = greeting;
    reply_header(request, "Content-Type", "text/event-stream");
    reply_header(request, "Cache-Control", "no-cache, no-transform");
    reply_header(request, "X-Accel-Buffering", "no");
}

void reply_from_source(struct request *request, int status, const struct reply_source *source) {
    if (decide_reply(request, REPLY_SOURCE, status))
        request->reply.source = *source;
    else
        source->finished(source->context);
}

void reply_tunnel(struct request *request, const struct reply_source *source) {
    if (decide_reply(request, REPLY_TUNNEL, 101))
        request->reply.source = *source;
    else
        source->finished(source->context);
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

static void set_code(struct request *request, const char *code) {
    snprintf(request->reply.code, sizeof(request->reply.code), "%s", code);
}

void reply_memory_full(struct request *request) {
    char message[MEMORY_MESSAGE_SIZE], *body = request->reply.small;
    size_t length = json_write_error(body, REPLY_SMALL_SIZE, "memory_full", memory_full_message(message));
    metrics_add(METRIC_MEMORY_REFUSED, 1);
    set_code(request, "memory_full");
    request->reply.cause = "memory_max_bytes";
    reply_static(request, 503, json_type, body, length);
}

void reply_no_memory(struct request *request) {
    if (memory_look() >= MEMORY_FULL) {
        reply_memory_full(request);
        return;
    }
    char *body = request->reply.small;
    size_t length =
        json_write_error(body, REPLY_SMALL_SIZE, "out_of_memory", "There is no memory for this request.");
    refusal_log(request, LOG_LEVEL_ERROR, "out_of_memory", LOG_STR("path", request->path));
    set_code(request, "out_of_memory");
    reply_static(request, 503, json_type, body, length);
}

void reply_json(struct request *request, int status, struct json_writer *json) {
    size_t length = json->text.length;
    char *text = json->failed ? NULL : buffer_detach(&json->text);
    json_writer_finish(json);
    if (text != NULL)
        reply_body(request, status, json_type, text, length);
    else if (length > MEMORY_SMALL_BYTES / 2) /* it would have grown beyond the share of all answers */
        reply_memory_full(request);
    else
        reply_no_memory(request);
}

static void reply_error_list(struct request *request, int status, const char *code, const char *name,
                             const char *value, const char *format, va_list values) PRINTF_LIKE(6, 0);

static void reply_error_list(struct request *request, int status, const char *code, const char *name,
                             const char *value, const char *format, va_list values) {
    char message[MESSAGE_SIZE];
    vsnprintf(message, sizeof(message), format, values);
    set_code(request, code);
    struct json_writer json;
    json_writer_init(&json, ERROR_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_begin_object(&json, "error");
    json_add_string(&json, "code", code);
    json_add_string(&json, "message", message);
    if (name != NULL)
        json_add_string(&json, name, value);
    json_end_object(&json);
    json_end_object(&json);
    reply_json(request, status, &json);
}

void reply_error(struct request *request, int status, const char *code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    reply_error_list(request, status, code, NULL, NULL, format, values);
    va_end(values);
}

void reply_limit(struct request *request, int status, const char *code, const char *what, const char *key,
                 uint64_t number, const char *unit) {
    request->reply.cause = key;
    reply_error(request, status, code, "%s: %s (%" PRIu64 "%s%s).", what, key, number,
                unit != NULL ? " " : "", unit != NULL ? unit : "");
}

void reply_error_about(struct request *request, int status, const char *code, const char *name,
                       const char *value, const char *format, ...) {
    va_list values;
    va_start(values, format);
    reply_error_list(request, status, code, name, value, format, values);
    va_end(values);
}

/* ---- giving back --------------------------------------------------------------------------------- */

void reply_finish(struct reply *reply) {
    for (size_t i = 0; i < reply->header_count; i++) {
        free(reply->headers[i].name);
        free(reply->headers[i].value);
    }
    if (!reply->body_is_static)
        free(reply->body);
    if (reply->memory > 0)
        memory_release(MEMORY_ANSWERS, reply->memory);
    if (reply->subscriber != NULL)
        subscriber_destroy(reply->subscriber);
    if (reply->kind == REPLY_SOURCE || reply->kind == REPLY_TUNNEL)
        reply->source.finished(reply->source.context);
    *reply = (struct reply){.kind = reply->kind};
}
