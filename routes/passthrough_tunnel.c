/* A passed request that becomes a tunnel. From the upstream to the client it is as any other answer
 * (passthrough.c); the other way:
 *
 *   client --> tunnel_write() --> [ up: at most HELD_HIGH ] --> passthrough_upload() --> upstream
 *
 * An upstream that reads slowly fills `up`; then the client is not read until half is sent.
 */
#include "routes/passthrough_internal.h"
#include "routes/upstream_choice.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const of_handshake[HANDSHAKE_HEADERS_MAX] = {
    "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"};

bool handshake_collect(const struct request *request, struct upstream_header *headers, size_t *count) {
    for (size_t i = 0; i < HANDSHAKE_HEADERS_MAX; i++) {
        if (request_header(request, of_handshake[i]) == NULL)
            continue;
        char *value = request_header_joined(request, of_handshake[i]);
        if (value == NULL)
            return false;
        headers[(*count)++] = (struct upstream_header){of_handshake[i], value};
    }
    return true;
}

static bool is_of_handshake(const char *name) {
    for (size_t i = 0; i < HANDSHAKE_HEADERS_MAX; i++) {
        if (name == of_handshake[i])
            return true;
    }
    return false;
}

void handshake_free(struct upstream_header *headers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (is_of_handshake(headers[i].name))
            free((char *)(uintptr_t)headers[i].value);
    }
}

/* ---- a tunnel's other direction ------------------------------------------------------------------ */

static size_t tunnel_write(void *context, const char *bytes, size_t length) {
    struct passthrough *passthrough = context;
    size_t room = passthrough->up.length < HELD_HIGH ? HELD_HIGH - passthrough->up.length : 0;
    size_t count = length < room ? length : room;
    passthrough->up_is_full = count < length;
    if (passthrough->query == NULL)
        return length; /* nobody takes it any more */
    if (count > 0 && !buffer_append(&passthrough->up, bytes, count)) {
        passthrough_break_off(passthrough);
        return length;
    }
    if (count > 0)
        upstream_query_resume_upload(passthrough->query);
    return count;
}

static void tunnel_write_end(void *context) {
    struct passthrough *passthrough = context;
    passthrough->up_ended = true;
    if (passthrough->query != NULL)
        upstream_query_resume_upload(passthrough->query);
}

ssize_t passthrough_upload(void *context, char *bytes, size_t size) {
    struct passthrough *passthrough = context;
    struct buffer *up = &passthrough->up;
    size_t count = up->length < size ? up->length : size;
    if (count == 0)
        return passthrough->up_ended ? -1 : 0;
    memcpy(bytes, up->bytes, count);
    buffer_consume(up, count);
    if (passthrough->up_is_full && up->length <= HELD_LOW) {
        passthrough->up_is_full = false;
        passthrough->request->operations->source_ready(passthrough->request);
    }
    return (ssize_t)count;
}

/* Somebody wants the tunnel to end. */
void passthrough_cancel(void *context) {
    struct passthrough *passthrough = context;
    struct request *request = passthrough->request;
    if (passthrough->answered) {
        passthrough_break_off(passthrough);
    } else if (!passthrough->is_done) {
        reply_error(request, 503, "tunnel_cancelled", "The tunnel was cancelled before it was open.");
        passthrough_destroy(passthrough);
        request_answer(request);
    }
}

/* ---- the upstream's own answer to the handshake -------------------------------------------------- */

static const char *const of_answer[] = {"Sec-WebSocket-Accept", "Sec-WebSocket-Protocol",
                                        "Sec-WebSocket-Extensions"};

/* The name as we write it; NULL: the header is not passed on. */
static const char *find_of_answer(const char *name) {
    for (size_t i = 0; i < sizeof(of_answer) / sizeof(of_answer[0]); i++) {
        if (strcasecmp(name, of_answer[i]) == 0)
            return of_answer[i];
    }
    return NULL;
}

/* Whether the headers fit into what the library has for an answer, and are few enough. A handshake without
 * one of them is no handshake, so none is left out. */
static bool answer_fits(const struct request *request, const struct upstream_header *headers, size_t count) {
    size_t length = 0, passed = 0;
    for (size_t i = 0; i < count; i++) {
        if (find_of_answer(headers[i].name) == NULL)
            continue;
        length += strlen(headers[i].name) + strlen(headers[i].value) + strlen(": \r\n");
        passed++;
    }
    return passed < REPLY_HEADERS_MAX / 2 && length <= request->context->request_header_bytes_max / 2;
}

static void refuse_answer(struct passthrough *passthrough) {
    static const struct upstream_result too_long = {
        .end = UPSTREAM_PROTOCOL,
        .cause = CAUSE_HTTP,
        .http_status = 101,
        .message = "The upstream's answer to the handshake has headers that are too long or too many."};
    struct request *request = passthrough->request;
    upstream_refuse_query(request, &too_long);
    passthrough_destroy(passthrough);
    request_answer(request);
}

void passthrough_open_tunnel(struct passthrough *passthrough, const struct upstream_header *headers,
                             size_t count) {
    struct request *request = passthrough->request;
    const struct reply_source source = {.read = passthrough_read,
                                        .finished = passthrough_destroy,
                                        .context = passthrough,
                                        .content_length = -1,
                                        .write = tunnel_write,
                                        .write_end = tunnel_write_end};
    if (!answer_fits(request, headers, count)) {
        refuse_answer(passthrough);
        return;
    }
    reply_header(request, "Upgrade", "websocket");
    for (size_t i = 0; i < count; i++) {
        const char *name = find_of_answer(headers[i].name);
        if (name != NULL)
            reply_header(request, name, headers[i].value);
    }
    passthrough->answered = true;
    reply_tunnel(request, &source);
    request_answer(request);
}
