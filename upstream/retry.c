/* The delay before another attempt: exponential backoff with full jitter. See retry.h for the contract; which
 * failures are tried again is in the table of outcome.c.
 */
#include "upstream/retry.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t"

static int64_t min_ms(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The longest that the wait behind `attempt` may be. */
static int64_t backoff_ms(const struct retry_settings *settings, unsigned attempt) {
    int64_t longest_ms = min_ms(settings->base_ms, settings->max_ms);
    while (attempt-- > 1 && longest_ms > 0 && longest_ms < settings->max_ms)
        longest_ms += min_ms(longest_ms, settings->max_ms - longest_ms);
    return longest_ms;
}

int64_t retry_delay_ms(const struct retry_settings *settings, unsigned attempt, int64_t elapsed_ms,
                       int64_t retry_after_ms) {
    int64_t left_ms = settings->total_ms - elapsed_ms;
    if (attempt >= settings->attempts_max || left_ms <= 0 || retry_after_ms > left_ms)
        return -1;
    int64_t delay_ms = min_ms(random() % (backoff_ms(settings, attempt) + 1), left_ms);
    return delay_ms > retry_after_ms ? delay_ms : retry_after_ms;
}

static int64_t seconds_to_ms(const char *digits) {
    int64_t ms = 0;
    for (; isdigit((unsigned char)*digits); digits++)
        ms = min_ms(ms * 10 + (*digits - '0') * INT64_C(1000), RETRY_AFTER_MAX_MS);
    return digits[strspn(digits, BLANKS)] == '\0' ? ms : 0;
}

int64_t retry_after_parse(const char *value, int64_t now_unix_ms) {
    if (value == NULL)
        return 0;
    value += strspn(value, BLANKS);
    if (isdigit((unsigned char)*value))
        return seconds_to_ms(value);
    time_t date = curl_getdate(value, NULL); /* it reads all three forms that a date may have, and more */
    if (date < 0 || (int64_t)date <= now_unix_ms / 1000)
        return 0;
    return min_ms((int64_t)date - now_unix_ms / 1000, RETRY_AFTER_MAX_MS / 1000) * 1000 - now_unix_ms % 1000;
}
