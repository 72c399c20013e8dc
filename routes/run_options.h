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

/** The header that says what `on_disconnect` is, for clients that cannot put it into their body. */
#define RUN_ON_DISCONNECT_HEADER "Sluice-On-Disconnect"

/** What holds for a run that says nothing. */
struct task_options run_options_default(int64_t timeout_ms);

/** Reads the value of the header into *options. False: it is none, and *ret_error says so. */
bool run_options_read_header(const char *value, struct task_options *options,
                             struct run_options_error *ret_error) MUST_CHECK;

/** Reads the options, NULL for none, over what *options has. Its `timeout_ms` is also the most. False:
 * *ret_error says what is wrong, *options is of no use. */
bool run_options_read(const cJSON *gateway, struct task_options *options,
                      struct run_options_error *ret_error) MUST_CHECK;

/** The name of an option that stands in the body next to "gateway", where nobody would read it; NULL: there
 * is none. "on_disconnect", "priority" and "label" are the upstream's own there, unless it
 * `reads_no_options`: LangGraph has the first. */
const char *run_options_find_misplaced(const cJSON *body, bool reads_no_options);

#endif
