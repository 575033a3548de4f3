// Reading a registry's headers: challenges (RFC 7235, and the token flow of the distribution
// specification) and redirects. Pure functions over outside bytes; what they are used for is in
// image_pull.c.
#include "runtime/image_pull.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static struct str skip(struct str s, const char *what)
{
    while (s.n && strchr(what, s.p[0]))
        s = str_from(s, 1);
    return s;
}

// A token or a quoted string; *rest moves behind it. false: a quote that does not end.
static bool value_cut(struct arena *a, struct str *rest, struct str *ret)
{
    struct str s = *rest;
    if (!s.n || s.p[0] != '"') {
        size_t n = 0;
        while (n < s.n && s.p[n] != ',' && !is_space(s.p[n]))
            n++;
        *ret = str_sub(s, 0, n);
        *rest = str_from(s, n);
        return true;
    }
    char *out = arena_alloc(a, s.n);
    size_t n = 0, i = 1;
    for (; i < s.n && s.p[i] != '"'; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n)
            i++;
        out[n++] = s.p[i];
    }
    if (i >= s.n)
        return false;
    *ret = str_n(out, n);
    *rest = str_from(s, i + 1);
    return true;
}

bool image_challenge_parse(struct arena *a, struct str header, struct image_challenge *ret)
{
    struct image_challenge c = {0};
    struct str rest = str_trim(header), scheme = str_cut(&rest, ' ');

    if (header.n > 8192)
        return false;
    c.bearer = str_ieq(scheme, STR("Bearer"));
    if (!c.bearer && !str_ieq(scheme, STR("Basic")))
        return false;
    for (rest = skip(rest, " \t,"); rest.n; rest = skip(rest, " \t,")) {
        ptrdiff_t equals = str_chr(rest, '=');
        if (equals <= 0)
            return false;
        struct str key = str_trim(str_sub(rest, 0, (size_t)equals)), value;
        rest = skip(str_from(rest, (size_t)equals + 1), " \t");
        if (!value_cut(a, &rest, &value))
            return false;
        if (str_ieq(key, STR("realm")))
            c.realm = value;
        else if (str_ieq(key, STR("service")))
            c.service = value;
        else if (str_ieq(key, STR("scope")))
            c.scope = value;
    }
    if (c.bearer && !c.realm.n)
        return false;
    *ret = c;
    return true;
}

static bool is_local(struct str domain)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        size_t n = strlen(hosts[i]);
        if (str_starts(domain, str_of(hosts[i])) && (domain.n == n || domain.p[n] == ':'))
            return true;
    }
    return false;
}

struct str image_registry_url(struct arena *a, const struct image_name *n)
{
    if (str_eqc(n->domain, "docker.io"))
        return STR("https://registry-1.docker.io");
    return arena_printf(a, "%s://%.*s", is_local(n->domain) ? "http" : "https", STR_ARG(n->domain));
}

struct str image_url_origin(struct str url)
{
    ptrdiff_t at = str_find(url, STR("://"));
    if (at < 0)
        return STR_NULL;
    ptrdiff_t slash = str_chr(str_from(url, (size_t)at + 3), '/');
    return slash < 0 ? url : str_sub(url, 0, (size_t)at + 3 + (size_t)slash);
}

struct str image_redirect_url(struct arena *a, struct str from, struct str location)
{
    struct str origin = image_url_origin(from);
    for (size_t i = 0; i < location.n; i++)
        if ((unsigned char)location.p[i] <= ' ' || location.p[i] == 0x7f)
            return STR_NULL;
    if (str_starts(location, STR("//"))) {
        ptrdiff_t colon = str_chr(from, ':');
        return arena_printf(a, "%.*s:%.*s", (int)colon, from.p, STR_ARG(location));
    }
    if (str_starts(location, STR("/")))
        return arena_printf(a, "%.*s%.*s", STR_ARG(origin), STR_ARG(location));
    if (str_starts(location, STR("https://")))
        return location;
    // Never from https to http.
    if (str_starts(location, STR("http://")) && str_starts(from, STR("http://")))
        return location;
    return STR_NULL;
}
