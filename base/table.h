/* Hash tables: uthash, which no other file includes, with two changes.
 *
 * 1. The hash is seeded (base/hash.h). Most keys come from outside, and keys that are chosen to collide would
 * make each look-up as long as the table.
 * 2. Adding may fail. A function that adds has `bool out_of_memory = false` and checks it afterwards.
 *
 *     bool out_of_memory = false;
 *     HASH_ADD_STR(table->by_id, id, task);
 *     if (out_of_memory)
 *         ...; // it is not in the table
 */
#ifndef SLUICE_BASE_TABLE_H
#define SLUICE_BASE_TABLE_H

#include "base/hash.h"

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) (out_of_memory = true)
#define HASH_FUNCTION(bytes, length, hash) ((hash) = (unsigned)hash_seeded(bytes, length))

#include <uthash.h>

#endif
