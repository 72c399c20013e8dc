/* Checks the head of a request for errors that libmicrohttpd accepts and RFC 9112 forbids. It also refuses
 * heads that leave the request, its host or its end ambiguous. Private to the listener.
 *
 * Requests that the library itself refuses never come here. docs/security.md lists the errors that neither
 * finds.
 */
#ifndef SLUICE_HTTP_HEAD_H
#define SLUICE_HTTP_HEAD_H

#include "base/attributes.h"
#include "http/exchange.h"

#include <stdbool.h>
#include <stddef.h>

/** Returns whether the text is a host with or without a port, as in Host and in an absolute target (RFC 3986,
 * section 3.2.2): "gateway.example:8080", "10.0.0.1", "[::1]:80". A user, a path or an empty host is not
 * allowed. */
bool http_authority_is_valid(const char *text, size_t length) MUST_CHECK;

/** Returns the part after "http://host" of an absolute target, or the target itself if it has another form.
 * NULL: an absolute target has another scheme, or another host or port than the Host header. Port 80 may be
 * left out. `host` is NULL if there is no Host header. */
const char *http_target_path(const char *target, const char *host) MUST_CHECK;

/** Checks that the path has one meaning for every server. It must be visible ASCII with complete
 * percent-encodings, which stand for UTF-8 without control characters. No segment may be "." or "..", in any
 * spelling (base/path_dots.h). Returns 0, -EINVAL for an invalid path, or -ENOMEM. */
int http_path_check(const char *path) MUST_CHECK;

/** Checks that the query is visible ASCII with complete percent-encodings, which stand for UTF-8 without NUL.
 * Returns 0, -EINVAL for an invalid query, or -ENOMEM. */
int http_query_check(const char *query) MUST_CHECK;

/** Drops white space after the values of headers and checks the head. For an invalid head it answers the
 * request and returns the error's code. NULL: the head is valid, and request.path is the path of the target,
 * whatever form the target has. NULL also if memory ran out; that is answered, too. */
const char *http_head_check(struct http_exchange *exchange, const char *method, const char *version);

/** Returns whether the library has room to note the parameters of a target. Without room, version 0.9.75 does
 * not answer, and reports neither an error nor the end of the request. */
bool http_head_parameters_fit(const char *uri, uint64_t request_header_bytes_max);

#endif
