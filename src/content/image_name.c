// The grammar is that of github.com/distribution/reference:
//
//     reference  := name [ ":" tag ] [ "@" digest ]
//     name       := [ domain "/" ] component { "/" component }
//     component  := [a-z0-9]+ { ( "." | "_" | "__" | "-"+ ) [a-z0-9]+ }
//     tag        := [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
//
// and the rule for what stands before the first slash: it is a domain if it has a dot or a
// colon, is "localhost", or has an upper-case letter; else it belongs to the path on docker.io.
#include "content/image_name.h"
#include "content/digest.h"

#define NAME_MAX_BYTES 255 // of domain and path together

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool component_ok(struct str s)
{
    if (!s.n || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n;) {
        if (is_alnum(s.p[i])) {
            i++;
            continue;
        }
        size_t from = i;
        char c = s.p[i];
        while (i < s.n && s.p[i] == c)
            i++;
        size_t run = i - from;
        if (!is_alnum(s.p[i]) || !((c == '.' && run == 1) || (c == '_' && run <= 2) || c == '-'))
            return false;
    }
    return true;
}

static bool domain_ok(struct str s)
{
    struct str port = s, host = str_cut(&port, ':');
    if (s.n && s.p[0] == '[') { // an IPv6 address
        ptrdiff_t end = str_chr(s, ']');
        if (end < 2)
            return false;
        for (ptrdiff_t i = 1; i < end; i++)
            if (!is_alnum(s.p[i]) && s.p[i] != ':')
                return false;
        port = str_from(s, (size_t)end + 1);
        if (!port.n)
            return true;
        if (port.p[0] != ':')
            return false;
        port = str_from(port, 1);
        host = STR("v6");
    }
    uint64_t number;
    if (port.p && (!str_to_u64(port, &number) || number > 65535))
        return false;
    while (host.p) {
        struct str label = str_cut(&host, '.');
        if (!label.n || label.p[0] == '-' || label.p[label.n - 1] == '-')
            return false;
        for (size_t i = 0; i < label.n; i++)
            if (!is_alnum(label.p[i]) && !is_upper(label.p[i]) && label.p[i] != '-')
                return false;
    }
    return true;
}

static bool tag_ok(struct str s)
{
    if (!s.n || s.n > 128)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!is_alnum(c) && !is_upper(c) && c != '_' && (i == 0 || (c != '.' && c != '-')))
            return false;
    }
    return true;
}

static bool looks_like_domain(struct str s)
{
    if (str_eqc(s, "localhost"))
        return true;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '.' || s.p[i] == ':' || is_upper(s.p[i]))
            return true;
    return false;
}

static int invalid(struct err *e, struct str name, const char *why)
{
    return err_set(e, ERR_BAD_REQUEST, "couldn't parse image name \"%.*s\": %s",
                   (int)(name.n > 300 ? 300 : name.n), name.p ? name.p : "", why);
}

int image_name_parse(struct arena *a, struct str name, struct image_name *ret, struct err *e)
{
    struct image_name n = {0};
    struct str rest = name;

    if (!name.n)
        return invalid(e, name, "repository name must have at least one component");
    // Before anything is printed with it: a NUL would cut the name off, and make it another one.
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] <= ' ' || (unsigned char)name.p[i] >= 0x7f)
            return err_set(e, ERR_BAD_REQUEST,
                           "couldn't parse image name: invalid reference format: character %zu",
                           i + 1);
    ptrdiff_t at = str_chr(rest, '@');
    if (at >= 0) {
        n.digest = str_from(rest, (size_t)at + 1);
        rest = str_sub(rest, 0, (size_t)at);
        if (!digest_valid(n.digest))
            return invalid(e, name, "invalid reference format");
    }
    ptrdiff_t colon = str_rchr(rest, ':'), slash = str_rchr(rest, '/');
    if (colon > slash) {
        n.tag = str_from(rest, (size_t)colon + 1);
        rest = str_sub(rest, 0, (size_t)colon);
        if (!tag_ok(n.tag))
            return invalid(e, name, "invalid reference format");
    }
    slash = str_chr(rest, '/');
    struct str first = slash < 0 ? STR_NULL : str_sub(rest, 0, (size_t)slash);
    if (first.n && looks_like_domain(first)) {
        n.domain = first;
        n.path = str_from(rest, (size_t)slash + 1);
        if (str_eqc(n.domain, "index.docker.io"))
            n.domain = STR("docker.io");
    } else {
        n.domain = STR("docker.io");
        n.path = rest;
    }
    if (str_eqc(n.domain, "docker.io") && str_chr(n.path, '/') < 0)
        n.path = arena_printf(a, "library/%.*s", STR_ARG(n.path));
    if (!domain_ok(n.domain))
        return invalid(e, name, "invalid reference format");
    if (n.domain.n + n.path.n > NAME_MAX_BYTES)
        return invalid(e, name, "repository name must not be more than 255 characters");
    for (struct str path = n.path, part; path.p;) {
        part = str_cut(&path, '/');
        if (component_ok(part))
            continue;
        for (size_t i = 0; i < part.n; i++)
            if (is_upper(part.p[i]))
                return invalid(e, name,
                               "invalid reference format: repository name must be lowercase");
        return invalid(e, name, "invalid reference format");
    }
    if (!n.path.n)
        return invalid(e, name, "invalid reference format");
    if (!n.tag.p && !n.digest.p)
        n.tag = STR("latest");
    *ret = n;
    return 0;
}

struct str image_name_repository(struct arena *a, const struct image_name *n)
{
    return arena_printf(a, "%.*s/%.*s", STR_ARG(n->domain), STR_ARG(n->path));
}

struct str image_name_text(struct arena *a, const struct image_name *n)
{
    if (n->digest.n)
        return arena_printf(a, "%.*s/%.*s@%.*s", STR_ARG(n->domain), STR_ARG(n->path),
                            STR_ARG(n->digest));
    return arena_printf(a, "%.*s/%.*s:%.*s", STR_ARG(n->domain), STR_ARG(n->path), STR_ARG(n->tag));
}
