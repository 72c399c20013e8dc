/* upstream/resume_point: what comes again is skipped, and nothing else. */
#include "upstream/resume_point.h"

#include "tests/support/unit.h"

#include <stdlib.h>

static enum resume_verdict take_event(struct resume_point *point, const char *id, bool has_own_id,
                                      const char *data) {
    const struct sse_event event = {.type = "message",
                                    .type_length = 7,
                                    .data = data,
                                    .data_length = strlen(data),
                                    .last_event_id = id,
                                    .last_event_id_length = strlen(id),
                                    .has_own_id = has_own_id};
    return resume_point_take(point, &event);
}

static enum resume_verdict take_data(struct resume_point *point, const char *id, const char *data) {
    return take_event(point, id, false, data);
}

static enum resume_verdict take(struct resume_point *point, const char *id) {
    return take_event(point, id, true, "");
}

/* Each digit is an event that brings this id and has it as its data, each letter the data of one that brings
 * none. */
static void check_each(struct resume_point *point, const char *events, const char *verdicts) {
    char id[2] = "", data[2] = "";
    assert_int_equal(strlen(events), strlen(verdicts));
    for (; *events != '\0'; events++, verdicts++) {
        data[0] = *events;
        bool has_own_id = *events >= '0' && *events <= '9';
        if (has_own_id)
            id[0] = *events;
        static const char names[] = {[RESUME_NEW] = 'n', [RESUME_REPEATED] = 'r', [RESUME_LOST] = 'l'};
        assert_int_equal(names[take_event(point, id, has_own_id, data)], *verdicts);
    }
}

static void begin(struct resume_point *point) {
    resume_point_init(point);
    point->is_on = true;
}

/* The verdicts on `after` when the stream has broken off behind `before`. */
static void check_resumed(const char *before, const char *after, const char *verdicts) {
    static const char all_new[] = "nnnnnnnnnnnn";
    struct resume_point point;
    begin(&point);
    check_each(&point, before, all_new + strlen(all_new) - strlen(before));
    resume_point_begin(&point);
    check_each(&point, after, verdicts);
    resume_point_finish(&point);
}

static void resume_point_is_where_the_last_id_was(void **state) {
    (void)state;
    struct resume_point point;
    char long_id[RESUME_ID_BYTES_MAX + 2] = "";
    memset(long_id, 'x', sizeof long_id - 1);
    begin(&point);
    assert_null(resume_point_id(&point));
    assert_int_equal(take(&point, ""), RESUME_NEW);
    assert_null(resume_point_id(&point));
    assert_int_equal(take(&point, "1"), RESUME_NEW);
    assert_int_equal(take(&point, "2"), RESUME_NEW);
    assert_string_equal(resume_point_id(&point), "2");
    assert_int_equal(take(&point, long_id), RESUME_NEW); /* no header takes it */
    assert_null(resume_point_id(&point));
    assert_int_equal(take(&point, "3"), RESUME_NEW);
    assert_int_equal(take(&point, ""), RESUME_NEW); /* the stream took its id back */
    assert_null(resume_point_id(&point));
    resume_point_finish(&point);
}

static void resume_point_moves_by_a_block_without_data(void **state) {
    (void)state;
    struct resume_point point;
    begin(&point);
    check_each(&point, "1ab", "nnn");
    resume_point_note_id(&point, "1", 1);
    assert_string_equal(resume_point_id(&point), "1");
    resume_point_note_id(&point, "5", 1);
    assert_string_equal(resume_point_id(&point), "5");
    resume_point_begin(&point);
    assert_int_equal(take_data(&point, "", "c"), RESUME_NEW);
    resume_point_begin(&point);
    assert_int_equal(take_data(&point, "5", "c"), RESUME_REPEATED); /* the block came again before it */
    assert_int_equal(take_data(&point, "5", "d"), RESUME_NEW);
    resume_point_note_id(&point, "", 0); /* the stream took its id back */
    assert_null(resume_point_id(&point));
    resume_point_finish(&point);
    begin(&point);
    check_each(&point, "1", "n");
    resume_point_note_id(&point, "", 0);
    assert_null(resume_point_id(&point));
    resume_point_finish(&point);
}

