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

/* The last member of that name. */
static const cJSON *member(const cJSON *object, const char *name) {
    const cJSON *item, *last = NULL;
    if (cJSON_IsObject(object))
        cJSON_ArrayForEach(item, object) last = strcmp(item->string, name) == 0 ? item : last;
    return last;
}

/* Whether the data is JSON and nothing else, which all readers read alike. Of text that is broken or goes on
 * only what must not happen is known: see base/json_members.h. */
static bool is_whole_json(const struct sse_event *event) {
    const char *end = NULL, *limit = event->data + event->data_length;
    cJSON *json = cJSON_ParseWithLengthOpts(event->data, event->data_length, &end, false);
    bool is_whole = json != NULL && memchr(event->data, '\0', event->data_length) == NULL;
    while (is_whole && end < limit && (unsigned char)*end <= ' ')
        end++;
    cJSON_Delete(json);
    return is_whole && end == limit;
}

static bool is_text(const cJSON *item, const char *expected) {
    return cJSON_IsString(item) && strcmp(item->valuestring, expected) == 0;
}

/* Whether a member of the object, one of several of its name as well, makes it an error. */
static bool has_error(const cJSON *object) {
    bool found = false;
    const cJSON *item;
    if (cJSON_IsObject(object))
        cJSON_ArrayForEach(item, object) found =
            found || (strcmp(item->string, "error") == 0 && !cJSON_IsNull(item)) ||
            (strcmp(item->string, "object") == 0 && is_text(item, "error"));
    return found;
}

/* What holds of errors in all kinds. */
static bool reference_is_error(const cJSON *json) {
    const cJSON *item;
    bool is_error = has_error(json);
    if (cJSON_IsArray(json))
        cJSON_ArrayForEach(item, json) is_error = is_error || has_error(item);
    return is_error;
}

/* Takes off what may stand around a name. */
static void trim(const char **word, size_t *length) {
    static const char bom[] = "\xEF\xBB\xBF";
    for (;;) {
        if (*length > 0 && (unsigned char)**word <= ' ') {
            ++*word;
            --*length;
        } else if (*length > 0 && (unsigned char)(*word)[*length - 1] <= ' ') {
            --*length;
        } else if (*length >= 3 && memcmp(*word, bom, 3) == 0) {
            *word += 3;
            *length -= 3;
        } else if (*length >= 3 && memcmp(*word + *length - 3, bom, 3) == 0) {
            *length -= 3;
        } else {
            return;
        }
    }
}

static bool is_listed(const char *list, const char *word, size_t length) {
    char all[128], *rest = all, *item;
    snprintf(all, sizeof(all), "%s", list);
    trim(&word, &length);
    while ((item = strsep(&rest, ",")) != NULL) {
        if (text_is(word, length, item))
            return true;
    }
    return false;
}

static bool object_is_typed(const char *list, const cJSON *object) {
    bool found = false;
    const cJSON *item;
    if (cJSON_IsObject(object))
        cJSON_ArrayForEach(item, object) found =
            found || (strcmp(item->string, "type") == 0 && cJSON_IsString(item) &&
                      is_listed(list, item->valuestring, strlen(item->valuestring)));
    return found;
}

static bool sse_is_typed(const char *list, const cJSON *json) {
    bool found = object_is_typed(list, json);
    const cJSON *item;
    if (cJSON_IsArray(json))
        cJSON_ArrayForEach(item, json) found = found || object_is_typed(list, item);
    return found;
}

static bool sse_is_named(const char *list, const struct sse_event *event) {
    return is_listed(list, event->type, event->type_length) ||
           is_listed(list, event->data, event->data_length);
}

static bool ended_by_error(const cJSON *json) {
    const cJSON *choice, *item;
    bool by_error = false;
    cJSON_ArrayForEach(choice, member(json, "choices")) {
        if (!cJSON_IsObject(choice))
            continue;
        cJSON_ArrayForEach(item, choice) by_error =
            by_error || (strcmp(item->string, "finish_reason") == 0 && is_text(item, "error")) ||
            (strcmp(item->string, "error") == 0 && !cJSON_IsNull(item));
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

/* The verdict for an event that is a name, or whole JSON; `verdict` for others, of which it is not known. */
static enum adapter_verdict reference_verdict(const struct adapter *adapter, const struct sse_event *event,
                                              enum adapter_verdict verdict) {
    const char *data = event->data;
    size_t length = event->data_length;
    bool is_sse = adapter == &adapter_sse;
    trim(&data, &length);
    if (is_listed("error", event->type, event->type_length) ||
        (is_sse && sse_is_named(rules.error_events, event)))
        return ADAPTER_FAILED;
    if (adapter == &adapter_openai && is_done(event))
        return ADAPTER_DONE;
    bool is_json = length > 0 && (*data == '{' || *data == '[');
    if (is_json && !is_whole_json(event))
        return verdict;
    cJSON *json = is_json ? read_json(event) : NULL;
    if (reference_is_error(json) || (is_sse && sse_is_typed(rules.error_events, json)) ||
        (adapter == &adapter_openai && ended_by_error(json)))
        verdict = ADAPTER_FAILED;
    else if (is_sse && (sse_is_typed(rules.end_events, json) || sse_is_named(rules.end_events, event)))
        verdict = ADAPTER_LAST;
    else if (is_json || is_sse)
        verdict = ADAPTER_CONTINUE;
    cJSON_Delete(json);
    return verdict;
}

/* ---- what a person reads -------------------------------------------------------------------------- */

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
    REQUIRE(verdict == reference_verdict(run->adapter, event, verdict));
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
