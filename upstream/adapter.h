/* What differs between kinds of upstream: one `struct adapter` a kind, a file each. */
#ifndef SLUICE_UPSTREAM_ADAPTER_H
#define SLUICE_UPSTREAM_ADAPTER_H

#include "base/attributes.h"
#include "base/buffer.h"
#include "base/error_form.h"
#include "upstream/sse_parser.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** One run as the client asked for it. Lives for the duration of the call. */
struct adapter_input {
    const char *app; /* of the session the run belongs to; valid path segments, not encoded */
    const char *user;
    const char *session;
    const char *base_url;      /* as configured, without a trailing slash */
    const char *task;          /* the id of the run */
    const char *body_template; /* configured JSON, or NULL (sse) */
    const char *model;         /* configured model name, or NULL (openai) */
    const cJSON *fields;       /* the body, an object, without "gateway", "message" and "query" */
    const char *text;          /* "message" or "query" of the body, or NULL */
    const char *raw;           /* the body as it came if nothing was taken out of it, else NULL */
    size_t raw_length;
};

/** What an event means for the run. */
enum adapter_verdict {
    ADAPTER_CONTINUE, /* an ordinary event */
    ADAPTER_DONE,     /* the stream's own end marker: the run is complete, whatever the connection does */
    ADAPTER_LAST,     /* the run is complete, too, but the stream may have a few more events */
    ADAPTER_FAILED,   /* the stream says that the run failed; it is reported at the stream's end */
};

/** What the configuration says about reading streams of an upstream. */
struct adapter_rules {
    char *error_events; /* kind sse: names of events that fail a run, with commas between them; NULL: none */
    char *end_events;   /* kind sse: names of events that end a run; NULL: a clean end of the answer does */
    bool doubt_fails;   /* kind adk: an end with a warning is a failure */
};

#define ADAPTER_WORD_SIZE 64

/** Tokens that a run has used. */
struct adapter_usage {
    bool is_known;
    uint64_t input_tokens, output_tokens, total_tokens;
};

/** What one stream has said of its run so far. judge() keeps it; zero it before the first event of a stream.
 * It holds no memory of its own. */
struct adapter_reading {
    const struct adapter_rules *rules;     /* of the stream's owner */
    char finish_reason[ADAPTER_WORD_SIZE]; /* as the upstream wrote it; "": it said none */
    char error_code[ADAPTER_WORD_SIZE];    /* adk: of an event that no content came after; "": none */
    struct adapter_usage usage;
    uint64_t choices_seen, choices_finished; /* openai: bit N is choice N */
    bool has_odd_choice;                     /* openai: one whose number is not among those bits */
    bool is_partial;                         /* adk: the whole event after a partial one has not come yet */
    bool has_events;                         /* one that is no end marker has come */
    bool is_unsettled; /* adk: refused, for something was written to the session after it had been read */
};

/** How a stream has ended that came to the clean end of its framing without ADAPTER_DONE or ADAPTER_LAST. */
enum adapter_ending {
    ADAPTER_WHOLE,
    ADAPTER_CUT,      /* the end that streams of this kind have is missing */
    ADAPTER_DOUBTFUL, /* whole, but with *ret_warning */
};

/** What there is to know of the text that read_text() appends. It is UTF-8, but for halves of surrogate
 * pairs, which an upstream may send in two events: see utf8_join_halves(). */
struct adapter_text {
    /* It is a piece of an answer that streams, whose whole may follow in a later event that is not partial; a
     * text that is whole takes the place of all pieces before it. */
    bool is_partial;
    /* The event begins like an object and could not be read; it may have had a text. */
    bool is_unread;
};

struct adapter {
    const char *name; /* upstream_kind */

    /** The configured URL is the one that runs are posted to; otherwise it is a base that paths are added to.
     */
    bool url_is_whole;

    /** The configured URL may have a query, which stays at the end of what is asked. */
    bool url_has_query;

    /** Servers of this kind answer ADK's own API: the routes that are passed on are for them. */
    bool serves_adk_api;

