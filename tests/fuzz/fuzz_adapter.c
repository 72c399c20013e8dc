/* Each adapter on a stream as its upstream would send it: what an event means, and the text that a person
 * reads.
 *
 * input: [adapter: 1] [cuts: 2] [room for the text: 1] stream
 */
#include "tests/fuzz/sse_reference.h"
#include "upstream/adapter_body.h"
#include "upstream/error_text.h"

#include "base/utf8.h"

#include <errno.h>

static const struct adapter *const adapters[] = {&adapter_adk, &adapter_sse, &adapter_openai};

#define ROOM_MAX (1 << 20)

/* One way through the stream. */
struct run {
    const struct adapter *adapter;
    struct adapter_reading reading;
    size_t room;       /* for the text of an event */
    unsigned verdicts; /* a sum of all of them, in order */
};

/* What must be read of an event. */
struct expected {
    struct sse_text text;
    bool partial;
};

/* ---- what an event means -------------------------------------------------------------------------- */

static const struct adapter_rules rules = {.error_events = (char *)(uintptr_t) "error,response.failed",
                                           .end_events = (char *)(uintptr_t) "bye,[DONE]"};

static bool text_is(const char *text, size_t length, const char *expected) {
    return length == strlen(expected) && memcmp(text, expected, length) == 0;
}

/* Reads all of it, without a first look. NULL: it is no JSON, or none that the program looks for. */
static cJSON *read_json(const struct sse_event *event) {
    return adapter_parse(event->data, event->data_length);
}

static size_t skip_blanks(const struct sse_event *event, size_t at) {
    while (at < event->data_length && memchr(" \t\r\n", event->data[at], 4) != NULL)
        at++;
    return at;
}

/* Whether such a member is in the text at any depth, with a value that begins as given (not NULL), or with
 * another one than null. The program does not find a name that is written with escapes, and knows JSON's
 * blanks alone. */
static bool has_member(const struct sse_event *event, const char *quoted, const char *value) {
    size_t length = strlen(quoted);
    for (size_t i = 0; i + length <= event->data_length; i++) {
        if (memcmp(event->data + i, quoted, length) != 0)
            continue;
        size_t colon = skip_blanks(event, i + length);
        if (colon == event->data_length || event->data[colon] != ':')
            continue;
        size_t at = skip_blanks(event, colon + 1), left = event->data_length - at;
        const char *expected = value != NULL ? value : "null";
        size_t size = strlen(expected);
        bool is_it = left >= size && memcmp(event->data + at, expected, size) == 0 &&
                     (left == size || memchr(",}] \n\t\r", event->data[at + size], 7) != NULL);
        if (is_it == (value != NULL))
            return true;
    }
    return false;
}

static bool has_error(const cJSON *object) {
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(object, "error");
    const cJSON *what = cJSON_GetObjectItemCaseSensitive(object, "object");
    return (error != NULL && !cJSON_IsNull(error)) ||
           (cJSON_IsString(what) && strcmp(what->valuestring, "error") == 0);
}

/* `{"error":` with whatever blanks JSON allows, and not null after it. */
static bool begins_like_an_error(const char *data, size_t length) {
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

/* What holds of errors in all kinds, if the kind looks for them. */
static bool reference_is_error(const struct adapter *adapter, const struct sse_event *event,
                               const cJSON *json) {
    bool is_looked_at = has_member(event, "\"error\"", NULL) ||
                        (adapter == &adapter_openai && has_member(event, "\"object\"", "\"error\"")) ||
                        (adapter == &adapter_adk && has_member(event, "\"error\"", "null"));
    if (!is_looked_at)
        return false;
    if (json == NULL)
        return begins_like_an_error(event->data, event->data_length);
    const cJSON *item;
    bool is_error = cJSON_IsObject(json) && has_error(json);
    if (cJSON_IsArray(json))
        cJSON_ArrayForEach(item, json) is_error = is_error || has_error(item);
    return is_error;
}

static bool is_listed(const char *list, const char *word, size_t length) {
    char all[128], *rest = all, *item;
    snprintf(all, sizeof(all), "%s", list);
    while ((item = strsep(&rest, ",")) != NULL) {
        if (text_is(word, length, item))
            return true;
    }
    return false;
}

static bool sse_is_listed(const char *list, const struct sse_event *event, const cJSON *json) {
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "type"));
    return is_listed(list, event->type, event->type_length) ||
           is_listed(list, event->data, event->data_length) ||
           (type != NULL && is_listed(list, type, strlen(type)));
}

static bool ended_by_error(const cJSON *json) {
    const cJSON *choice;
    bool by_error = false;
    cJSON_ArrayForEach(choice, cJSON_GetObjectItemCaseSensitive(json, "choices")) {
        const cJSON *reason = cJSON_GetObjectItemCaseSensitive(choice, "finish_reason");
        by_error = by_error || (cJSON_IsString(reason) && strcmp(reason->valuestring, "error") == 0);
    }
    return by_error;
}

static bool is_done(const struct sse_event *event) {
    const char *data = event->data;
    size_t length = event->data_length;
    for (; length > 0 && strchr(" \t\n", *data) != NULL && *data != '\0'; length--)
        data++;
    while (length > 0 && strchr(" \t\n", data[length - 1]) != NULL && data[length - 1] != '\0')
        length--;
    return text_is(data, length, "[DONE]");
}

