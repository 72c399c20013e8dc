/* Reading JSON text from outside into a tree, within bounds.
 *
 * Each value takes 64 bytes and up to a third of a microsecond, however short its text is. "[0,0,...]" of 1
 * MB has half a million values. So values are counted before cJSON makes the first one. All text from
 * outside goes through this file: no other file may call cJSON_Parse...() (scripts/check-layers.sh).
 */
#ifndef SLUICE_BASE_JSON_PARSE_H
#define SLUICE_BASE_JSON_PARSE_H

#include "base/attributes.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

/** Maximum number of values in one text of an upstream: an event, an error, a session. */
#define JSON_UPSTREAM_VALUES_MAX 20000

/** Returns whether the text has more than `values_max` values, members of objects included. True is counted
 * in sluice_json_refused_total. The text is read once and need not be JSON: the count is never below the
 * values that cJSON would make. Any thread. */
bool json_exceeds(const char *text, size_t length, size_t values_max);

/** Returns the JSON at the beginning of the text as a tree, which the caller deletes, and sets *ret_end to
 * its end (`ret_end` may be NULL). NULL: the text has more than `values_max` values, is not JSON for cJSON,
 * or memory is out. Any thread. */
cJSON *json_parse(const char *text, size_t length, size_t values_max, const char **ret_end) MUST_CHECK;

#endif
