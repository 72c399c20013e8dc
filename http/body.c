/* A body that libmicrohttpd does not see the end of.
 *
 * The coding is read by a machine of one state a byte, which can stop after any byte and knows no buffer.
 * Its pieces go the way of any other body. At the end the library is still waiting for bytes, so it takes
 * no answer: the request is suspended until there is one, and then the answer is written to the socket. */
#include "http/body.h"

#include "base/percent.h"
#include "http/exchange.h"

#include <stdbool.h>

/* ---- the chunked coding -------------------------------------------------------------------------- */

static enum chunks_state expect_byte(char byte, char wanted, enum chunks_state next) {
    return byte == wanted ? next : CHUNKS_BROKEN;
}

/* Within an extension or a trailer. */
static enum chunks_state read_over(char byte, enum chunks_state here, enum chunks_state at_end) {
    if (byte == '\r')
        return at_end;
    bool is_control = ((unsigned char)byte < 0x20 && byte != '\t') || byte == 0x7f;
    return is_control ? CHUNKS_BROKEN : here;
}

/* After the digits of a size, or blanks after them. */
static enum chunks_state end_size(char byte) {
    if (byte == ' ' || byte == '\t')
        return CHUNKS_SIZE_BLANK;
    return byte == ';' ? CHUNKS_EXTENSION : expect_byte(byte, '\r', CHUNKS_SIZE_LF);
}

static enum chunks_state read_size(struct chunks *chunks, char byte) {
    int value = hex_value(byte);
    if (value < 0)
        return chunks->state == CHUNKS_SIZE_BEGIN ? CHUNKS_BROKEN : end_size(byte);
    if (chunks->left > UINT64_MAX >> 4)
        return CHUNKS_BROKEN;
    chunks->left = chunks->left << 4 | (uint64_t)value;
    return CHUNKS_SIZE;
}

/* One byte that is not content. */
static enum chunks_state read_framing(struct chunks *chunks, char byte) {
    switch (chunks->state) {
    case CHUNKS_SIZE_BEGIN:
    case CHUNKS_SIZE:
        return read_size(chunks, byte);
    case CHUNKS_SIZE_BLANK:
        return end_size(byte);
    case CHUNKS_EXTENSION:
        return read_over(byte, CHUNKS_EXTENSION, CHUNKS_SIZE_LF);
    case CHUNKS_SIZE_LF:
        return expect_byte(byte, '\n', chunks->left > 0 ? CHUNKS_DATA : CHUNKS_TRAILER_BEGIN);
    case CHUNKS_DATA_CR:
        return expect_byte(byte, '\r', CHUNKS_DATA_LF);
    case CHUNKS_DATA_LF:
        return expect_byte(byte, '\n', CHUNKS_SIZE_BEGIN);
    case CHUNKS_TRAILER_BEGIN:
        return read_over(byte, CHUNKS_TRAILER, CHUNKS_LAST_LF);
    case CHUNKS_TRAILER:
        return read_over(byte, CHUNKS_TRAILER, CHUNKS_TRAILER_LF);
    case CHUNKS_TRAILER_LF:
        return expect_byte(byte, '\n', CHUNKS_TRAILER_BEGIN);
    case CHUNKS_LAST_LF:
        return expect_byte(byte, '\n', CHUNKS_DONE);
    case CHUNKS_DATA:
    case CHUNKS_DONE:
    case CHUNKS_BROKEN:
        break;
    }
    return chunks->state;
}

static void read_content(struct chunks *chunks, const char **bytes, size_t *length, const char **ret_piece,
                         size_t *ret_length) {
    size_t count = chunks->left < *length ? (size_t)chunks->left : *length;
    *ret_piece = *bytes;
    *ret_length = count;
    *bytes += count;
    *length -= count;
    chunks->left -= count;
    chunks->framing_bytes = 0;
    if (chunks->left == 0)
        chunks->state = CHUNKS_DATA_CR;
}

enum chunks_found chunks_next(struct chunks *chunks, const char **bytes, size_t *length,
                              const char **ret_piece, size_t *ret_length) {
    while (*length > 0 && chunks->state != CHUNKS_DONE && chunks->state != CHUNKS_BROKEN) {
        if (chunks->state == CHUNKS_DATA) {
            read_content(chunks, bytes, length, ret_piece, ret_length);
            return CHUNKS_PIECE;
        }
        bool is_too_much = ++chunks->framing_bytes > CHUNKS_FRAMING_BYTES_MAX;
        chunks->state = is_too_much ? CHUNKS_BROKEN : read_framing(chunks, **bytes);
        ++*bytes;
        --*length;
    }
    if (chunks->state == CHUNKS_DONE)
        return CHUNKS_END;
    return chunks->state == CHUNKS_BROKEN ? CHUNKS_MALFORMED : CHUNKS_MORE;
}

/* ---- the body ------------------------------------------------------------------------------------ */

static void write_answer(struct http_exchange *exchange) {
    enum reply_kind kind = exchange->request.reply.kind;
    exchange->cut_off = kind != REPLY_SUBSCRIBER; /* whose connection lives on */
    if (kind == REPLY_SUBSCRIBER)
        http_exchange_write_stream(exchange);
    else if (kind == REPLY_BODY) /* no POST is answered from a source */
        http_exchange_write_reply(exchange);
}

/* The library asks again when the request is resumed, for it has a byte that nobody took. */
static enum MHD_Result complete_body(struct http_exchange *exchange, size_t *length) {
    http_exchange_route(exchange);
    if (exchange->request.reply.kind != REPLY_NONE) {
        write_answer(exchange);
        return MHD_NO;
    }
    *length = 1;
    http_exchange_suspend(exchange);
    return MHD_YES;
}

enum MHD_Result http_own_body_take(struct http_exchange *exchange, const char *bytes, size_t *length) {
    enum chunks_found found;
    const char *piece;
    size_t left = *length, piece_length;
    *length = 0;
    while ((found = chunks_next(&exchange->chunks, &bytes, &left, &piece, &piece_length)) == CHUNKS_PIECE) {
        if (http_exchange_take_upload(exchange, piece, piece_length) == MHD_NO)
            return MHD_NO;
    }
    if (found == CHUNKS_MORE)
        return MHD_YES;
    if (found == CHUNKS_END)
        return complete_body(exchange, length);
    reply_error(&exchange->request, 400, "invalid_chunk", "The chunked body is malformed.");
    http_exchange_offend(exchange, "invalid_chunk");
    write_answer(exchange);
    return MHD_NO;
}
