/* One HTTP request between libmicrohttpd and the routes: from its first line to its answer.
 *
 *     first line --> http_exchange_create()
 *     head ------> begin_exchange(): is the head in order? --> router_begin()
 *     body ------> http_exchange_take_upload(), as often as bytes come
 *     all of it -> http_exchange_route() --> router_handle() --> a decided reply, or suspended
 *     reply -----> http_exchange_queue_reply() --> the library sends it --> http_exchange_finish()
 *
 * The library takes no reply while a request still arrives. So an early refusal is written to the socket
 * here, and the connection is cut off: it lingers, so that the client can read the refusal before the
 * reset. */
#include "http/exchange.h"

#include "base/memory_budget.h"
#include "base/metrics.h"
#include "http/body.h"
#include "http/handover.h"
#include "http/head.h"
#include "routes/cors.h"
#include "routes/router.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static struct http_exchange *exchange_of_request(struct request *request) {
    return CONTAINER_OF(request, struct http_exchange, request);
}

/* ---- what the listener does for a request -------------------------------------------------------- */

/* The one place where values of headers are fetched, with the next one. White space around them is gone:
 * before it by the library, after it by http_head_check(). */
static const char *find_request_header(const struct request *request, const char *name) {
    const struct http_exchange *exchange = exchange_of_request((struct request *)(uintptr_t)request);
    return MHD_lookup_connection_value(exchange->handle, MHD_HEADER_KIND, name);
}

/* One look at the headers. */
struct header_visit {
    const char *name;
    void (*visit)(void *context, const char *value);
    void *context;
};

static enum MHD_Result visit_header(void *context, enum MHD_ValueKind kind, const char *name,
                                    const char *value) {
    const struct header_visit *look = context;
    (void)kind;
    if (strcasecmp(name, look->name) == 0)
        look->visit(look->context, value != NULL ? value : "");
    return MHD_YES;
}

static void each_header(const struct request *request, const char *name,
                        void (*visit)(void *context, const char *value), void *context) {
    const struct http_exchange *exchange = exchange_of_request((struct request *)(uintptr_t)request);
    struct header_visit look = {.name = name, .visit = visit, .context = context};
    MHD_get_connection_values(exchange->handle, MHD_HEADER_KIND, visit_header, &look);
}

static void exchange_answer(struct request *request) {
    http_exchange_resume(exchange_of_request(request));
}

static void exchange_go_on(struct request *request) {
    struct http_exchange *exchange = exchange_of_request(request);
    if (exchange->tunnel != NULL)
        tunnel_wake(exchange->tunnel);
    else
        exchange_answer(request);
}

static void write_peer(const struct request *request, char out[INET6_ADDRSTRLEN]) {
    peer_format(&exchange_of_request((struct request *)(uintptr_t)request)->connection->peer, out);
}

static bool exchange_reserve_stream(struct request *request) {
    struct http_exchange *exchange = exchange_of_request(request);
    if (exchange->handed_fd < 0)
        exchange->handed_fd = fcntl(exchange->connection->fd, F_DUPFD_CLOEXEC, 0);
    return exchange->handed_fd >= 0;
}

static const struct request_operations operations = {.header = find_request_header,
                                                     .each_header = each_header,
                                                     .peer = write_peer,
                                                     .reserve_stream = exchange_reserve_stream,
                                                     .answer = exchange_answer,
                                                     .source_ready = exchange_go_on};

void http_exchange_suspend(struct http_exchange *exchange) {
    if (exchange->suspended) {
        request_break(&exchange->request, "http/exchange.c: suspended twice");
        return;
    }
    exchange->suspended = true;
    MHD_suspend_connection(exchange->handle);
}

void http_exchange_resume(struct http_exchange *exchange) {
    if (!exchange->suspended)
        return;
    exchange->suspended = false;
    MHD_resume_connection(exchange->handle);
    exchange->listener->ready = true; /* nothing else wakes the library in this mode */
}

/* What a handler keeps of a request that is answered later, or piece by piece. */
#define HANDLER_MEMORY 1024

/* ---- its life ------------------------------------------------------------------------------------ */

struct http_exchange *http_exchange_create(struct http_listener *listener, const char *uri,
                                           struct MHD_Connection *handle) {
    struct http_connection *connection =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    struct http_exchange *exchange = calloc(1, sizeof(*exchange));
    char *copy = strdup(uri);
    if (connection == NULL || exchange == NULL || copy == NULL) {
        free(exchange);
        free(copy);
        return NULL;
    }
    char *mark = strchr(copy, '?');
    if (mark != NULL)
        *mark = '\0';
    exchange->memory = sizeof(*exchange) + strlen(uri) + 1 + HANDLER_MEMORY;
    memory_charge(MEMORY_CONNECTIONS, exchange->memory);
    exchange->uri = copy;
    exchange->uri_place = (uintptr_t)uri;
    exchange->uri_length = strlen(uri);
    exchange->listener = listener;
    exchange->connection = connection;
    exchange->handle = handle;
    exchange->handed_fd = -1;
    exchange->request.operations = &operations;
    exchange->request.context = listener->context;
    exchange->request.address = peer_client(&connection->peer);
    exchange->request.path = copy;
    exchange->request.query = mark != NULL ? mark + 1 : "";
    exchange->request.body = "";
    buffer_init_counted(&exchange->body, listener->context->settings->request_body_bytes_max, MEMORY_BODIES);
    LIST_INSERT_HEAD(&listener->exchanges, exchange, entry);
    http_connection_await(connection, exchange);
    return exchange;
}

