/* TLS to upstreams: the certificates of authorities are shared by all workers, so no connection may change
 * them. */
#include "tests/support/unit_certificate.h"
#include "tests/unit/passage_recorder.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct unit_certificate own, stranger;

static int give_password(char *out, int size, int is_writing, void *context) {
    (void)is_writing, (void)context;
    return snprintf(out, (size_t)size, "secret");
}

static SSL_CTX *make_context(const struct unit_certificate *from) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    BIO *bio = BIO_new_mem_buf(from->certificate, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    bio = BIO_new_mem_buf(from->locked_key, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, give_password, NULL);
    BIO_free(bio);
    SSL_CTX_use_certificate(context, certificate);
    SSL_CTX_use_PrivateKey(context, key);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return context;
}

static void serve_tls(struct raw_server *server, int fd, size_t connection) {
    (void)server, (void)connection;
    SSL_CTX *context = make_context(&stranger);
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, fd);
    char byte;
    if (SSL_accept(tls) == 1)
        (void)SSL_read(tls, &byte, 1);
    SSL_free(tls);
    SSL_CTX_free(context);
}

static struct ca_bundle *load(const struct unit_certificate *certificate, const char *path) {
    struct ca_bundle *bundle;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(certificate->certificate, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(ca_bundle_load(path, &bundle), 0);
    return bundle;
}

/* libcurl 7.88 fills the store of a connection after it has asked us to set it up: it added the directory
 * that the label names to the store that all workers use, at the same time on each of them, and without a
 * lock. The certificate in that directory must not count. */
static void tls_leaves_the_shared_authorities_as_they_are(void **state) {
    (void)state;
    char directory[] = "/tmp/sluice-tls-XXXXXX", file[64], hashed[64];
    struct fixture fixture;
    struct passage_recorder recorder;
    unit_certificate_make(&own);
    unit_certificate_make(&stranger);
    assert_non_null(mkdtemp(directory));
    snprintf(file, sizeof(file), "%s/ca.pem", directory);
    snprintf(hashed, sizeof(hashed), "%s/%08lx.0", directory, stranger.subject_hash);
    ca_bundle_unref(load(&stranger, hashed));
    struct ca_bundle *bundle = load(&own, file);
    snprintf(bundle->label, sizeof(bundle->label), "%s", directory);

    fixture_begin(&fixture, serve_tls);
    snprintf(fixture.base_url, sizeof(fixture.base_url), "https://127.0.0.1:%d", fixture.server.port);
    fixture.settings.ca = bundle;
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "GET", "/x", NULL);
    passage_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_CONNECT);
    assert_non_null(strstr(recorder.message, "self-signed certificate"));
    passage_end(&recorder);

    ca_bundle_unref(bundle);
    unlink(file);
    unlink(hashed);
    assert_int_equal(rmdir(directory), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_leaves_the_shared_authorities_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
