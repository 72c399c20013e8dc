/* The key of a recording: a SHA-256 digest over parts, each with its length in front of it, so that no two
 * lists of parts look alike. See cache_key.h for what counts; the session never does.
 */
#include "upstream/cache_key.h"

#include "upstream/canonical_json.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* Grows when what an adapter makes of the same request, or of the same answer, is no longer what it was. */
#define ADAPTER_VERSION "1"

#define DIGEST_BYTES 32

/** Adds one part, so that no two lists of parts look alike: its length comes before it. */
static bool add_part(EVP_MD_CTX *digest, const char *text, size_t length) {
    char size[32];
    int digits = snprintf(size, sizeof(size), "%zu:", length);
    return EVP_DigestUpdate(digest, size, (size_t)digits) == 1 && EVP_DigestUpdate(digest, text, length) == 1;
}

static bool add_text(EVP_MD_CTX *digest, const char *text) {
    return add_part(digest, text, strlen(text));
}

/** The body in one form, or as it is if it is no JSON. False: out of memory. */
static bool add_body(EVP_MD_CTX *digest, const struct upstream_settings *settings, const char *body,
                     size_t length) {
    const struct canonical_json_ignored ignored = {.anywhere = settings->cache.ignore,
                                                   .outermost = settings->adapter->volatile_members};
    struct buffer canonical;
    buffer_init(&canonical, length); /* it is never longer */
    int result = canonical_json_append(&canonical, body, length, &ignored);
    bool done = false;
    if (result == 0)
        done = add_text(digest, "json") && add_part(digest, canonical.bytes, canonical.length);
    else if (result == -EINVAL)
        done = add_text(digest, "bytes") && add_part(digest, body, length);
    buffer_finish(&canonical);
    return done;
}

static bool add_all(EVP_MD_CTX *digest, const struct upstream_settings *settings,
                    const struct cache_key_parts *parts) {
    /* The address too: gateways with other agents under the same name may share one Redis. And what they show
     * to the agent, which may answer each of them as it is allowed to know. */
    const char *authorization = settings->authorization != NULL ? settings->authorization : "";
    const char *headers = settings->headers != NULL ? settings->headers : "";
    return EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 && add_text(digest, settings->name) &&
           add_text(digest, parts->url) && add_text(digest, authorization) && add_text(digest, headers) &&
           add_text(digest, settings->adapter->name) && add_text(digest, ADAPTER_VERSION) &&
           add_text(digest, parts->app) && add_text(digest, settings->cache.per_user ? "user" : "anyone") &&
           add_text(digest, settings->cache.per_user ? parts->user : "") &&
           add_body(digest, settings, parts->body, parts->length);
}

bool cache_key_make(const struct upstream_settings *settings, const struct cache_key_parts *parts,
                    char ret_key[CACHE_KEY_SIZE]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned count = 0;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool done = digest != NULL && add_all(digest, settings, parts) &&
                EVP_DigestFinal_ex(digest, bytes, &count) == 1 && count == DIGEST_BYTES;
    EVP_MD_CTX_free(digest);
    char *out = stpcpy(ret_key, CACHE_KEY_PREFIX);
    for (unsigned i = 0; i < count; i++, out += 2)
        snprintf(out, 3, "%02x", bytes[i]);
    return done;
}
