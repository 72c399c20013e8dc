/* Recordings as bytes, which come from a store that others write to: whatever is taken for one is what would
 * be written for it.
 *
 * input: bytes
 */
#include "tests/fuzz/fuzz.h"
#include "upstream/recording_code.h"

#define BYTES_MAX (64 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct recording *recording = NULL;
    struct upstream_outcome outcome;
    int64_t expires_unix_ms;
    char *bytes = fuzz_copy(data, size);
    int result = recording_decode(bytes, size, BYTES_MAX, &recording, &outcome, &expires_unix_ms);
    REQUIRE((result == 0) == (recording != NULL));
    if (recording != NULL) {
        struct buffer again;
        REQUIRE(recording_bytes(recording) <= BYTES_MAX);
        const struct upstream_result completed = {
            .end = UPSTREAM_COMPLETED, .message = "", .outcome = &outcome};
        recording_end(recording, &completed);
        buffer_init(&again, recording_code_bytes_max(recording_bytes(recording)));
        REQUIRE(recording_encode(recording, expires_unix_ms, &again));
        REQUIRE(again.length == size && memcmp(again.bytes, bytes, size) == 0);
        buffer_finish(&again);
    }
    recording_unref(recording);
    free(bytes);
    return 0;
}