static void resume_point_skips_what_came_again_and_nothing_else(void **state) {
    (void)state;
    check_resumed("7BC", "BCD", "rrn");
    check_resumed("7BC", "7BCD", "rrrn");
    check_resumed("7BC", "8D", "nn");
    check_resumed("7BC", "B8", "rn");
    check_resumed("7", "7", "r");
    check_resumed("7", "7B", "rn");
    struct resume_point point;
    begin(&point);
    check_each(&point, "7B", "nn");
    for (int i = 0; i < 3; i++) { /* it breaks off again and again */
        resume_point_begin(&point);
        check_each(&point, "B", "r");
    }
    check_each(&point, "CD", "nn");
    resume_point_begin(&point);
    check_each(&point, "BCD8E", "rrrnn");
    resume_point_begin(&point);
    check_each(&point, "EF", "rn");
    resume_point_finish(&point);
}

static void resume_point_knows_other_events_than_before(void **state) {
    (void)state;
    check_resumed("7BC", "D", "l");
    check_resumed("7BC", "BD", "rl");
    check_resumed("7BC", "C", "l");
    check_resumed("7BC", "7C", "rl");
    struct resume_point point;
    begin(&point);
    assert_int_equal(take_event(&point, "7", true, "A"), RESUME_NEW);
    resume_point_begin(&point);
    assert_int_equal(take_event(&point, "7", true, "other"), RESUME_LOST);
    assert_null(resume_point_id(&point));
    resume_point_finish(&point);
}

static void resume_point_knows_an_upstream_that_begins_anew(void **state) {
    (void)state;
    check_resumed("12", "1", "l");
    check_resumed("X12", "X1", "rl");
    check_resumed("XYZ12", "XYZ1", "rrrl");
    check_resumed("XY12c", "XY1", "rrl");
    check_resumed("X12", "Z1", "nl");     /* it begins with another word each time */
    check_resumed("X1c", "X1c3", "rrrn"); /* the same as to go on from there */
}

static void resume_point_skips_a_greeting_that_comes_with_each_answer(void **state) {
    (void)state;
    check_resumed("X12", "X3", "rn");
    check_resumed("XY12", "XYcd3", "rrnnn");
    check_resumed("X12", "XX3", "rnn");
    check_resumed("X1B", "XBC", "rrn");
    check_resumed("X1B", "X1BC", "rrrn");
    check_resumed("XY1BC", "XYBCD", "rrrrn");
    check_resumed("X1B", "X2", "rn");
}

static void resume_point_takes_no_other_event_for_the_greeting(void **state) {
    (void)state;
    check_resumed("X12", "c3", "nn");
    check_resumed("X12", "cX3", "nnn");
    check_resumed("XY12", "Y3", "nn");
    check_resumed("X1Xc", "Xcd", "rrn");
    check_resumed("X1Xc", "XXcd", "rrrn");
    check_resumed("X1c", "cX", "rn");
}

static void resume_point_gives_up_where_nothing_can_tell(void **state) {
    (void)state;
    check_resumed("X1X2", "X", "l"); /* a greeting, or one of those that come between */
    check_resumed("X1X", "XX", "rl");
}

static void resume_point_skips_what_an_answer_doubles(void **state) {
    (void)state;
    check_resumed("12", "34343456", "nnrrrrnn"); /* begun to send live before it had sent what was kept */
    check_resumed("12", "234234", "rnnrrr");
    check_resumed("X12", "X343", "rnnr");
    check_resumed("12", "3c3c", "nnrl"); /* which of the events without an id came again, nothing can tell */
    struct resume_point point;
    begin(&point);
    check_each(&point, "1", "n");
    resume_point_begin(&point);
    check_each(&point, "2323", "nnrr");
    assert_string_equal(resume_point_id(&point), "3");
    resume_point_begin(&point);
    check_each(&point, "2343", "rrnr");
    resume_point_note_id(&point, "3", 1); /* a block without data came again, too */
    resume_point_begin(&point);
    check_each(&point, "45", "rn");
    resume_point_finish(&point);
}

