/* upstream/ca_bundle: a file is taken if every certificate in it can be read, and there is one. */
#include "upstream/ca_bundle.h"

#include "tests/support/unit_certificate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/sluice-test-ca-XXXXXX";
static struct unit_certificate made, other;
static const char *const certificate = made.certificate;
static const char *const locked_key = made.locked_key;

static int set_up(void **state) {
    (void)state;
    unit_certificate_make(&made);
    unit_certificate_make(&other);
    return mkdtemp(directory) != NULL && chdir(directory) == 0 ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    unlink("ca.pem");
    return chdir("/") == 0 && rmdir(directory) == 0 ? 0 : -1;
}

static int certificates_in(const struct ca_bundle *bundle) {
    return sk_X509_OBJECT_num(X509_STORE_get0_objects(bundle->store));
}

/* Loads a file that holds these three texts. */
static int load_bundle(const char *first, const char *second, const char *third,
                       struct ca_bundle **ret_bundle) {
    FILE *file = fopen("ca.pem", "w");
    assert_non_null(file);
    assert_true(fprintf(file, "%s%s%s", first, second, third) >= 0);
    assert_int_equal(fclose(file), 0);
    return ca_bundle_load("ca.pem", ret_bundle);
}

static int load(const char *first, const char *second, const char *third) {
    struct ca_bundle *bundle = NULL;
    int result = load_bundle(first, second, third, &bundle);
    assert_int_equal(result == 0, bundle != NULL);
    if (bundle != NULL)
        assert_int_equal(certificates_in(bundle), 1);
    ca_bundle_unref(bundle);
    return result;
}

static void bundle_takes_certificates_with_whatever_stands_between_them(void **state) {
    (void)state;
    assert_int_equal(load(certificate, "", ""), 0);
    assert_int_equal(load("# ours\r\n\n", certificate, certificate), 0);
    assert_int_equal(load(certificate, "words\n", certificate), 0);
}

/* Nobody is asked for the password. */
static void bundle_leaves_keys_alone(void **state) {
    (void)state;
    assert_int_equal(load(locked_key, certificate, ""), 0);
    assert_int_equal(load(locked_key, "", ""), -EBADMSG);
}

static void bundle_refuses_what_holds_no_certificate_or_a_broken_one(void **state) {
    (void)state;
    char half[PEM_SIZE];
    snprintf(half, sizeof(half), "%.*s", (int)strlen(certificate) / 2, certificate);
    char odd[PEM_SIZE];
    memcpy(odd, certificate, sizeof(odd));
    memcpy(odd + 60, "AAAAAAAA", 8);
    assert_int_equal(load("", "", ""), -EBADMSG);
    assert_int_equal(load("words", "", ""), -EBADMSG);
    assert_int_equal(load(half, "", ""), -EBADMSG);
    assert_int_equal(load(odd, "", ""), -EBADMSG);
    assert_int_equal(load(certificate, half, ""), -EBADMSG);
    assert_int_equal(load(certificate, odd, certificate), -EBADMSG);
}

static void bundle_refuses_what_is_no_file_or_too_large(void **state) {
    struct ca_bundle *bundle;
    (void)state;
    static char spaces[CA_BUNDLE_BYTES_MAX + 1];
    memset(spaces, '\n', CA_BUNDLE_BYTES_MAX);
    assert_int_equal(load(certificate, spaces, ""), -EFBIG);
    assert_int_equal(ca_bundle_load("missing", &bundle), -ENOENT);
    assert_int_equal(ca_bundle_load("/", &bundle), -EISDIR);
    assert_int_equal(unlink("ca.pem"), 0);
    assert_int_equal(mkfifo("ca.pem", 0600), 0); /* it does not wait for a writer */
    assert_int_equal(ca_bundle_load("ca.pem", &bundle), -EISDIR);
}

/* By its label a connection is used again for the same bundle alone. */
static void bundle_has_the_label_of_its_bytes_alone(void **state) {
    (void)state;
    struct ca_bundle *bundles[3];
    assert_int_equal(load_bundle(certificate, "", "", &bundles[0]), 0);
    assert_int_equal(load_bundle(certificate, "", "", &bundles[1]), 0);
    assert_int_equal(load_bundle(other.certificate, "", "", &bundles[2]), 0);
    assert_string_equal(bundles[0]->label, bundles[1]->label);
    assert_string_not_equal(bundles[0]->label, bundles[2]->label);
    assert_int_equal(strlen(bundles[0]->label), strlen("/sha256/") + 64);
    for (size_t i = 0; i < 3; i++)
        ca_bundle_unref(bundles[i]);
}

static void bundle_of_the_system_holds_its_authorities(void **state) {
    (void)state;
    struct ca_bundle *bundle = NULL;
    assert_int_equal(ca_bundle_load_system(&bundle), 0);
    assert_true(certificates_in(bundle) > 1);
    ca_bundle_unref(ca_bundle_ref(bundle));
    assert_true(certificates_in(bundle) > 1);
    ca_bundle_unref(bundle);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bundle_takes_certificates_with_whatever_stands_between_them),
        cmocka_unit_test(bundle_leaves_keys_alone),
        cmocka_unit_test(bundle_refuses_what_holds_no_certificate_or_a_broken_one),
        cmocka_unit_test(bundle_has_the_label_of_its_bytes_alone),
        cmocka_unit_test(bundle_of_the_system_holds_its_authorities),
        cmocka_unit_test(bundle_refuses_what_is_no_file_or_too_large),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
