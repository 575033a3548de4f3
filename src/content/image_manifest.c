// OCI image-spec 1.0 (manifest.md, image-index.md, config.md) and Docker's schema 2, which differ
// in media types only. Schema 1 manifests, which registries no longer make, are refused by name.
#include "content/image_manifest.h"
#include "content/digest.h"
#include "content/image_name.h"
#include "object/json.h"
#include <sys/utsname.h>

static int parse(struct arena *a, struct str json, const char *what, struct value **ret,
                 struct err *e)
{
    struct err why = ERR_INIT;
    if (json.n > IMAGE_DOCUMENT_MAX)
        return err_set(e, ERR_TOO_LARGE, "%s is larger than %d bytes", what, IMAGE_DOCUMENT_MAX);
    if (json_parse(a, json, NULL, ret, &why) < 0) {
        int r = err_set(e, ERR_BAD_REQUEST, "%s is not JSON: %s", what, why.message);
        err_done(&why);
        return r;
    }
    if (!value_is(*ret, VALUE_OBJECT))
        return err_set(e, ERR_BAD_REQUEST, "%s is not a JSON object", what);
    return 0;
}

static int descriptor(const struct value *v, const char *what, struct image_descriptor *ret,
                      struct err *e)
{
    const struct value *annotations = value_getc(v, "annotations");
    int64_t size = value_int_at(v, "size", -1);
    *ret = (struct image_descriptor){
        .media_type = value_str_at(v, "mediaType"),
        .digest = value_str_at(v, "digest"),
        .size = (uint64_t)size,
        .os = value_str_at(v, "platform.os"),
        .architecture = value_str_at(v, "platform.architecture"),
        .variant = value_str_at(v, "platform.variant"),
        .name = value_string(value_getc(annotations, "io.containerd.image.name")),
    };
    if (!ret->name.n)
        ret->name = value_string(value_getc(annotations, "org.opencontainers.image.ref.name"));
    if (!digest_valid(ret->digest))
        return err_set(e, ERR_BAD_REQUEST, "%s has digest \"%.*s\", which is not a SHA-256 digest",
                       what, STR_ARG(str_sub(ret->digest, 0, 128)));
    if (size < 0)
        return err_set(e, ERR_BAD_REQUEST, "%s has no size", what);
    return 0;
}

int image_manifest_parse(struct arena *a, struct str json, struct image_manifest *ret,
                         struct err *e)
{
    struct value *v;
    int r = parse(a, json, "the manifest", &v, e);
    if (r < 0)
        return r;
    if (value_int_at(v, "schemaVersion", 0) != 2)
        return err_set(e, ERR_BAD_REQUEST,
                       "the manifest has schemaVersion %lld; only 2 is supported",
                       (long long)value_int_at(v, "schemaVersion", 0));
    struct image_manifest m = {0};
    const struct value *entries = value_getc(v, "manifests");
    m.is_list = value_is(entries, VALUE_ARRAY);
    if (!m.is_list) {
        entries = value_getc(v, "layers");
        r = descriptor(value_getc(v, "config"), "the manifest's config", &m.config, e);
        if (r < 0)
            return r;
    }
    size_t n = value_len(entries);
    if (n > (m.is_list ? 1000 : IMAGE_LAYERS_MAX))
        return err_set(e, ERR_BAD_REQUEST, "the manifest has %zu %s", n,
                       m.is_list ? "manifests" : "layers");
    m.entries = arena_array(a, struct image_descriptor, n ? n : 1);
    for (size_t i = 0; i < n; i++) {
        r = descriptor(value_item(entries, i),
                       m.is_list ? "a manifest of the list" : "a layer of the manifest",
                       &m.entries[i], e);
        if (r < 0)
            return r;
        if (str_find(m.entries[i].media_type, STR("encrypted")) >= 0)
            return err_set(e, ERR_BAD_REQUEST, "encrypted layers are not supported");
    }
    m.nentries = n;
    *ret = m;
    return 0;
}

const char *image_architecture(void)
{
    static const struct {
        const char *machine, *architecture;
    } names[] = {
        {"x86_64", "amd64"},    {"aarch64", "arm64"}, {"armv7l", "arm"},
        {"ppc64le", "ppc64le"}, {"s390x", "s390x"},   {"riscv64", "riscv64"},
    };
    struct utsname u;
    if (uname(&u) == 0)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (!strcmp(u.machine, names[i].machine))
                return names[i].architecture;
    return "unknown";
}

const struct image_descriptor *image_manifest_choose(const struct image_manifest *list,
                                                     struct str architecture)
{
    const struct image_descriptor *any = NULL;
    for (size_t i = 0; i < list->nentries; i++) {
        const struct image_descriptor *d = &list->entries[i];
        if (!d->os.n && !d->architecture.n && !any)
            any = d; // an OCI layout's index need not say
        if (str_eqc(d->os, "linux") && str_eq(d->architecture, architecture))
            return d;
    }
    return any;
}

static int strings(struct arena *a, const struct value *v, const char *what, struct str **ret,
                   size_t *ret_n, struct err *e)
{
    size_t n = value_len(v);
    if (n > 4096)
        return err_set(e, ERR_BAD_REQUEST, "the image's %s has %zu entries", what, n);
    *ret = arena_array(a, struct str, n ? n : 1);
    for (size_t i = 0; i < n; i++) {
        if (!value_is(value_item(v, i), VALUE_STRING))
            return err_set(e, ERR_BAD_REQUEST, "the image's %s is not a list of strings", what);
        (*ret)[i] = value_string(value_item(v, i));
        if (memchr((*ret)[i].p ? (*ret)[i].p : "", 0, (*ret)[i].n))
            return err_set(e, ERR_BAD_REQUEST, "the image's %s has a NUL in a string", what);
    }
    *ret_n = n;
    return 0;
}

int image_config_parse(struct arena *a, struct str json, struct image_config *ret, struct err *e)
{
    struct value *v;
    struct image_config c = {0};
    int r = parse(a, json, "the image's configuration", &v, e);
    if (r < 0)
        return r;
    const struct value *config = value_getc(v, "config");
    c.user = value_str_at(config, "User");
    c.working_dir = value_str_at(config, "WorkingDir");
    c.stop_signal = value_str_at(config, "StopSignal");
    const struct {
        const struct value *v;
        const char *what;
        struct str **to;
        size_t *n;
    } lists[] = {
        {value_getc(config, "Env"), "environment", &c.env, &c.nenv},
        {value_getc(config, "Entrypoint"), "entrypoint", &c.entrypoint, &c.nentrypoint},
        {value_getc(config, "Cmd"), "command", &c.cmd, &c.ncmd},
        {value_at(v, "rootfs.diff_ids"), "list of layers", &c.diff_ids, &c.ndiff_ids},
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        r = strings(a, lists[i].v, lists[i].what, lists[i].to, lists[i].n, e);
        if (r < 0)
            return r;
    }
    if (c.ndiff_ids > IMAGE_LAYERS_MAX)
        return err_set(e, ERR_BAD_REQUEST, "the image has %zu layers, more than %d", c.ndiff_ids,
                       IMAGE_LAYERS_MAX);
    for (size_t i = 0; i < c.ndiff_ids; i++)
        if (!digest_valid(c.diff_ids[i]))
            return err_set(e, ERR_BAD_REQUEST, "the image's layer \"%.*s\" is no SHA-256 digest",
                           STR_ARG(str_sub(c.diff_ids[i], 0, 128)));
    *ret = c;
    return 0;
}
