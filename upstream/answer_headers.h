/* The headers of an answer, from the lines in which libcurl hands them out.
 *
 *     HTTP/1.1 200 OK      a status line begins anew: before it there was an interim answer
 *     A: b
 *     C: d                 folded lines (RFC 9112, section 5.2) become one
 *       e
 *
 * libcurl keeps such a list, too, but looks at all headers for each step of a walk over it: some thousand
 * short ones kept a worker busy for seconds.
 */
#ifndef SLUICE_UPSTREAM_ANSWER_HEADERS_H
#define SLUICE_UPSTREAM_ANSWER_HEADERS_H

#include "base/buffer.h"
#include "upstream/client.h"

struct answer_headers {
    struct buffer lines;
};

void answer_headers_init(struct answer_headers *headers);
void answer_headers_finish(struct answer_headers *headers);

/** The next line, with its line end. False: out of memory. */
bool answer_headers_add(struct answer_headers *headers, const char *line, size_t length) MUST_CHECK;

/** Hands out those that go from end to end (RFC 9110, section 7.6.1), without Content-Length: their number,
 * and *ret_list, malloc'd, whose texts belong to `headers`. At most once; then nothing may be added. False:
 * out of memory, or the Connection headers name more than 4 KiB. */
bool answer_headers_take(struct answer_headers *headers, struct upstream_header **ret_list,
                         size_t *ret_count) MUST_CHECK;

/** Whether a header concerns one connection alone, or the length of what follows. */
bool header_is_of_the_hop(const char *name);

#endif
