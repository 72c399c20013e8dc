/* Cutting a member out of the text of a JSON object, so that all other bytes stay as they came. */
#ifndef SLUICE_ROUTES_JSON_CUT_H
#define SLUICE_ROUTES_JSON_CUT_H

#include <stddef.h>

/** Writes the text to `out`, which has room for `length` bytes, without its member number `index` (0 is the
 * first one) and the comma that parted it from its neighbour. Returns how many bytes it wrote. The text is
 * one that json_input_read() took, and has that member. */
size_t json_cut_member(const char *text, size_t length, size_t index, char *out);

#endif
