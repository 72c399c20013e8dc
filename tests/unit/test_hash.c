/* base/hash and base/table: the seeded hash is SipHash-1-3, and a table does not follow keys that were made
 * to collide. */
#include "base/hash.h"

#include "base/table.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

/* What another implementation says, CPython's with PYTHONHASHSEED=0: the key is zero, the bytes are 0, 1, 2
 * and so on. This test comes before those that draw a seed. */
static void hash_seeded_is_siphash_1_3(void **state) {
    (void)state;
    static const struct {
        size_t length;
        uint64_t hash;
    } known[] = {{1, 0x68a914128e01e473},  {7, 0x2f098ab0c751325a},  {8, 0xead411e67ebe2eea},
                 {9, 0x75927f9d95124362},  {15, 0xf30eb725bb91c9ea}, {16, 0x8972188433a5c5b7},
                 {63, 0x385d3e39e5f37359}, {64, 0x75e05fd5bbc870c6}, {200, 0x7176378efd9e8a23}};
    unsigned char bytes[201];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        assert_true(hash_seeded(bytes, known[i].length) == known[i].hash);
        memmove(bytes + 1, bytes, 200); /* wherever they stand */
        assert_true(hash_seeded(bytes + 1, known[i].length) == known[i].hash);
        memmove(bytes, bytes + 1, 200);
    }
}

static void hash_seed_changes_every_hash(void **state) {
    (void)state;
    uint64_t before[64], first = hash_seeded("", 0);
    char key[16];
    for (size_t i = 0; i < 64; i++) {
        snprintf(key, sizeof(key), "%zu", i);
        before[i] = hash_seeded(key, strlen(key));
    }
    assert_true(hash_seed());
    assert_true(hash_seeded("", 0) != first);
    for (size_t i = 0; i < 64; i++) {
        snprintf(key, sizeof(key), "%zu", i);
        assert_true(hash_seeded(key, strlen(key)) != before[i]);
    }
}

struct entry {
    uint32_t key[6];
    UT_hash_handle hh;
};

/* Jenkins' hash, which uthash takes by default, adds three words to its state and then mixes it, which can be
 * undone: for each beginning there are three words that lead to the same state. */
static void make_colliding_key(uint32_t number, uint32_t key[6]) {
    unsigned a = 0x9e3779b9u + number, b = 0x9e3779b9u, c = 0xfeedbeefu;
    key[0] = number;
    key[1] = key[2] = 0;
    HASH_JEN_MIX(a, b, c);
    key[3] = 1 - a;
    key[4] = 2 - b;
    key[5] = 3 - c;
}

static void a_table_spreads_keys_that_collide_without_a_seed(void **state) {
    (void)state;
    enum { COUNT = 4096 };
    struct entry *entries = calloc(COUNT, sizeof(*entries)), *table = NULL;
    unsigned jenkins[2], longest = 0; /* the first one's, and this one's */
    bool out_of_memory = false;
    for (uint32_t i = 0; i < COUNT; i++) {
        make_colliding_key(i, entries[i].key);
        HASH_JEN(entries[i].key, sizeof(entries[i].key), jenkins[i > 0]);
        assert_int_equal(jenkins[i > 0], jenkins[0]); /* they do collide */
        HASH_ADD(hh, table, key, sizeof(entries[i].key), &entries[i]);
    }
    assert_false(out_of_memory);
    for (unsigned i = 0; i < table->hh.tbl->num_buckets; i++)
        longest = table->hh.tbl->buckets[i].count > longest ? table->hh.tbl->buckets[i].count : longest;
    assert_in_range(longest, 1, 32); /* all 4096, if they went by that hash */
    struct entry *found;
    HASH_FIND(hh, table, entries[COUNT - 1].key, sizeof(found->key), found);
    assert_ptr_equal(found, &entries[COUNT - 1]);
    HASH_CLEAR(hh, table);
    free(entries);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_seeded_is_siphash_1_3),
        cmocka_unit_test(hash_seed_changes_every_hash),
        cmocka_unit_test(a_table_spreads_keys_that_collide_without_a_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
