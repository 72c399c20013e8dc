/* Reading certificates of authorities: see ca_bundle.h.
 *
 * libcurl parses the bytes anew for each TLS connection, and fails that connection if it cannot. So they are
 * parsed here first: a file that is of no use is refused when the settings are read.
 */
#include "upstream/ca_bundle.h"

#include "base/buffer.h"
#include "base/refcount.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 0 or a negative errno. */
static int read_all(int file, struct buffer *out) {
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
static int read_file(const char *path, struct buffer *out) {
    struct stat status;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return -errno;
    int result = fstat(file, &status) < 0 ? -errno : !S_ISREG(status.st_mode) ? -EISDIR : 0;
    if (result == 0)
        result = read_all(file, out);
    close(file);
    return result;
}

/* Nobody is asked for the password of a key that stands in the file as well. */
static int give_no_password(char *out, int size, int is_writing, void *context) {
    (void)out, (void)size, (void)is_writing, (void)context;
    return -1;
}

/* Whether there is a certificate, and none that cannot be read. */
static bool holds_certificates(const struct buffer *pem) {
    size_t count = 0;
    X509 *certificate;
    BIO *bio = BIO_new_mem_buf(pem->length > 0 ? pem->bytes : "", (int)pem->length);
    if (bio == NULL)
        return false;
    ERR_clear_error();
    while ((certificate = PEM_read_bio_X509(bio, NULL, give_no_password, NULL)) != NULL) {
        X509_free(certificate);
        count++;
    }
    bool is_over = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    return count > 0 && is_over;
}

static struct ca_bundle *create(const struct buffer *pem) {
    struct ca_bundle *bundle = malloc(sizeof(*bundle) + pem->length + 1);
    if (bundle == NULL)
        return NULL;
    bundle->length = pem->length;
    atomic_init(&bundle->references, 1);
    memcpy(bundle->pem, pem->bytes, pem->length);
    bundle->pem[pem->length] = '\0';
    return bundle;
}

int ca_bundle_load(const char *path, struct ca_bundle **ret_bundle) {
    struct buffer pem;
    struct ca_bundle *bundle = NULL;
    buffer_init(&pem, CA_BUNDLE_BYTES_MAX);
    int result = read_file(path, &pem);
    if (result == 0 && !holds_certificates(&pem))
        result = -EBADMSG;
    if (result == 0 && (bundle = create(&pem)) == NULL)
        result = -ENOMEM;
    buffer_finish(&pem);
    if (result == 0)
        *ret_bundle = bundle;
    return result;
}

struct ca_bundle *ca_bundle_ref(struct ca_bundle *bundle) {
    if (bundle != NULL)
        refcount_add(&bundle->references);
    return bundle;
}

void ca_bundle_unref(struct ca_bundle *bundle) {
    if (bundle != NULL && refcount_drop(&bundle->references))
        free(bundle);
}
