/* A request body without an end for libmicrohttpd, and the chunked transfer coding (RFC 9112, section 7.1)
 * that it is decoded by. Private to the listener.
 *
 * The Transfer-Encoding of such a request has white space after "chunked". The white space is not part of
 * the value (RFC 9110, section 5.5), but libmicrohttpd 0.9.75 takes it for that. So this file decodes the
 * body. The library accepts no answer while a body comes, so this file also writes the answer, and the
 * connection is closed afterwards. POST only.
 *
 * The decoder is strict: lines end with CRLF. It skips extensions and trailers, and bounds the skipped
 * bytes between two pieces of content.
 *
 *     struct chunks chunks = {0};
 *     while ((found = chunks_next(&chunks, &bytes, &length, &piece, &piece_length)) == CHUNKS_PIECE)
 *         ...; */
#ifndef SLUICE_HTTP_BODY_H
#define SLUICE_HTTP_BODY_H

#include "base/attributes.h"

#include <microhttpd.h>
#include <stddef.h>
#include <stdint.h>

struct http_exchange;

/** Maximum number of other bytes between two pieces of content; a body with more is malformed. */
#define CHUNKS_FRAMING_BYTES_MAX 8192

enum chunks_state {
    CHUNKS_SIZE_BEGIN,
    CHUNKS_SIZE,
    CHUNKS_SIZE_BLANK,
    CHUNKS_EXTENSION,
    CHUNKS_SIZE_LF,
    CHUNKS_DATA,
    CHUNKS_DATA_CR,
    CHUNKS_DATA_LF,
    CHUNKS_TRAILER_BEGIN,
    CHUNKS_TRAILER,
    CHUNKS_TRAILER_LF,
    CHUNKS_LAST_LF,
    CHUNKS_DONE,
    CHUNKS_BROKEN,
};

/** Begins with all zeros. */
struct chunks {
    enum chunks_state state;
    uint64_t left; /* rest of the chunk, or the part of its size read so far */
    size_t framing_bytes;
};

enum chunks_found {
    CHUNKS_PIECE,     /* a piece of the content */
    CHUNKS_MORE,      /* all bytes are read; more bytes must come */
    CHUNKS_END,       /* the end of the body */
    CHUNKS_MALFORMED, /* malformed, and in every further call */
};

/** Reads on to the end of the next piece of content, and moves *bytes and *length past it. The piece points
 * into the bytes, and is set for CHUNKS_PIECE only. */
enum chunks_found chunks_next(struct chunks *chunks, const char **bytes, size_t *length,
                              const char **ret_piece, size_t *ret_length) MUST_CHECK;

/** Takes more of the body, or writes the answer that was deferred. Like libmicrohttpd's access handler it
 * sets *length to the number of bytes left. Shutting the reading side down would make the library leave as
 * well. But then the kernel resets the connection when further bytes come, and an event stream takes its
 * client for gone. */
enum MHD_Result http_own_body_take(struct http_exchange *exchange, const char *bytes,
                                   size_t *length) MUST_CHECK;

#endif
