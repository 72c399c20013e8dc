/* What the adapters share: bodies put together from a client's fields, and a first look at an event. */
#ifndef SLUICE_UPSTREAM_ADAPTER_BODY_H
#define SLUICE_UPSTREAM_ADAPTER_BODY_H

#include "base/attributes.h"
#include "upstream/adapter.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** Adds the members of `fields` to `body`, but for those named in `without` (NULL ends it), by reference:
 *  `fields` must outlive `body`. False: out of memory. */
bool adapter_body_add_fields(cJSON *body, const cJSON *fields, const char *const *without) MUST_CHECK;

/** Whether `fields` has a member with one of these names (NULL ends them). */
bool adapter_body_has_any(const cJSON *fields, const char *const *names);

/** Adds the array `name` to `object`, with one new object in it, which is returned. NULL: out of memory, or
 *  `object` is NULL. */
cJSON *adapter_body_add_list_of_one(cJSON *object, const char *name) MUST_CHECK;

/** Appends the texts of a list, each a text or an object with a member "text", with line ends between them. A
 * member "type" must be one of `types` then (NULL ends it). *ret_found: there was one; else it is left alone.
 * False: out of memory or the buffer is full. */
bool adapter_append_texts(struct buffer *out, const cJSON *list, const char *const *types,
                          bool *ret_found) MUST_CHECK;

/** `body` as text, malloc'd; deletes `body`. NULL: out of memory. */
char *adapter_body_print(cJSON *body, size_t *ret_length) MUST_CHECK;

/** An event's data as JSON; NaN, Infinity and -Infinity, which some servers write, are read as 0. Strings may
 * hold what cJSON alone does not take: half a surrogate pair, as the three bytes that UTF-8 would have for
 * it, and U+0000, as C0 80. NULL: it is something else, has more than JSON_UPSTREAM_VALUES_MAX values, or
 * memory ran out. */
cJSON *adapter_parse(const char *data, size_t length) MUST_CHECK;

/** Appends a string that adapter_parse() has read; C0 80 becomes U+0000, halves stay. `text` may be NULL,
 * which is empty. False: out of memory or the buffer is full. */
bool adapter_append_text(struct buffer *out, const char *text) MUST_CHECK;

/** The offset of what comes after blanks and BOMs at the beginning of an event's data. */
size_t adapter_skip_blanks(const char *data, size_t length);

/** Whether an event whose data adapter_parse() could not read may have had a text: it begins like an object,
 * and reports no error. */
bool adapter_is_unread(const cJSON *event, const char *data, size_t length);

/** The member of that name; of several the last one, as most readers of JSON take it. NULL: there is none, or
 * `object` is no object (it may be NULL). */
const cJSON *adapter_member(const cJSON *object, const char *name);

/** Whether an event's data reports an error: an outermost object, or one in an outermost list, has a member
 * "error" that is not null, or is of the "object" called "error". One of several members of that name is
 * enough. Text that is not valid JSON is judged all the same: see base/json_members.h. */
bool adapter_data_is_error(const char *data, size_t length);

/** Copies a member that is a text into `out`, cut to its size; leaves `out` alone if there is none. */
void adapter_copy_word(const cJSON *object, const char *name, char out[ADAPTER_WORD_SIZE]);

/** Whether `list`, words with commas between them, has that word. NULL has none. Blanks and a BOM around the
 * word are passed over: what reports an error must not be missed for them. */
bool adapter_list_has(const char *list, const char *word, size_t length);

bool adapter_name_is_error(const struct sse_event *event);

/** Whether the event is called "error"; blanks are passed over likewise. Nearly all events have the usual
 * name.
 */
static inline bool adapter_is_named_error(const struct sse_event *event) {
    static const char usual[] = "message";
    bool is_usual = event->type_length == strlen(usual) && memcmp(event->type, usual, strlen(usual)) == 0;
    return !is_usual && adapter_name_is_error(event);
}

/** The event's data as adapter_parse() reads it, if the text `quoted_name` ("\"name\"") is in it at all; else
 * NULL, without the cost of parsing. */
cJSON *adapter_parse_if_has(const char *data, size_t length, const char *quoted_name) MUST_CHECK;

/** The member `name` of `object` as a count. False: it is not there, or is no count. */
bool adapter_get_count(const cJSON *object, const char *name, uint64_t *ret_count) MUST_CHECK;

/** The same; leaves *count alone if the member is not there. */
void adapter_find_count(const cJSON *object, const char *name, uint64_t *count);

#endif