static void resume_point_takes_no_new_event_for_a_doubled_one(void **state) {
    (void)state;
    struct resume_point point;
    begin(&point);
    assert_int_equal(take_event(&point, "1", true, "a"), RESUME_NEW);
    assert_int_equal(take_event(&point, "2", true, "a"), RESUME_NEW);
    resume_point_begin(&point);
    assert_int_equal(take_event(&point, "3", true, "a"), RESUME_NEW);
    assert_int_equal(take_event(&point, "4", true, "a"), RESUME_NEW);
    assert_int_equal(take_event(&point, "3", true, "b"), RESUME_NEW); /* its ids name no single event */
    assert_int_equal(take_event(&point, "5", true, "a"), RESUME_NEW);
    resume_point_finish(&point);
    begin(&point);
    check_each(&point, "1", "n");
    resume_point_begin(&point);
    for (unsigned i = 2; i < 3 * RESUME_RECENT_MAX; i++) { /* more than are remembered */
        char id[16];
        snprintf(id, sizeof(id), "%u", i);
        assert_int_equal(take(&point, id), RESUME_NEW);
        assert_int_equal(take(&point, id), RESUME_REPEATED);
    }
    resume_point_finish(&point);
}

static void resume_point_is_none_where_ids_name_several_events(void **state) {
    (void)state;
    struct resume_point point;
    begin(&point);
    assert_int_equal(take_event(&point, "1", true, "a"), RESUME_NEW);
    assert_string_equal(resume_point_id(&point), "1");
    assert_int_equal(take_event(&point, "1", true, "b"), RESUME_NEW);
    assert_null(resume_point_id(&point)); /* what else there was with this id, no server can be asked for */
    assert_int_equal(take_event(&point, "2", true, "c"), RESUME_NEW);
    assert_null(resume_point_id(&point));
    resume_point_finish(&point);
    begin(&point);
    check_each(&point, "1", "n");
    assert_int_equal(take_event(&point, "2", false, "a"), RESUME_NEW); /* a block without data brought it */
    assert_int_equal(take_event(&point, "2", true, "b"), RESUME_NEW);
    assert_string_equal(resume_point_id(&point), "2");
    assert_int_equal(take_event(&point, "2", true, "c"), RESUME_NEW);
    assert_null(resume_point_id(&point));
    resume_point_finish(&point);
}

/* ---- one id earlier --------------------------------------------------------------------------------------
 */

static void begin_overlapping(struct resume_point *point) {
    begin(point);
    point->overlaps = true;
}

static void check_overlapping(const char *before, const char *place, const char *after,
                              const char *verdicts) {
    struct resume_point point;
    begin_overlapping(&point);
    check_each(&point, before, &"nnnnnn"[6 - strlen(before)]);
    assert_string_equal(resume_point_id(&point), place);
    resume_point_begin(&point);
    check_each(&point, after, verdicts);
    resume_point_finish(&point);
}

static void resume_point_is_one_id_earlier_if_it_is_told_so(void **state) {
    (void)state;
    check_overlapping("123", "2", "34", "rn");
    check_overlapping("123", "2", "234", "rrn");
    check_overlapping("12", "1", "123", "rrn");
    check_overlapping("123", "2", "4", "l"); /* it did not go on where it was asked to */
    check_overlapping("123", "2", "3434", "rnrr");
    check_overlapping("1", "1", "2", "n");
    check_overlapping("12c", "2", "c3", "rn"); /* c belongs to 2, which is the place then */
    check_overlapping("X12", "2", "X3", "rn");
    check_overlapping("123", "2", "3c", "rn");
    check_overlapping("123", "2", "c", "l");
    struct resume_point point;
    begin_overlapping(&point);
    check_each(&point, "12", "nn");
    resume_point_note_id(&point, "5", 1); /* a block without data: what belongs to it is not known */
    assert_string_equal(resume_point_id(&point), "5");
    resume_point_finish(&point);
}

static void resume_point_one_id_earlier_takes_ids_of_several_events(void **state) {
    (void)state;
    struct resume_point point;
    begin_overlapping(&point);
    assert_int_equal(take_event(&point, "1", true, "a"), RESUME_NEW);
    assert_int_equal(take_event(&point, "2", true, "b"), RESUME_NEW);
    assert_int_equal(take_event(&point, "2", true, "c"), RESUME_NEW);
    assert_string_equal(resume_point_id(&point), "1");
    resume_point_begin(&point);
    assert_int_equal(take_event(&point, "2", true, "b"), RESUME_REPEATED);
    assert_true(resume_point_owes(&point));
    assert_int_equal(take_event(&point, "2", true, "c"), RESUME_REPEATED);
    assert_false(resume_point_owes(&point));
    assert_int_equal(take_event(&point, "2", true, "d"), RESUME_NEW);
    assert_int_equal(take_event(&point, "3", true, "e"), RESUME_NEW);
    assert_string_equal(resume_point_id(&point), "2");
    resume_point_begin(&point);
    assert_true(resume_point_owes(&point));
    assert_int_equal(take_event(&point, "3", true, "other"), RESUME_LOST);
    assert_null(resume_point_id(&point));
    resume_point_finish(&point);
}

