/* The form in which a kind of upstream reports a failed run in its own stream. A stream without events of
 * the gateway reports a bad end in that form. */
#ifndef SLUICE_BASE_ERROR_FORM_H
#define SLUICE_BASE_ERROR_FORM_H

#include <stddef.h>

#define ERROR_FORM_MESSAGE "\1"
#define ERROR_FORM_CODE "\2"

struct error_form {
    const char *type; /* type of the event; "" is the default type */
    const char *data; /* JSON on one line, with ERROR_FORM_MESSAGE and ERROR_FORM_CODE within its strings */
};

/** Writes the data, NUL-terminated and cut at `size`; returns its length. Neither text may need an escape in
 * JSON. Any thread. */
size_t error_form_write(const struct error_form *form, const char *message, const char *code, char *out,
                        size_t size);

#endif
