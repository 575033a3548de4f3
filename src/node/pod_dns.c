// resolv.conf and hosts, by kubelet's rules (network/dns, kubelet_pods). Lines are kept as lists of
// words until written, so that policy, dnsConfig and the limits are three passes over one struct.
#include "node/pod_dns.h"
#include "base/buf.h"
#include "base/env.h"

#define MAX_NAMESERVERS  3
#define MAX_SEARCHES     32
#define MAX_SEARCH_CHARS 2048
#define MAX_WORDS        64

struct words {
    struct str p[MAX_WORDS];
    size_t n;
};
struct resolv {
    struct words nameservers, searches, options;
};

static void add(struct words *w, struct str s)
{
    for (size_t i = 0; i < w->n; i++)
        if (str_eq(w->p[i], s))
            return;
    if (w->n < MAX_WORDS)
        w->p[w->n++] = s;
}

// An option "ndots:2" replaces "ndots:5".
static void add_option(struct words *w, struct str option)
{
    struct str rest = option;
    struct str name = str_cut(&rest, ':');
    for (size_t i = 0; i < w->n; i++) {
        struct str r = w->p[i];
        if (str_eq(str_cut(&r, ':'), name)) {
            w->p[i] = option;
            return;
        }
    }
    add(w, option);
}

static void parse(struct str text, struct resolv *r)
{
    while (text.p) {
        struct str line = str_trim(str_cut(&text, '\n'));
        char *p = (char *)line.p;
        struct str word[MAX_WORDS];
        size_t n = 0;
        for (size_t i = 0; i < line.n && n < MAX_WORDS;) {
            while (i < line.n && (p[i] == ' ' || p[i] == '\t'))
                i++;
            size_t start = i;
            while (i < line.n && p[i] != ' ' && p[i] != '\t')
                i++;
            if (i > start)
                word[n++] = str_n(p + start, i - start);
        }
        if (n < 2)
            continue;
        if (str_eqc(word[0], "nameserver")) {
            add(&r->nameservers, word[1]);
        } else if (str_eqc(word[0], "search")) {
            r->searches.n = 0; // the last one counts
            for (size_t i = 1; i < n; i++)
                if (!str_eqc(word[i], "."))
                    add(&r->searches, word[i]);
        } else if (str_eqc(word[0], "options")) {
            for (size_t i = 1; i < n; i++)
                add_option(&r->options, word[i]);
        }
    }
}

struct str pod_host_resolv_conf(struct arena *a)
{
    struct str text = STR_NULL, real;
    if (file_read_all(a, "/etc/resolv.conf", 65536, &text, NULL) < 0)
        return STR("");
    struct resolv r = {0};
    parse(text, &r);
    bool stub = r.nameservers.n > 0;
    for (size_t i = 0; i < r.nameservers.n; i++)
        stub &= str_starts(r.nameservers.p[i], STR("127."));
    if (stub && file_read_all(a, "/run/systemd/resolve/resolv.conf", 65536, &real, NULL) == 0)
        return real;
    return text;
}

