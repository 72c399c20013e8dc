/* JSON request bodies (RFC 8259), read strictly: a server after the gateway must not read another value than
 * the gateway did. */
#ifndef SLUICE_ROUTES_JSON_BODY_H
#define SLUICE_ROUTES_JSON_BODY_H

#include "base/attributes.h"
#include "routes/request.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_INPUT_DEPTH_MAX 64

/** Reads one object with nothing after it. It must be valid UTF-8, nested at most 64 deep, without \u0000
 * (which would end a C string), and its own names must not repeat. 0 and *ret_object, to be deleted by the
 * caller; -EINVAL and *ret_error, one sentence (static); -E2BIG: it has more than `values_max` values;
 * -ENOMEM. */
int json_input_read(const char *text, size_t length, size_t values_max, cJSON **ret_object,
                    const char **ret_error) MUST_CHECK;

/** Whether a text that was read holds a number which printing it again would change: an integer of 2^53 or
 *  more, or one that is no finite double. */
bool json_input_has_inexact_number(const char *text, size_t length);

/** Whether the names of an object are all different. -ENOMEM, else 1 or 0. */
int json_input_names_differ(const cJSON *object) MUST_CHECK;

/** The whole number of an item from `minimum` to `maximum`. False: it is something else. */
bool json_input_integer(const cJSON *item, int64_t minimum, int64_t maximum, int64_t *ret_number) MUST_CHECK;

/** Writes the text to `out`, which has room for `length` bytes, without its member number `index` (0 is the
 * first one) and the comma that parted it from its neighbour. Returns how many bytes it wrote. The text is
 * one that json_input_read() took, and has that member. */
size_t json_cut_member(const char *text, size_t length, size_t index, char *out);

/** Reads the request's body as json_input_read() does. The object is the caller's to delete. False: the reply
 * is decided. */
bool json_body_read(struct request *request, cJSON **ret_object) MUST_CHECK;

#endif
