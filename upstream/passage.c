/* Exchanges: requests that are passed on, and their answers' bodies as they come. See client.h. */
#include "upstream/client_internal.h"

#include "base/memory_budget.h"
#include "upstream/answer_headers.h"

#include <stdlib.h>
#include <string.h>

#define URL_BYTES_MAX (64 * 1024)

struct upstream_exchange {
    struct transfer transfer;
    struct upstream_exchange_callbacks callbacks;
    void *context;
    struct answer_headers headers;
    char *method;
    char *url;
    char *body;
    size_t memory; /* charged for all of this */
    size_t body_length;
    bool is_tunnel;
    bool has_ended; /* nothing more is told */
};

static struct upstream_exchange *exchange_of_transfer(struct transfer *transfer) {
    return CONTAINER_OF(transfer, struct upstream_exchange, transfer);
}

static bool header_is_among(const char *name, const char *const *names) {
    for (; *names != NULL; names++) {
        if (strcasecmp(name, *names) == 0)
            return true;
    }
    return false;
}

/* ---- the transfer's role ---------------------------------------------------------------------------- */

static void exchange_on_sent(struct transfer *transfer) {
    struct upstream_exchange *exchange = exchange_of_transfer(transfer);
    transfer_set_deadline(transfer, transfer->first_byte_timeout_ms);
    if (exchange->callbacks.on_sent != NULL)
        exchange->callbacks.on_sent(exchange->context);
}

static bool exchange_on_header_line(struct transfer *transfer, const char *line, size_t length) {
    return answer_headers_add(&exchange_of_transfer(transfer)->headers, line, length);
}

static bool exchange_on_head(struct transfer *transfer) {
    struct upstream_exchange *exchange = exchange_of_transfer(transfer);
    struct transfer_fault fault;
    if (answer_find_fault(&transfer->length, &fault))
        return false;
    struct upstream_header *headers;
    size_t count;
    if (!answer_headers_take(&exchange->headers, &headers, &count)) {
        transfer_fail(transfer, CURLE_WEIRD_SERVER_REPLY);
        return false;
    }
    transfer_set_deadline(transfer, transfer->idle_timeout_ms);
    if (exchange->is_tunnel)
        transfer_resume(transfer); /* what waits to be sent */
    exchange->callbacks.on_head(exchange->context, transfer->status, headers, count,
                                transfer_content_length(transfer));
    free(headers);
    return true;
}

static enum transfer_taken exchange_on_body(struct transfer *transfer, const char *bytes, size_t length) {
    struct upstream_exchange *exchange = exchange_of_transfer(transfer);
    transfer_set_deadline(transfer, transfer->idle_timeout_ms);
    if (exchange->callbacks.on_body(exchange->context, bytes, length))
        return TRANSFER_TAKEN;
    transfer_clear_deadline(transfer); /* it is not the upstream that we wait for */
    return TRANSFER_PAUSE;
}

static ssize_t exchange_on_upload(struct transfer *transfer, char *bytes, size_t size) {
    struct upstream_exchange *exchange = exchange_of_transfer(transfer);
    return exchange->callbacks.on_upload(exchange->context, bytes, size);
}

static void exchange_on_done(struct transfer *transfer, CURLcode code) {
    struct upstream_exchange *exchange = exchange_of_transfer(transfer);
    struct upstream_result result = {.http_status = transfer->status};
    struct transfer_fault fault;
    result.end = transfer_judge(transfer, code, &fault);
    result.cause = fault.cause;
    result.message = fault.message;
    if (answer_find_fault(&transfer->length, &fault)) {
        result.end = UPSTREAM_PROTOCOL;
        result.cause = fault.cause;
        result.message = fault.message;
    }
    exchange->has_ended = true;
    transfer->client->active--;
    exchange->callbacks.on_end(exchange->context, &result);
    transfer_release(transfer);
}

static void destroy(struct transfer *transfer) {
    struct upstream_exchange *exchange = exchange_of_transfer(transfer);
    free(exchange->method);
    free(exchange->url);
    free(exchange->body);
    answer_headers_finish(&exchange->headers);
    memory_release(MEMORY_REQUESTS, exchange->memory);
    free(exchange);
}

static const struct transfer_role exchange_role = {
    .on_sent = exchange_on_sent,
    .on_header_line = exchange_on_header_line,
    .on_head = exchange_on_head,
    .on_body = exchange_on_body,
    .on_upload = exchange_on_upload,
    .on_done = exchange_on_done,
    .destroy = destroy,
};

/* ---- the public half -------------------------------------------------------------------------------- */

/** Ours to say, not the client's. */
static bool is_ours(const char *name) {
    static const char *const names[] = {"Host", "Expect", "Content-Type", NULL};
    return header_is_of_the_hop(name) || header_is_among(name, names);
}