struct str pod_resolv_conf(struct arena *a, const struct pod_dns_options *o,
                           const struct value *pod, const char **ret_note)
{
    struct resolv r = {0}, host = {0};
    const char *note = NULL;
    parse(o->host_resolv_conf, &host);
    struct str policy = value_str_at(pod, "spec.dnsPolicy");
    bool cluster = str_eqc(policy, "ClusterFirstWithHostNet") ||
                   ((str_eqc(policy, "ClusterFirst") || !policy.n) &&
                    !value_bool_at(pod, "spec.hostNetwork", false));
    if (cluster && !o->cluster_dns.n) {
        note = "kubelet does not have ClusterDNS IP configured and cannot create Pod using "
               "\"ClusterFirst\" policy. Falling back to \"Default\" policy.";
        cluster = false;
    }
    if (cluster) {
        struct str ns = value_str_at(pod, "metadata.namespace");
        add(&r.nameservers, o->cluster_dns);
        add(&r.searches, arena_printf(a, "%.*s.svc.%.*s", STR_ARG(ns), STR_ARG(o->cluster_domain)));
        add(&r.searches, arena_printf(a, "svc.%.*s", STR_ARG(o->cluster_domain)));
        add(&r.searches, o->cluster_domain);
        for (size_t i = 0; i < host.searches.n; i++)
            add(&r.searches, host.searches.p[i]);
        add_option(&r.options, STR("ndots:5"));
    } else if (!str_eqc(policy, "None")) {
        r = host;
    }

    const struct value *config = value_at(pod, "spec.dnsConfig"), *list;
    list = value_getc(config, "nameservers");
    for (size_t i = 0; i < value_len(list); i++)
        add(&r.nameservers, value_string(value_item(list, i)));
    list = value_getc(config, "searches");
    for (size_t i = 0; i < value_len(list); i++)
        add(&r.searches, value_string(value_item(list, i)));
    list = value_getc(config, "options");
    for (size_t i = 0; i < value_len(list); i++) {
        struct str name = value_str_at(value_item(list, i), "name"),
                   value = value_str_at(value_item(list, i), "value");
        add_option(&r.options,
                   value.n ? arena_printf(a, "%.*s:%.*s", STR_ARG(name), STR_ARG(value)) : name);
    }

    if (r.nameservers.n > MAX_NAMESERVERS) {
        r.nameservers.n = MAX_NAMESERVERS;
        note = "Nameserver limits were exceeded, some nameservers have been omitted";
    }
    size_t chars = 0, keep = 0;
    while (keep < r.searches.n && keep < MAX_SEARCHES &&
           (chars += r.searches.p[keep].n + 1) <= MAX_SEARCH_CHARS)
        keep++;
    if (keep < r.searches.n) {
        r.searches.n = keep;
        note = "Search Line limits were exceeded, some search paths have been omitted";
    }

    _cleanup_buf_ struct buf b = BUF_INIT;
    if (r.searches.n) {
        buf_puts(&b, "search");
        for (size_t i = 0; i < r.searches.n; i++)
            buf_printf(&b, " %.*s", STR_ARG(r.searches.p[i]));
        buf_char(&b, '\n');
    }
    for (size_t i = 0; i < r.nameservers.n; i++)
        buf_printf(&b, "nameserver %.*s\n", STR_ARG(r.nameservers.p[i]));
    if (r.options.n) {
        buf_puts(&b, "options");
        for (size_t i = 0; i < r.options.n; i++)
            buf_printf(&b, " %.*s", STR_ARG(r.options.p[i]));
        buf_char(&b, '\n');
    }
    if (ret_note)
        *ret_note = note;
    return arena_str(a, buf_view(&b));
}

struct str pod_hostname(const struct value *pod)
{
    struct str name = value_str_at(pod, "spec.hostname");
    if (!name.n)
        name = value_str_at(pod, "metadata.name");
    name = str_sub(name, 0, 63);
    while (name.n && (name.p[name.n - 1] == '-' || name.p[name.n - 1] == '.'))
        name.n--; // a cut must not end in a separator
    return name;
}

struct str pod_hosts_file(struct arena *a, const struct value *pod, struct str ip,
                          struct str cluster_domain, struct str host_file)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (value_bool_at(pod, "spec.hostNetwork", false)) {
        buf_puts(&b, "# Kubernetes-managed hosts file (host network).\n");
        buf_str(&b, host_file);
    } else {
        buf_puts(&b, "# Kubernetes-managed hosts file.\n"
                     "127.0.0.1\tlocalhost\n"
                     "::1\tlocalhost ip6-localhost ip6-loopback\n"
                     "fe00::0\tip6-localnet\n"
                     "fe00::0\tip6-mcastprefix\n"
                     "fe00::1\tip6-allnodes\n"
                     "fe00::2\tip6-allrouters\n");
        struct str name = pod_hostname(pod), subdomain = value_str_at(pod, "spec.subdomain");
        if (ip.n && subdomain.n)
            buf_printf(&b, "%.*s\t%.*s.%.*s.%.*s.svc.%.*s\t%.*s\n", STR_ARG(ip), STR_ARG(name),
                       STR_ARG(subdomain), STR_ARG(value_str_at(pod, "metadata.namespace")),
                       STR_ARG(cluster_domain), STR_ARG(name));
        else if (ip.n)
            buf_printf(&b, "%.*s\t%.*s\n", STR_ARG(ip), STR_ARG(name));
    }
    const struct value *aliases = value_at(pod, "spec.hostAliases");
    if (value_len(aliases))
        buf_puts(&b, "\n# Entries added by HostAliases.\n");
    for (size_t i = 0; i < value_len(aliases); i++) {
        const struct value *alias = value_item(aliases, i), *names = value_getc(alias, "hostnames");
        buf_str(&b, value_str_at(alias, "ip"));
        for (size_t n = 0; n < value_len(names); n++)
            buf_printf(&b, "\t%.*s", STR_ARG(value_string(value_item(names, n))));
        buf_char(&b, '\n');
    }
    return arena_str(a, buf_view(&b));
}
