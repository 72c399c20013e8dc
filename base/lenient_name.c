/* Names as lenient readers compare them.
 *
 * Both names are read character by character: underscores are skipped, letters of ASCII and the few others that
 * fold to them are compared in lower case. All other characters count as equal, so the answer may be a needless
 * yes, never a wrong no.
 */
#include "base/lenient_name.h"

#include <stddef.h>
#include <string.h>

/* The characters that fold to letters of ASCII: by simple and full case folding (CaseFolding.txt, statuses C,
 * S, F and T), or by mapping to upper case and back. */
static const struct {
    const char *bytes; /* UTF-8 */
    const char *folded;
} others[] = {
    {"\xC5\xBF", "s"},       /* U+017F, long s */
    {"\xE2\x84\xAA", "k"},   /* U+212A, the sign for Kelvin */
    {"\xC3\x9F", "ss"},      /* U+00DF, sharp s */
    {"\xE1\xBA\x9E", "ss"},  /* U+1E9E, capital sharp s */
    {"\xC4\xB0", "i"},       /* U+0130, I with a dot */
    {"\xC4\xB1", "i"},       /* U+0131, i without one */
    {"i\xCC\x87", "i"},      /* what U+0130 is in full case folding: the i, and U+0307 */
    {"I\xCC\x87", "i"},      /* the same, not folded yet */
    {"\xEF\xAC\x80", "ff"},  /* U+FB00 to U+FB06, ligatures */
    {"\xEF\xAC\x81", "fi"},  /* U+FB01 */
    {"\xEF\xAC\x82", "fl"},  /* U+FB02 */
    {"\xEF\xAC\x83", "ffi"}, /* U+FB03 */
    {"\xEF\xAC\x84", "ffl"}, /* U+FB04 */
    {"\xEF\xAC\x85", "st"},  /* U+FB05 */
    {"\xEF\xAC\x86", "st"},  /* U+FB06 */
};

/* A name that is read letter by letter. */
struct reader {
    const char *at;
    const char *left; /* of the letters that the last character was folded to */
};

static bool is_continuation(char byte) {
    return ((unsigned char)byte & 0xC0) == 0x80;
}

/* The next letter, folded; 0x80 stands for all that are not of ASCII, 0 for the end. */
static unsigned next_letter(struct reader *reader) {
    if (*reader->left != '\0')
        return (unsigned char)*reader->left++;
    while (*reader->at == '_')
        reader->at++;
    const char *at = reader->at;
    bool may_be_other = (unsigned char)*at >= 0x80 || *at == 'i' || *at == 'I';
    for (size_t i = 0; may_be_other && i < sizeof(others) / sizeof(others[0]); i++) {
        size_t length = strlen(others[i].bytes);
        if (strncmp(at, others[i].bytes, length) != 0)
            continue;
        reader->at += length;
        reader->left = others[i].folded + 1;
        return (unsigned char)others[i].folded[0];
    }
    if (*at == '\0')
        return 0;
    reader->at++;
    if ((unsigned char)*at < 0x80)
        return *at >= 'A' && *at <= 'Z' ? (unsigned char)(*at - 'A' + 'a') : (unsigned char)*at;
    while (is_continuation(*reader->at))
        reader->at++;
    return 0x80;
}

bool lenient_name_is(const char *one, const char *other) {
    struct reader first = {one, ""}, second = {other, ""};
    unsigned letter;
    do {
        letter = next_letter(&first);
        if (letter != next_letter(&second))
            return false;
    } while (letter != 0);
    return true;
}