    /** Events of this kind have ids, and a stream may be resumed after one of them. */
    bool can_resume;

    /** Outermost members of the posted body that differ from run to run without changing the answer: they do
     * not count in the key of a cached run. NULL ends them; NULL member: there are none. */
    const char *const *volatile_members;

    /** Members of a run's body that hold its message in the kind's own form; a body has one of them at most,
     * and none next to "message" or "query". NULL ends them. */
    const char *const *message_members;

    /** The URL that a run is posted to, malloc'd; NULL: out of memory. */
    char *(*run_url)(const struct adapter_input *input);

    /** The body that is posted, malloc'd; NULL with *ret_error set to one sentence (static): the input
     *  cannot be a run of this kind; NULL with *ret_error NULL: out of memory. */
    char *(*run_body)(const struct adapter_input *input, size_t *ret_length, const char **ret_error);

    /** Appends the user's message that is in the body's own form, `fields`, its texts with line ends between
     * them; *ret_found: there is one. False: out of memory or the buffer is full. NULL member: this kind has
     * no such form. */
    bool (*read_input)(const cJSON *fields, struct buffer *out, bool *ret_found);

    /** The URL at which the upstream creates, shows and deletes this session, malloc'd. NULL member: this
     *  kind keeps no sessions upstream. */
    char *(*session_url)(const struct adapter_input *input);

    /** Looks at one event; must be cheap: it runs for every event. */
    enum adapter_verdict (*judge)(struct adapter_reading *reading, const struct sse_event *event);

    /** Judges a stream at the clean end of its framing. With ADAPTER_DOUBTFUL *ret_warning is set to a word
     * that is valid as long as the reading. */
    enum adapter_ending (*judge_end)(const struct adapter_reading *reading, const char **ret_warning);

    /** Whether a person would see something of the event: one that only opens the answer may be taken back,
     * if the stream fails right after it. NULL member: all events are visible. */
    bool (*is_visible)(const struct sse_event *event);

    /** Appends the text that a person would read of one event's data to `out`, see struct adapter_text.
     * False: out of memory or the buffer is full. */
    bool (*read_text)(const char *data, size_t length, struct buffer *out, struct adapter_text *ret_text);

    /** Brings *tokens, what a run has used so far (0 before its first event), up to date by one event's data.
     *  False: it says nothing of it, which must be cheap. NULL member: this kind never does. */
    bool (*count_tokens)(const char *data, size_t length, uint64_t *tokens);

    /** The data of an event that says `text` in the way of this kind, malloc'd: for an answer that we make
     *  ourselves. NULL: out of memory. */
    char *(*say)(const char *text);

    /** The data of the end marker, the event that is ADAPTER_DONE: a stream that ends without it is
     * truncated. NULL: there is none, the end of the answer's body is the end. */
    const char *done_data;

    /** How this kind reports in its stream that a run has failed, for a failure that we report ourselves. */
    const struct error_form *error_form;

    /** An agent of this kind writes to its session when a stream is closed before its end. A call that begins
     * before that was written may be refused: see struct adapter_reading, is_unsettled. */
    bool writes_after_a_cut;

    /** No server of this kind has members of its own that are called like the gateway's options. */
    bool reads_no_options;

    /** A run is one answer: a whole text that pieces came before takes the place of all texts before it. */
    bool answers_once;

    /** A call of this kind only answers: made twice, it has done nothing twice. */
    bool is_without_effects;
};

/** The one list of the kinds: X(name) for each `adapter_<name>`. */
#define ADAPTER_KINDS(X) X(adk) X(sse) X(openai)

#define ADAPTER_DECLARE(kind) extern const struct adapter adapter_##kind;
ADAPTER_KINDS(ADAPTER_DECLARE)
#undef ADAPTER_DECLARE

/** All kinds, in the order of the list; NULL ends them. */
extern const struct adapter *const adapter_kinds[];

/** By name; NULL: there is none. */
const struct adapter *adapter_find(const char *name);

#endif
