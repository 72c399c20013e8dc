/* What every fuzz target includes: taking a fuzzer's input apart, and stopping when something is not as it
 * must be.
 *
 * A target reads a few bytes that steer it, and takes the rest as what is fuzzed:
 *
 *     struct fuzz_input input = {data, size};
 *     size_t limit = fuzz_take_byte(&input);
 *     char *text = fuzz_take_text(&input); // NUL-terminated, for the target to free
 */
#ifndef SLUICE_TESTS_FUZZ_H
#define SLUICE_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/** Stops the fuzzer, which keeps the input, unless `condition` holds. */
#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                   \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

struct fuzz_input {
    const uint8_t *bytes;
    size_t length;
};

/** The next byte; 0 when there is none. */
static inline uint8_t fuzz_take_byte(struct fuzz_input *input) {
    if (input->length == 0)
        return 0;
    input->length--;
    return *input->bytes++;
}

/** The next two bytes as a number. */
static inline uint32_t fuzz_take_pair(struct fuzz_input *input) {
    uint32_t high = fuzz_take_byte(input);
    return high << 8 | fuzz_take_byte(input);
}

/** A copy in memory of exactly that size, so that reading beyond its end is noticed. */
static inline char *fuzz_copy(const void *bytes, size_t length) {
    char *copy = malloc(length > 0 ? length : 1);
    REQUIRE(copy != NULL);
    if (length > 0)
        memcpy(copy, bytes, length);
    return copy;
}

/** All that is left, up to the first NUL, as a C string. */
static inline char *fuzz_take_text(struct fuzz_input *input) {
    char *text = malloc(input->length + 1);
    REQUIRE(text != NULL);
    if (input->length > 0)
        memcpy(text, input->bytes, input->length);
    text[input->length] = '\0';
    input->length = 0;
    return text;
}

/* ---- cutting a stream ---------------------------------------------------------------------------- */

/** How a stream is cut into feeds. */
struct fuzz_cuts {
    uint8_t mode;   /* 0: whole; 1: byte by byte; else pieces of at most `mode` bytes, empty ones too */
    uint32_t state; /* of the numbers that the pieces' lengths come from */
};

static inline struct fuzz_cuts fuzz_take_cuts(struct fuzz_input *input) {
    uint8_t mode = fuzz_take_byte(input);
    return (struct fuzz_cuts){mode, fuzz_take_byte(input)};
}

/** The length of the next piece of what is left. */
static inline size_t fuzz_next_cut(struct fuzz_cuts *cuts, size_t left) {
    if (cuts->mode == 0)
        return left;
    size_t length = 1;
    if (cuts->mode > 1) {
        cuts->state = cuts->state * 1103515245u + 12345u;
        length = (cuts->state >> 16) % (cuts->mode + 1u);
    }
    return length < left ? length : left;
}

#endif
