/* Names of members as the most lenient reader of JSON compares them: without case, and without underscores.
 *
 * Go's decoder folds case by Unicode, so that uſer equals user there. Other decoders take userId for
 * user_id.
 */
#ifndef SLUICE_BASE_LENIENT_NAME_H
#define SLUICE_BASE_LENIENT_NAME_H

#include <stdbool.h>

/** Returns whether some reader may take one name for the other. Both are valid UTF-8. Letters that do not
 * fold to ASCII letters all count as equal: the function errs on the side of true. */
bool lenient_name_is(const char *one, const char *other);

#endif
