/* Reading JSON text from outside, within bounds.
 *
 * Values are counted before cJSON makes the first one: the count looks at commas and at what opens a group, and
 * steps over strings as cJSON does. It never counts fewer values than cJSON would make.
 */
#include "base/json_parse.h"

#include "base/metrics.h"

#include <string.h>

/* The byte after a string that begins at `at`, with its quote. cJSON steps over escapes in the same way. */
static const char *skip_string(const char *at, const char *end) {
    const char *begin = at + 1;
    for (const char *quote = begin; (quote = memchr(quote, '"', (size_t)(end - quote))) != NULL; quote++) {
        const char *escape = quote;
        while (escape > begin && escape[-1] == '\\')
            escape--;
        if ((quote - escape) % 2 == 0)
            return quote + 1;
    }
    return end;
}

/* Whether an array or object that is open before `at` has nothing in it. Blanks are what cJSON takes for
 * them. */
static bool is_empty_group(const char *at, const char *end, char closing) {
    while (at < end && (unsigned char)*at <= ' ')
        at++;
    return at < end && *at == closing;
}

/* Each value is the text's first one, or an array's or object's first, or stands after a comma. */
static bool has_more(const char *text, size_t length, size_t values_max) {
    const char *end = text + length;
    size_t count = 1;
    for (const char *at = text; at < end && count <= values_max;) {
        char byte = *at++;
        if (byte == '"')
            at = skip_string(at - 1, end);
        else if (byte == ',')
            count++;
        else if (byte == '[' || byte == '{')
            count += !is_empty_group(at, end, byte == '[' ? ']' : '}');
    }
    return count > values_max;
}

bool json_exceeds(const char *text, size_t length, size_t values_max) {
    bool exceeds = length > values_max && has_more(text, length, values_max);
    metrics_add(METRIC_JSON_REFUSED, exceeds);
    return exceeds;
}

cJSON *json_parse(const char *text, size_t length, size_t values_max, const char **ret_end) {
    if (json_exceeds(text, length, values_max))
        return NULL;
    return cJSON_ParseWithLengthOpts(text, length, ret_end, false);
}
