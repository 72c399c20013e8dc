/* The types of settings that go into requests to an upstream: headers, and a body's template. */
#include "config/keys.h"
#include "routes/json_input.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- headers ------------------------------------------------------------------------------------- */

static bool is_name_byte(char byte) {
    return byte > ' ' && byte < 0x7f && strchr("()<>@,;:\\\"/[]?={}", byte) == NULL;
}

static size_t name_length_of(const char *text) {
    size_t length = 0;
    while (is_name_byte(text[length]))
        length++;
    return length;
}

/* A comma ends a header if a name and a colon follow it; else it belongs to the value. */
static size_t header_length(const char *text) {
    const char *at = text;
    for (; *at != '\0'; at++) {
        const char *next = *at == ',' ? at + 1 + strspn(at + 1, " ") : NULL;
        size_t name = next != NULL ? name_length_of(next) : 0;
        if (name > 0 && next[name] == ':')
            break;
    }
    return (size_t)(at - text);
}

/* Those that the gateway writes itself, or that speak of the connection. */
static bool is_reserved(const char *name, size_t length) {
    static const char *const names[] = {
        "Accept",         "Authorization",     "Connection",      "Content-Encoding",
        "Content-Length", "Content-Type",      "Expect",          "Host",
        "Keep-Alive",     "Last-Event-ID",     "Range",           "TE",
        "Trailer",        "Transfer-Encoding", "traceparent",     "tracestate",
        "Upgrade",        "Accept-Language",   "Proxy-Connection"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == length && strncasecmp(names[i], name, length) == 0)
            return true;
    }
    return false;
}

/* Copies one header as "Name: value"; returns the end of the copy. NULL: it is none. */
static char *copy_header(const char *text, size_t length, char *out) {
    size_t name = name_length_of(text), value = name + 1;
    if (name == 0 || name >= length || text[name] != ':' || is_reserved(text, name))
        return NULL;
    while (value < length && text[value] == ' ')
        value++;
    while (length > value && text[length - 1] == ' ')
        length--;
    if (value == length)
        return NULL;
    for (size_t i = value; i < length; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return NULL;
    }
    out = stpcpy(mempcpy(out, text, name), ": ");
    return mempcpy(out, text + value, length - value);
}

/* `out` has room for all of it, and a blank for each header. */
static bool copy_headers(const char *text, char *out) {
    while (*text != '\0') {
        size_t length = header_length(text);
        out = copy_header(text, length, out);
        if (out == NULL)
            return false;
        text += length;
        if (*text == ',')
            *out++ = '\n';
        text += strspn(text, ", ");
    }
    *out = '\0';
    return true;
}

static int take_headers(void *field, char *text) {
    free(*(char **)field);
    *(char **)field = text;
    return 0;
}

static int headers_parse(const struct config_key *key, const char *text, void *field) {
    if (text[0] == '\0')
        return take_headers(field, NULL);
    if (strlen(text) > key->maximum)
        return -EINVAL;
    char *lines = malloc(2 * strlen(text) + 1);
    if (lines == NULL)
        return -ENOMEM;
    if (copy_headers(text, lines))
        return take_headers(field, lines);
    free(lines);
    return -EINVAL;
}

static bool headers_format(const struct config_key *key, const void *field, struct buffer *out) {
    (void)key;
    for (const char *at = *(char *const *)field; at != NULL && *at != '\0'; at++) {
        if (!buffer_append(out, *at == '\n' ? "," : at, 1))
            return false;
    }
    return true;
}

static bool headers_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(out,
                         "a list of headers such as \"api-key: 1234\", of at most %" PRIu64
                         " bytes, none of the gateway's own",
                         key->maximum);
}

static void headers_finish(void *field) {
    free(*(char **)field);
}

const struct config_type config_headers = {.placeholder = "HEADERS",
                                           .quoted = true,
                                           .list = true,
                                           .parse = headers_parse,
                                           .format = headers_format,
                                           .allow = headers_allow,
                                           .finish = headers_finish};

/* ---- template ------------------------------------------------------------------------------------ */

#define TEMPLATE_VALUES_MAX 1000

static int template_parse(const struct config_key *key, const char *text, void *field) {
    cJSON *object = NULL;
    const char *error;
    if (text[0] == '\0')
        return take_headers(field, NULL);
    if (strlen(text) > key->maximum)
        return -EINVAL;
    int result = json_input_read(text, strlen(text), TEMPLATE_VALUES_MAX, &object, &error);
    cJSON_Delete(object);
    if (result < 0)
        return result == -ENOMEM ? -ENOMEM : -EINVAL;
    char *copy = strdup(text);
    return copy != NULL ? take_headers(field, copy) : -ENOMEM;
}

static bool template_format(const struct config_key *key, const void *field, struct buffer *out) {
    const char *text = *(char *const *)field;
    (void)key;
    return text == NULL || buffer_append_text(out, text);
}

static bool template_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(out, "a JSON object of at most %" PRIu64 " bytes and %d values", key->maximum,
                         TEMPLATE_VALUES_MAX);
}

const struct config_type config_template = {.placeholder = "JSON",
                                            .quoted = true,
                                            .parse = template_parse,
                                            .format = template_format,
                                            .allow = template_allow,
                                            .finish = headers_finish};
