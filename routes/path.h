/* Request paths: cut at '/', each segment percent-decoded exactly once and checked. */
#ifndef SLUICE_ROUTES_PATH_H
#define SLUICE_ROUTES_PATH_H

#include "broadcaster/session.h"

#include <stdbool.h>
#include <stddef.h>

#define PATH_SEGMENTS_MAX 24

/** The names by which a request says whose it is, decoded and valid; "": the request leaves that one open. */
struct session_names {
    char app[SESSION_PART_MAX + 1];
    char user[SESSION_USER_MAX + 1];
    char session[SESSION_PART_MAX + 1];
};

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

/** What a name is, for people. */
#define PATH_NAME_IS "bytes of UTF-8 without slashes, control characters and segments of dots"

/** Whether a decoded text can name an app, a user or a session: 1 to `bytes_max` bytes of valid UTF-8 without
 * slashes and control characters, C1 ones included, that is no segment of dots (base/path_dots.h). */
bool path_name_is_valid(const char *name, size_t bytes_max);

/** Whether a decoded text is valid UTF-8 without control characters, C1 ones included, and has no segment of
 * dots.
 */
bool path_text_is_valid(const char *text);

/** Decodes a segment that is such a name; `out` has room for `bytes_max` + 1 bytes. False: it is none; `out`
 * holds nothing of use then. */
bool path_decode_name(const struct path_segment *segment, size_t bytes_max, char *out);

/** Decodes a segment that can name a run: 1 to 128 letters, digits and ._~@:+- . False: it cannot. */
bool path_decode_id(const struct path_segment *segment, char out[SESSION_PART_MAX + 1]);

/** Whether a segment that is no name may be passed on as it came: it decodes, not to "." or "..", and neither
 * before nor after that holds a slash, a backslash, a control byte, or anything that a second decoding would
 * change; and it is spelled plainly. */
bool path_segment_is_safe(const struct path_segment *segment);

/** Whether no character is encoded that needs no encoding, and there is no raw semicolon, at which some
 * servers cut a segment off. */
bool path_segment_is_plain(const struct path_segment *segment);

/** Whether a raw query may be passed on as it came: nothing but printable ASCII, and no '#'. */
bool path_query_is_safe(const char *query);

#endif
