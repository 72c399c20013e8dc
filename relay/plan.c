/* What a run asks of the upstreams: see relay/plan.h. */
#include "relay/plan.h"

#include "base/clock.h"
#include "base/memory_budget.h"

#include <stdlib.h>
#include <string.h>

static bool build_for_flight(struct flight_request *request, const struct upstream_settings *settings,
                             struct upstream_run *ret_run, const char **ret_message) {
    return plan_build(CONTAINER_OF(request, struct plan, flight), settings, ret_run, ret_message);
}

static void destroy_with_flight(struct flight_request *request) {
    plan_destroy(CONTAINER_OF(request, struct plan, flight));
}

struct plan *plan_create(const struct upstream_caller *caller, struct session *session,
                         const struct trace *trace, size_t steps_max) {
    struct plan *plan = calloc(1, sizeof(*plan) + steps_max * sizeof(plan->steps[0]));
    if (plan == NULL)
        return NULL;
    plan->memory =
        sizeof(*plan) + steps_max * sizeof(plan->steps[0]) + CACHE_KEY_SIZE + strlen(trace->state) + 1;
    memory_charge(MEMORY_REQUESTS, plan->memory);
    plan->flight = (struct flight_request){.build = build_for_flight, .destroy = destroy_with_flight};
    plan->caller = caller;
    plan->session = session_ref(session);
    memcpy(plan->trace_id, trace->id, sizeof(plan->trace_id));
    plan->is_sampled = trace->sampled;
    plan->tracestate =
        trace->state[0] != '\0' ? strdup(trace->state) : NULL; /* without memory the trace goes on */
    return plan;
}

void plan_destroy(struct plan *plan) {
    if (plan == NULL)
        return;
    for (size_t i = 0; i < plan->count; i++)
        upstream_run_finish(&plan->steps[i].request);
    free(plan->tracestate);
    free(plan->cache_key);
    recording_unref(plan->found);
    session_unref(plan->session);
    memory_release(MEMORY_REQUESTS, plan->memory);
    free(plan);
}

static bool settles_choice(const struct upstream_settings *settings) {
    return settings->adapter->writes_after_a_cut && settings->settle_ms > 0;
}

/* Whether what is asked cannot be needed a second time. */
static bool is_asked_once(const struct plan *plan, const struct upstream_settings *settings) {
    return plan->count == 1 && settings->retry.attempts_max <= 1 && !settings->resumable &&
           !settles_choice(settings);
}

/* How long the session's agent is left alone after a cut. */
static int64_t settle_in_ms(const struct plan *plan, const struct upstream_settings *settings) {
    int64_t cut_ms = session_cut_mono_ms(plan->session);
    int64_t left_ms = cut_ms + settings->settle_ms - clock_mono_ms();
    return cut_ms > 0 && settles_choice(settings) && left_ms > 0 ? left_ms : 0;
}

static bool copy_plan_text(const char *text, char **ret_copy) {
    *ret_copy = text != NULL ? strdup(text) : NULL;
    return text == NULL || *ret_copy != NULL;
}

static bool copy_upstream_run(const struct upstream_run *from, struct upstream_run *ret_copy) {
    *ret_copy = (struct upstream_run){.adapter = from->adapter, .body_length = from->body_length};
    ret_copy->body = malloc(from->body_length + 1);
    if (ret_copy->body != NULL)
        memcpy(ret_copy->body, from->body, from->body_length + 1);
    if (!copy_plan_text(from->url, &ret_copy->url) ||
        !copy_plan_text(from->session_url, &ret_copy->session_url) || ret_copy->body == NULL)
        return false;
    upstream_run_charge(ret_copy);
    return true;
}

/* The trace goes on at the upstream; without memory for that, the run goes on without its trace. */
static void add_trace(const struct plan *plan, struct upstream_run *request) {
    char parent[TRACE_PARENT_SIZE];
    if (!trace_make_parent(plan->trace_id, plan->is_sampled, parent))
        return;
    request->traceparent = strdup(parent);
    if (request->traceparent != NULL && plan->tracestate != NULL)
        request->tracestate = strdup(plan->tracestate);
}

static struct plan_step *find_step(struct plan *plan, size_t upstream) {
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->steps[i].upstream == upstream)
            return &plan->steps[i];
    }
    return NULL;
}

bool plan_build(struct plan *plan, const struct upstream_settings *settings, struct upstream_run *ret_run,
                const char **ret_message) {
    size_t upstream = (size_t)(settings - plan->caller->settings.items);
    struct plan_step *step = find_step(plan, upstream);
    if (step == NULL || step->request.url == NULL) {
        *ret_message = "This upstream cannot execute the run.";
        return false;
    }
    if (is_asked_once(plan, settings)) {
        *ret_run = step->request;
        ret_run->is_last = true;
        step->request = (struct upstream_run){.adapter = step->request.adapter};
    } else if (!copy_upstream_run(&step->request, ret_run)) {
        upstream_run_finish(ret_run);
        *ret_message = "Memory ran out.";
        return false;
    }
    ret_run->wait_ms = settle_in_ms(plan, settings);
    ret_run->session_exists = session_is_known_by(plan->session, (uint32_t)upstream);
    add_trace(plan, ret_run);
    return true;
}
