// Which cluster the caller means, and as whom.
#include "cli/context.h"
#include "base/env.h"
#include "base/path.h"
#include "cli/version.h"
#include "client/kubeconfig.h"
#include "client/remote.h"
#include <stdarg.h>
#include <unistd.h>

#define SERVERS_OWN "/var/lib/coracle/admin.kubeconfig"

void cli_init(struct cli *c, struct arena *a)
{
    *c = (struct cli){.in = stdin, .out = stdout, .err = stderr, .arena = a};
}

void cli_done(struct cli *c)
{
    if (c->client)
        client_free(TAKE_PTR(c->client));
}

// The first of the places that there is; NULL: none.
static const char *find_kubeconfig(struct cli *c)
{
    const char *home = getenv("HOME"), *named = getenv("KUBECONFIG");
    if (c->kubeconfig)
        return c->kubeconfig;
    if (named && *named)
        return named;
    const char *usual = home ? path_join(c->arena, home, ".kube/config") : NULL;
    if (usual && access(usual, R_OK) == 0)
        return usual;
    return access(SERVERS_OWN, R_OK) == 0 ? SERVERS_OWN : NULL;
}

int cli_connect(struct cli *c, struct err *e)
{
    struct kubeconfig k = {.ns = STR("default")};
    const char *path = find_kubeconfig(c);
    if (path && (!c->server || c->kubeconfig)) {
        int r = kubeconfig_load(c->arena, path, str_of(c->context), &k, e);
        if (r < 0)
            return r;
    }
    c->ns = c->all_namespaces ? STR_NULL : c->ns_flag ? str_of(c->ns_flag) : k.ns;
    if (c->client)
        return 0;
    if (c->server)
        k.server = str_of(c->server);
    if (!k.server.n)
        return err_set(e, ERR_NOT_FOUND,
                       "there is no kubeconfig: name one with --kubeconfig or $KUBECONFIG, or the "
                       "server with --server");
    const struct client_remote_options opt = {.env = env_system(),
                                              .url = k.server,
                                              .ca_pem = k.ca_pem,
                                              .cert_pem = k.cert_pem,
                                              .key_pem = k.key_pem,
                                              .token = c->token ? str_of(c->token) : k.token,
                                              .insecure = c->insecure || k.insecure,
                                              .name = STR("coracle")};
    return client_remote_new(&opt, &c->client, e);
}

int cli_fail(struct cli *c, const struct err *e)
{
    // What never came from a server has none of the reasons that a Status carries.
    bool from_server = c->client && e->reason != ERR_INTERNAL && e->reason != ERR_UNAVAILABLE;
    if (from_server)
        fprintf(c->err, "Error from server (%s): %s\n", err_reason_name(e->reason), e->message);
    else
        return cli_error(c, e);
    return CLI_FAILED;
}

int cli_error(struct cli *c, const struct err *e)
{
    fprintf(c->err, "error: %s\n", e->message);
    return CLI_FAILED;
}

int cli_usage(struct cli *c, const char *verb, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("error: ", c->err);
    vfprintf(c->err, fmt, ap);
    va_end(ap);
    fprintf(c->err, "\nSee 'coracle %s --help'.\n", verb);
    return CLI_USAGE;
}
