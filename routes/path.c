/* Request paths.
 *
 * A path is cut at its slashes first, and each segment is decoded exactly once afterwards. In the other
 * order an encoded slash would become a part of the path. A name may be any UTF-8. A segment that is passed
 * on as it came must stay the same after a second decoding, since a server behind the gateway may do one. */
#include "routes/path.h"

#include "base/path_dots.h"
#include "base/percent.h"
#include "base/utf8.h"

#include <ctype.h>
#include <string.h>

/* Longer segments are nobody's. */
#define SEGMENT_SIZE 1024

bool path_split(const char *raw, struct path *ret_path) {
    ret_path->count = 0;
    if (*raw != '/')
        return false;
    while (*raw == '/') {
        raw++;
        size_t length = strcspn(raw, "/");
        if (length == 0 || ret_path->count == PATH_SEGMENTS_MAX)
            return false;
        ret_path->segments[ret_path->count++] = (struct path_segment){raw, length};
        raw += length;
    }
    return true;
}

/* A word has no '%', and what is encoded is longer than what it stands for. */
bool path_segment_is(const struct path_segment *segment, const char *word, size_t length) {
    char decoded[64];
    if (segment->length <= length)
        return segment->length == length && memcmp(segment->text, word, length) == 0;
    if (memchr(segment->text, '%', segment->length) == NULL)
        return false;
    int decoded_length = percent_decode(segment->text, segment->length, decoded, sizeof(decoded));
    return decoded_length == (int)length && memcmp(decoded, word, length) == 0;
}

/* Of valid UTF-8: C0, DEL, and C1, which is U+0080 to U+009F. */
static bool is_control_at(const char *text) {
    unsigned char byte = (unsigned char)text[0], next = (unsigned char)text[1];
    return byte < 0x20 || byte == 0x7f || (byte == 0xc2 && next < 0xa0);
}

bool path_text_is_valid(const char *text) {
    if (!utf8_is_valid(text, strlen(text)) || path_has_dots(text))
        return false;
    for (const char *at = text; *at != '\0'; at++) {
        if (is_control_at(at))
            return false;
    }
    return true;
}

bool path_name_is_valid(const char *name, size_t bytes_max) {
    size_t length = strlen(name);
    return length > 0 && length <= bytes_max && strchr(name, '/') == NULL && path_text_is_valid(name);
}

bool path_decode_name(const struct path_segment *segment, size_t bytes_max, char *out) {
    int length = percent_decode(segment->text, segment->length, out, bytes_max + 1);
    return length >= 0 && path_name_is_valid(out, bytes_max);
}

bool path_decode_id(const struct path_segment *segment, char out[SESSION_PART_MAX + 1]) {
    if (!path_decode_name(segment, SESSION_PART_MAX, out))
        return false;
    for (const char *at = out; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte >= 0x80 || (!isalnum(byte) && strchr("._~@:+-", byte) == NULL))
            return false;
    }
    return true;
}

/* Raw bytes of a request target (RFC 3986, section 3.3); what is none would change on its way. */
static bool is_target_byte(char byte) {
    return byte > ' ' && byte < 0x7f && strchr("#\"<>\\^`{|}", byte) == NULL;
}

/* An encoded character that needs no encoding (RFC 3986, section 2.3): the same path can be written without,
 * and a rule of somebody in between is about that one. */
bool path_segment_is_plain(const struct path_segment *segment) {
    if (memchr(segment->text, ';', segment->length) != NULL)
        return false;
    for (size_t i = 0; i + 2 < segment->length; i++) {
        char decoded[2];
        if (segment->text[i] == '%' && percent_decode(segment->text + i, 3, decoded, sizeof(decoded)) == 1 &&
            percent_is_unreserved(decoded[0]))
            return false;
    }
    return true;
}

bool path_segment_is_safe(const struct path_segment *segment) {
    char decoded[SEGMENT_SIZE];
    for (size_t i = 0; i < segment->length; i++) {
        if (!is_target_byte(segment->text[i]))
            return false;
    }
    int length = percent_decode(segment->text, segment->length, decoded, sizeof(decoded));
    if (length <= 0 || path_has_dots(decoded) || !path_segment_is_plain(segment))
        return false;
    for (const char *at = decoded; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f || strchr("/\\%", *at) != NULL)
            return false;
    }
    return true;
}

bool path_query_is_safe(const char *query) {
    for (; *query != '\0'; query++) {
        if (*query <= ' ' || *query >= 0x7f || *query == '#')
            return false;
    }
    return true;
}
