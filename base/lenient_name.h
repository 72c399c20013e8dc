/* Names of members as the most lenient reader of JSON compares them: without case, and without underscores.
 *
 * Go's decoder folds case by Unicode, so that uſer is user there; other ones take userId for user_id.
 */
#ifndef SLUICE_BASE_LENIENT_NAME_H
#define SLUICE_BASE_LENIENT_NAME_H

#include <stdbool.h>

/** Whether some reader may take one name for the other. Both are valid UTF-8. Letters that do not fold to
 * those of ASCII all count as equal: the answer errs on the side of yes. */
bool lenient_name_is(const char *one, const char *other);

#endif
