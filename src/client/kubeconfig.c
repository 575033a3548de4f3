// Reading a kubeconfig: three lists by name, one context that picks from them, and credentials that
// stand either in the file (base64) or in files of their own.
#include "client/kubeconfig.h"
#include "base/env.h"
#include "object/base64.h"
#include "object/value.h"
#include "object/yaml.h"

enum { FILE_MAX = 4 << 20 };

// The member `body` of the item called name in the list `list`.
static const struct value *named(const struct value *config, const char *list, const char *body,
                                 struct str name)
{
    const struct value *items = value_getc(config, list);
    value_each_item (items, item) {
        if (str_eq(value_str_at(item, "name"), name))
            return value_getc(item, body);
    }
    return NULL;
}

// A credential: `data_field` in the file itself, or the file that `file_field` names. Absent is
// fine.
static int credential(struct arena *a, const char *path, const struct value *from,
                      const char *data_field, const char *file_field, struct str *ret,
                      struct err *e)
{
    struct str data = data_field ? value_str_at(from, data_field) : STR_NULL;
    struct str file = value_str_at(from, file_field);
    if (data.n) {
        if (!base64_bytes(a, data, ret))
            return err_set(e, ERR_BAD_REQUEST, "%s: %s is not base64", path, data_field);
        return 0;
    }
    if (!file.n)
        return 0;
    if (file.p[0] != '/') {
        ptrdiff_t slash = str_rchr(str_of(path), '/');
        struct str dir = str_sub(str_of(path), 0, (size_t)(slash + 1));
        file = arena_printf(a, "%.*s%.*s", STR_ARG(dir), STR_ARG(file));
    }
    _cleanup_err_ struct err why = ERR_INIT;
    if (file_read_all(a, arena_cstr(a, file), FILE_MAX, ret, &why) < 0)
        return err_wrap(e, &why, "%s: %s", path, file_field);
    return 0;
}

int kubeconfig_load(struct arena *a, const char *path, struct str context, struct kubeconfig *ret,
                    struct err *e)
{
    struct str text;
    struct value *config;
    struct kubeconfig k = {0};
    int rc = file_read_all(a, path, FILE_MAX, &text, e);
    if (rc < 0)
        return rc;
    _cleanup_err_ struct err why = ERR_INIT;
    if (yaml_parse(a, text, NULL, &config, &why) < 0)
        return err_wrap(e, &why, "%s", path);
    k.context = context.n ? context : value_str_at(config, "current-context");
    if (!k.context.n)
        return err_set(e, ERR_BAD_REQUEST, "%s: there is no current-context", path);
    const struct value *chosen = named(config, "contexts", "context", k.context);
    if (!chosen)
        return err_set(e, ERR_NOT_FOUND, "%s: context \"%.*s\" does not exist", path,
                       STR_ARG(k.context));
    struct str cluster_name = value_str_at(chosen, "cluster");
    const struct value *cluster = named(config, "clusters", "cluster", cluster_name);
    if (!cluster)
        return err_set(e, ERR_NOT_FOUND, "%s: cluster \"%.*s\" of context \"%.*s\" does not exist",
                       path, STR_ARG(cluster_name), STR_ARG(k.context));
    struct str user_name = value_str_at(chosen, "user");
    const struct value *user = named(config, "users", "user", user_name);
    if (!user && user_name.n)
        return err_set(e, ERR_NOT_FOUND, "%s: user \"%.*s\" of context \"%.*s\" does not exist",
                       path, STR_ARG(user_name), STR_ARG(k.context));
    if (value_getc(user, "exec") || value_getc(user, "auth-provider"))
        return err_set(e, ERR_NOT_IMPLEMENTED,
                       "%s: user \"%.*s\" needs a credential plug-in, which is not supported", path,
                       STR_ARG(user_name));
    k.server = value_str_at(cluster, "server");
    while (k.server.n && k.server.p[k.server.n - 1] == '/')
        k.server.n--;
    if (!k.server.n)
        return err_set(e, ERR_BAD_REQUEST, "%s: cluster \"%.*s\" has no server", path,
                       STR_ARG(cluster_name));
    k.insecure = value_bool_at(cluster, "insecure-skip-tls-verify", false);
    k.ns = value_str_at(chosen, "namespace");
    if (!k.ns.n)
        k.ns = STR("default");
    k.token = value_str_at(user, "token");
    if ((rc = credential(a, path, cluster, "certificate-authority-data", "certificate-authority",
                         &k.ca_pem, e)) < 0 ||
        (rc = credential(a, path, user, "client-certificate-data", "client-certificate",
                         &k.cert_pem, e)) < 0 ||
        (rc = credential(a, path, user, "client-key-data", "client-key", &k.key_pem, e)) < 0)
        return rc;
    if (k.cert_pem.n && !k.key_pem.n)
        return err_set(e, ERR_BAD_REQUEST,
                       "%s: client-key-data or client-key must be specified for %.*s to use the "
                       "clientCert authentication method",
                       path, STR_ARG(user_name));
    if (!k.cert_pem.n) // a key alone says nothing
        k.cert_pem = k.key_pem = STR_NULL;
    if (!k.token.n) {
        if ((rc = credential(a, path, user, NULL, "tokenFile", &k.token, e)) < 0)
            return rc;
        k.token = str_trim(k.token);
    }
    *ret = k;
    return 0;
}
