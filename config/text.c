/* The types of settings that are texts: any, URLs, names, words, paths, Redis. */
#include "config/keys.h"
#include "routes/path.h"
#include "upstream/redis_address.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ---------------------------------------------------------------------------------------- */

static int replace_text(void *field, const char *text) {
    char *copy = NULL;

    if (text[0] != '\0' && (copy = strdup(text)) == NULL)
        return -ENOMEM;
    free(*(char **)field);
    *(char **)field = copy;
    return 0;
}

static bool has_control_character(const char *text) {
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return true;
    }
    return false;
}

static int text_parse(const struct config_key *key, const char *text, void *field) {
    if (strlen(text) > key->maximum || has_control_character(text))
        return -EINVAL;
    return replace_text(field, text);
}

static bool text_format(const struct config_key *key, const void *field, struct buffer *out) {
    const char *text = *(char *const *)field;

    (void)key;
    return text == NULL || buffer_append_text(out, text);
}

static bool text_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(out, "a text of at most %" PRIu64 " bytes without control characters", key->maximum);
}

static void text_finish(void *field) {
    free(*(char **)field);
}

const struct config_type config_text = {.placeholder = "TEXT",
                                        .quoted = true,
                                        .parse = text_parse,
                                        .format = text_format,
                                        .allow = text_allow,
                                        .finish = text_finish};

/* ---- url ---------------------------------------------------------------------------------------- */

/* 0: it has no such part; or -EINVAL, -ENOMEM. */
static int url_refuse_part(CURLU *url, CURLUPart part) {
    char *text = NULL;
    CURLUcode code = curl_url_get(url, part, &text, 0);

    curl_free(text);
    return code == CURLUE_OUT_OF_MEMORY ? -ENOMEM : code == CURLUE_OK ? -EINVAL : 0;
}

/* Credentials in a URL would end up in logs; a fragment is never sent. 0, -EINVAL or -ENOMEM. */
static int url_check(CURLU *url, const char *text) {
    static const CURLUPart refused[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_FRAGMENT};
    CURLUcode code = curl_url_set(url, CURLUPART_URL, text, 0);
    int result = code == CURLUE_OUT_OF_MEMORY ? -ENOMEM : code != CURLUE_OK ? -EINVAL : 0;

    for (size_t i = 0; result == 0 && i < sizeof(refused) / sizeof(refused[0]); i++)
        result = url_refuse_part(url, refused[i]);
    return result;
}

static int url_parse(const struct config_key *key, const char *text, void *field) {
    (void)key;
    if (strncmp(text, "http://", 7) != 0 && strncmp(text, "https://", 8) != 0)
        return -EINVAL;
    CURLU *url = curl_url();
    if (url == NULL)
        return -ENOMEM;
    int result = url_check(url, text);
    curl_url_cleanup(url);
    return result == 0 ? replace_text(field, text) : result;
}

static bool url_allow(const struct config_key *key, struct buffer *out) {
    (void)key;
    return buffer_append_text(out, "an http:// or https:// URL without user, password and fragment");
}

const struct config_type config_url = {.placeholder = "URL",
                                       .quoted = true,
                                       .parse = url_parse,
                                       .format = text_format,
                                       .allow = url_allow,
                                       .finish = text_finish};

/* ---- name --------------------------------------------------------------------------------------- */

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

bool config_name_is_valid(const char *text, size_t length_max) {
    size_t length = strlen(text);

    return length > 0 && length <= length_max && strspn(text, NAME_CHARACTERS) == length;
}

static int name_parse(const struct config_key *key, const char *text, void *field) {
    if (text[0] != '\0' && !config_name_is_valid(text, key->maximum))
        return -EINVAL;
    return replace_text(field, text);
}

static bool name_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(out, "a name of at most %" PRIu64 " letters, digits, _ and -", key->maximum);
}

const struct config_type config_name = {.placeholder = "NAME",
                                        .quoted = true,
                                        .parse = name_parse,
                                        .format = text_format,
                                        .allow = name_allow,
                                        .finish = text_finish};

/* ---- app ---------------------------------------------------------------------------------------- */

static int app_parse(const struct config_key *key, const char *text, void *field) {
    if (text[0] != '\0' && !path_name_is_valid(text, key->maximum))
        return -EINVAL;
    return replace_text(field, text);
}

static bool app_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(out, "a name of at most %" PRIu64 " " PATH_NAME_IS, key->maximum);
}

const struct config_type config_app = {.placeholder = "APP",
                                       .quoted = true,
                                       .parse = app_parse,
                                       .format = text_format,
                                       .allow = app_allow,
                                       .finish = text_finish};

/* ---- words -------------------------------------------------------------------------------------- */

/* Copies what stands between the commas of `text` with the spaces around it cut off. False: an item is no
 * word. */
static bool copy_words(const char *text, char *out) {
    while (true) {
        text += strspn(text, " ");
        const char *start = out;
        for (; (unsigned char)*text > ' ' && *text != ',' && *text != 0x7f; text++)
            *out++ = *text;
        text += strspn(text, " ");
        if (out == start || (*text != ',' && *text != '\0'))
            return false;
        *out++ = *text;
        if (*text++ == '\0')
            return true;
    }
}

static int words_parse(const struct config_key *key, const char *text, void *field) {
    char *words = malloc(strlen(text) + 1);
    int result = -EINVAL;

    if (words == NULL)
        return -ENOMEM;
    if (text[0] == '\0')
        words[0] = '\0';
    else if (!copy_words(text, words))
        goto finish;
    if (strlen(words) >= key->minimum && strlen(words) <= key->maximum)
        result = replace_text(field, words);
finish:
    free(words);
    return result;
}

static bool words_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(out,
                         "%s words without spaces, with commas between them, of at most %" PRIu64 " bytes",
                         key->minimum > 0 ? "one or more" : "any", key->maximum);
}

const struct config_type config_words = {.placeholder = "WORDS",
                                         .quoted = true,
                                         .parse = words_parse,
                                         .format = text_format,
                                         .allow = words_allow,
                                         .finish = text_finish};

/* ---- path --------------------------------------------------------------------------------------- */

static int path_parse(const struct config_key *key, const char *text, void *field) {
    if (text[0] != '\0' && (text[0] != '/' || strlen(text) > key->maximum))
        return -EINVAL;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c <= ' ' || *c >= 0x7f || *c == '#')
            return -EINVAL;
    }
    return replace_text(field, text);
}

static bool path_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(
        out, "a path of at most %" PRIu64 " bytes that begins with / and is as it is sent, without #",
        key->maximum);
}

const struct config_type config_path = {.placeholder = "PATH",
                                        .quoted = true,
                                        .parse = path_parse,
                                        .format = text_format,
                                        .allow = path_allow,
                                        .finish = text_finish};

/* ---- redis -------------------------------------------------------------------------------------- */

static int redis_parse(const struct config_key *key, const char *text, void *field) {
    struct redis_address address;

    if (strlen(text) > key->maximum || has_control_character(text) ||
        (text[0] != '\0' && !redis_address_parse(text, &address)))
        return -EINVAL;
    return replace_text(field, text);
}

static bool redis_allow(const struct config_key *key, struct buffer *out) {
    (void)key;
    return buffer_append_text(out, "HOST:PORT, redis://HOST:PORT/DATABASE or unix:/PATH");
}

const struct config_type config_redis = {.placeholder = "ADDR",
                                         .quoted = true,
                                         .parse = redis_parse,
                                         .format = text_format,
                                         .allow = redis_allow,
                                         .finish = text_finish};
