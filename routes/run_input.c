/* The user's message of a run: see run_input.h.
 *
 * It is taken from what the client sent, not from what is posted to the upstream. So it does not depend on
 * who answers: the upstream, a fallback, the cache.
 */
#include "routes/run_input.h"

#include "base/utf8.h"
#include "routes/upstream_choice.h"

#include <string.h>

/* Cuts it to its limit, where a character ends. */
static void set_text_input(struct run_request *run, const char *text, size_t length, size_t length_max) {
    size_t shown = utf8_beginning(text, length, length_max);
    run->options.input = (struct task_input){.text = text, .length = shown, .is_cut = shown < length};
}

/* The message in the body's own form. False: the reply is decided. */
static bool read_own_form(struct request *request, struct run_request *run, size_t length_max) {
    const struct adapter *adapter = upstream_at(request, run->upstream)->adapter;
    bool is_found = false;
    if (adapter->read_input == NULL)
        return true;
    /* Each text is shorter in it than in the body, the line end after it included. */
    buffer_init(&run->message, request->body_length);
    if (!adapter->read_input(run->body, &run->message, &is_found)) {
        reply_no_memory(request);
        return false;
    }
    if (is_found)
        set_text_input(run, run->message.length > 0 ? run->message.bytes : "", run->message.length,
                       length_max);
    return true;
}

bool run_input_read(struct request *request, struct run_request *run) {
    const struct routes_settings *settings = request->context->settings;
    size_t length_max = (size_t)settings->run_input_bytes_max;
    switch (settings->run_input) {
    case RUN_INPUT_NONE:
        return true;
    case RUN_INPUT_BODY:
        set_text_input(run, request->body, request->body_length, length_max);
        return true;
    case RUN_INPUT_TEXT:
        break;
    }
    if (run->input.text == NULL)
        return read_own_form(request, run, length_max);
    set_text_input(run, run->input.text, strlen(run->input.text), length_max);
    return true;
}
