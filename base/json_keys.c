/* Finds members of JSON text by name.
 *
 * Nearly all of the text is passed in blocks: a block is looked at more closely only if it holds a quote with
 * one of the initials right after it, or with the backslash of an escape.
 */
#include "base/json_keys.h"

#include "base/json_members.h"

#include <assert.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#define BLOCK 16
#endif

/* The same for a name in which an escape comes first where it is not as the key is. */
static __attribute__((noinline)) size_t escaped_length(const struct json_key *key, const char *name,
                                                       size_t left) {
    size_t most = strlen("\\uXXXX") * key->length;
    const char *quote = memchr(name, '"', left <= most ? left : most + 1);
    size_t size = quote != NULL ? (size_t)(quote - name) : 0;
    return json_string_is(name, size, key->text) ? size : 0;
}

/* The bytes that the key takes as it is written here, up to its quote; 0: it is another name. Nearly all
 * names are told apart by two of their bytes. */
static size_t written_length(const struct json_key *key, const char *name, size_t left) {
    size_t size = key->length, same = 0;
    if (left > size && name[size] == '"' && name[size - 1] == key->text[size - 1] &&
        memcmp(name, key->text, size) == 0)
        return size;
    while (same < size && same < left && name[same] == key->text[same])
        same++;
    return same < left && name[same] == '\\' ? escaped_length(key, name, left) : 0;
}

/* The index of the name that stands after the quote at data[at], if it is a member's; then *at is its value.
 */
static size_t match_key(const struct json_keys *keys, const char *data, size_t length, size_t *at) {
    const char *name = data + *at + 1;
    size_t left = length - *at - 1;
    for (size_t i = 0; i < JSON_KEYS_MAX && keys->names[i].text != NULL; i++) {
        if (name[0] != keys->names[i].text[0] && name[0] != '\\')
            continue;
        size_t size = written_length(&keys->names[i], name, left);
        if (size == 0)
            continue;
        size_t colon = json_skip_blanks(data, length, *at + 1 + size + 1);
        if (colon >= length || data[colon] != ':')
            return JSON_KEYS_NONE;
        *at = json_skip_blanks(data, length, colon + 1);
        return i;
    }
    return JSON_KEYS_NONE;
}

#ifdef __SSE2__

/* One bit for each place in a block where a quote stands before one of the initials, or before an escape. */
static inline unsigned places_of(const struct json_keys *keys, const char *block) {
    __m128i here = _mm_loadu_si128((const __m128i *)(const void *)block);
    __m128i after = _mm_loadu_si128((const __m128i *)(const void *)(block + 1));
    const __m128i *initials = (const __m128i *)(const void *)keys->initials;
    static_assert(JSON_INITIALS == 5, "all of them are looked for");
    __m128i hit = _mm_cmpeq_epi8(after, _mm_loadu_si128(&initials[0]));
    hit = _mm_or_si128(hit, _mm_cmpeq_epi8(after, _mm_loadu_si128(&initials[1])));
    hit = _mm_or_si128(hit, _mm_cmpeq_epi8(after, _mm_loadu_si128(&initials[2])));
    hit = _mm_or_si128(hit, _mm_cmpeq_epi8(after, _mm_loadu_si128(&initials[3])));
    hit = _mm_or_si128(hit, _mm_cmpeq_epi8(after, _mm_loadu_si128(&initials[4])));
    hit = _mm_or_si128(hit, _mm_cmpeq_epi8(after, _mm_set1_epi8('\\')));
    return (unsigned)_mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(here, _mm_set1_epi8('"')), hit));
}

/* Reads block by block; the last one overlaps the one before it. `length` is more than a block. */
static size_t next_in_blocks(const struct json_keys *keys, const char *data, size_t length, size_t *at) {
    size_t last = length - BLOCK - 1;
    for (size_t next = *at; next + 1 < length;) {
        size_t block = next <= last ? next : last;
        unsigned places = places_of(keys, data + block);
        if (places != 0)
            places &= ~0u << (next - block);
        for (; places != 0; places &= places - 1) {
            *at = block + (size_t)__builtin_ctz(places);
            size_t key = match_key(keys, data, length, at);
            if (key != JSON_KEYS_NONE)
                return key;
        }
        next = block + BLOCK;
    }
    return JSON_KEYS_NONE;
}

#endif

static bool is_initial(const struct json_keys *keys, char byte) {
    for (size_t i = 0; i < JSON_INITIALS; i++) {
        if (keys->initials[i][0] == byte)
            return true;
    }
    return byte == '\\';
}

static size_t next_by_bytes(const struct json_keys *keys, const char *data, size_t length, size_t *at) {
    for (size_t next = *at; next + 1 < length; next++) {
        if (data[next] != '"' || !is_initial(keys, data[next + 1]))
            continue;
        *at = next;
        size_t key = match_key(keys, data, length, at);
        if (key != JSON_KEYS_NONE)
            return key;
    }
    return JSON_KEYS_NONE;
}

size_t json_keys_next(const struct json_keys *keys, const char *data, size_t length, size_t *at) {
#ifdef __SSE2__
    if (length > BLOCK)
        return next_in_blocks(keys, data, length, at);
#endif
    return next_by_bytes(keys, data, length, at);
}
