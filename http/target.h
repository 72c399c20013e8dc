/* The target of a request line (RFC 9112, section 3.2), before anything is looked for there. */
#ifndef SLUICE_HTTP_TARGET_H
#define SLUICE_HTTP_TARGET_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stddef.h>

/** Whether it is a host with or without a port, as Host and an absolute target name it (RFC 3986, section
 * 3.2.2): "gateway.example:8080", "10.0.0.1", "[::1]:80". Nothing else: no user, no path, no empty host. */
bool http_authority_is_valid(const char *text, size_t length) MUST_CHECK;

/** What stands behind "http://host" in an absolute target, or the target itself if it has another form; NULL:
 * it is absolute, but with another scheme or for another host or port than the Host header names, where port
 * 80 may be left out. `host` NULL: there is none. */
const char *http_target_path(const char *target, const char *host) MUST_CHECK;

/** Whether the path means the same to everybody: visible ASCII with whole percent-encodings, which stand for
 * UTF-8 without control characters, and no "." or ".." as a segment, however it is written
 * (base/path_dots.h). 0; -EINVAL: it does not; -ENOMEM. */
int http_path_check(const char *path) MUST_CHECK;

/** Whether the query is visible ASCII with whole percent-encodings, which stand for UTF-8 without NUL. 0;
 * -EINVAL: it is not; -ENOMEM. */
int http_query_check(const char *query) MUST_CHECK;

#endif
