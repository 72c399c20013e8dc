/* Reading certificates of authorities: see ca_bundle.h.
 *
 * libcurl parses a file anew for each TLS connection, which takes 25 ms and 1.3 MB for the system's. It keeps
 * what it has parsed only for one path in each multi handle, for a day, whatever a reload changes in the
 * file. So the certificates are parsed here, and a file that is of no use is refused when the settings are
 * read.
 */
#include "upstream/ca_bundle.h"

#include "base/buffer.h"
#include "base/refcount.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the system's file: some distributions' hold comments, and are larger than what a person writes. */
#define SYSTEM_BYTES_MAX (4 * 1024 * 1024)

/* 0 or a negative errno. */
static int read_whole_bundle(int file, struct buffer *out) {
    char chunk[16384];
    ssize_t count;

    while ((count = read(file, chunk, sizeof(chunk))) != 0) {
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (!buffer_append(out, chunk, (size_t)count))
            return out->length + (size_t)count > out->bytes_max ? -EFBIG : -ENOMEM;
    }
    return 0;
}

/* O_NONBLOCK: a FIFO would keep the process from starting until somebody writes to it. */
static int read_bundle_file(const char *path, struct buffer *out) {
    struct stat status;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return -errno;
    int result = fstat(file, &status) < 0 ? -errno : !S_ISREG(status.st_mode) ? -EISDIR : 0;
    if (result == 0)
        result = read_whole_bundle(file, out);
    close(file);
    return result;
}

/* Nobody is asked for the password of a key that stands in the file as well. */
static int give_no_password(char *out, int size, int is_writing, void *context) {
    (void)out, (void)size, (void)is_writing, (void)context;
    return -1;
}

/* Adds the certificates. Whether there is one, and none that cannot be read or kept. */
static bool add_certificates(X509_STORE *store, const struct buffer *pem) {
    size_t count = 0;
    X509 *certificate;
    BIO *bio = BIO_new_mem_buf(pem->length > 0 ? pem->bytes : "", (int)pem->length);
    if (bio == NULL)
        return false;
    ERR_clear_error();
    while ((certificate = PEM_read_bio_X509(bio, NULL, give_no_password, NULL)) != NULL) {
        /* What OpenSSL reads of it only when it is needed is read now: threads that share it find nothing to
         * write. */
        X509_check_purpose(certificate, -1, 0);
        bool is_added = X509_STORE_add_cert(store, certificate) == 1;
        X509_free(certificate);
        if (!is_added)
            break;
        count++;
    }
    bool is_over = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    return count > 0 && is_over;
}

/* As libcurl sets up its own: an intermediate authority may be trusted without its root. */
static X509_STORE *create_store(void) {
    X509_STORE *store = X509_STORE_new();
    if (store != NULL)
        X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
    return store;
}

static bool write_label(const struct buffer *pem, char *out) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_Digest(pem->length > 0 ? pem->bytes : "", pem->length, digest, &size, EVP_sha256(), NULL) != 1)
        return false;
    int length = snprintf(out, CA_BUNDLE_LABEL_SIZE, "/sha256/");
    for (unsigned i = 0; i < size; i++)
        length += snprintf(out + length, CA_BUNDLE_LABEL_SIZE - (size_t)length, "%02x", digest[i]);
    return true;
}

static struct ca_bundle *create(const struct buffer *pem) {
    struct ca_bundle *bundle = calloc(1, sizeof(*bundle));
    if (bundle == NULL)
        return NULL;
    atomic_init(&bundle->references, 1);
    bundle->store = create_store();
    if (bundle->store == NULL || !write_label(pem, bundle->label)) {
        ca_bundle_unref(bundle);
        return NULL;
    }
    return bundle;
}

/* A libcurl with another library cannot be handed the certificates. */
static bool libcurl_has_openssl(void) {
    static const char name[] = "OpenSSL/";
    const char *version = curl_version_info(CURLVERSION_NOW)->ssl_version;
    return version != NULL && strncmp(version, name, strlen(name)) == 0;
}

int ca_bundle_load(const char *path, struct ca_bundle **ret_bundle) {
    struct buffer pem;
    struct ca_bundle *bundle = NULL;
    buffer_init(&pem, CA_BUNDLE_BYTES_MAX);
    int result = libcurl_has_openssl() ? read_bundle_file(path, &pem) : -ENOTSUP;
    if (result == 0 && (bundle = create(&pem)) == NULL)
        result = -ENOMEM;
    if (result == 0 && !add_certificates(bundle->store, &pem))
        result = -EBADMSG;
    buffer_finish(&pem);
    if (result == 0)
        *ret_bundle = bundle;
    else
        ca_bundle_unref(bundle);
    return result;
}

int ca_bundle_load_system(struct ca_bundle **ret_bundle) {
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    struct buffer pem;
    if (!libcurl_has_openssl())
        return -ENOTSUP;
    buffer_init(&pem, SYSTEM_BYTES_MAX);
    int result = curl->cainfo != NULL ? read_bundle_file(curl->cainfo, &pem) : -ENOENT;
    struct ca_bundle *bundle = result != -ENOMEM ? create(&pem) : NULL;
    bool is_read = bundle != NULL && result == 0 && add_certificates(bundle->store, &pem);
    buffer_finish(&pem);
    if (bundle == NULL)
        return -ENOMEM;
    if (!is_read && curl->capath != NULL && X509_STORE_load_path(bundle->store, curl->capath) != 1)
        ERR_clear_error();
    *ret_bundle = bundle;
    return 0;
}

struct ca_bundle *ca_bundle_ref(struct ca_bundle *bundle) {
    if (bundle != NULL)
        refcount_add(&bundle->references);
    return bundle;
}

void ca_bundle_unref(struct ca_bundle *bundle) {
    if (bundle == NULL || !refcount_drop(&bundle->references))
        return;
    X509_STORE_free(bundle->store);
    free(bundle);
}
