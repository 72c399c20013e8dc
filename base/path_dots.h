/* Finds segments of a path that lead elsewhere: "." and "..", also as other servers might read them. */
#ifndef SLUICE_BASE_PATH_DOTS_H
#define SLUICE_BASE_PATH_DOTS_H

#include "base/attributes.h"

#include <stdbool.h>

/** Whether a decoded path, or a part of one, has a segment that is "." or "..", or would be to a server that
 *
 *   - takes backslashes, or characters that look like slashes, for slashes ("..\", U+FF0F),
 *   - takes characters that look like dots for dots (U+FF0E, U+2025),
 *   - drops the parameters of a segment ("..;a=b", as servlet containers do; any number of dots before that),
 * or reads what was decoded as a URL again ("..?", "..#"),
 *   - drops white space after a name (".. ", as Windows does),
 *   - decodes percent-encodings once more, or several times ("%2e%2e", "%252e%252e").
 *
 * Any thread. */
bool path_has_dots(const char *decoded) MUST_CHECK;

#endif
