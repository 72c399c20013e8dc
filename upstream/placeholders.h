/* Placeholders in what the configuration says about an upstream of kind sse: {app}, {user}, {session},
 * {task}, and in a body's template {message}. Any other text in braces stays as it is. */
#ifndef SLUICE_UPSTREAM_PLACEHOLDERS_H
#define SLUICE_UPSTREAM_PLACEHOLDERS_H

#include "base/attributes.h"
#include "upstream/adapter.h"

/** The URL with the parts of the input percent-encoded; not {message}, and nothing before the path. malloc'd.
 * NULL: out of memory. */
char *placeholders_fill_url(const char *url, const struct adapter_input *input) MUST_CHECK;

/** Fills them in all texts of a template, which is changed. *ret_has_message: {message} was among them.
 * False: out of memory. */
bool placeholders_fill_json(cJSON *template, const struct adapter_input *input,
                            bool *ret_has_message) MUST_CHECK;

#endif
