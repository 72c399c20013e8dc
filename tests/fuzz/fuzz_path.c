/* Paths, queries and percent-encoding: what comes out of routes/path, routes/request, routes/router and
 * base/percent is what a plain reading of RFC 3986 and of the URL standard's form parser gives.
 *
 * input: [what: 1] [room: 1] text
 */
#include "base/path_dots.h"
#include "base/percent.h"
#include "routes/passed_path.h"
#include "routes/path.h"
#include "routes/router.h"
#include "tests/fuzz/request_stub.h"
#include "tests/fuzz/utf8_reference.h"

#include <errno.h>

/* ---- percent-encoding ----------------------------------------------------------------------------- */

/* The decoded text, malloc'd and NUL-terminated; NULL: it is badly encoded. */
static char *reference_decode(const char *text, size_t length, size_t *ret_length) {
    char *out = malloc(length + 1);
    size_t used = 0;
    REQUIRE(out != NULL);
    for (size_t i = 0; i < length; i++, used++) {
        unsigned value;
        char digits[3] = "";
        out[used] = text[i];
        if (text[i] != '%')
            continue;
        memcpy(digits, text + i + 1, length - i - 1 < 2 ? length - i - 1 : 2);
        if (strspn(digits, "0123456789ABCDEFabcdef") != 2 || sscanf(digits, "%2x", &value) != 1 ||
            value == 0) {
            free(out);
            return NULL;
        }
        out[used] = (char)(uint8_t)value;
        i += 2;
    }
    out[used] = '\0';
    *ret_length = used;
    return out;
}

static void check_decoding(const char *text, size_t length, size_t room) {
    size_t expected_length = 0;
    char *expected = reference_decode(text, length, &expected_length);
    char *copy = fuzz_copy(text, length), *out = malloc(room > 0 ? room : 1);
    REQUIRE(out != NULL);
    int result = percent_decode(copy, length, out, room);
    if (result == -EINVAL)
        REQUIRE(expected == NULL);
    else if (result == -ENOBUFS)
        REQUIRE(expected == NULL || expected_length >= room);
    else
        REQUIRE(expected != NULL && result == (int)expected_length &&
                memcmp(out, expected, expected_length + 1) == 0);
    free(out);
    free(copy);
    free(expected);
}

