/* Checks the target of a request line (RFC 9112, section 3.2) before the router uses it. */
#ifndef SLUICE_HTTP_TARGET_H
#define SLUICE_HTTP_TARGET_H

#include "base/attributes.h"

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

#endif
