/* Request paths: cut at '/', each segment percent-decoded exactly once and checked. */
#ifndef SLUICE_ROUTES_PATH_H
#define SLUICE_ROUTES_PATH_H

#include "broadcaster/session.h"

#include <stdbool.h>
#include <stddef.h>

#define PATH_SEGMENTS_MAX 24

/** A part of the raw path between two slashes. Not NUL-terminated. */
struct path_segment {
    const char *text;
    size_t length;
};

struct path {
    struct path_segment segments[PATH_SEGMENTS_MAX];
    size_t count; /* at least 1 */
};

/** Cuts `raw`, which must outlive *ret_path. False: it does not begin with a slash, has an empty segment (a
 *  trailing slash makes one) or too many. */
bool path_split(const char *raw, struct path *ret_path);

/** Whether the segment, decoded, is this word of `length` bytes. */
bool path_segment_is(const struct path_segment *segment, const char *word, size_t length);

/** Whether a decoded text can name an app, a user, a session or a run: 1 to 128 bytes of
 *  [A-Za-z0-9._~@:+-], and not "." or "..". */
bool path_name_is_valid(const char *name);

/** Decodes a segment that is such a name. False: it is none; `out` holds nothing of use then. */
bool path_decode_name(const struct path_segment *segment, char out[SESSION_PART_MAX + 1]);

/** Whether a path may be passed on as it came: each segment decodes, not to "." or "..", and neither before
 * nor after that holds a slash, a backslash, a control byte, or anything that a second decoding would change;
 * and no raw semicolon, at which some servers cut a segment off. */
bool path_is_safe(const struct path *path);

/** Whether a raw query may be passed on as it came: nothing but printable ASCII, and no '#'. */
bool path_query_is_safe(const char *query);

#endif