static void resume_point_owes_nothing_otherwise(void **state) {
    (void)state;
    struct resume_point point;
    begin(&point);
    check_each(&point, "12", "nn");
    resume_point_begin(&point);
    assert_false(resume_point_owes(&point));
    resume_point_finish(&point);
    begin_overlapping(&point);
    check_each(&point, "1", "n");
    resume_point_begin(&point);
    assert_false(resume_point_owes(&point));
    resume_point_finish(&point);
}

/* ---- random streams ------------------------------------------------------------------------------------ */

static unsigned seed;

static unsigned draw(unsigned below) {
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % below;
}

enum { EVENTS = 40, SAME_MAX = 4 };

struct sent {
    char id[4]; /* "": none of its own */
    char data[8];
    bool is_bare; /* a block without data, which brings its id alone */
};

/* A stream, and how its server sends it. */
struct server {
    struct sent events[EVENTS];
    bool greets, is_inclusive;
    bool
        doubles; /* what it kept and what comes live overlap in a resumed answer: each event has an id then */
    size_t preface; /* events before the first id */
};

static void make_server(struct server *server, bool has_same_texts) {
    unsigned id = 0;
    *server = (struct server){.greets = draw(2) == 0, .is_inclusive = draw(2) == 0, .preface = draw(3)};
    server->doubles = draw(3) == 0;
    for (size_t i = 0; i < EVENTS; i++) {
        struct sent *event = &server->events[i];
        bool is_preface = i < server->preface;
        if (!is_preface && (i == server->preface || server->doubles || draw(2) == 0))
            snprintf(event->id, sizeof(event->id), "%u", ++id % 1000);
        event->is_bare = event->id[0] != '\0' && draw(6) == 0;
        /* what comes first comes never again: else nothing could tell it from a greeting */
        if (is_preface || !has_same_texts)
            snprintf(event->data, sizeof(event->data), "%c%zu", is_preface ? 'p' : 'e', i);
        else
            snprintf(event->data, sizeof(event->data), "s%u", draw(SAME_MAX));
    }
}

struct client {
    struct resume_point point;
    char heard[EVENTS + 8][8];
    size_t count;
    char last_id[4]; /* of the connection */
    bool is_bare;    /* a block without data brought it */
    bool is_lost;
};

static void hear(struct client *client, const struct sent *event) {
    if (event->id[0] != '\0') {
        memcpy(client->last_id, event->id, sizeof(client->last_id));
        client->is_bare = event->is_bare;
    }
    if (event->is_bare || client->is_lost)
        return;
    enum resume_verdict verdict =
        take_event(&client->point, client->last_id, event->id[0] != '\0', event->data);
    client->is_lost = verdict == RESUME_LOST;
    if (verdict == RESUME_NEW) {
        assert_true(client->count < EVENTS + 8);
        memcpy(client->heard[client->count++], event->data, sizeof(event->data));
    }
}

/* One connection that breaks off after some events. False: all were sent. */
static bool send_some(const struct server *server, struct client *client, bool is_first) {
    size_t from = 0, left = 1 + draw(6);
    const char *id = resume_point_id(&client->point);
    client->last_id[0] = '\0';
    client->is_bare = false;
    if (!is_first) {
        while (strcmp(server->events[from].id, id) != 0)
            from++;
        from += !server->is_inclusive;
        resume_point_begin(&client->point);
        for (size_t i = 0; i < server->preface && server->greets; i++)
            hear(client, &server->events[i]);
    }
    size_t live = from;
    for (; from < EVENTS && left > 0; from++, left--) {
        hear(client, &server->events[from]);
        if (!is_first && server->doubles && from >= live && draw(3) == 0) {
            size_t doubled = from + 1 - live;
            live = from + 1;
            from -= 1 + draw((unsigned)doubled);
        }
    }
    if (client->is_bare)
        resume_point_note_id(&client->point, client->last_id, strlen(client->last_id));
    return from < EVENTS;
}

