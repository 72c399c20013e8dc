/* Certificates of authorities that an upstream's certificate is checked against, in place of the system's.
 * Read from a file once, checked, and shared by all transfers, so that no file is read while the loops run.
 * Any thread. */
#ifndef SLUICE_UPSTREAM_CA_BUNDLE_H
#define SLUICE_UPSTREAM_CA_BUNDLE_H

#include "base/attributes.h"

#include <stdatomic.h>
#include <stddef.h>

#define CA_BUNDLE_BYTES_MAX (256 * 1024)

struct ca_bundle {
    atomic_uint references;
    size_t length;
    char pem[]; /* at least one certificate, and a NUL that does not count */
};

/** Reads a PEM file. The caller owns the reference in *ret_bundle. 0, or a negative errno: -EISDIR if it is
 * no regular file, -EFBIG above CA_BUNDLE_BYTES_MAX, -EBADMSG if there is no certificate in it, or one that
 * cannot be read. */
int ca_bundle_load(const char *path, struct ca_bundle **ret_bundle) MUST_CHECK;

/** Both take NULL. */
struct ca_bundle *ca_bundle_ref(struct ca_bundle *bundle);
void ca_bundle_unref(struct ca_bundle *bundle);

#endif
