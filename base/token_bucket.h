/* A token bucket: a limit on things in a time, and on things at once after a pause.
 *
 *     static const struct token_rate rate = {.tokens = 20, .per_ms = 1000, .burst = 20};
 *     struct token_bucket bucket = {0};                      // full
 *     if (!token_bucket_take(&bucket, &rate, clock_mono_ms()))
 *         ...; // too many: the next token comes in token_bucket_in_ms()
 *
 * Nothing is rounded: a bucket counts in parts. A token has `per_ms` parts, and each millisecond brings
 * `tokens` parts. The bucket counts its missing parts, so that a bucket of zeros is full at any rate.
 *
 * A bucket has no lock: its owner calls on one thread, or under the owner's lock. `now_ms` is a time of the
 * monotonic clock.
 */
#ifndef SLUICE_BASE_TOKEN_BUCKET_H
#define SLUICE_BASE_TOKEN_BUCKET_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stdint.h>

/** `tokens` come in `per_ms` milliseconds, and the bucket holds at most `burst`. 0 tokens disable the limit.
 * The product of `per_ms` and `burst` fits 63 bits; so does that of `per_ms` and a count given to a
 * function. */
struct token_rate {
    int64_t tokens;
    int64_t per_ms; /* above 0 */
    int64_t burst;  /* above 0 */
};

/** All zeros: a full bucket. */
struct token_bucket {
    int64_t missing; /* parts */
    int64_t filled_mono_ms;
};

/** Adds the tokens for the time since the last call. The functions below use the state of the last fill. */
void token_bucket_fill(struct token_bucket *bucket, const struct token_rate *rate, int64_t now_ms);

/** Returns whether there is a token. */
bool token_bucket_has(const struct token_bucket *bucket, const struct token_rate *rate) MUST_CHECK;

/** Takes a token, which must be there. */
void token_bucket_spend(struct token_bucket *bucket, const struct token_rate *rate);

/** Returns an unused token to the bucket. A full bucket stays full. */
void token_bucket_put_back(struct token_bucket *bucket, const struct token_rate *rate);

/** Returns the milliseconds until there are `count` tokens. 0: the tokens are there, or there is no limit. */
int64_t token_bucket_in_ms(const struct token_bucket *bucket, const struct token_rate *rate,
                           uint64_t count) MUST_CHECK;

/** Returns the number of whole tokens; 0 also if there is no limit. */
uint64_t token_bucket_count(const struct token_bucket *bucket, const struct token_rate *rate) MUST_CHECK;

/** Fills the bucket and takes a token. False: there is none, and nothing was taken. */
bool token_bucket_take(struct token_bucket *bucket, const struct token_rate *rate, int64_t now_ms) MUST_CHECK;

#endif
