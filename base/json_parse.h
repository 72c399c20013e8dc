/* Reading JSON text from outside into a tree, within bounds.
 *
 * Each value takes 64 bytes and up to a third of a microsecond, however short its text is: "[0,0,...]" of 1
 * MB has half a million of them. So values are counted before cJSON makes the first one. All text from
 * outside goes through here: nothing else may call cJSON_Parse...() (scripts/check-layers.sh).
 */
#ifndef SLUICE_BASE_JSON_PARSE_H
#define SLUICE_BASE_JSON_PARSE_H

#include "base/attributes.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

/** Values that one text of an upstream may hold: an event, an error, a session. */
#define JSON_UPSTREAM_VALUES_MAX 20000

/** Whether the text has more than `values_max` values, members of objects among them; if so, that is counted
 *  (sluice_json_refused_total). The text is read once, and need not be JSON: no fewer values are seen than
 * cJSON would make. Any thread. */
bool json_exceeds(const char *text, size_t length, size_t values_max);

/** The JSON that the text begins with as a tree, to be deleted by the caller, and where it ends (`ret_end`
 * may be NULL). NULL: it has more than `values_max` values, is no JSON as cJSON sees it, or memory is out.
 * Any thread. */
cJSON *json_parse(const char *text, size_t length, size_t values_max, const char **ret_end) MUST_CHECK;

#endif
