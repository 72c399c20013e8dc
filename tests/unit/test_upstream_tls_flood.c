/* upstream/transfer_tls: a TLS server that sends messages of TLS itself, and no data, has no worker to
 * itself; nor has one that wants a handshake of the costly kind. */
#include "tests/unit/stream_recorder.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define TURNS 50
/* Takes the loop far longer than so many turns. */
#define MESSAGES_MAX 20000
#define TICK_MS 1

static SSL_CTX *server_context;
static struct ca_bundle *authority;
static atomic_size_t turns; /* of the client's loop, as its timer counts them */
static size_t messages;     /* that the server sent */
static atomic_bool updates_keys;

/* ---- the server -------------------------------------------------------------------------------------- */

static void fill_certificate(X509 *x509, EVP_PKEY *key) {
    X509_NAME *name = X509_get_subject_name(x509);
    X509V3_CTX context;
    assert_non_null(key);
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(x509, name);
    assert_int_equal(X509_set_pubkey(x509, key), 1);
    X509V3_set_ctx(&context, x509, x509, NULL, NULL, 0);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, "IP:127.0.0.1");
    assert_int_equal(X509_add_ext(x509, names, -1), 1);
    X509_EXTENSION_free(names);
    assert_true(X509_sign(x509, key, EVP_sha256()) > 0);
}

static void load_authority(X509 *x509) {
    char path[] = "/tmp/sluice-test-tls-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, x509), 1);
    fclose(file);
    assert_int_equal(ca_bundle_load(path, &authority), 0);
    unlink(path);
}

/* With a key of RSA, which all ways to exchange keys go with. */
static int set_up(void **state) {
    (void)state;
    X509 *x509 = X509_new();
    EVP_PKEY *key = EVP_RSA_gen(2048);
    fill_certificate(x509, key);
    signal(SIGPIPE, SIG_IGN); /* the client may have gone when the server says goodbye */
    server_context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(server_context, x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(server_context, key), 1);
    load_authority(x509);
    X509_free(x509);
    EVP_PKEY_free(key);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    SSL_CTX_free(server_context);
    ca_bundle_unref(authority);
    return 0;
}

static bool send_message(SSL *tls) {
    int result =
        updates_keys ? SSL_key_update(tls, SSL_KEY_UPDATE_NOT_REQUESTED) : SSL_new_session_ticket(tls);
    return result == 1 && SSL_do_handshake(tls) == 1;
}

static bool write_text(SSL *tls, const char *text) {
    return SSL_write(tls, text, (int)strlen(text)) == (int)strlen(text);
}

/* Between two events, messages of TLS until the loop has got on, or there were too many. */
static void serve_flood(struct raw_server *server, int fd, size_t connection) {
    (void)server, (void)connection;
    char request[4096];
    SSL *tls = SSL_new(server_context);
    SSL_set_fd(tls, fd);
    bool goes_on = SSL_accept(tls) == 1 && SSL_read(tls, request, sizeof request) > 0 &&
                   write_text(tls, HEAD_CHUNKED CHUNK_A);
    size_t begin = turns;
    for (messages = 0; goes_on && messages < MESSAGES_MAX && turns < begin + TURNS; messages++)
        goes_on = send_message(tls);
    if (goes_on && write_text(tls, CHUNK_A LAST_CHUNK))
        SSL_shutdown(tls);
    SSL_free(tls);
}

/* ---- the client -------------------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *timer) {
    (void)timer;
    turns++;
}

static void check_flood(bool of_key_updates) {
    struct fixture fixture;
    struct recorder recorder;
    uv_timer_t tick;
    char url[64];
    updates_keys = of_key_updates;
    fixture_begin(&fixture, serve_flood);
    snprintf(url, sizeof url, "https://127.0.0.1:%d", fixture.server.port);
    fixture.settings.base_url = url;
    fixture.settings.ca = authority;
    fixture.settings.idle_timeout_ms = 20000;
    uv_timer_init(&fixture.loop, &tick);
    uv_timer_start(&tick, on_tick, TICK_MS, TICK_MS);
    recorder_do(&recorder, &fixture);
    uv_close((uv_handle_t *)&tick, NULL);
    assert_string_equal(recorder.told, "sent|message:a|message:a|end|");
    fixture_end(&fixture);
    assert_in_range(messages, 1, MESSAGES_MAX - 1);
}

/* ---- handshakes -------------------------------------------------------------------------------------- */

