/* routes/identity: no spelling of the three names gets past, and no other name is taken for one. */
#include "routes/identity.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

/* What JSON text says as a name. */
static enum identity identity_of_json(const char *escaped) {
    char text[256];
    snprintf(text, sizeof(text), "{\"%s\":1}", escaped);
    cJSON *object = cJSON_Parse(text);
    assert_non_null(object);
    enum identity identity = identity_of_name(object->child->string);
    assert_true((identity_find(object, NULL) != NULL) == (identity != IDENTITY_NONE));
    cJSON_Delete(object);
    return identity;
}

static void identity_is_seen_in_every_spelling(void **state) {
    (void)state;
    static const char *const apps[] = {"appName",         "app_name",      "APPNAME",   "App_Name",
                                       "_a_p_p_N_a_m_e_", "\\u0061ppName", "APP__NAME", "appname"};
    for (size_t i = 0; i < sizeof(apps) / sizeof(apps[0]); i++)
        assert_int_equal(identity_of_json(apps[i]), IDENTITY_APP);
    static const char *const users[] = {"userId",        "user_id",       "USERID",        "userID",
                                        "UserId",        "u_s_e_r_i_d",   "uſerId",        "u\\u017ferId",
                                        "U\\u017FER_ID", "user\\u0049d",  "user\\u0130d",  "user\\u0131d",
                                        "userİd",        "userıd",        "\\u0075serId",  "user\\u005fid",
                                        "___userId___",  "useri\\u0307d", "userI\\u0307D", "USER_İD"};
    for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++)
        assert_int_equal(identity_of_json(users[i]), IDENTITY_USER);
    static const char *const sessions[] = {"sessionId",       "session_id", "SESSIONID", "ſeſſionId",
                                           "\\u017fessionId", "seßionId",   "SEẞIONID",  "se\\u00dfion_id",
                                           "se\\u1e9eionid",  "seſsionId",  "sesſionId", "s_e_s_s_i_o_n_i_d",
                                           "sessıonıd",       "sessİonİd"};
    for (size_t i = 0; i < sizeof(sessions) / sizeof(sessions[0]); i++)
        assert_int_equal(identity_of_json(sessions[i]), IDENTITY_SESSION);
}

static void identity_is_not_seen_in_other_names(void **state) {
    (void)state;
    static const char *const others[] = {"",
                                         "_",
                                         "____",
                                         "user",
                                         "userIds",
                                         "userIdx",
                                         "xuserId",
                                         "user-id",
                                         "user id",
                                         "userId ",
                                         " userId",
                                         "use",
                                         "usér_id",
                                         "session",
                                         "sessionIdd",
                                         "seßsionId",
                                         "sßeionId",
                                         "app",
                                         "appNames",
                                         "аppName" /* Cyrillic a */,
                                         "newMessage",
                                         "message",
                                         "userid\\u0301",
                                         "userid\\u0307",
                                         "ßuserid",
                                         "us\\u0307erid",
                                         "user\\ud83d\\ude00Id",
                                         "\\u212a",
                                         "streaming",
                                         "stateDelta",
                                         "name",
                                         "id",
                                         "sessio",
                                         "sesionid",
                                         "appnam\\u00e9"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(identity_of_json(others[i]), IDENTITY_NONE);
}

/* Each code point in the place of each letter: what is taken is what is folded to it, and nothing else. */
static void identity_takes_no_other_character_for_a_letter(void **state) {
    (void)state;
    for (unsigned long code = 1; code <= 0x10FFFF; code++) {
        if (code >= 0xD800 && code <= 0xDFFF)
            continue;
        char name[16] = "user";
        unsigned char *out = (unsigned char *)name + 4;
        if (code < 0x80) {
            *out++ = (unsigned char)code;
        } else if (code < 0x800) {
            *out++ = (unsigned char)(0xC0 | code >> 6);
            *out++ = (unsigned char)(0x80 | (code & 0x3F));
        } else if (code < 0x10000) {
            *out++ = (unsigned char)(0xE0 | code >> 12);
            *out++ = (unsigned char)(0x80 | (code >> 6 & 0x3F));
            *out++ = (unsigned char)(0x80 | (code & 0x3F));
        } else {
            *out++ = (unsigned char)(0xF0 | code >> 18);
            *out++ = (unsigned char)(0x80 | (code >> 12 & 0x3F));
            *out++ = (unsigned char)(0x80 | (code >> 6 & 0x3F));
            *out++ = (unsigned char)(0x80 | (code & 0x3F));
        }
        *out++ = 'd';
        *out = '\0';
        bool is_i = code == 'i' || code == 'I' || code == 0x130 || code == 0x131;
        assert_int_equal(identity_of_name(name), is_i ? IDENTITY_USER : IDENTITY_NONE);
        memmove(name + 1, name + 4, strlen(name + 4) + 1); /* "u" and the character, then "erId" */
        name[strlen(name) - 1] = '\0';
        strcat(name, "erId");
        bool is_s = code == 's' || code == 'S' || code == 0x17F;
        assert_int_equal(identity_of_name(name), is_s ? IDENTITY_USER : IDENTITY_NONE);
    }
}

static void identity_of_an_object_is_looked_for_outermost_alone(void **state) {
    (void)state;
    cJSON *object = cJSON_Parse("{\"a\":{\"userId\":1},\"b\":[{\"USERID\":1}],\"user_id\":2,\"appName\":3}");
    static const char *const users[] = {"user_id", NULL}, *const both[] = {"appName", "user_id", NULL},
                             *const others[] = {"userId", "appName", NULL};
    assert_string_equal(identity_find(object, NULL), "user_id");
    assert_string_equal(identity_find(object, users), "appName");
    assert_null(identity_find(object, both));
    assert_string_equal(identity_find(object, others), "user_id");
    assert_null(identity_find(NULL, NULL));
    cJSON_Delete(object);
}

static void identity_in_a_query_is_seen_however_it_is_encoded(void **state) {
    (void)state;
    static const char *const with[] = {
        "userId=v",       "userId",           "a=b&USER_ID=v", "&&user%49d=",  "u%C5%BFerId=v",
        "x&app_name=1",   "sessionId&x",      "u_%73erId=1",   "a=b;userId=v", "userId[]=v",
        "[userId]=v",     "%5BuserId%5D=v",   "[userId][]",    "x[user_id]=v", "x.userId=v",
        "!userId=v",      "user.id=v",        "user+id=v",     "user-id=v",    "+userId=v",
        "%20user%20id=v", "a[b].u%C5%BFerId", "user[id=v",     "user%5BId=v",  "user]id=v",
        "app[Name",       "user%3Aid",        "[session]id=v"};
    for (size_t i = 0; i < sizeof(with) / sizeof(with[0]); i++)
        assert_int_equal(identity_is_in_query(with[i]), 1);
    static const char *const without[] = {
        "",          "&",           "a=userId",     "user=1",     "userIds=1", "a=b&c=%75serId",
        "%zz=1",     "%ff=1",       "x=1;y=userId", "[]",         "[user]=1",  "user[name]=1",
        "userId2=1", "x.userIds=1", "!=1",          "user/name=1"};
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
        assert_int_equal(identity_is_in_query(without[i]), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_is_seen_in_every_spelling),
        cmocka_unit_test(identity_is_not_seen_in_other_names),
        cmocka_unit_test(identity_takes_no_other_character_for_a_letter),
        cmocka_unit_test(identity_of_an_object_is_looked_for_outermost_alone),
        cmocka_unit_test(identity_in_a_query_is_seen_however_it_is_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