static void set_arrived(struct http_exchange *exchange) {
    if (!exchange->arrived)
        http_connection_arrived(exchange->connection);
    exchange->arrived = true;
}

/* The connection of an answered event stream goes to its subscriber, if it got that far. */
static void settle_subscriber(struct http_exchange *exchange) {
    struct reply *reply = &exchange->request.reply;
    if (reply->kind != REPLY_SUBSCRIBER)
        return;
    /* The library closes its own descriptor the next time it runs, which nothing else would make it do; until
     * then the client would not see the end of a stream that has ended, or could not be handed over. */
    exchange->listener->ready = true;
    if (reply->subscriber == NULL || !exchange->is_greeted)
        return; /* what is left of it is given back with the reply */
    const struct handover handover = {.subscriber = reply->subscriber,
                                      .fd = exchange->handed_fd,
                                      .chunked = !exchange->request.http_1_0,
                                      .send_buffer_bytes = exchange->listener->settings.send_buffer_bytes,
                                      .limits = exchange->listener->limits,
                                      .address = exchange->connection->address};
    reply->subscriber = NULL;
    exchange->handed_fd = -1;
    exchange->connection->address = NULL;
    hand_over(exchange->listener->context, &handover);
}

static void call_abandoned(struct request *request) {
    if (!request->deferred || request->reply.kind != REPLY_NONE)
        return;
    request->deferred = false;
    request->abandoned(request->deferred_context);
}

