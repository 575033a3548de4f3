// Accept headers: what is chosen was offered; clauses stay in order of quality.
#include "apiserver/negotiate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > 8192)
        return 0;
    struct str header = str_n(data + 1, size - 1);
    struct accept a;
    struct negotiated n;
    struct err e = ERR_INIT;
    accept_parse(header, &a);
    BUG_ON(a.n > ACCEPT_CLAUSES);
    for (size_t i = 1; i < a.n; i++)
        BUG_ON(a.clause[i].q > a.clause[i - 1].q);
    unsigned offers = data[0] & 31;
    if (negotiate(header, offers, &n, &e) == 0) {
        BUG_ON(n.media == MEDIA_YAML && !(offers & OFFER_YAML));
        BUG_ON(n.media == MEDIA_PROTOBUF && !(offers & OFFER_PROTOBUF));
        BUG_ON(n.as == AS_TABLE && !(offers & OFFER_TABLE));
        BUG_ON(n.as != AS_OBJECT && !n.meta_version);
    } else {
        BUG_ON(e.reason != ERR_NOT_ACCEPTABLE);
    }
    err_done(&e);
    return 0;
}
