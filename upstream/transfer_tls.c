/* What a connection that is about to begin TLS is told of certificates and of the costs of a handshake. */
#include "upstream/client_internal.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

/* What OpenSSL calls to ask whether a cipher, a group or a key may be used. */
typedef int security_rule(const SSL *tls, const SSL_CTX *context, int operation, int bits, int nid,
                          void *other, void *data);

/* OpenSSL's own, the same one for all connections. */
static security_rule *_Atomic usual_rule;

static bool is_of_finite_field(int nid) {
    return nid == NID_ffdhe2048 || nid == NID_ffdhe3072 || nid == NID_ffdhe4096 || nid == NID_ffdhe6144 ||
           nid == NID_ffdhe8192;
}

static bool exchanges_in_finite_field(const SSL_CIPHER *cipher) {
    int exchange = SSL_CIPHER_get_kx_nid(cipher);
    return exchange == NID_kx_dhe || exchange == NID_kx_dhe_psk;
}

/** Without an exchange of keys in finite fields. In TLS 1.2 the server names the field, and OpenSSL takes one
 * of up to 10 000 bits: a single handshake held a worker for 0.9 s of processor time. In TLS 1.3 the largest
 * field took a tenth of that. All servers have curves. */
static int may_be_used(const SSL *tls, const SSL_CTX *context, int operation, int bits, int nid, void *other,
                       void *data) {
    switch (operation) {
    case SSL_SECOP_CIPHER_SUPPORTED:
    case SSL_SECOP_CIPHER_CHECK:
        if (exchanges_in_finite_field(other))
            return 0;
        break;
    case SSL_SECOP_CURVE_SUPPORTED:
    case SSL_SECOP_CURVE_CHECK:
        if (is_of_finite_field(nid))
            return 0;
        break;
    case SSL_SECOP_TMP_DH:
        return 0;
    default:
        break;
    }
    return atomic_load_explicit(&usual_rule, memory_order_relaxed)(tls, context, operation, bits, nid, other,
                                                                   data);
}

/* The system's policy counts as before: the rule only adds to it. */
static void bound_handshake(SSL_CTX *context) {
    security_rule *rule = SSL_CTX_get_security_callback(context);
    if (rule == may_be_used)
        return;
    atomic_store_explicit(&usual_rule, rule, memory_order_relaxed);
    SSL_CTX_set_security_callback(context, may_be_used);
}

/* The certificates are checked against our store, which all workers share. The other store of the connection
 * stays libcurl's own: 7.88 adds the directory to that one after this. OpenSSL is told to return after each
 * message of TLS itself: by default it reads on until there is data, and an upstream that sends key updates
 * as fast as they are read had the worker to itself. */
CURLcode transfer_on_tls(CURL *easy, void *tls, void *context) {
    const struct ca_bundle *ca = context;
    (void)easy;
    SSL_CTX_clear_mode(tls, SSL_MODE_AUTO_RETRY);
    bound_handshake(tls);
    return SSL_CTX_set1_verify_cert_store(tls, ca->store) == 1 ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}
