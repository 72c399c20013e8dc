/* A body that the library does not see the end of: see http/own_body.h. */
#include "http/own_body.h"

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
