/* A run as JSON. */
#ifndef SLUICE_ROUTES_TASK_ACCESS_H
#define SLUICE_ROUTES_TASK_ACCESS_H

#include "base/json_writer.h"
#include "routes/request.h"

/** Bytes that one task's JSON never exceeds, its input aside. */
#define TASK_JSON_BYTES_MAX (8 * 1024)

/** Writes what is known of a run as an object, but for its input. */
void task_write(struct json_writer *json, const char *name, const struct upstreams_settings *upstreams,
                struct task *task);

/** Answers with that object, which has the run's input, too. */
void task_reply(struct request *request, struct task *task);

#endif
