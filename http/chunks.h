/* The chunked transfer coding of a request's body (RFC 9112, section 7.1), for the requests of which the
 * library does not recognize it: see http/own_body.h. Strict: lines end with CRLF, extensions and trailers
 * are read over, and what is read over between two pieces of content is bounded.
 *
 *     struct chunks chunks = {0};
 *     while ((found = chunks_next(&chunks, &bytes, &length, &piece, &piece_length)) == CHUNKS_PIECE)
 *         ...;
 */
#ifndef SLUICE_HTTP_CHUNKS_H
#define SLUICE_HTTP_CHUNKS_H

#include "base/attributes.h"

#include <stddef.h>
#include <stdint.h>

/** More than that between two pieces of content is malformed. */
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

/** All zeros at the beginning. */
struct chunks {
    enum chunks_state state;
    uint64_t left; /* of the chunk, or its size as far as it was read */
    size_t framing_bytes;
};

enum chunks_found {
    CHUNKS_PIECE,     /* of the content */
    CHUNKS_MORE,      /* all bytes are read, and more must come */
    CHUNKS_END,       /* of the body */
    CHUNKS_MALFORMED, /* from now on */
};

/** Reads on in *bytes, which it steps over, to the end of the next piece of content. The piece points into
 * *bytes, and is set for CHUNKS_PIECE only. */
enum chunks_found chunks_next(struct chunks *chunks, const char **bytes, size_t *length,
                              const char **ret_piece, size_t *ret_length) MUST_CHECK;

#endif
