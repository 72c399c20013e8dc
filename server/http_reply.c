/* The decided reply of an exchange as libmicrohttpd wants it.
 *
 * An event stream's connection is handed over: the library sends status, headers and the greeting; when it
 * asks for more, which means that all of that is in the kernel, we keep a descriptor of our own and let the
 * library leave as if the stream had broken off (HTTP/1.1: without the last chunk) or had ended (HTTP/1.0).
 * From then on the subscriber writes its own chunks. MHD_USE_TURBO keeps the library from shutting the
 * connection down.
 */
#include "base/clock.h"
#include "server/http_exchange.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_BYTES (32 * 1024)

static struct MHD_Response *body_response(struct reply *reply) {
    if (reply->body_is_static || reply->body == NULL)
        return MHD_create_response_from_buffer(reply->body_length, reply->body, MHD_RESPMEM_PERSISTENT);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(reply->body_length, reply->body, MHD_RESPMEM_MUST_FREE);
    if (response != NULL)
        reply->body = NULL;
    return response;
}

static ssize_t read_source(void *context, uint64_t position, char *bytes, size_t size) {
    (void)position;
    struct http_exchange *exchange = context;
    struct reply_source *source = &exchange->request.reply.source;
    ssize_t count = exchange->source_abandoned ? -2 : source->read(source->context, bytes, size);
    if (count == -1)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (count < 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (count == 0)
        http_exchange_suspend(exchange);
    return count;
}

static struct MHD_Response *source_response(struct http_exchange *exchange) {
    int64_t length = exchange->request.reply.source.content_length;
    return MHD_create_response_from_callback(length >= 0 ? (uint64_t)length : MHD_SIZE_UNKNOWN, BLOCK_BYTES,
                                             read_source, exchange, NULL);
}

static ssize_t read_stream(void *context, uint64_t position, char *bytes, size_t size) {
    (void)position;
    struct http_exchange *exchange = context;
    size_t left = exchange->greeting_length - exchange->greeting_sent;
    if (left > 0) {
        size_t count = left < size ? left : size;
        for (size_t i = 0; i < count; i++)
            bytes[i] = exchange->greeting[exchange->greeting_sent + i];
        exchange->greeting_sent += count;
        return (ssize_t)count;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info != NULL && exchange->handed_fd < 0)
        exchange->handed_fd = fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 0);
    return exchange->request.http_1_0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *stream_response(struct http_exchange *exchange) {
    if (exchange->request.reply.greeting)
        exchange->greeting_length =
            (size_t)snprintf(exchange->greeting, GREETING_SIZE, ": sluice\nretry: %lld\n\n",
                             (long long)fanout_retry_ms(exchange->listener->context->fanout));
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1024, read_stream, exchange, NULL);
    if (response != NULL && exchange->request.http_1_0)
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    if (response != NULL)
        MHD_add_response_header(response, "Connection", "close");
    return response;
}

static struct MHD_Response *make_response(struct http_exchange *exchange) {
    struct reply *reply = &exchange->request.reply;
    if (reply->kind == REPLY_SUBSCRIBER)
        return stream_response(exchange);
    if (reply->kind == REPLY_SOURCE)
        return source_response(exchange);
    return body_response(reply);
}

enum MHD_Result http_exchange_queue_reply(struct http_exchange *exchange) {
    struct reply *reply = &exchange->request.reply;
    struct MHD_Response *response = make_response(exchange);
    if (response == NULL)
        return MHD_NO; /* out of memory: the connection is closed */
    for (size_t i = 0; i < reply->header_count; i++)
        MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
    enum MHD_Result result = MHD_queue_response(exchange->connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    return result;
}