/* Encoded and decoded again, any text without NUL is what it was; the encoded one needs no encoding. */
static void check_encoding(const char *text) {
    size_t length = strlen(text);
    struct buffer encoded;
    buffer_init(&encoded, 3 * length);
    REQUIRE(percent_append_encoded(&encoded, text, length));
    for (size_t i = 0; i < encoded.length; i++)
        REQUIRE(
            strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%", encoded.bytes[i]));
    char *decoded = malloc(length + 1);
    REQUIRE(decoded != NULL);
    REQUIRE(percent_decode(length > 0 ? encoded.bytes : "", encoded.length, decoded, length + 1) ==
            (int)length);
    REQUIRE(strcmp(decoded, text) == 0);
    free(decoded);
    buffer_finish(&encoded);
}

/* ---- paths ---------------------------------------------------------------------------------------- */

static bool has_control(const char *name) {
    for (const char *at = name; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at, next = (unsigned char)at[1];
        if (byte < 0x20 || byte == 0x7f || (byte == 0xc2 && next >= 0x80 && next < 0xa0))
            return true;
    }
    return false;
}

/* Names of dots as others might read them are path_has_dots()'s, which has tests of its own. */
static bool reference_is_name(const char *name, size_t length, size_t bytes_max) {
    struct utf8_reference text = utf8_reference_decode(name, length);
    free(text.bytes);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        REQUIRE(path_has_dots(name));
    return length >= 1 && length <= bytes_max && text.replaced == 0 && strchr(name, '/') == NULL &&
           !has_control(name) && !path_has_dots(name);
}

static void check_segment(const struct path_segment *segment, bool is_safe) {
    size_t length = 0;
    char name[SESSION_USER_MAX + 1];
    char *decoded = reference_decode(segment->text, segment->length, &length);
    for (size_t most = SESSION_PART_MAX; most <= SESSION_USER_MAX;
         most += SESSION_USER_MAX - SESSION_PART_MAX) {
        bool is_name = path_decode_name(segment, most, name);
        REQUIRE(is_name == (decoded != NULL && reference_is_name(decoded, length, most)));
        REQUIRE(!is_name || strcmp(name, decoded) == 0);
    }
    if (decoded != NULL) {
        REQUIRE(path_name_is_valid(decoded, SESSION_PART_MAX) ==
                reference_is_name(decoded, length, SESSION_PART_MAX));
        bool is_word = length < 64 && strchr(decoded, '%') == NULL;
        REQUIRE(!is_word || path_segment_is(segment, decoded, length));
        REQUIRE(!is_word || !path_segment_is(segment, decoded, length + 1));
        REQUIRE(!path_segment_is(segment, "other", 5 + length));
    }
    if (is_safe) {
        REQUIRE(decoded != NULL && strcmp(decoded, ".") != 0 && strcmp(decoded, "..") != 0);
        for (const char *at = decoded; *at != '\0'; at++)
            REQUIRE(strchr("/\\%\x7f", *at) == NULL && (unsigned char)*at >= 0x20);
        for (size_t i = 0; i < segment->length; i++)
            REQUIRE(segment->text[i] > ' ' && segment->text[i] < 0x7f &&
                    strchr("?#", segment->text[i]) == NULL);
    }
    free(decoded);
}

/* What is passed on means the same, and means it by itself: passed on again, it does not change. */
static void check_passed(const struct path *path) {
    struct buffer once, twice;
    struct path passed;
    buffer_init(&once, 1u << 20);
    buffer_init(&twice, 1u << 20);
    if (passed_path_append(path, &once) == 0) {
        REQUIRE(path_split(once.bytes, &passed) && passed.count == path->count);
        for (size_t i = 0; i < path->count; i++) {
            size_t length = 0, passed_length = 0;
            char *decoded = reference_decode(path->segments[i].text, path->segments[i].length, &length);
            char *again =
                reference_decode(passed.segments[i].text, passed.segments[i].length, &passed_length);
            REQUIRE(decoded != NULL && again != NULL && strcmp(decoded, again) == 0);
            REQUIRE(!path_has_dots(decoded));
            free(decoded);
            free(again);
        }
        REQUIRE(passed_path_append(&passed, &twice) == 0 && strcmp(once.bytes, twice.bytes) == 0);
    }
    buffer_finish(&once);
    buffer_finish(&twice);
}

/* The segments with a slash before each are the path again. */
static void check_path(const char *raw) {
    struct path path;
    size_t slashes = 0, empty = 0;
    for (const char *at = raw; *at != '\0'; at++) {
        slashes += *at == '/';
        empty += *at == '/' && (at[1] == '/' || at[1] == '\0');
    }
    bool good = path_split(raw, &path);
    REQUIRE(good == (*raw == '/' && empty == 0 && slashes <= PATH_SEGMENTS_MAX));
    if (!good)
        return;
    REQUIRE(path.count == slashes);
    check_passed(&path);
    const char *at = raw;
    for (size_t i = 0; i < path.count; i++) {
        REQUIRE(*at == '/' && path.segments[i].text == at + 1);
        REQUIRE(memchr(path.segments[i].text, '/', path.segments[i].length) == NULL);
        at += 1 + path.segments[i].length;
        check_segment(&path.segments[i], strchr(raw, '?') == NULL && path_segment_is_safe(&path.segments[i]));
    }
    REQUIRE(*at == '\0');
}

/* ---- the router ----------------------------------------------------------------------------------- */

static void check_name(const struct request *request, const char *name, size_t bytes_max) {
    bool is_in_path = strchr(request->path, '%') != NULL || strstr(request->path, name) != NULL;
    REQUIRE(*name == '\0' || (is_in_path && reference_is_name(name, strlen(name), bytes_max)));
}

static void check_names(const struct request *request) {
    char key[SESSION_KEY_SIZE] = "";
    check_name(request, request->app, SESSION_PART_MAX);
    check_name(request, request->user, SESSION_USER_MAX);
    check_name(request, request->session, SESSION_PART_MAX);
    check_name(request, request->id, SESSION_PART_MAX);
    if (request->session[0] != '\0')
        snprintf(key, sizeof(key), "%s/%s/%s", request->app, request->user, request->session);
    REQUIRE(request->route != NULL && strcmp(request->session_key, key) == 0);
}

static void check_router(const char *raw, uint8_t what) {
    static const enum request_method methods[] = {METHOD_GET, METHOD_POST, METHOD_DELETE, METHOD_OPTIONS};
    static const struct adapter *const adapters[] = {&adapter_adk, &adapter_sse, &adapter_openai};
    struct request_stub stub;
    stub_init(&stub, adapters[(what >> 2) % 3]);
    struct request *request = &stub.request;
    request->path = raw;
    request->method = methods[what & 3];
    request->has_body = request->method == METHOD_POST;
    stub.headers[0][0] = "Content-Type";
    stub.headers[0][1] = "application/json";
    router_begin(request);
    if (request->reply.kind == REPLY_NONE) {
        check_names(request);
    } else if (request->method == METHOD_OPTIONS && request->reply.status == 204) {
        REQUIRE(request->reply.header_count >= 1);
    } else {
        stub_require_error(&stub, 400, 405);
    }
    reply_finish(&request->reply);
}

/* ---- queries -------------------------------------------------------------------------------------- */

/* A name may be encoded, and its value missing. A plus sign in a name is none. */
static bool reference_is_called(const char *pair, size_t length, const char *name) {
    size_t decoded_length = 0;
    char *decoded = reference_decode(pair, length, &decoded_length);
    bool is_name = decoded != NULL && decoded_length == strlen(name) && strcmp(decoded, name) == 0;
    free(decoded);
    return is_name;
}

/* URL standard, "application/x-www-form-urlencoded parsing": a plus sign is a space, then it is decoded.
 * NULL: it is no text. */
static char *reference_form_value(const char *raw) {
    char *spaced = strdup(raw);
    REQUIRE(spaced != NULL);
    for (char *at = spaced; (at = strchr(at, '+')) != NULL;)
        *at = ' ';
    size_t length = 0;
    char *value = reference_decode(spaced, strlen(spaced), &length);
    free(spaced);
    if (value == NULL)
        return NULL;
    struct utf8_reference text = utf8_reference_decode(value, length);
    free(text.bytes);
    if (text.replaced == 0)
        return value;
    free(value);
    return NULL;
}

/* The only value of that name; NULL: there is none. -EINVAL: there are two, or it is no text. */
static int reference_value(const char *query, const char *name, char **ret_value) {
    char *copy = strdup(query), *rest = copy;
    size_t count = 0;
    bool is_text = true;
    REQUIRE(copy != NULL);
    *ret_value = NULL;
    for (char *pair; (pair = strsep(&rest, "&")) != NULL;) {
        size_t length = strcspn(pair, "=");
        if (*pair == '\0' || !reference_is_called(pair, length, name))
            continue;
        free(*ret_value);
        *ret_value = reference_form_value(pair + length + (pair[length] == '=' ? 1 : 0));
        is_text = is_text && *ret_value != NULL;
        count++;
    }
    free(copy);
    if (count <= 1 && is_text)
        return 0;
    free(*ret_value);
    *ret_value = NULL;
    return -EINVAL;
}

static void check_number(const struct request *request, const char *name, int expected_result,
                         const char *expected) {
    int64_t number = -7;
    int result = request_query_number(request, name, 1, 60000, &number);
    if (expected_result < 0 || expected == NULL) {
        REQUIRE(result == expected_result && number == -7);
        return;
    }
    size_t digits = strspn(expected, "0123456789"), zeros = strspn(expected, "0");
    bool is_number = digits > 0 && expected[digits] == '\0' && digits - zeros <= 5;
    int64_t value = is_number ? atoll(expected) : 0;
    bool good = is_number && value >= 1 && value <= 60000;
    REQUIRE(result == (good ? 0 : -EINVAL) && number == (good ? value : -7));
}

static void check_query(const char *query) {
    static const char *const names[] = {"from", "until", "last_event_id", "limit", "wait_ms", "a"};
    struct request_stub stub;
    stub_init(&stub, &adapter_adk);
    stub.request.query = query;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *value, *expected;
        int expected_result = reference_value(query, names[i], &expected);
        int result = request_query(&stub.request, names[i], &value);
        REQUIRE(result == expected_result && (value == NULL) == (expected == NULL));
        REQUIRE(value == NULL || strcmp(value, expected) == 0);
        check_number(&stub.request, names[i], expected_result, expected);
        free(value);
        free(expected);
    }
    bool is_safe = true;
    for (const char *at = query; *at != '\0'; at++)
        is_safe = is_safe && *at > ' ' && *at < 0x7f && *at != '#';
    REQUIRE(path_query_is_safe(query) == is_safe);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, size};
    uint8_t what = fuzz_take_byte(&input), room = fuzz_take_byte(&input);
    check_decoding((const char *)input.bytes, input.length, room);
    check_decoding((const char *)input.bytes, input.length, input.length + 1);
    char *text = fuzz_take_text(&input);
    check_encoding(text);
    check_path(text);
    check_router(text, what);
    check_query(text);
    free(text);
    return 0;
}
