/* The types of settings that are numbers, choices and texts.
 *
 * A type turns a text from any source into the value of a field, and back, and says in words what it allows. A
 * field that cannot take a text keeps its value. Types that read a part of HTTP stand in config/values_http.c.
 */
#include "config/values.h"

#include "base/log.h"
#include "config/keys.h"
#include "routes/json_body.h"
#include "routes/path.h"
#include "upstream/adapter.h"
#include "upstream/redis_address.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Numbers are stored in plain and in atomic fields alike; no other thread sees them before they are all read. */
_Static_assert(sizeof(_Atomic uint64_t) == sizeof(uint64_t),
               "atomic and plain numbers have one representation");

static void store_number(void *field, uint64_t number) {
    memcpy(field, &number, sizeof(number));
}

static uint64_t load_number(const void *field) {
    uint64_t number;
    memcpy(&number, field, sizeof(number));
    return number;
}

/* Digits only: strtoull() would take signs and spaces too. */
static bool read_digits(const char **text, uint64_t *ret_number) {
    const char *c = *text;
    uint64_t number = 0;

    if (*c < '0' || *c > '9')
        return false;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*c - '0'), &number))
            return false;
    }
    *text = c;
    *ret_number = number;
    return true;
}

static int check_number(const struct config_key *key, uint64_t number, void *field) {
    if (number < key->minimum || number > key->maximum)
        return -EINVAL;
    store_number(field, number);
    return 0;
}

/* ---- count, ms ---------------------------------------------------------------------------------- */

static int count_parse(const struct config_key *key, const char *text, void *field) {
    uint64_t number;

    if (!read_digits(&text, &number) || *text != '\0')
        return -EINVAL;
    return check_number(key, number, field);
}

static bool count_format(const struct config_key *key, const void *field, struct buffer *out) {
    (void)key;
    return buffer_printf(out, "%" PRIu64, load_number(field));
}

static bool count_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(out, "a whole number from %" PRIu64 " to %" PRIu64, key->minimum, key->maximum);
}

static bool ms_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(out, "a number of milliseconds from %" PRIu64 " to %" PRIu64, key->minimum,
                         key->maximum);
}

const struct config_type config_count = {
    .placeholder = "N", .parse = count_parse, .format = count_format, .allow = count_allow};
const struct config_type config_ms = {
    .placeholder = "MS", .parse = count_parse, .format = count_format, .allow = ms_allow};

/* ---- bytes -------------------------------------------------------------------------------------- */

