/* A token bucket.
 *
 * Filling computes from the time that has passed instead of by a timer, so an idle bucket costs nothing. The time that would fill the bucket is computed first: the parts of a longer time need not fit a
 * number.
 */
#include "base/token_bucket.h"

/* What there is, in parts. */
static int64_t parts_of(const struct token_bucket *bucket, const struct token_rate *rate) {
    return rate->burst * rate->per_ms - bucket->missing;
}

void token_bucket_fill(struct token_bucket *bucket, const struct token_rate *rate, int64_t now_ms) {
    if (rate->tokens == 0)
        return;
    int64_t passed_ms = now_ms - bucket->filled_mono_ms;
    bucket->missing -=
        passed_ms > bucket->missing / rate->tokens ? bucket->missing : passed_ms * rate->tokens;
    bucket->filled_mono_ms = now_ms;
}

bool token_bucket_has(const struct token_bucket *bucket, const struct token_rate *rate) {
    return rate->tokens == 0 || parts_of(bucket, rate) >= rate->per_ms;
}

void token_bucket_spend(struct token_bucket *bucket, const struct token_rate *rate) {
    if (rate->tokens > 0)
        bucket->missing += rate->per_ms;
}

void token_bucket_put_back(struct token_bucket *bucket, const struct token_rate *rate) {
    if (rate->tokens > 0)
        bucket->missing -= bucket->missing < rate->per_ms ? bucket->missing : rate->per_ms;
}

int64_t token_bucket_in_ms(const struct token_bucket *bucket, const struct token_rate *rate, uint64_t count) {
    if (rate->tokens == 0)
        return 0;
    int64_t missing = (int64_t)count * rate->per_ms - parts_of(bucket, rate);
    return missing <= 0 ? 0 : (missing - 1) / rate->tokens + 1;
}

uint64_t token_bucket_count(const struct token_bucket *bucket, const struct token_rate *rate) {
    return rate->tokens == 0 ? 0 : (uint64_t)(parts_of(bucket, rate) / rate->per_ms);
}

bool token_bucket_take(struct token_bucket *bucket, const struct token_rate *rate, int64_t now_ms) {
    token_bucket_fill(bucket, rate, now_ms);
    if (!token_bucket_has(bucket, rate))
        return false;
    token_bucket_spend(bucket, rate);
    return true;
}