static enum adapter_verdict reference_verdict(const struct adapter *adapter, const struct sse_event *event) {
    cJSON *json = read_json(event);
    enum adapter_verdict verdict = ADAPTER_CONTINUE;
    if (adapter == &adapter_sse) {
        bool is_json = event->data_length > 0 && memchr("{[ ", event->data[0], 3) != NULL;
        const cJSON *read = is_json ? json : NULL;
        if (sse_is_listed(rules.error_events, event, read) ||
            (is_json && reference_is_error(adapter, event, read)))
            verdict = ADAPTER_FAILED;
        else if (sse_is_listed(rules.end_events, event, read))
            verdict = ADAPTER_LAST;
    } else if (adapter == &adapter_openai && is_done(event)) {
        verdict = ADAPTER_DONE;
    } else if (reference_is_error(adapter, event, json) ||
               (adapter == &adapter_openai &&
                (text_is(event->type, event->type_length, "error") || ended_by_error(json)))) {
        verdict = ADAPTER_FAILED;
    }
    cJSON_Delete(json);
    return verdict;
}

/* ---- what a person reads -------------------------------------------------------------------------- */

static const cJSON *member(const cJSON *object, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* U+0000 stands as C0 80 in what was parsed. */
static void expect_string(const cJSON *item, struct expected *expected) {
    if (!cJSON_IsString(item))
        return;
    for (const char *at = item->valuestring; *at != '\0'; at++) {
        bool is_nul = at[0] == (char)0xC0 && at[1] == (char)0x80;
        sse_text_append(&expected->text, is_nul ? "" : at, 1);
        at += is_nul;
    }
}

static void expect_adk(const cJSON *event, struct expected *expected) {
    const cJSON *content = member(event, "content"), *role = member(content, "role"), *part;
    expected->partial = cJSON_IsTrue(member(event, "partial"));
    if (cJSON_IsString(role) && strcmp(role->valuestring, "model") != 0)
        return;
    cJSON_ArrayForEach(part, member(content, "parts")) {
        if (!cJSON_IsTrue(member(part, "thought")))
            expect_string(member(part, "text"), expected);
    }
}

static void expect_block(const cJSON *block, struct expected *expected) {
    const cJSON *type = member(block, "type");
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "text") == 0 ||
        strcmp(type->valuestring, "output_text") == 0)
        expect_string(member(block, "text"), expected);
}

/* Whether it added anything. */
static bool expect_content(const cJSON *content, struct expected *expected) {
    size_t before = expected->text.length;
    const cJSON *item;
    expect_string(content, expected);
    if (cJSON_IsObject(content))
        expect_block(content, expected);
    if (cJSON_IsArray(content)) {
        cJSON_ArrayForEach(item, content) {
            expect_string(item, expected);
            expect_block(item, expected);
        }
    }
    return expected->text.length > before;
}

static void expect_openai(const cJSON *event, struct expected *expected) {
    const cJSON *choice;
    bool is_first = true;
    cJSON_ArrayForEach(choice, member(event, "choices")) {
        const cJSON *index = member(choice, "index");
        bool is_meant = cJSON_IsNumber(index) ? cJSON_GetNumberValue(index) == 0 : is_first;
        is_first = false;
        if (!is_meant)
            continue;
        expected->partial = expect_content(member(member(choice, "delta"), "content"), expected) ||
                            expect_content(member(choice, "text"), expected);
        if (!expected->partial)
            expect_content(member(member(choice, "message"), "content"), expected);
    }
}

static struct expected expect(const struct adapter *adapter, const char *data, size_t length) {
    struct expected expected = {0};
    sse_text_set(&expected.text, "", 0);
    if (adapter == &adapter_sse) {
        sse_text_append(&expected.text, data, length);
        sse_text_append(&expected.text, "\n", 1);
        return expected;
    }
    cJSON *event = adapter_parse(data, length);
    if (adapter == &adapter_adk)
        expect_adk(event, &expected);
    else
        expect_openai(event, &expected);
    cJSON_Delete(event);
    return expected;
}

static void check_text(const struct run *run, const char *data, size_t length) {
    struct expected expected = expect(run->adapter, data, length);
    struct buffer text;
    struct adapter_text read;
    buffer_init(&text, run->room);
    if (run->adapter->read_text(data, length, &text, &read)) {
        REQUIRE(read.is_partial == expected.partial && text.length == expected.text.length);
        REQUIRE(text.length == 0 || memcmp(text.bytes, expected.text.bytes, text.length) == 0);
        REQUIRE(!read.is_unread || text.length == 0);
        size_t joined = text.length > 0 ? utf8_join_halves(text.bytes, text.length) : 0;
        REQUIRE(joined <= text.length);
        REQUIRE(utf8_is_valid(joined > 0 ? text.bytes : "", joined));
    } else {
        REQUIRE(expected.text.length > run->room && text.length <= run->room);
    }
    buffer_finish(&text);
    free(expected.text.bytes);
}

/* ---- the stream ----------------------------------------------------------------------------------- */

static int on_event(void *context, const struct sse_event *event) {
    struct run *run = context;
    char *data = fuzz_copy(event->data, event->data_length);
    struct sse_event copy = *event;
    copy.data = data;
    enum adapter_verdict verdict = run->adapter->judge(&run->reading, &copy);
    REQUIRE(verdict == reference_verdict(run->adapter, event));
    REQUIRE((run->reading.choices_finished & ~run->reading.choices_seen) == 0);
    REQUIRE(memchr(run->reading.finish_reason, '\0', ADAPTER_WORD_SIZE) != NULL);
    REQUIRE(memchr(run->reading.error_code, '\0', ADAPTER_WORD_SIZE) != NULL);
    run->verdicts = run->verdicts * 31 + (unsigned)verdict + 1;
    check_text(run, data, copy.data_length);
    free(data);
    return 0;
}

static unsigned read_stream(const struct adapter *adapter, struct fuzz_cuts cuts, size_t room,
                            const struct fuzz_input *stream) {
    struct run run = {.adapter = adapter, .reading = {.rules = &rules}, .room = room};
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
