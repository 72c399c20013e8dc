/* What a run asks of the upstreams. See plan.h for the contract.
 *
 * The requests are made when the run is accepted and never change. The plan adds to each attempt what only
 * that moment knows: whether the session exists upstream, whether its agent must be left alone after a cut,
 * and a trace parent of its own.
 */
#include "relay/plan.h"

#include "base/clock.h"
#include "base/memory_budget.h"

#include <stdlib.h>
#include <string.h>

static bool plan_prepare(struct upstream_preparer *preparer, size_t upstream, struct upstream_post *ret_post,
                         const char **ret_message);

static void plan_destroy_preparer(struct upstream_preparer *preparer) {
    plan_destroy(CONTAINER_OF(preparer, struct plan, preparer));
}

struct plan *plan_create(const struct upstream_worker *upstream_worker, struct session *session,
                         const struct trace *trace, size_t steps_max) {
    struct plan *plan = calloc(1, sizeof(*plan) + steps_max * sizeof(plan->steps[0]));
    if (plan == NULL)
        return NULL;
    plan->memory =
        sizeof(*plan) + steps_max * sizeof(plan->steps[0]) + CACHE_KEY_SIZE + strlen(trace->state) + 1;
    memory_charge(MEMORY_REQUESTS, plan->memory);
    plan->preparer = (struct upstream_preparer){.prepare = plan_prepare, .destroy = plan_destroy_preparer};
    plan->upstream_worker = upstream_worker;
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
        upstream_request_unref(plan->steps[i].request);
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

/* How long the session's agent is left alone after a cut. */
static int64_t settle_in_ms(const struct plan *plan, const struct upstream_settings *settings) {
    int64_t cut_ms = session_cut_mono_ms(plan->session);
    int64_t left_ms = cut_ms + settings->settle_ms - clock_mono_ms();
    return cut_ms > 0 && settles_choice(settings) && left_ms > 0 ? left_ms : 0;
}

static const struct plan_step *find_step(const struct plan *plan, size_t upstream) {
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->steps[i].upstream == upstream)
            return &plan->steps[i];
    }
    return NULL;
}

static bool plan_prepare(struct upstream_preparer *preparer, size_t upstream, struct upstream_post *ret_post,
                         const char **ret_message) {
    const struct plan *plan = CONTAINER_OF(preparer, struct plan, preparer);
    const struct plan_step *step = find_step(plan, upstream);
    if (step == NULL || step->request == NULL) {
        *ret_message = "The run cannot be made for this upstream.";
        return false;
    }
    *ret_post = (struct upstream_post){
        .request = upstream_request_ref(step->request),
        .session_exists = session_is_known_by(plan->session, (uint32_t)upstream),
        .wait_ms = settle_in_ms(plan, &plan->upstream_worker->settings.items[upstream]),
        .tracestate = plan->tracestate};
    if (!trace_make_parent(plan->trace_id, plan->is_sampled, ret_post->traceparent))
        ret_post->traceparent[0] = '\0'; /* the run goes on without its trace */
    return true;
}
