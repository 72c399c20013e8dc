/* Paths that are passed on to an upstream of kind adk: whose they are, and what is asked for there. */
#ifndef SLUICE_ROUTES_PASSED_PATH_H
#define SLUICE_ROUTES_PASSED_PATH_H

#include "base/buffer.h"
#include "routes/path.h"

/** Whether each segment is spelled plainly, and no word in it is written in another case ("USERS"). One path
 * has one spelling: what a rule of somebody in between keeps from the upstream by its path must not get there
 * by another one. */
bool passed_path_is_plain(const struct path *path);

/** Reads them. False: a name is none. */
bool passed_path_read_names(const struct path *path, struct session_names *ret_owner) MUST_CHECK;

/** Appends the path for the upstream: names are decoded, checked and encoded anew, all else stands as it
 * came. 0; -EINVAL: it may not be passed on (see path_segment_is_safe()); -ENOMEM. */
int passed_path_append(const struct path *path, struct buffer *out) MUST_CHECK;

#endif
