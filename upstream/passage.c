/* Passages: requests that are passed on, and their answers' bodies as they come. See client.h.
 *
 * A passage is a transfer with another role than a stream: it hands on status, end-to-end headers and bytes,
 * and judges nothing but whether the answer came whole.
 */
#include "upstream/client_internal.h"

#include "base/memory_budget.h"
#include "upstream/answer_headers.h"

#include <stdlib.h>
#include <string.h>

#define URL_BYTES_MAX (64 * 1024)

struct upstream_passage {
    struct transfer transfer;
    struct upstream_passage_callbacks callbacks;
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

static struct upstream_passage *passage_of_transfer(struct transfer *transfer) {
    return CONTAINER_OF(transfer, struct upstream_passage, transfer);
}

static bool header_is_among(const char *name, const char *const *names) {
    for (; *names != NULL; names++) {
        if (strcasecmp(name, *names) == 0)
            return true;
    }
    return false;
}

/* ---- the transfer's role ---------------------------------------------------------------------------- */

static void passage_on_sent(struct transfer *transfer) {
    struct upstream_passage *passage = passage_of_transfer(transfer);
    transfer_set_deadline(transfer, transfer->first_byte_timeout_ms);
    if (passage->callbacks.on_sent != NULL)
        passage->callbacks.on_sent(passage->context);
}

static bool passage_on_header_line(struct transfer *transfer, const char *line, size_t length) {
    return answer_headers_add(&passage_of_transfer(transfer)->headers, line, length);
}

static bool passage_on_head(struct transfer *transfer) {
    struct upstream_passage *passage = passage_of_transfer(transfer);
    struct transfer_fault fault;
    if (answer_find_fault(&transfer->length, &fault))
        return false;
    struct upstream_header *headers;
    size_t count;
    if (!answer_headers_take(&passage->headers, &headers, &count)) {
        transfer_fail(transfer, CURLE_WEIRD_SERVER_REPLY);
        return false;
    }
    transfer_set_deadline(transfer, transfer->idle_timeout_ms);
    if (passage->is_tunnel)
        transfer_resume(transfer); /* what waits to be sent */
    passage->callbacks.on_head(passage->context, transfer->status, headers, count,
                               transfer_content_length(transfer));
    free(headers);
    return true;
}

static enum transfer_taken passage_on_body(struct transfer *transfer, const char *bytes, size_t length) {
    struct upstream_passage *passage = passage_of_transfer(transfer);
    transfer_set_deadline(transfer, transfer->idle_timeout_ms);
    if (passage->callbacks.on_body(passage->context, bytes, length))
        return TRANSFER_TAKEN;
    transfer_clear_deadline(transfer); /* it is not the upstream that we wait for */
    return TRANSFER_PAUSE;
}

static ssize_t passage_on_upload(struct transfer *transfer, char *bytes, size_t size) {
    struct upstream_passage *passage = passage_of_transfer(transfer);
    return passage->callbacks.on_upload(passage->context, bytes, size);
}

static void passage_on_done(struct transfer *transfer, CURLcode code) {
    struct upstream_passage *passage = passage_of_transfer(transfer);
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
    passage->has_ended = true;
    transfer->client->active--;
    passage->callbacks.on_end(passage->context, &result);
    transfer_release(transfer);
}

static void destroy(struct transfer *transfer) {
    struct upstream_passage *passage = passage_of_transfer(transfer);
    free(passage->method);
    free(passage->url);
    free(passage->body);
    answer_headers_finish(&passage->headers);
    memory_release(MEMORY_REQUESTS, passage->memory);
    free(passage);
}

static const struct transfer_role passage_role = {
    .on_sent = passage_on_sent,
    .on_header_line = passage_on_header_line,
    .on_head = passage_on_head,
    .on_body = passage_on_body,
    .on_upload = passage_on_upload,
    .on_done = passage_on_done,
    .destroy = destroy,
};

/* ---- the public half -------------------------------------------------------------------------------- */

/** Ours to say, not the client's. */
static bool is_ours(const char *name) {
    static const char *const names[] = {"Host", "Expect", "Content-Type", NULL};
    return header_is_of_the_hop(name) || header_is_among(name, names);
}

static bool add_passage_headers(struct upstream_passage *passage, const struct upstream_settings *settings,
                                const struct upstream_header *headers, size_t count) {
    struct transfer *transfer = &passage->transfer;
    const char *authorization = settings->authorization;
    for (size_t i = 0; i < count; i++) {
        bool replaced = authorization != NULL && strcasecmp(headers[i].name, "Authorization") == 0;
        if (!is_ours(headers[i].name) && !replaced &&
            !transfer_add_header(transfer, headers[i].name, headers[i].value))
            return false;
    }
    bool typed = passage->body != NULL ? transfer_add_header(transfer, "Content-Type", "application/json")
                                       : transfer_omit_header(transfer, "Content-Type");
    return typed && transfer_omit_header(transfer, "Expect") &&
           transfer_add_lines(transfer, settings->headers) &&
           (authorization == NULL || transfer_add_header(transfer, "Authorization", authorization));
}

static bool copy_request(struct upstream_passage *passage, const char *base_url, const char *method,
                         const char *path, const char *body, size_t body_length) {
    struct buffer url;
    buffer_init(&url, URL_BYTES_MAX);
    if (buffer_printf(&url, "%s%s", base_url, path))
        passage->url = buffer_detach(&url);
    buffer_finish(&url);
    passage->method = strdup(method);
    if (passage->url == NULL || passage->method == NULL)
        return false;
    if (body == NULL)
        return true;
    passage->body = malloc(body_length + 1);
    if (passage->body == NULL)
        return false;
    memcpy(passage->body, body, body_length);
    passage->body_length = body_length;
    return true;
}

struct upstream_passage *upstream_passage_create(struct upstream_client *client,
                                                 const struct upstream_settings *settings, const char *method,
                                                 const char *path, const struct upstream_header *headers,
                                                 size_t header_count, const char *body, size_t body_length,
                                                 const struct upstream_passage_callbacks *callbacks,
                                                 void *context) {
    struct upstream_passage *passage = calloc(1, sizeof *passage);
    if (passage == NULL || !transfer_init(&passage->transfer, client, settings, &passage_role)) {
        free(passage);
        return NULL;
    }
    passage->memory = sizeof *passage + strlen(settings->base_url) + strlen(path) + 1 + body_length;
    memory_charge(MEMORY_REQUESTS, passage->memory);
    answer_headers_init(&passage->headers);
    passage->callbacks = *callbacks;
    passage->context = context;
    if (!copy_request(passage, settings->base_url, method, path, body, body_length) ||
        !add_passage_headers(passage, settings, headers, header_count)) {
        transfer_release(&passage->transfer);
        return NULL;
    }
    client->active++;
    return passage;
}

void upstream_passage_set_first_byte_timeout(struct upstream_passage *passage, int64_t timeout_ms) {
    passage->transfer.first_byte_timeout_ms = timeout_ms;
}

bool upstream_passage_make_tunnel(struct upstream_passage *passage, const char *protocol) {
    struct transfer *transfer = &passage->transfer;
    passage->is_tunnel = true;
    return transfer_add_header(transfer, "Connection", "Upgrade") &&
           transfer_add_header(transfer, "Upgrade", protocol) &&
           transfer_omit_header(transfer, "Transfer-Encoding");
}

void upstream_passage_resume_upload(struct upstream_passage *passage) {
    transfer_resume(&passage->transfer);
}

/** RFC 9110, section 9.2.2: to send it twice has the effect of sending it once. */
static bool is_idempotent(const char *method) {
    static const char *const names[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", NULL};
    return header_is_among(method, names);
}

bool upstream_passage_send(struct upstream_passage *passage) {
    const struct transfer_request request = {
        passage->method,   passage->url, passage->body, passage->body_length, is_idempotent(passage->method),
        passage->is_tunnel};
    return transfer_send(&passage->transfer, &request);
}

struct upstream_passage *upstream_passage_start(struct upstream_client *client,
                                                const struct upstream_settings *settings, const char *method,
                                                const char *path, const struct upstream_header *headers,
                                                size_t header_count, const char *body, size_t body_length,
                                                const struct upstream_passage_callbacks *callbacks,
                                                void *context) {
    struct upstream_passage *passage = upstream_passage_create(
        client, settings, method, path, headers, header_count, body, body_length, callbacks, context);
    if (passage == NULL || upstream_passage_send(passage))
        return passage;
    upstream_passage_cancel(passage);
    return NULL;
}

void upstream_passage_resume(struct upstream_passage *passage) {
    transfer_set_deadline(&passage->transfer, passage->transfer.idle_timeout_ms);
    transfer_resume(&passage->transfer);
}

void upstream_passage_cancel(struct upstream_passage *passage) {
    if (passage->has_ended || passage->transfer.is_released)
        return;
    passage->has_ended = true;
    passage->transfer.client->active--;
    transfer_release(&passage->transfer);
}
