/* The handlers that the router's table names: each answers or defers its request. */
#ifndef SLUICE_ROUTES_HANDLERS_H
#define SLUICE_ROUTES_HANDLERS_H

#include "routes/request.h"

void handle_run_post(struct request *request);   /* POST S/run */
void handle_run_delete(struct request *request); /* DELETE S/run */
void handle_run_sse(struct request *request);    /* POST /run_sse */

void handle_stream_session(struct request *request); /* GET S/run */
void handle_stream_task(struct request *request);    /* GET /tasks/{id}/events */

void handle_task_get(struct request *request);
void handle_task_list(struct request *request);
void handle_task_delete(struct request *request);
void handle_tasks_cancel(struct request *request); /* DELETE /tasks */
void handle_task_result(struct request *request);

void handle_status_session(struct request *request); /* GET S/task-status */
void handle_status_all(struct request *request);     /* GET /task-status */

void handle_history(struct request *request);

void handle_session_create(struct request *request); /* POST S, and POST .../sessions */
void handle_session_delete(struct request *request);
void handle_session_get(struct request *request);
void handle_session_list(struct request *request);

void handle_passthrough(struct request *request);
void handle_passed_write(struct request *request); /* with a body */
void handle_passed_memory(struct request *request);
void handle_passed_ui(struct request *request); /* the agent's own pages */
void handle_run_live(struct request *request);  /* GET /run_live */
void handle_tunnel_list(struct request *request);
void handle_tunnel_delete(struct request *request);
void handle_passed_run(struct request *request); /* POST /run */

void handle_healthz(struct request *request);
void handle_readyz(struct request *request);
void handle_health(struct request *request);
void handle_metrics(struct request *request);
void handle_stats(struct request *request);
void handle_demo(struct request *request);

#endif
