/* Why settings were refused: one line for people. */
#ifndef SLUICE_CONFIG_ERROR_H
#define SLUICE_CONFIG_ERROR_H

#include "base/attributes.h"

/** One line without line feed; what does not fit is cut off. */
struct config_error {
    char text[4096];
};

/** Formats the line; control characters in it become '?'. */
void config_error_set(struct config_error *error, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
