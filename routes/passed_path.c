/* Paths that are passed on: see passed_path.h.
 *
 *     [/dev] /apps/{app}/users/{user}/sessions/{session}/...
 *     [/dev] /apps/{app}/users/{user}/sessions/{session}/artifacts/{artifact}/...
 *     [/dev/apps/{app}] /debug/trace/session/{session}
 *
 * What stands in braces are names, which may be any UTF-8.
 */
#include "routes/passed_path.h"

#include "base/percent.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define NAMES_MAX 3
#define ARTIFACT_BYTES_MAX 1024

static bool part_is(const struct path *path, size_t at, const char *word) {
    return at < path->count && path_segment_is(&path->segments[at], word, strlen(word));
}

/* Whether there is a name at `at`, and how many bytes of one; 0: there is none. */
static size_t name_bytes_max(const struct path *path, size_t at) {
    static const struct {
        const char *word;
        size_t bytes_max;
    } names[NAMES_MAX] = {
        {"apps", SESSION_PART_MAX}, {"users", SESSION_USER_MAX}, {"sessions", SESSION_PART_MAX}};
    size_t first = part_is(path, 0, "dev") ? 1 : 0;
    if (at >= 3 && part_is(path, at - 1, "session") && part_is(path, at - 2, "trace") &&
        part_is(path, at - 3, "debug"))
        return SESSION_PART_MAX;
    for (size_t i = 0; i < NAMES_MAX && part_is(path, first + 2 * i, names[i].word); i++) {
        if (at == first + 2 * i + 1)
            return names[i].bytes_max;
    }
    return 0;
}

/* Whether a segment is one of the words that lead to what is somebody's own, in another case: servers that
 * compare words without case, as Express does, would find it there, and a proxy's rule about the word would
 * not. Words and names take turns. */
static bool is_word_in_other_case(const struct path *path, size_t at) {
    static const char *const words[] = {"apps",   "users", "sessions", "artifacts", "versions",
                                        "memory", "debug", "session",  "trace"};
    const struct path_segment *segment = &path->segments[at];
    size_t first = part_is(path, 0, "dev") ? 1 : 0;
    bool is_of_debug = at > 0 && part_is(path, at - 1, "debug");
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (segment->length == strlen(words[i]) && strncasecmp(segment->text, words[i], segment->length) == 0)
            return (is_of_debug || at % 2 == first) && !part_is(path, at, words[i]);
    }
    return false;
}

bool passed_path_is_plain(const struct path *path) {
    bool is_plain = true;
    for (size_t at = 0; at < path->count && is_plain; at++)
        is_plain = path_segment_is_plain(&path->segments[at]) && !is_word_in_other_case(path, at);
    return is_plain;
}

bool passed_path_read_names(const struct path *path, struct session_names *ret_owner) {
    char *const out[NAMES_MAX] = {ret_owner->app, ret_owner->user, ret_owner->session};
    size_t first = part_is(path, 0, "dev") ? 1 : 0;
    *ret_owner = (struct session_names){0};
    for (size_t i = 0; i < NAMES_MAX; i++) {
        size_t at = first + 2 * i + 1, bytes_max = at < path->count ? name_bytes_max(path, at) : 0;
        if (bytes_max == 0)
            break;
        if (!path_decode_name(&path->segments[at], bytes_max, out[i]))
            return false;
    }
    return true;
}

/* Names of artifacts may have directories: an encoded slash is a part of the name. */
static bool is_artifact(const struct path *path, size_t at) {
    size_t first = part_is(path, 0, "dev") ? 1 : 0;
    return at == first + 7 && name_bytes_max(path, first + 5) > 0 && part_is(path, first + 6, "artifacts");
}

/* Without a directory that has no name: the first one would be the root's. */
static bool artifact_is_valid(const char *name) {
    return name[0] != '/' && strstr(name, "//") == NULL && name[strlen(name) - 1] != '/' &&
           strchr(name, '\\') == NULL;
}

static int append_artifact(const struct path_segment *segment, struct buffer *out) {
    char name[ARTIFACT_BYTES_MAX + 1];
    int length = percent_decode(segment->text, segment->length, name, sizeof(name));
    if (length <= 0 || !path_text_is_valid(name) || !artifact_is_valid(name))
        return -EINVAL;
    return percent_append_part(out, "/", name) ? 0 : -ENOMEM;
}

static int append_segment(const struct path *path, size_t at, struct buffer *out) {
    const struct path_segment *segment = &path->segments[at];
    size_t bytes_max = name_bytes_max(path, at);
    bool fits;
    if (is_artifact(path, at))
        return append_artifact(segment, out);
    if (bytes_max > 0) {
        char name[SESSION_USER_MAX + 1];
        if (!path_decode_name(segment, bytes_max, name))
            return -EINVAL;
        fits = percent_append_part(out, "/", name);
    } else {
        if (!path_segment_is_safe(segment))
            return -EINVAL;
        fits = buffer_append(out, "/", 1) && buffer_append(out, segment->text, segment->length);
    }
    return fits ? 0 : -ENOMEM;
}

int passed_path_append(const struct path *path, struct buffer *out) {
    int result = 0;
    for (size_t i = 0; i < path->count && result == 0; i++)
        result = append_segment(path, i, out);
    return result;
}
