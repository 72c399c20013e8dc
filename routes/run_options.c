/* The gateway's own options of a run: see run_options.h. */
#include "routes/run_options.h"

#include "routes/json_input.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define IDLE_MS_MAX (24 * 60 * 60 * 1000)
#define DELAY_MS_MAX (24 * 60 * 60 * 1000)

/* One option being read. */
struct reading {
    const cJSON *item;
    struct task_options *options;
    struct run_options_error *error;
};

static bool refuse_option(struct reading *reading, const char *code, const char *format, ...)
    PRINTF_LIKE(3, 4);

static bool refuse_option(struct reading *reading, const char *code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    reading->error->code = code;
    vsnprintf(reading->error->message, sizeof(reading->error->message), format, values);
    va_end(values);
    return false;
}

static bool find_word(const char *text, const char *const *words, int *ret_index) {
    for (int i = 0; text != NULL && words[i] != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static bool read_option_word(struct reading *reading, const char *const *words, int *ret_index) {
    return find_word(cJSON_GetStringValue(reading->item), words, ret_index);
}

static bool read_option_number(struct reading *reading, int64_t minimum, int64_t maximum,
                               int64_t *ret_number) {
    if (json_input_integer(reading->item, minimum, maximum, ret_number))
        return true;
    return refuse_option(reading, "invalid_option",
                         "The gateway option \"%s\" must be a whole number from %" PRId64 " to %" PRId64 ".",
                         reading->item->string, minimum, maximum);
}

/* ---- the options --------------------------------------------------------------------------------- */

static bool read_on_conflict(struct reading *reading) {
    static const char *const words[] = {[ON_CONFLICT_REPLACE] = "replace",
                                        [ON_CONFLICT_REJECT] = "reject",
                                        [ON_CONFLICT_ENQUEUE] = "enqueue",
                                        NULL};
    int index;
    if (!read_option_word(reading, words, &index))
        return refuse_option(
            reading, "invalid_option",
            "The gateway option \"on_conflict\" must be \"replace\", \"reject\" or \"enqueue\".");
    reading->options->on_conflict = (enum on_conflict)index;
    return true;
}

static const char *const on_disconnect_words[] = {
    [ON_DISCONNECT_CONTINUE] = "continue", [ON_DISCONNECT_CANCEL] = "cancel", NULL};

static bool read_on_disconnect(struct reading *reading) {
    int index;
    if (!read_option_word(reading, on_disconnect_words, &index))
        return refuse_option(reading, "invalid_option",
                             "The gateway option \"on_disconnect\" must be \"continue\" or \"cancel\".");
    reading->options->on_disconnect = (enum on_disconnect)index;
    return true;
}

static bool read_cancel_after_idle(struct reading *reading) {
    return read_option_number(reading, 0, IDLE_MS_MAX, &reading->options->cancel_after_idle_ms);
}

static bool read_timeout(struct reading *reading) {
    return read_option_number(reading, 1, reading->options->timeout_ms, &reading->options->timeout_ms);
}

static bool read_priority(struct reading *reading) {
    int64_t priority;
    if (!read_option_number(reading, PRIORITY_MIN, PRIORITY_MAX, &priority))
        return false;
    reading->options->priority = (int)priority;
    return true;
}

static bool read_delay(struct reading *reading) {
    return read_option_number(reading, 0, DELAY_MS_MAX, &reading->options->delay_ms);
}

static bool read_label(struct reading *reading) {
    const char *text = cJSON_GetStringValue(reading->item);
    size_t length = text != NULL ? strlen(text) : SIZE_MAX;
    if (length >= TASK_LABEL_SIZE)
        return refuse_option(reading, "invalid_option",
                             "The gateway option \"label\" must be a text of at most %d bytes.",
                             TASK_LABEL_SIZE - 1);
    memcpy(reading->options->label, text, length + 1);
    return true;
}

static const struct {
    const char *name;
    bool (*read)(struct reading *reading);
    bool is_common; /* servers have such a member of their own */
} known[] = {
    {"on_conflict", read_on_conflict, false},
    {"on_disconnect", read_on_disconnect, true},
    {"cancel_after_idle_ms", read_cancel_after_idle, false},
    {"timeout_ms", read_timeout, false},
    {"priority", read_priority, true},
    {"delay_ms", read_delay, false},
    {"label", read_label, true},
};

/* ---- all of them --------------------------------------------------------------------------------- */

struct task_options run_options_default(int64_t timeout_ms) {
    return (struct task_options){.on_conflict = ON_CONFLICT_REPLACE,
                                 .on_disconnect = ON_DISCONNECT_CONTINUE,
                                 .timeout_ms = timeout_ms,
                                 .priority = RUN_PRIORITY_DEFAULT};
}

static bool read_option(struct reading *reading) {
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, reading->item->string) == 0)
            return known[i].read(reading);
    }
    return refuse_option(reading, "unknown_option", "There is no gateway option \"%.64s\".",
                         reading->item->string);
}

bool run_options_read_header(const char *value, struct task_options *options,
                             struct run_options_error *ret_error) {
    struct reading reading = {.options = options, .error = ret_error};
    int index;
    if (!find_word(value, on_disconnect_words, &index))
        return refuse_option(&reading, "invalid_option",
                             "The header " RUN_ON_DISCONNECT_HEADER " must be \"continue\" or \"cancel\".");
    options->on_disconnect = (enum on_disconnect)index;
    return true;
}

bool run_options_read(const cJSON *gateway, struct task_options *options,
                      struct run_options_error *ret_error) {
    if (gateway == NULL)
        return true;
    struct reading reading = {.options = options, .error = ret_error};
    if (!cJSON_IsObject(gateway))
        return refuse_option(&reading, "invalid_option", "The member \"gateway\" must be an object.");
    cJSON_ArrayForEach(reading.item, gateway) {
        if (!read_option(&reading))
            return false;
    }
    return true;
}

const char *run_options_find_misplaced(const cJSON *body, bool reads_no_options) {
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        bool counts = reads_no_options || !known[i].is_common;
        if (counts && cJSON_GetObjectItemCaseSensitive(body, known[i].name) != NULL)
            return known[i].name;
    }
    return NULL;
}