static const struct {
    const char *suffix;
    unsigned shift;
} byte_units[] = {{"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"", 0}};

static int bytes_parse(const struct config_key *key, const char *text, void *field) {
    uint64_t number;

    if (!read_digits(&text, &number))
        return -EINVAL;
    for (size_t i = 0; i < sizeof(byte_units) / sizeof(byte_units[0]); i++) {
        if (strcmp(text, byte_units[i].suffix) != 0)
            continue;
        if (__builtin_mul_overflow(number, (uint64_t)1 << byte_units[i].shift, &number))
            return -EINVAL;
        return check_number(key, number, field);
    }
    return -EINVAL;
}

/* In the largest unit that gives the exact number. */
static bool append_bytes(struct buffer *out, uint64_t number) {
    size_t i = 0;

    while (number == 0 ? byte_units[i].shift > 0 : number % ((uint64_t)1 << byte_units[i].shift) != 0)
        i++;
    return buffer_printf(out, "%" PRIu64 "%s", number >> byte_units[i].shift, byte_units[i].suffix);
}

static bool bytes_format(const struct config_key *key, const void *field, struct buffer *out) {
    (void)key;
    return append_bytes(out, load_number(field));
}

static bool bytes_allow(const struct config_key *key, struct buffer *out) {
    return buffer_append_text(out, "a number of bytes from ") && append_bytes(out, key->minimum) &&
           buffer_append_text(out, " to ") && append_bytes(out, key->maximum) &&
           buffer_append_text(out, " (units: KiB, MiB, GiB)");
}

const struct config_type config_bytes = {
    .placeholder = "BYTES", .parse = bytes_parse, .format = bytes_format, .allow = bytes_allow};

/* ---- bool --------------------------------------------------------------------------------------- */

static int bool_parse(const struct config_key *key, const char *text, void *field) {
    (void)key;
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return -EINVAL;
    *(bool *)field = text[0] == 't';
    return 0;
}

static bool bool_format(const struct config_key *key, const void *field, struct buffer *out) {
    (void)key;
    return buffer_append_text(out, *(const bool *)field ? "true" : "false");
}

static bool bool_allow(const struct config_key *key, struct buffer *out) {
    (void)key;
    return buffer_append_text(out, "true or false");
}

const struct config_type config_bool = {
    .placeholder = "[BOOL]", .parse = bool_parse, .format = bool_format, .allow = bool_allow};

/* ---- choice, adapter ---------------------------------------------------------------------------- */

/* An enum whose values are not negative may be unsigned: the representation is the same. */
_Static_assert(sizeof(enum log_level) == sizeof(int) && sizeof(enum log_format) == sizeof(int),
               "enums of settings are ints");

static int choice_parse(const struct config_key *key, const char *text, void *field) {
    for (const struct config_choice *choice = key->choices; choice->name != NULL; choice++) {
        if (strcmp(choice->name, text) == 0) {
            memcpy(field, &choice->value, sizeof(choice->value));
            return 0;
        }
    }
    return -EINVAL;
}

static bool choice_format(const struct config_key *key, const void *field, struct buffer *out) {
    const struct config_choice *choice = key->choices;

    while (memcmp(&choice->value, field, sizeof(choice->value)) != 0)
        choice++;
    return buffer_append_text(out, choice->name);
}

static bool choice_allow(const struct config_key *key, struct buffer *out) {
    if (!buffer_append_text(out, "one of "))
        return false;
    for (const struct config_choice *choice = key->choices; choice->name != NULL; choice++) {
        if (!buffer_printf(out, "%s%s", choice == key->choices ? "" : ", ", choice->name))
            return false;
    }
    return true;
}

const struct config_type config_choice = {
    .parse = choice_parse, .format = choice_format, .allow = choice_allow};

static int kind_parse(const struct config_key *key, const char *text, void *field) {
    const struct adapter *adapter = adapter_find(text);

    (void)key;
    if (adapter == NULL)
        return -EINVAL;
    *(const struct adapter **)field = adapter;
    return 0;
}

static bool adapter_format(const struct config_key *key, const void *field, struct buffer *out) {
    (void)key;
    return buffer_append_text(out, (*(const struct adapter *const *)field)->name);
}

const struct config_type config_adapter = {
    .parse = kind_parse, .format = adapter_format, .allow = choice_allow};

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

/* Copies the items between the commas of `text` without the spaces around them. False: an item is no word. */
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
        out, "a path of at most %" PRIu64 " bytes that begins with /, exactly as it is sent, without #",
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

/* ---- template ------------------------------------------------------------------------------------ */

#define TEMPLATE_VALUES_MAX 1000

static int template_parse(const struct config_key *key, const char *text, void *field) {
    cJSON *object = NULL;
    const char *error;
    if (text[0] == '\0')
        return replace_text(field, text);
    if (strlen(text) > key->maximum)
        return -EINVAL;
    int result = json_input_read(text, strlen(text), TEMPLATE_VALUES_MAX, &object, &error);
    cJSON_Delete(object);
    if (result < 0)
        return result == -ENOMEM ? -ENOMEM : -EINVAL;
    return replace_text(field, text);
}

static bool template_allow(const struct config_key *key, struct buffer *out) {
    return buffer_printf(out, "a JSON object of at most %" PRIu64 " bytes and %d values", key->maximum,
                         TEMPLATE_VALUES_MAX);
}

const struct config_type config_template = {.placeholder = "JSON",
                                            .quoted = true,
                                            .parse = template_parse,
                                            .format = text_format,
                                            .allow = template_allow,
                                            .finish = text_finish};
