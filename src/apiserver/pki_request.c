// Certificate requests (PKCS #10) as far as admission reads them: whom the certificate shall name.
// Nothing is signed here.
#include "apiserver/auth.h"
#include "object/base64.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static void request_free(X509_REQ **r)
{
    X509_REQ_free(*r);
}
static void bio_free(BIO **b)
{
    BIO_free(*b);
}

static struct str common_name(struct arena *a, const X509_REQ *r)
{
    X509_NAME *subject = X509_REQ_get_subject_name(r);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *text = NULL;
    if (at < 0)
        return STR_NULL;
    int n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    struct str name = n > 0 ? arena_str(a, str_n(text, (size_t)n)) : STR_NULL;
    OPENSSL_free(text);
    return name;
}

int pki_request_name(struct arena *a, struct str request, struct str *ret, struct err *e)
{
    struct str pem;
    if (!base64_bytes(a, request, &pem) || pem.n > INT32_MAX)
        return err_set(e, ERR_BAD_REQUEST, "PEM block type must be CERTIFICATE REQUEST");
    __attribute__((cleanup(bio_free))) BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
    __attribute__((cleanup(request_free))) X509_REQ *r =
        b ? PEM_read_bio_X509_REQ(b, NULL, NULL, NULL) : NULL;
    if (!r) {
        ERR_clear_error();
        return err_set(e, ERR_BAD_REQUEST, "PEM block type must be CERTIFICATE REQUEST");
    }
    *ret = common_name(a, r);
    return 0;
}