static void check_random(unsigned number, bool has_same_texts, unsigned *ret_lost) {
    struct server server;
    struct client client = {.count = 0};
    seed = number;
    make_server(&server, has_same_texts);
    begin(&client.point);
    bool goes_on = send_some(&server, &client, true);
    for (int i = 0; goes_on && !client.is_lost && i < 200; i++) {
        if (resume_point_id(&client.point) == NULL)
            break; /* it broke off before the first id */
        goes_on = send_some(&server, &client, false);
    }
    size_t heard = 0;
    for (size_t i = 0; i < EVENTS && heard < client.count; i++) {
        if (server.events[i].is_bare)
            continue;
        if (strcmp(client.heard[heard++], server.events[i].data) != 0)
            fail_msg("stream %u: event %zu is %s, not %s", number, heard - 1, client.heard[heard - 1],
                     server.events[i].data);
    }
    assert_int_equal(heard, client.count);
    *ret_lost += client.is_lost;
    resume_point_finish(&client.point);
}

static void random_streams_lose_and_double_nothing(void **state) {
    (void)state;
    unsigned lost = 0, lost_of_same = 0;
    for (unsigned i = 0; i < 4000; i++) {
        check_random(i, false, &lost);
        check_random(i, true, &lost_of_same);
    }
    assert_int_equal(lost, 0);
    assert_int_equal(lost_of_same, 0);
}

/* A server whose ids are times: neighbours may share one. It sends what has a later id than it is asked for,
 * some of it twice. */
static void check_random_times(unsigned number) {
    unsigned times[EVENTS], time = 1, heard = 0;
    struct resume_point point;
    seed = number;
    begin_overlapping(&point);
    for (size_t i = 0; i < EVENTS; i++)
        times[i] = i == 0 ? 1 : (time += i == 1 || draw(3) != 0);
    for (int connection = 0; heard < EVENTS && connection < 200; connection++) {
        const char *place = connection > 0 ? resume_point_id(&point) : "0";
        assert_non_null(place);
        size_t from = 0, live, left = 1 + draw(16) + (connection == 0);
        while (times[from] <= (unsigned)atoi(place))
            from++;
        if (connection > 0)
            resume_point_begin(&point);
        /* what was sent before cannot come live once more */
        for (live = heard; from < EVENTS && left > 0; from++, left--) {
            char id[16], data[16];
            snprintf(id, sizeof(id), "%u", times[from]);
            snprintf(data, sizeof(data), "e%zu", from);
            enum resume_verdict verdict = take_event(&point, id, true, data);
            if (from > heard || verdict != (from == heard ? RESUME_NEW : RESUME_REPEATED))
                fail_msg("stream %u: event %zu after %u is %d", number, from, heard, (int)verdict);
            heard += from == heard;
            if (connection > 0 && from >= live && draw(4) == 0) {
                size_t doubled = from + 1 - live;
                live = from + 1;
                from -= 1 + draw((unsigned)doubled);
            }
        }
    }
    assert_int_equal(heard, EVENTS);
    resume_point_finish(&point);
}

static void random_times_as_ids_lose_and_double_nothing(void **state) {
    (void)state;
    for (unsigned i = 0; i < 4000; i++)
        check_random_times(i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resume_point_is_where_the_last_id_was),
        cmocka_unit_test(resume_point_moves_by_a_block_without_data),
        cmocka_unit_test(resume_point_skips_what_came_again_and_nothing_else),
        cmocka_unit_test(resume_point_knows_other_events_than_before),
        cmocka_unit_test(resume_point_knows_an_upstream_that_begins_anew),
        cmocka_unit_test(resume_point_skips_a_greeting_that_comes_with_each_answer),
        cmocka_unit_test(resume_point_takes_no_other_event_for_the_greeting),
        cmocka_unit_test(resume_point_gives_up_where_nothing_can_tell),
        cmocka_unit_test(resume_point_skips_what_an_answer_doubles),
        cmocka_unit_test(resume_point_takes_no_new_event_for_a_doubled_one),
        cmocka_unit_test(resume_point_is_none_where_ids_name_several_events),
        cmocka_unit_test(resume_point_is_one_id_earlier_if_it_is_told_so),
        cmocka_unit_test(resume_point_one_id_earlier_takes_ids_of_several_events),
        cmocka_unit_test(resume_point_owes_nothing_otherwise),
        cmocka_unit_test(random_times_as_ids_lose_and_double_nothing),
        cmocka_unit_test(random_streams_lose_and_double_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
