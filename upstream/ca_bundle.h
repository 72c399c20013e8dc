/* Certificates of authorities that an upstream's certificate is checked against: the system's, or those of a
 * file. Read once, when the settings are read, and shared by all connections: no connection reads or parses
 * them again. Any thread. */
#ifndef SLUICE_UPSTREAM_CA_BUNDLE_H
#define SLUICE_UPSTREAM_CA_BUNDLE_H

#include "base/attributes.h"

#include <openssl/x509.h>
#include <stdatomic.h>
#include <stddef.h>

#define CA_BUNDLE_BYTES_MAX (256 * 1024)

#define CA_BUNDLE_LABEL_SIZE 80

struct ca_bundle {
    atomic_uint references;
    X509_STORE *store;                /* parsed; each connection has a reference to it */
    char label[CA_BUNDLE_LABEL_SIZE]; /* the same for the same certificates alone */
};

/** Reads a PEM file. The caller owns the reference in *ret_bundle. 0, or a negative errno: -EISDIR if it is
 * no regular file, -EFBIG above CA_BUNDLE_BYTES_MAX, -EBADMSG if there is no certificate in it, or one that
 * cannot be read, -ENOTSUP if libcurl does not use OpenSSL. */
int ca_bundle_load(const char *path, struct ca_bundle **ret_bundle) MUST_CHECK;

/** Reads the file of the system's authorities. If there is none, or none in it, OpenSSL looks into the
 * system's directory when a certificate is checked. 0, -ENOMEM or -ENOTSUP. */
int ca_bundle_load_system(struct ca_bundle **ret_bundle) MUST_CHECK;

/** Both take NULL. */
struct ca_bundle *ca_bundle_ref(struct ca_bundle *bundle);
void ca_bundle_unref(struct ca_bundle *bundle);

#endif