static int version;
static const char *ciphers, *groups;

static void serve_one_run(struct raw_server *server, int fd, size_t connection) {
    (void)server, (void)connection;
    char request[4096];
    SSL *tls = SSL_new(server_context);
    SSL_set_fd(tls, fd);
    bool is_set = SSL_set_min_proto_version(tls, version) == 1 &&
                  SSL_set_max_proto_version(tls, version) == 1 && SSL_set_dh_auto(tls, 1) == 1 &&
                  (ciphers == NULL || SSL_set_cipher_list(tls, ciphers) == 1) &&
                  (groups == NULL || SSL_set1_groups_list(tls, groups) == 1);
    assert(is_set);
    if (is_set && SSL_accept(tls) == 1 && SSL_read(tls, request, sizeof request) > 0 &&
        write_text(tls, HEAD_CHUNKED CHUNK_A LAST_CHUNK))
        SSL_shutdown(tls);
    SSL_free(tls);
}

static void do_handshake(struct recorder *recorder, int of_version, const char *of_ciphers,
                         const char *of_groups) {
    struct fixture fixture;
    char url[64];
    version = of_version;
    ciphers = of_ciphers;
    groups = of_groups;
    fixture_begin(&fixture, serve_one_run);
    snprintf(url, sizeof url, "https://127.0.0.1:%d", fixture.server.port);
    fixture.settings.base_url = url;
    fixture.settings.ca = authority;
    recorder_do(recorder, &fixture);
    fixture_end(&fixture);
}

static void check_no_handshake(int of_version, const char *of_ciphers, const char *of_groups) {
    struct recorder recorder;
    do_handshake(&recorder, of_version, of_ciphers, of_groups);
    assert_int_equal(recorder.result.end, UPSTREAM_CONNECT);
    assert_int_equal(recorder.result.cause, CAUSE_TLS);
}

static void keys_are_not_exchanged_in_finite_fields(void **state) {
    (void)state;
    check_no_handshake(TLS1_2_VERSION, "DHE-RSA-AES256-GCM-SHA384", NULL);
    check_no_handshake(TLS1_2_VERSION, "DHE-RSA-CHACHA20-POLY1305", NULL);
    check_no_handshake(TLS1_3_VERSION, NULL, "ffdhe2048");
    check_no_handshake(TLS1_3_VERSION, NULL, "ffdhe8192");
}

static void keys_are_exchanged_on_curves_and_by_rsa(void **state) {
    (void)state;
    static const struct {
        int version;
        const char *ciphers, *groups;
    } cases[] = {
        {TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256", "P-256"},
        {TLS1_2_VERSION, "AES256-GCM-SHA384", NULL},
        {TLS1_2_VERSION, "kDHE:kECDHE", NULL},
        {TLS1_3_VERSION, NULL, "ffdhe8192:X25519"},
        {TLS1_3_VERSION, NULL, "P-384"},
        {TLS1_3_VERSION, NULL, "P-521"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recorder recorder;
        do_handshake(&recorder, cases[i].version, cases[i].ciphers, cases[i].groups);
        assert_string_equal(recorder.told, "sent|message:a|end|");
    }
}

static void flood_of_key_updates_leaves_turns_to_others(void **state) {
    (void)state;
    check_flood(true);
}

static void flood_of_session_tickets_leaves_turns_to_others(void **state) {
    (void)state;
    check_flood(false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flood_of_key_updates_leaves_turns_to_others),
        cmocka_unit_test(flood_of_session_tickets_leaves_turns_to_others),
        cmocka_unit_test(keys_are_not_exchanged_in_finite_fields),
        cmocka_unit_test(keys_are_exchanged_on_curves_and_by_rsa),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
