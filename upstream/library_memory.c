/* The memory that libcurl and OpenSSL take: see library_memory.h.
 *
 * A connection with TLS takes some 65 KB of both, and how much depends on the upstream: its certificates, its
 * headers. So nothing is estimated. The libraries free a block without its size, which the allocator knows.
 */
#include "upstream/library_memory.h"

#include "base/memory_budget.h"

#include <curl/curl.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static void *charge_block(void *block) {
    if (block != NULL)
        memory_charge(MEMORY_UPSTREAM_CONNECTIONS, malloc_usable_size(block));
    return block;
}

static void *take_block(size_t size) {
    return charge_block(malloc(size));
}

static void *take_zeroed(size_t count, size_t size) {
    return charge_block(calloc(count, size));
}

static void give_block(void *block) {
    if (block != NULL)
        memory_release(MEMORY_UPSTREAM_CONNECTIONS, malloc_usable_size(block));
    free(block);
}

static void *take_anew(void *block, size_t size) {
    size_t before = block != NULL ? malloc_usable_size(block) : 0;
    void *moved = realloc(block, size);
    if (moved != NULL && block != NULL)
        memory_release(MEMORY_UPSTREAM_CONNECTIONS, before);
    return charge_block(moved);
}

static char *take_copy(const char *text) {
    return charge_block(strdup(text));
}

/* ---- as OpenSSL wants them: a size of 0 is nothing -------------------------------------------------- */

static void *tls_take(size_t size, const char *file, int line) {
    (void)file, (void)line;
    return size > 0 ? take_block(size) : NULL;
}

static void tls_give(void *block, const char *file, int line) {
    (void)file, (void)line;
    give_block(block);
}

static void *tls_take_anew(void *block, size_t size, const char *file, int line) {
    (void)file, (void)line;
    if (size > 0)
        return take_anew(block, size);
    give_block(block);
    return NULL;
}

bool library_memory_begin(void) {
    return CRYPTO_set_mem_functions(tls_take, tls_take_anew, tls_give) == 1 &&
           curl_global_init_mem(CURL_GLOBAL_DEFAULT, take_block, give_block, take_anew, take_copy,
                                take_zeroed) == CURLE_OK;
}
