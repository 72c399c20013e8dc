/* UTF-8 decoding by the letter: Encoding standard, "UTF-8 decoder", step by step, slow and easy to check. It
 * shares nothing with base/utf8.c. */
#ifndef SLUICE_TESTS_UTF8_REFERENCE_H
#define SLUICE_TESTS_UTF8_REFERENCE_H

#include "tests/fuzz/fuzz.h"

/** The decoded text, encoded again. */
struct utf8_reference {
    char *bytes; /* malloc'd */
    size_t length;
    size_t replaced; /* errors, each of which became U+FFFD */
};

/** Encoding standard, "UTF-8 encoder". */
static inline void utf8_reference_put(struct utf8_reference *out, uint32_t code_point) {
    char *bytes = out->bytes;
    if (code_point < 0x80) {
        bytes[out->length++] = (char)code_point;
        return;
    }
    unsigned count = code_point < 0x800 ? 1 : code_point < 0x10000 ? 2 : 3;
    unsigned offset = count == 1 ? 0xC0 : count == 2 ? 0xE0 : 0xF0;
    bytes[out->length++] = (char)(uint8_t)((code_point >> (6 * count)) + offset);
    for (; count > 0; count--)
        bytes[out->length++] = (char)(uint8_t)(0x80 | ((code_point >> (6 * (count - 1))) & 0x3F));
}

/** The standard's names: UTF-8 code point, bytes seen, bytes needed, lower and upper boundary. */
struct utf8_decoder {
    uint32_t code_point;
    unsigned seen, needed;
    uint8_t lower, upper;
};

static inline struct utf8_decoder utf8_decoder_reset(void) {
    return (struct utf8_decoder){.lower = 0x80, .upper = 0xBF};
}

static inline void utf8_reference_fail(struct utf8_reference *out) {
    utf8_reference_put(out, 0xFFFD);
    out->replaced++;
}

/** A byte while none is needed: steps 3 of the handler. */
static inline void utf8_decoder_begin(struct utf8_decoder *decoder, uint8_t byte,
                                      struct utf8_reference *out) {
    if (byte <= 0x7F) {
        utf8_reference_put(out, byte);
    } else if (byte >= 0xC2 && byte <= 0xDF) {
        decoder->needed = 1;
        decoder->code_point = byte & 0x1F;
    } else if (byte >= 0xE0 && byte <= 0xEF) {
        if (byte == 0xE0)
            decoder->lower = 0xA0;
        if (byte == 0xED)
            decoder->upper = 0x9F;
        decoder->needed = 2;
        decoder->code_point = byte & 0xF;
    } else if (byte >= 0xF0 && byte <= 0xF4) {
        if (byte == 0xF0)
            decoder->lower = 0x90;
        if (byte == 0xF4)
            decoder->upper = 0x8F;
        decoder->needed = 3;
        decoder->code_point = byte & 0x7;
    } else {
        utf8_reference_fail(out);
    }
}

/** "UTF-8 decode without BOM". The caller frees the result's bytes. */
static inline struct utf8_reference utf8_reference_decode(const char *bytes, size_t length) {
    struct utf8_reference out = {.bytes = malloc(3 * length + 1)};
    struct utf8_decoder decoder = utf8_decoder_reset();
    REQUIRE(out.bytes != NULL);
    for (size_t i = 0; i < length;) {
        uint8_t byte = (uint8_t)bytes[i];
        if (decoder.needed == 0) {
            utf8_decoder_begin(&decoder, byte, &out);
            i++;
        } else if (byte < decoder.lower || byte > decoder.upper) {
            decoder = utf8_decoder_reset(); /* "restore byte to ioQueue, and return error" */
            utf8_reference_fail(&out);
        } else {
            decoder.lower = 0x80;
            decoder.upper = 0xBF;
            decoder.code_point = decoder.code_point << 6 | (byte & 0x3F);
            i++;
            if (++decoder.seen == decoder.needed) {
                utf8_reference_put(&out, decoder.code_point);
                decoder = utf8_decoder_reset();
            }
        }
    }
    if (decoder.needed != 0)
        utf8_reference_fail(&out);
    return out;
}

#endif
