/* One HTTP request between libmicrohttpd and the routes: from its first line to its answer. */
#include "server/http_exchange.h"

#include "base/clock.h"
#include "routes/router.h"
#include "server/socket_sink.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static struct http_exchange *of(struct request *request) {
    return CONTAINER_OF(request, struct http_exchange, request);
}

/* ---- what the listener does for a request -------------------------------------------------------- */

static const char *find_header(const struct request *request, const char *name) {
    const struct http_exchange *exchange = of((struct request *)(uintptr_t)request);
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

static void answer(struct request *request) {
    http_exchange_resume(of(request));
}

static const struct request_operations operations = {
    .header = find_header, .answer = answer, .source_ready = answer};

void http_exchange_suspend(struct http_exchange *exchange) {
    assert(!exchange->suspended);
    exchange->suspended = true;
    MHD_suspend_connection(exchange->connection);
}

void http_exchange_resume(struct http_exchange *exchange) {
    if (!exchange->suspended)
        return;
    exchange->suspended = false;
    MHD_resume_connection(exchange->connection);
    exchange->listener->ready = true; /* nothing else wakes the library in this mode */
}

/* ---- its life ------------------------------------------------------------------------------------ */

struct http_exchange *http_exchange_create(struct http_listener *listener, const char *uri,
                                           struct MHD_Connection *connection) {
    struct http_exchange *exchange = calloc(1, sizeof(*exchange));
    char *copy = strdup(uri);
    if (exchange == NULL || copy == NULL) {
        free(exchange);
        free(copy);
        return NULL;
    }
    char *mark = strchr(copy, '?');
    if (mark != NULL)
        *mark = '\0';
    exchange->uri = copy;
    exchange->listener = listener;
    exchange->connection = connection;
    exchange->handed_fd = -1;
    exchange->begun_mono_ms = clock_mono_ms();
    exchange->request.operations = &operations;
    exchange->request.context = listener->context;
    exchange->request.path = copy;
    exchange->request.query = mark != NULL ? mark + 1 : "";
    exchange->request.body = "";
    buffer_init(&exchange->body, listener->context->settings->request_body_bytes_max);
    LIST_INSERT_HEAD(&listener->exchanges, exchange, entry);
    return exchange;
}

/* The connection of an answered event stream goes to its subscriber, if it got that far. */
static void settle_subscriber(struct http_exchange *exchange) {
    struct reply *reply = &exchange->request.reply;
    struct routes_context *context = exchange->listener->context;
    if (reply->kind != REPLY_SUBSCRIBER || reply->subscriber == NULL || exchange->handed_fd < 0)
        return; /* what is left of it is given back with the reply */
    struct sink *sink =
        socket_sink_create(context->loop, exchange->handed_fd, exchange->listener->settings.send_buffer_bytes,
                           exchange->listener->settings.stall_timeout_ms);
    if (sink == NULL)
        return;
    exchange->handed_fd = -1;
    /* The library closes its own descriptor the next time it runs, which nothing else would make it do; until then
     * the client would not see the end of a stream that has ended. */
    exchange->listener->ready = true;
    struct subscriber *subscriber = reply->subscriber;
    reply->subscriber = NULL;
    subscriber_connect(subscriber, context->fanout, sink, !exchange->request.http_1_0);
}

static void call_abandoned(struct request *request) {
    if (!request->deferred || request->reply.kind != REPLY_NONE)
        return;
    request->deferred = false;
    request->abandoned(request->deferred_context);
}

void http_exchange_finish(struct http_exchange *exchange) {
    LIST_REMOVE(exchange, entry);
    settle_subscriber(exchange);
    call_abandoned(&exchange->request);
    reply_finish(&exchange->request.reply);
    if (exchange->handed_fd >= 0)
        close(exchange->handed_fd);
    buffer_finish(&exchange->body);
    free(exchange->uri);
    free(exchange);
}

void http_exchange_abandon(struct http_exchange *exchange) {
    call_abandoned(&exchange->request);
    if (exchange->request.reply.kind == REPLY_NONE)
        reply_error(&exchange->request, 503, "shutting_down", "The gateway is shutting down.");
    else
        exchange->source_abandoned = true;
    http_exchange_resume(exchange);
}

/* ---- libmicrohttpd's access handler -------------------------------------------------------------- */

static enum request_method method_of(const char *name) {
    static const struct {
        const char *name;
        enum request_method method;
    } methods[] = {{"GET", METHOD_GET},        {"HEAD", METHOD_GET},    {"POST", METHOD_POST},
                   {"PUT", METHOD_PUT},        {"PATCH", METHOD_PATCH}, {"DELETE", METHOD_DELETE},
                   {"OPTIONS", METHOD_OPTIONS}};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(methods[i].name, name) == 0)
            return methods[i].method;
    }
    return METHOD_OTHER;
}

/* The body's length as the library understood it: -1 if it is chunked. */
static void read_length(struct http_exchange *exchange) {
    const char *length = find_header(&exchange->request, "Content-Length");
    bool chunked = find_header(&exchange->request, "Transfer-Encoding") != NULL;
    exchange->request.content_length = !chunked && length != NULL ? strtoll(length, NULL, 10) : -1;
    exchange->request.has_body = chunked || exchange->request.content_length > 0;
}

static enum MHD_Result begin(struct http_exchange *exchange, const char *method, const char *version) {
    struct request *request = &exchange->request;
    exchange->begun = true;
    request->method = method_of(method);
    request->head = strcmp(method, "HEAD") == 0;
    request->http_1_0 = strcasecmp(version, MHD_HTTP_VERSION_1_1) != 0;
    read_length(exchange);
    router_begin(request);
    /* A refusal need not wait for a body; the library closes the connection after it then. Without a body it
     * is queued when the library asks again, and the connection can be used again. */
    bool refused = request->reply.kind != REPLY_NONE && request->has_body;
    return refused ? http_exchange_queue_reply(exchange) : MHD_YES;
}

static void take_upload(struct http_exchange *exchange, const char *upload, size_t length) {
    bool late = clock_mono_ms() - exchange->begun_mono_ms > exchange->listener->settings.request_timeout_ms;
    if (exchange->request.reply.kind != REPLY_NONE)
        return; /* decided: what still comes is thrown away */
    if (late)
        reply_error(&exchange->request, 408, "request_timeout", "The request took too long to arrive.");
    else if (!buffer_append(&exchange->body, upload, length))
        router_refuse_body(&exchange->request);
}

enum MHD_Result http_exchange_handle(struct http_exchange *exchange, const char *method, const char *version,
                                     const char *upload, size_t *upload_length) {
    struct request *request = &exchange->request;
    if (!exchange->begun)
        return begin(exchange, method, version);
    if (*upload_length > 0) {
        take_upload(exchange, upload, *upload_length);
        *upload_length = 0;
        return MHD_YES;
    }
    if (request->reply.kind == REPLY_NONE && !request->deferred) {
        if (exchange->body.bytes != NULL)
            request->body = exchange->body.bytes;
        request->body_length = exchange->body.length;
        router_handle(request);
        assert(request->reply.kind != REPLY_NONE || request->deferred);
    }
    if (request->reply.kind != REPLY_NONE)
        return http_exchange_queue_reply(exchange);
    http_exchange_suspend(exchange);
    return MHD_YES;
}
