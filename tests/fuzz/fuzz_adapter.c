/* Each adapter on a stream as its upstream would send it: what an event means, and the text that a person
 * reads.
 *
 * input: [adapter: 1] [cuts: 2] [room for the text: 1] stream
 */
#include "tests/fuzz/sse_reference.h"
#include "upstream/adapter.h"
#include "upstream/error_text.h"

#include "base/utf8.h"

#include <errno.h>

static const struct adapter *const adapters[] = {&adapter_adk, &adapter_sse, &adapter_openai};

#define ROOM_MAX (1 << 20)

/* One way through the stream. */
struct run {
    const struct adapter *adapter;
    struct adapter_text_state state;
    struct buffer text;
    bool is_full;
    unsigned verdicts; /* a sum of all of them, in order */

    /* What the text must be: what is settled, and the pieces of an answer that still streams. */
    struct sse_text settled, pieces;
};

/* ---- what an event means -------------------------------------------------------------------------- */

/* `{"error":` with whatever blanks JSON allows, and not null behind it. */
static bool reference_is_error(const char *data, size_t length) {
    static const char *const tokens[] = {"{", "\"error\"", ":"};
    struct sse_text rest = {(char *)(uintptr_t)data, length};
    for (size_t i = 0; i <= 3; i++) {
        while (rest.length > 0 && memchr(" \t\r\n", *rest.bytes, 4) != NULL) {
            rest.bytes++;
            rest.length--;
        }
        const char *token = i < 3 ? tokens[i] : "null";
        bool there = rest.length >= strlen(token) && strncmp(rest.bytes, token, strlen(token)) == 0;
        if (i == 3 || !there)
            return i == 3 && !there;
        rest.bytes += strlen(token);
        rest.length -= strlen(token);
    }
    return false;
}

static enum adapter_verdict reference_verdict(const struct adapter *adapter, const struct sse_event *event) {
    if (adapter == &adapter_sse)
        return ADAPTER_CONTINUE;
    if (adapter == &adapter_openai && event->data_length == 6 && strncmp(event->data, "[DONE]", 6) == 0)
        return ADAPTER_DONE;
    return reference_is_error(event->data, event->data_length) ? ADAPTER_FAILED : ADAPTER_CONTINUE;
}

/* ---- what a person reads -------------------------------------------------------------------------- */

static const cJSON *member(const cJSON *object, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static void expect_adk(struct run *run, const cJSON *event) {
    const cJSON *content = member(event, "content"), *role = member(content, "role"), *part;
    struct sse_text text = {0};
    sse_text_set(&text, "", 0);
    if (!cJSON_IsString(role) || strcmp(role->valuestring, "model") == 0) {
        cJSON_ArrayForEach(part, member(content, "parts")) {
            const cJSON *item = member(part, "text");
            if (cJSON_IsString(item) && !cJSON_IsTrue(member(part, "thought")))
                sse_text_append(&text, item->valuestring, strlen(item->valuestring));
        }
    }
    if (text.length > 0 && cJSON_IsTrue(member(event, "partial"))) {
        sse_text_append(&run->pieces, text.bytes, text.length);
    } else if (text.length > 0) {
        sse_text_set(&run->pieces, "", 0);
        sse_text_append(&run->settled, text.bytes, text.length);
    }
    free(text.bytes);
}

static void expect_openai(struct run *run, const cJSON *event) {
    const cJSON *content =
        member(member(cJSON_GetArrayItem(member(event, "choices"), 0), "delta"), "content");
    if (cJSON_IsString(content))
        sse_text_append(&run->settled, content->valuestring, strlen(content->valuestring));
}

static void expect(struct run *run, const char *data, size_t length) {
    if (run->adapter == &adapter_sse) {
        sse_text_append(&run->settled, data, length);
        sse_text_append(&run->settled, "\n", 1);
        return;
    }
    cJSON *event = cJSON_ParseWithLength(data, length);
    if (run->adapter == &adapter_adk)
        expect_adk(run, event);
    else
        expect_openai(run, event);
    cJSON_Delete(event);
}

static void check_text(const struct run *run) {
    const struct buffer *text = &run->text;
    REQUIRE(text->length == run->settled.length + run->pieces.length);
    REQUIRE(text->length == 0 || memcmp(text->bytes, run->settled.bytes, run->settled.length) == 0);
    REQUIRE(text->length == 0 ||
            memcmp(text->bytes + run->settled.length, run->pieces.bytes, run->pieces.length) == 0);
    REQUIRE(run->adapter != &adapter_adk || run->state.partial_length == run->pieces.length);
    REQUIRE(utf8_is_valid(text->length > 0 ? text->bytes : "", text->length));
}

/* ---- the stream ----------------------------------------------------------------------------------- */

static int on_event(void *context, const struct sse_event *event) {
    struct run *run = context;
    char *data = fuzz_copy(event->data, event->data_length);
    struct sse_event copy = *event;
    copy.data = data;
    enum adapter_verdict verdict = run->adapter->judge(&copy);
    REQUIRE(verdict == reference_verdict(run->adapter, event));
    run->verdicts = run->verdicts * 31 + (unsigned)verdict + 1;
    if (!run->is_full)
        run->is_full = !run->adapter->append_text(data, copy.data_length, &run->state, &run->text);
    REQUIRE(run->text.length <= run->text.bytes_max && run->state.partial_length <= run->text.length);
    expect(run, event->data, event->data_length);
    if (!run->is_full)
        check_text(run);
    else
        REQUIRE(run->text.bytes_max < ROOM_MAX);
    free(data);
    return 0;
}

static unsigned read_stream(const struct adapter *adapter, struct fuzz_cuts cuts, size_t room,
                            const struct fuzz_input *stream) {
    struct run run = {.adapter = adapter};
    buffer_init(&run.text, room);
    sse_text_set(&run.settled, "", 0);
    sse_text_set(&run.pieces, "", 0);
    struct sse_parser *parser = sse_parser_create(ROOM_MAX, ROOM_MAX, on_event, &run);
    REQUIRE(parser != NULL);
    int result = 0;
    for (size_t at = 0; at < stream->length && result == 0;) {
        size_t count = fuzz_next_cut(&cuts, stream->length - at);
        result = sse_parser_feed(parser, (const char *)stream->bytes + at, count);
        at += count;
    }
    REQUIRE(result == 0 || result == -E2BIG);
    sse_parser_destroy(parser);
    buffer_finish(&run.text);
    free(run.settled.bytes);
    free(run.pieces.bytes);
    return run.verdicts;
}

/* An upstream's answer that is no stream: one line of text for people. */
static void check_error_answer(const struct fuzz_input *answer) {
    char *body = fuzz_copy(answer->bytes, answer->length);
    struct buffer line;
    buffer_init(&line, 4096);
    REQUIRE(error_text_append(&line, body, answer->length));
    REQUIRE(utf8_is_valid(line.length > 0 ? line.bytes : "", line.length));
    for (size_t i = 0; i < line.length; i++)
        REQUIRE((unsigned char)line.bytes[i] >= 0x20 && line.bytes[i] != 0x7F);
    buffer_finish(&line);
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, size};
    const struct adapter *adapter = adapters[fuzz_take_byte(&input) % 3];
    struct fuzz_cuts cuts = fuzz_take_cuts(&input), whole = {0};
    size_t room = fuzz_take_byte(&input);
    unsigned verdicts = read_stream(adapter, whole, ROOM_MAX, &input);
    REQUIRE(read_stream(adapter, cuts, room > 0 ? room : ROOM_MAX, &input) == verdicts);
    check_error_answer(&input);
    return 0;
}
