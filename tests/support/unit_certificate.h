/* Certificates for unit tests, made anew. */
#ifndef SLUICE_TESTS_SUPPORT_UNIT_CERTIFICATE_H
#define SLUICE_TESTS_SUPPORT_UNIT_CERTIFICATE_H

#include "tests/support/unit.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#define PEM_SIZE 4096

/** As PEM: a self-signed certificate of a name of its own, and its key, encrypted. */
struct unit_certificate {
    unsigned long subject_hash; /* which names its file in a directory of authorities */
    char certificate[PEM_SIZE];
    char locked_key[PEM_SIZE];
};

static inline void unit_certificate_read(BIO *bio, char out[PEM_SIZE]) {
    int length = BIO_read(bio, out, PEM_SIZE - 1);
    assert_true(length > 0);
    out[length] = '\0';
    BIO_free(bio);
}

static inline void unit_certificate_make(struct unit_certificate *ret) {
    static unsigned char password[] = "secret";
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    assert_non_null(key);
    assert_non_null(x509);
    static int count;
    char name[32];
    int name_length = snprintf(name, sizeof(name), "unit %d", ++count);
    X509_NAME *subject = X509_get_subject_name(x509);
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name,
                                                name_length, -1, 0),
                     1);
    assert_int_equal(X509_set_issuer_name(x509, subject), 1);
    ret->subject_hash = X509_NAME_hash_ex(subject, NULL, NULL, NULL);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    assert_int_equal(X509_set_pubkey(x509, key), 1);
    assert_true(X509_sign(x509, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, x509), 1);
    unit_certificate_read(bio, ret->certificate);
    bio = BIO_new(BIO_s_mem());
    int written =
        PEM_write_bio_PrivateKey(bio, key, EVP_aes_128_cbc(), password, sizeof(password) - 1, NULL, NULL);
    assert_int_equal(written, 1);
    unit_certificate_read(bio, ret->locked_key);
    X509_free(x509);
    EVP_PKEY_free(key);
}

#endif
