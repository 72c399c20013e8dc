/* The decided reply of an exchange as libmicrohttpd wants it.
 *
 * An event stream's connection is handed over: the library sends status, headers and the greeting; when it
 * asks for more, which means that all of that is in the kernel, we let the library leave as if the stream had
 * broken off (HTTP/1.1: without the last chunk) or had ended (HTTP/1.0). The descriptor of our own that is
 * left then was taken before the answer was decided, so that a stream that begins can go on. From then on the
 * subscriber writes its own chunks. MHD_USE_TURBO keeps the library from shutting the connection down.
 *
 * The head says "Connection: close": the stream is the last answer of its connection, and a client that keeps
 * it would lose its next request (Node's http.Agent does). But undici, which is Node's fetch(), takes a
 * chunked answer with that header for whole when the connection ends, however it was cut off. So its head is
 * without it. Then we write head and greeting ourselves, and the library leaves when its handler returns
 * MHD_NO. undici waits for a turn of its loop before it uses a connection again, and sees by then that this
 * one has ended, since the last chunk and the FIN are one segment (handover.c).
 */
#include "http/exchange.h"

#include "base/clock.h"
#include "routes/refusal.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#define BLOCK_BYTES (32 * 1024)
#define STREAM_BLOCK_BYTES 1024
/* What the library takes for a response, beside its headers and its block. */
#define RESPONSE_MEMORY 512
#define WRITTEN_BYTES_MAX (64 * 1024)

/* The body stays the reply's, which is finished after the library is through with the response. */
static struct MHD_Response *body_response(const struct reply *reply) {
    return MHD_create_response_from_buffer(reply->body_length, reply->body, MHD_RESPMEM_PERSISTENT);
}

static ssize_t read_source(void *context, uint64_t position, char *bytes, size_t size) {
    (void)position;
    struct http_exchange *exchange = context;
    exchange->listener->progress.was_called = true;
    struct reply_source *source = &exchange->request.reply.source;
    ssize_t count = exchange->listener->closing ? -2 : source->read(source->context, bytes, size);
    if (count == -1)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (count < 0) {
        exchange->listener->ready = true; /* the library closes the connection the next time it runs */
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
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
    exchange->listener->progress.was_called = true;
    size_t left = exchange->greeting_length - exchange->greeting_sent;
    if (left > 0) {
        size_t count = left < size ? left : size;
        for (size_t i = 0; i < count; i++)
            bytes[i] = exchange->greeting[exchange->greeting_sent + i];
        exchange->greeting_sent += count;
        return (ssize_t)count;
    }
    exchange->is_greeted = true;
    exchange->listener->is_left = !exchange->request.http_1_0;
    return exchange->request.http_1_0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

/* False: out of memory. What the library does not take as a header, such as an empty one, is left out. */
static bool add_response_header(struct MHD_Response *response, const char *name, const char *value) {
    errno = 0;
    return MHD_add_response_header(response, name, value) == MHD_YES || errno != ENOMEM;
}

/* The reply's own headers; an event stream is the last answer of its connection. */
static bool add_response_headers(struct MHD_Response *response, const struct reply *reply) {
    bool added = !reply->is_mutilated;
    if (reply->kind == REPLY_SUBSCRIBER)
        added = added && add_response_header(response, "Connection", "close");
    for (size_t i = 0; added && i < reply->header_count; i++)
        added = add_response_header(response, reply->headers[i].name, reply->headers[i].value);
    return added;
}

static void make_greeting(struct http_exchange *exchange) {
    if (exchange->request.reply.greeting)
        exchange->greeting_length =
            (size_t)snprintf(exchange->greeting, GREETING_SIZE, ": sluice\nretry: %lld\n",
                             (long long)fanout_retry_ms(exchange->listener->context->relay.fanout));
}

static struct MHD_Response *stream_response(struct http_exchange *exchange) {
    make_greeting(exchange);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, exchange, NULL);
    if (response != NULL && exchange->request.http_1_0)
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    return response;
}

static ssize_t read_nothing(void *context, uint64_t position, char *bytes, size_t size) {
    (void)context;
    (void)position;
    (void)bytes;
    (void)size;
    return MHD_CONTENT_READER_END_OF_STREAM;
}

/* The head of an answer without a length, by HTTP/1.0's rules: by those of HTTP/1.1 it is chunked, and the
 * library sends the last chunk even if there is no body to be sent. */
static struct MHD_Response *head_response(void) {
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_nothing, NULL, NULL);
    if (response != NULL)
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    return response;
}

static bool has_length(const struct reply *reply) {
    if (reply->kind == REPLY_SOURCE)
        return reply->source.content_length >= 0;
    return reply->body != NULL || reply->status != 200; /* else it is the head of an event stream */
}

static struct MHD_Response *make_response(struct http_exchange *exchange) {
    struct reply *reply = &exchange->request.reply;
    if (exchange->request.head && !has_length(reply))
        return head_response();
    if (reply->kind == REPLY_SUBSCRIBER)
        return stream_response(exchange);
    if (reply->kind == REPLY_TUNNEL)
        return tunnel_response(exchange);
    if (reply->kind == REPLY_SOURCE)
        return source_response(exchange);
    return body_response(reply);
}

