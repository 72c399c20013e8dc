/* The types of settings that are numbers and choices. Texts: config/text.c; addresses and origins:
 * config/values_http.c. */
#include "config/values.h"

#include "base/log.h"
#include "config/keys.h"
#include "upstream/adapter.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Numbers land in plain and in atomic fields alike; nobody else sees them while they are being read. */
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

/* In the largest unit that tells it exactly. */
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
