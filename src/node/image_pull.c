// (being written)
#include "node/image_store.h"

struct image_pulls;
void image_pulls_free(struct image_pulls *p)
{
    (void)p;
}
int image_store_pull(struct image_store *s, struct arena *a, struct str image,
                     const struct value *auth, struct runtime_image *ret, struct err *e)
{
    (void)s, (void)a, (void)auth, (void)ret;
    return err_set(
        e, ERR_NOT_IMPLEMENTED,
        "failed to pull image \"%.*s\": pulling is not available in this build; import an "
        "archive instead",
        STR_ARG(image));
}