/* The headers count twice: the library copies them. */
static void charge_response(struct reply *reply) {
    size_t bytes = RESPONSE_MEMORY;
    for (size_t i = 0; i < reply->header_count; i++)
        bytes += 2 * (strlen(reply->headers[i].name) + strlen(reply->headers[i].value) + 2);
    if (reply->kind == REPLY_SUBSCRIBER)
        bytes += STREAM_BLOCK_BYTES;
    else if (reply->kind == REPLY_SOURCE)
        bytes += BLOCK_BYTES;
    reply_charge(reply, bytes);
}

/* undici's fetch() sends one of the headers of Fetch Metadata, browsers send all of them. */
static bool is_of_undici(const struct http_exchange *exchange) {
    const struct request *request = &exchange->request;
    return !request->http_1_0 && !exchange->asked_to_close &&
           request_header(request, "Sec-Fetch-Mode") != NULL &&
           request_header(request, "Sec-Fetch-Site") == NULL &&
           request_header(request, "Sec-Fetch-Dest") == NULL;
}

/* Whether the socket has room for all of a head: nothing of an earlier answer is on its way. */
static bool reply_has_room(const struct http_exchange *exchange) {
    int unsent = 0;
    return ioctl(exchange->connection->fd, SIOCOUTQ, &unsent) == 0 && unsent == 0;
}

enum MHD_Result http_exchange_queue_reply(struct http_exchange *exchange) {
    struct reply *reply = &exchange->request.reply;
    if (reply->kind == REPLY_SUBSCRIBER && is_of_undici(exchange) && reply_has_room(exchange)) {
        http_exchange_write_stream(exchange);
        exchange->listener->is_left = true;
        return MHD_NO; /* the library leaves */
    }
    refusal_log_reply(&exchange->request);
    charge_response(reply);
    struct MHD_Response *response = make_response(exchange);
    /* With epoll the library comes back to a connection whose body ended in an error only if none is idle for
     * longer, and keeps its descriptor until then. At one with a timeout of its own it looks in each turn. */
    if (reply->kind != REPLY_BODY && reply->kind != REPLY_TUNNEL)
        MHD_set_connection_option(exchange->handle, MHD_CONNECTION_OPTION_TIMEOUT,
                                  (unsigned)(exchange->listener->settings.request_timeout_ms / 1000 + 2));
    if (response == NULL)
        return MHD_NO; /* out of memory: the connection is closed */
    enum MHD_Result result = MHD_NO;
    if (add_response_headers(response, reply))
        result = MHD_queue_response(exchange->handle, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- written by ourselves ------------------------------------------------------------------------ */

/* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", as the library has it. */
static bool write_date(struct buffer *text) {
    char date[64];
    struct tm now;
    time_t seconds = (time_t)(clock_unix_ms() / 1000);
    return gmtime_r(&seconds, &now) != NULL &&
           strftime(date, sizeof(date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &now) > 0 &&
           buffer_append_text(text, date);
}

static bool write_reply_head(struct buffer *text, const struct reply *reply, const char *framing,
                             bool closes) {
    bool written = !reply->is_mutilated &&
                   buffer_printf(text, "HTTP/1.1 %d %s\r\n%s%s\r\n", reply->status,
                                 MHD_get_reason_phrase_for((unsigned)reply->status),
                                 closes ? "Connection: close\r\n" : "", framing) &&
                   write_date(text);
    for (size_t i = 0; i < reply->header_count; i++)
        written =
            written && buffer_printf(text, "%s: %s\r\n", reply->headers[i].name, reply->headers[i].value);
    return written && buffer_append_text(text, "\r\n");
}

/* False: the socket has no room for all of it, and a part is lost. */
static bool send_all(const struct http_exchange *exchange, const struct buffer *text) {
    ssize_t sent = send(exchange->connection->fd, text->bytes, text->length, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent == (ssize_t)text->length;
}

void http_exchange_write_reply(struct http_exchange *exchange) {
    const struct reply *reply = &exchange->request.reply;
    refusal_log_reply(&exchange->request);
    char framing[64];
    struct buffer text;
    snprintf(framing, sizeof(framing), "Content-Length: %zu", reply->body_length);
    buffer_init(&text, WRITTEN_BYTES_MAX);
    if (write_reply_head(&text, reply, framing, true) &&
        buffer_append(&text, reply->body, reply->body_length))
        send_all(exchange, &text);
    buffer_finish(&text);
}

void http_exchange_write_stream(struct http_exchange *exchange) {
    const struct reply *reply = &exchange->request.reply;
    struct buffer text;
    buffer_init(&text, WRITTEN_BYTES_MAX);
    make_greeting(exchange);
    bool written = write_reply_head(&text, reply, "Transfer-Encoding: chunked", !is_of_undici(exchange)) &&
                   (exchange->greeting_length == 0 ||
                    buffer_printf(&text, "%zx\r\n%s\r\n", exchange->greeting_length, exchange->greeting));
    exchange->is_greeted = written && send_all(exchange, &text);
    buffer_finish(&text);
}
