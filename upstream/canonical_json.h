/* JSON text in one form, whoever wrote it: without white space, the members of objects in order of their
 * names. */
#ifndef SLUICE_UPSTREAM_CANONICAL_JSON_H
#define SLUICE_UPSTREAM_CANONICAL_JSON_H

#include "base/buffer.h"

/** Members that are left out. */
struct canonical_json_ignored {
    const char *anywhere;         /* comma-separated names, blanks around them do not count; NULL: none */
    const char *const *outermost; /* names of members of the outermost object alone, NULL behind the last */
};

/** Appends the canonical form of `text` to `out`. Strings and numbers stay as they are written: 1 and 1.0 are
 *  two things, and no number is rounded. Members of the same name stay in the order in which they came. 0;
 *  -EINVAL: it is no JSON, nested more than 64 deep, or so deep and large that to put its members in order
 *  would take long; -ENOMEM. After an error `out` holds anything. */
int canonical_json_append(struct buffer *out, const char *text, size_t length,
                          const struct canonical_json_ignored *ignored) MUST_CHECK;

#endif
