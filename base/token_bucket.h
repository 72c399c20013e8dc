/* A token bucket: so many things in a time, and so many at once after a pause.
 *
 *     static const struct token_rate rate = {.tokens = 20, .per_ms = 1000, .burst = 20};
 *     struct token_bucket bucket = {0};                      // full
 *     if (!token_bucket_take(&bucket, &rate, clock_mono_ms()))
 *         ...; // too many: the next token comes in token_bucket_in_ms()
 *
 * Nothing is rounded: a bucket counts in parts, of which `per_ms` are a token, and each millisecond brings `tokens`
 * parts. It counts the parts that are missing, so that a bucket of zeros is full, whatever its rate is.
 *
 * A bucket has no lock: its owner calls on one thread, or under a lock of its own. `now_ms` is of the monotonic
 * clock.
 */
#ifndef SLUICE_BASE_TOKEN_BUCKET_H
#define SLUICE_BASE_TOKEN_BUCKET_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stdint.h>

/** `tokens` come in `per_ms` milliseconds; `burst` fit the bucket. With 0 tokens there is no limit. Products of
 * `burst`, or of a count that is asked about, and `per_ms` fit 63 bits. */
struct token_rate {
    int64_t tokens;
    int64_t per_ms; /* above 0 */
    int64_t burst;  /* above 0 */
};

/** All zeros: full. */
struct token_bucket {
    int64_t missing; /* parts */
    int64_t filled_mono_ms;
};

/** Adds what the time since the last call has brought. The functions below look at what is there after that. */
void token_bucket_fill(struct token_bucket *bucket, const struct token_rate *rate, int64_t now_ms);

/** Whether there is a token. */
bool token_bucket_has(const struct token_bucket *bucket, const struct token_rate *rate) MUST_CHECK;

/** Takes the token that there is. */
void token_bucket_spend(struct token_bucket *bucket, const struct token_rate *rate);

/** Puts a token back that was not used. A full bucket stays full. */
void token_bucket_put_back(struct token_bucket *bucket, const struct token_rate *rate);

/** The milliseconds until there are `count` tokens; 0: they are there, or there is no limit. */
int64_t token_bucket_in_ms(const struct token_bucket *bucket, const struct token_rate *rate,
                           uint64_t count) MUST_CHECK;

/** The whole tokens that there are; 0 also if there is no limit. */
uint64_t token_bucket_count(const struct token_bucket *bucket, const struct token_rate *rate) MUST_CHECK;

/** Fills the bucket and takes a token. False: there is none, and nothing was taken. */
bool token_bucket_take(struct token_bucket *bucket, const struct token_rate *rate, int64_t now_ms) MUST_CHECK;

#endif
