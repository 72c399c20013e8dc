/* The gateway's own options of a run: the member "gateway" of the body. */
#ifndef SLUICE_ROUTES_RUN_OPTIONS_H
#define SLUICE_ROUTES_RUN_OPTIONS_H

#include "base/attributes.h"
#include "broadcaster/task.h"

#include <cjson/cJSON.h>

#define RUN_PRIORITY_DEFAULT 5

struct run_options_error {
    const char *code;
    char message[192];
};

/** What holds for a run that says nothing. */
struct task_options run_options_default(int64_t timeout_ms);

/** Reads the options, NULL for none. `timeout_ms` is both the default and the most. False: *ret_error says
 * what is wrong, *ret_options is of no use. */
bool run_options_read(const cJSON *gateway, int64_t timeout_ms, struct task_options *ret_options,
                      struct run_options_error *ret_error) MUST_CHECK;

/** The name of an option that stands in the body next to "gateway", where nobody would read it; NULL: there
 * is none. "priority" and "label" are the upstream's own there, unless it `reads_no_options`. */
const char *run_options_find_misplaced(const cJSON *body, bool reads_no_options);

#endif
