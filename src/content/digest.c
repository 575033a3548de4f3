// SHA-256 and its spelling.
#include "content/digest.h"
#include "base/err.h"
#include <openssl/evp.h>

void digest_hex(const unsigned char p[32], char hex[DIGEST_HEX])
{
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", p[i]);
}

void digest_sha256(struct str bytes, char ret_hex[DIGEST_HEX])
{
    unsigned char out[32];
    unsigned n = 0;
    BUG_ON(!EVP_Digest(bytes.p ? bytes.p : "", bytes.n, out, &n, EVP_sha256(), NULL));
    digest_hex(out, ret_hex);
}

bool digest_valid(struct str d)
{
    if (!str_starts(d, STR("sha256:")) || d.n != 71)
        return false;
    for (size_t i = 7; i < d.n; i++)
        if (!((d.p[i] >= '0' && d.p[i] <= '9') || (d.p[i] >= 'a' && d.p[i] <= 'f')))
            return false;
    return true;
}