static bool add_exchange_headers(struct upstream_exchange *exchange, const struct upstream_settings *settings,
                                 const struct upstream_header *headers, size_t count) {
    struct transfer *transfer = &exchange->transfer;
    const char *authorization = settings->authorization;
    for (size_t i = 0; i < count; i++) {
        bool replaced = authorization != NULL && strcasecmp(headers[i].name, "Authorization") == 0;
        if (!is_ours(headers[i].name) && !replaced &&
            !transfer_add_header(transfer, headers[i].name, headers[i].value))
            return false;
    }
    bool typed = exchange->body != NULL ? transfer_add_header(transfer, "Content-Type", "application/json")
                                        : transfer_omit_header(transfer, "Content-Type");
    return typed && transfer_omit_header(transfer, "Expect") &&
           transfer_add_lines(transfer, settings->headers) &&
           (authorization == NULL || transfer_add_header(transfer, "Authorization", authorization));
}

static bool copy_request(struct upstream_exchange *exchange, const char *base_url, const char *method,
                         const char *path, const char *body, size_t body_length) {
    struct buffer url;
    buffer_init(&url, URL_BYTES_MAX);
    if (buffer_printf(&url, "%s%s", base_url, path))
        exchange->url = buffer_detach(&url);
    buffer_finish(&url);
    exchange->method = strdup(method);
    if (exchange->url == NULL || exchange->method == NULL)
        return false;
    if (body == NULL)
        return true;
    exchange->body = malloc(body_length + 1);
    if (exchange->body == NULL)
        return false;
    memcpy(exchange->body, body, body_length);
    exchange->body_length = body_length;
    return true;
}

struct upstream_exchange *
upstream_exchange_create(struct upstream_client *client, const struct upstream_settings *settings,
                         const char *method, const char *path, const struct upstream_header *headers,
                         size_t header_count, const char *body, size_t body_length,
                         const struct upstream_exchange_callbacks *callbacks, void *context) {
    struct upstream_exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL || !transfer_init(&exchange->transfer, client, settings, &exchange_role)) {
        free(exchange);
        return NULL;
    }
    exchange->memory = sizeof *exchange + strlen(settings->base_url) + strlen(path) + 1 + body_length;
    memory_charge(MEMORY_REQUESTS, exchange->memory);
    answer_headers_init(&exchange->headers);
    exchange->callbacks = *callbacks;
    exchange->context = context;
    if (!copy_request(exchange, settings->base_url, method, path, body, body_length) ||
        !add_exchange_headers(exchange, settings, headers, header_count)) {
        transfer_release(&exchange->transfer);
        return NULL;
    }
    client->active++;
    return exchange;
}

void upstream_exchange_set_first_byte_timeout(struct upstream_exchange *exchange, int64_t timeout_ms) {
    exchange->transfer.first_byte_timeout_ms = timeout_ms;
}

bool upstream_exchange_make_tunnel(struct upstream_exchange *exchange, const char *protocol) {
    struct transfer *transfer = &exchange->transfer;
    exchange->is_tunnel = true;
    return transfer_add_header(transfer, "Connection", "Upgrade") &&
           transfer_add_header(transfer, "Upgrade", protocol) &&
           transfer_omit_header(transfer, "Transfer-Encoding");
}

void upstream_exchange_resume_upload(struct upstream_exchange *exchange) {
    transfer_resume(&exchange->transfer);
}

/** RFC 9110, section 9.2.2: to send it twice has the effect of sending it once. */
static bool is_idempotent(const char *method) {
    static const char *const names[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", NULL};
    return header_is_among(method, names);
}

bool upstream_exchange_send(struct upstream_exchange *exchange) {
    const struct transfer_request request = {exchange->method,
                                             exchange->url,
                                             exchange->body,
                                             exchange->body_length,
                                             is_idempotent(exchange->method),
                                             exchange->is_tunnel};
    return transfer_send(&exchange->transfer, &request);
}

struct upstream_exchange *
upstream_exchange_start(struct upstream_client *client, const struct upstream_settings *settings,
                        const char *method, const char *path, const struct upstream_header *headers,
                        size_t header_count, const char *body, size_t body_length,
                        const struct upstream_exchange_callbacks *callbacks, void *context) {
    struct upstream_exchange *exchange = upstream_exchange_create(
        client, settings, method, path, headers, header_count, body, body_length, callbacks, context);
    if (exchange == NULL || upstream_exchange_send(exchange))
        return exchange;
    upstream_exchange_cancel(exchange);
    return NULL;
}

void upstream_exchange_resume(struct upstream_exchange *exchange) {
    transfer_set_deadline(&exchange->transfer, exchange->transfer.idle_timeout_ms);
    transfer_resume(&exchange->transfer);
}

void upstream_exchange_cancel(struct upstream_exchange *exchange) {
    if (exchange->has_ended || exchange->transfer.is_released)
        return;
    exchange->has_ended = true;
    exchange->transfer.client->active--;
    transfer_release(&exchange->transfer);
}
