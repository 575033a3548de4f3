// Documents and headers of registries and archives: manifest, list, configuration, challenge,
// redirect.
#include "content/digest.h"
#include "content/image_manifest.h"
#include "runtime/image_pull.h"
#include <stddef.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a = ARENA_INIT;
    struct str in = str_n(data, n);
    struct image_manifest m;
    struct image_config c;
    struct image_challenge challenge;
    struct err e = ERR_INIT;

    if (image_manifest_parse(&a, in, &m, &e) == 0) {
        for (size_t i = 0; i < m.nentries; i++)
            BUG_ON(!digest_valid(m.entries[i].digest));
        if (m.is_list)
            image_manifest_choose(&m, STR("amd64"));
    } else {
        BUG_ON(!e.reason);
        err_done(&e);
        e = ERR_INIT;
    }
    if (image_config_parse(&a, in, &c, &e) == 0)
        for (size_t i = 0; i < c.ndiff_ids; i++)
            BUG_ON(!digest_valid(c.diff_ids[i]));
    err_done(&e);
    image_challenge_parse(&a, in, &challenge);
    struct str url = image_redirect_url(&a, STR("https://r.io/v2/x"), in);
    BUG_ON(url.n && !str_starts(url, STR("https://")));
    arena_done(&a);
    return 0;
}
