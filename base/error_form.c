/* The form in which a kind of upstream reports that a run has failed.
 *
 * The form is the data of such an event with two marks in its strings, control characters that JSON cannot hold.
 * Writing copies the data and puts the message and the code in place of the marks.
 */
#include "base/error_form.h"

#include <stdbool.h>
#include <string.h>

size_t error_form_write(const struct error_form *form, const char *message, const char *code, char *out,
                        size_t size) {
    size_t length = 0;
    for (const char *at = form->data; *at != '\0'; at++) {
        bool is_message = *at == ERROR_FORM_MESSAGE[0];
        bool is_text = is_message || *at == ERROR_FORM_CODE[0];
        const char *part = is_message ? message : is_text ? code : at;
        size_t part_length = is_text ? strlen(part) : 1;
        if (length + part_length >= size)
            break;
        memcpy(out + length, part, part_length);
        length += part_length;
    }
    out[length] = '\0';
    return length;
}