/* A client that was answered before all of its request had come may be sending still. */
static void linger_exchange(struct http_exchange *exchange) {
    struct http_listener *listener = exchange->listener;
    int fd = listener->closing ? -1 : fcntl(exchange->connection->fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        lingering_close(&listener->lingering, fd);
    else
        socket_discard_input(exchange->connection->fd); /* what is left of it without a descriptor */
}

/* Whether the library closes the connection after the answer; then it need not be asked why. */
static bool is_last(const struct http_exchange *exchange) {
    const struct request *request = &exchange->request;
    return exchange->cut_off || exchange->asked_to_close || request->reply.kind != REPLY_BODY;
}

void http_exchange_finish(struct http_exchange *exchange, bool ended_well) {
    LIST_REMOVE(exchange, entry);
    if (!ended_well || is_last(exchange))
        exchange->connection->closing = true;
    http_connection_await(exchange->connection, NULL);
    if (exchange->cut_off)
        linger_exchange(exchange);
    settle_subscriber(exchange);
    call_abandoned(&exchange->request);
    exchange->listener->progress.stuck -= exchange->is_stuck;
    reply_finish(&exchange->request.reply);
    if (exchange->handed_fd >= 0)
        close(exchange->handed_fd);
    buffer_finish(&exchange->body);
    free(exchange->uri);
    memory_release(MEMORY_CONNECTIONS, exchange->memory);
    free(exchange);
}

void http_exchange_abandon(struct http_exchange *exchange) {
    call_abandoned(&exchange->request);
    if (exchange->request.reply.kind == REPLY_NONE)
        reply_error(&exchange->request, 503, "shutting_down", "The gateway is shutting down.");
    http_exchange_resume(exchange);
}

/* ---- libmicrohttpd's access handler -------------------------------------------------------------- */

static enum request_method method_of_name(const char *name) {
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
    const char *length = find_request_header(&exchange->request, "Content-Length");
    bool chunked = find_request_header(&exchange->request, "Transfer-Encoding") != NULL;
    exchange->request.content_length = !chunked && length != NULL ? strtoll(length, NULL, 10) : -1;
    exchange->request.has_body = chunked || exchange->request.content_length > 0;
}

void http_exchange_offend(struct http_exchange *exchange, const char *reason) {
    exchange->offends = true;
    exchange->request.reply.is_logged = true;
    http_connection_offends(exchange->connection, exchange->request.reply.status, reason);
}

/* Decides what can be decided by the head alone. */
static void check_request(struct http_exchange *exchange, const char *method, const char *version) {
    struct request *request = &exchange->request;
    const char *offence = http_head_check(exchange, method, version);
    if (offence != NULL) {
        http_exchange_offend(exchange, offence);
    } else if (request->reply.kind == REPLY_NONE &&
               !address_take_request(exchange->listener->limits, exchange->connection->address)) {
        metrics_add(METRIC_REQUESTS_OF_ADDRESS_REFUSED, 1);
        reply_limit(request, 429, "too_many_requests_of_address", "Your address sends too many requests",
                    "request_rate_per_address",
                    address_limits_settings(exchange->listener->limits)->requests_per_second, "a second");
    }
    if (request->reply.kind != REPLY_NONE) {
        cors_add_headers(request);
        return;
    }
    router_begin(request);
    if (request->reply.kind == REPLY_NONE && exchange->has_own_body && router_streams_answer(request)) {
        reply_error(request, 400, "invalid_header",
                    "White space after the value of Transfer-Encoding is not accepted on this path.");
        http_exchange_offend(exchange, request->reply.code);
    }
    if (request->reply.status == 413 || request->reply.status == 403)
        http_exchange_offend(exchange, request->reply.code);
}

/* A refusal need not wait for a body; the library closes the connection after it then. Without a body it is
 * queued when the library asks again, and the connection can be used again. */
static enum MHD_Result begin_exchange(struct http_exchange *exchange, const char *method,
                                      const char *version) {
    struct request *request = &exchange->request;
    exchange->begun = true;
    request->method = method_of_name(method);
    request->head = strcmp(method, "HEAD") == 0;
    request->http_1_0 = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
    const char *option = find_request_header(request, "Connection");
    exchange->asked_to_close = request->http_1_0 || (option != NULL && strcasestr(option, "close") != NULL);
    read_length(exchange);
    check_request(exchange, method, version);
    exchange->cut_off = request->reply.kind != REPLY_NONE && (request->has_body || exchange->offends);
    if (!exchange->cut_off)
        return MHD_YES;
    set_arrived(exchange);
    if (!exchange->has_no_room)
        return http_exchange_queue_reply(exchange);
    http_exchange_write_reply(exchange);
    return MHD_NO;
}

/* Answers while the body still comes, and has the connection closed. */
static void cut_off(struct http_exchange *exchange) {
    exchange->cut_off = true;
    http_exchange_write_reply(exchange);
}

void http_exchange_time_out(struct http_exchange *exchange) {
    if (exchange->request.reply.kind == REPLY_NONE)
        reply_limit(&exchange->request, 408, "request_timeout", "The request took too long to arrive",
                    "request_timeout_ms", (uint64_t)exchange->listener->settings.request_timeout_ms, "ms");
    http_exchange_offend(exchange, "request_timeout");
    cut_off(exchange);
}

static void refuse_stuck(struct http_exchange *exchange) {
    static const char chunks[] = "chunk_framing_too_large", head[] = "headers_too_large";
    bool is_chunked = exchange->request.content_length < 0;
    if (is_chunked)
        reply_error(&exchange->request, 400, chunks, "A chunk-size line or the trailers are too long.");
    else
        reply_limit(&exchange->request, 431, head, "Request line and headers are too large",
                    "request_header_bytes_max", exchange->listener->settings.request_header_bytes_max,
                    "bytes");
    http_exchange_offend(exchange, is_chunked ? chunks : head);
    cut_off(exchange);
}

/* The library does not read any more, so it does not see the end of what comes. It closes a connection that
 * is shut down on both sides, except in the trailers: there it waits for its own timeout, a second at least.
 * What the client has sent is read first, so that the kernel ends the connection instead of resetting it. */
void http_exchange_end_stuck(struct http_exchange *exchange) {
    socket_discard_input(exchange->connection->fd);
    if (!exchange->cut_off)
        refuse_stuck(exchange);
    set_arrived(exchange);
    exchange->is_stuck = true;
    exchange->listener->progress.stuck++;
    shutdown(exchange->connection->fd, SHUT_RDWR);
    MHD_set_connection_option(exchange->handle, MHD_CONNECTION_OPTION_TIMEOUT, 1U);
    exchange->listener->ready = true;
}

enum MHD_Result http_exchange_take_upload(struct http_exchange *exchange, const char *upload, size_t length) {
    struct buffer *body = &exchange->body;
    if (buffer_append(body, upload, length))
        return MHD_YES;
    if (body->length + length > body->bytes_max) {
        router_refuse_body(&exchange->request);
        http_exchange_offend(exchange, "body_too_large");
    } else {
        reply_no_memory(&exchange->request);
    }
    cut_off(exchange);
    return MHD_NO;
}

void http_exchange_route(struct http_exchange *exchange) {
    struct request *request = &exchange->request;
    set_arrived(exchange);
    if (request->reply.kind != REPLY_NONE || request->deferred)
        return;
    if (exchange->body.bytes != NULL)
        request->body = exchange->body.bytes;
    request->body_length = exchange->body.length;
    router_handle(request);
}

enum MHD_Result http_exchange_handle(struct http_exchange *exchange, const char *method, const char *version,
                                     const char *upload, size_t *upload_length) {
    struct request *request = &exchange->request;
    if (exchange->cut_off || (exchange->listener->closing && request->reply.kind == REPLY_NONE))
        return MHD_NO;
    if (!exchange->begun)
        return begin_exchange(exchange, method, version);
    if (*upload_length > 0 && exchange->has_own_body)
        return http_own_body_take(exchange, upload, upload_length);
    if (*upload_length > 0) {
        size_t length = *upload_length;
        *upload_length = 0;
        return http_exchange_take_upload(exchange, upload, length);
    }
    http_exchange_route(exchange);
    if (request->reply.kind != REPLY_NONE)
        return http_exchange_queue_reply(exchange);
    http_exchange_suspend(exchange);
    return MHD_YES;
}
