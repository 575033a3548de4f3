// Formats of strings: names, ports, addresses, paths. Hand-written matchers (no regular expression
// engine in the write path), with the originals' messages, which quote the expression they use.
#include "schema/rules.h"
#include <arpa/inet.h>

#define LABEL_RE     "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
#define SUBDOMAIN_RE LABEL_RE "(\\." LABEL_RE ")*"
#define QUALIFIED_RE "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
#define QUALIFIED_TEXT                                                                             \
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "    \
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "         \
    "validation is '" QUALIFIED_RE "')"

static bool lower(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool alnum(char c)
{
    return lower(c) || (c >= 'A' && c <= 'Z');
}

static bool is_label(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!lower(s.p[i]) && (s.p[i] != '-' || i == 0 || i == s.n - 1))
            return false;
    return s.n;
}

static bool is_subdomain(struct str s)
{
    if (!s.n || s.p[s.n - 1] == '.')
        return false;
    for (struct str rest = s; rest.p && rest.n;)
        if (!is_label(str_cut(&rest, '.')))
            return false;
    return true;
}

static bool is_qualified(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!alnum(s.p[i]) && (!strchr("-_.", s.p[i]) || !s.p[i] || i == 0 || i == s.n - 1))
            return false;
    return s.n;
}

static bool has_only(struct str s, const char *more)
{
    for (size_t i = 0; i < s.n; i++)
        if (!alnum(s.p[i]) && (!s.p[i] || !strchr(more, s.p[i])))
            return false;
    return true;
}

struct report {
    struct arena *a;
    struct value *messages;
    bool bad;
};

__attribute__((format(printf, 2, 3))) static void say(struct report *r, const char *fmt, ...)
{
    r->bad = true;
    if (!r->messages)
        return;
    va_list ap;
    va_start(ap, fmt);
    value_push(r->a, r->messages, value_str(r->a, arena_vprintf(r->a, fmt, ap)));
    va_end(ap);
}

static void too_long(struct report *r, struct str s, size_t maximum)
{
    if (s.n > maximum)
        say(r, "must be no more than %zu characters", maximum);
}

static void label(struct report *r, struct str s)
{
    too_long(r, s, 63);
    if (is_label(s))
        return;
    if (is_subdomain(s))
        say(r, "must not contain dots");
    else
        say(r, "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or "
               "'-', and must start and end with an alphanumeric character (e.g. 'my-name',  or "
               "'123-abc', regex used for validation is '" LABEL_RE "')");
}

static void subdomain(struct report *r, struct str s, const char *prefix)
{
    if (s.n > 253)
        say(r, "%smust be no more than 253 characters", prefix);
    if (!is_subdomain(s))
        say(r,
            "%sa lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            "'-' or '.', and must start and end with an alphanumeric character (e.g. "
            "'example.com', regex used for validation is '" SUBDOMAIN_RE "')",
            prefix);
}

static void dns1035_label(struct report *r, struct str s)
{
    too_long(r, s, 63);
    if (!is_label(s) || (s.p[0] >= '0' && s.p[0] <= '9'))
        say(r, "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start "
               "with an alphabetic character, and end with an alphanumeric character (e.g. "
               "'my-name',  or 'abc-123', regex used for validation is "
               "'[a-z]([-a-z0-9]*[a-z0-9])?')");
}

static void qualified_name(struct report *r, struct str s)
{
    ptrdiff_t slash = str_chr(s, '/');
    struct str name = s;
    if (slash >= 0) {
        struct str prefix = str_sub(s, 0, (size_t)slash);
        name = str_from(s, (size_t)slash + 1);
        if (str_chr(name, '/') >= 0) {
            say(r, "a qualified name " QUALIFIED_TEXT
                   " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')");
            return;
        }
        if (!prefix.n)
            say(r, "prefix part must be non-empty");
        else
            subdomain(r, prefix, "prefix part ");
    }
    if (!name.n)
        say(r, "name part must be non-empty");
    else if (name.n > 63)
        say(r, "name part must be no more than 63 characters");
    if (!is_qualified(name))
        say(r, "name part " QUALIFIED_TEXT);
}

static void label_value(struct report *r, struct str s)
{
    too_long(r, s, 63);
    if (s.n && !is_qualified(s))
        say(r,
            "a valid label must be an empty string or consist of alphanumeric characters, '-', "
            "'_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  "
            "or 'my_value',  or '12345', regex used for validation is "
            "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')");
}

static void port_name(struct report *r, struct str s)
{
    bool letter = false, charset = true;
    for (size_t i = 0; i < s.n; i++) {
        letter |= s.p[i] >= 'a' && s.p[i] <= 'z';
        charset &= lower(s.p[i]) || s.p[i] == '-';
    }
    if (s.n > 15)
        say(r, "must be no more than 15 characters");
    if (!charset || !s.n)
        say(r, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    if (!letter)
        say(r, "must contain at least one letter (a-z)");
    if (str_find(s, STR("--")) >= 0)
        say(r, "must not contain consecutive hyphens");
    if (s.n && (s.p[0] == '-' || s.p[s.n - 1] == '-'))
        say(r, "must not begin or end with a hyphen");
}

static bool is_address(struct str s, int *ret_bits)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    if (!s.n || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    if (inet_pton(AF_INET, text, bytes) == 1)
        *ret_bits = 32;
    else if (inet_pton(AF_INET6, text, bytes) == 1)
        *ret_bits = 128;
    else
        return false;
    return true;
}

static bool is_cidr(struct str s)
{
    struct str rest = s, address = str_cut(&rest, '/');
    uint64_t prefix;
    int bits;
    return is_address(address, &bits) && rest.p && str_to_u64(rest, &prefix) && prefix <= bits;
}

// Parts of a path that is "..", which would leave the volume.
static bool has_backstep(struct str s)
{
    for (struct str rest = s; rest.p && rest.n;)
        if (str_eqc(str_cut(&rest, '/'), ".."))
            return true;
    return false;
}

static void no_directory(struct report *r, struct str s)
{
    if (str_eqc(s, "."))
        say(r, "must not be '.'");
    else if (str_eqc(s, ".."))
        say(r, "must not be '..'");
    else if (str_starts(s, STR("..")))
        say(r, "must not start with '..'");
}

// Words of lower-case letters, digits, - and _ with . or / between.
static bool is_sysctl(struct str s)
{
    size_t from = 0;
    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n && s.p[i] != '.' && s.p[i] != '/') {
            if (!lower(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
                return false;
            continue;
        }
        if (i == from || !lower(s.p[from]) || !lower(s.p[i - 1]))
            return false;
        from = i + 1;
    }
    return true;
}

static void search_domain(struct report *r, struct str s)
{
    char plain[254];
    if (s.n > 253)
        say(r, "must be no more than 253 characters");
    for (size_t i = 0; i < s.n && i < sizeof plain; i++)
        plain[i] = (char)(s.p[i] == '_' ? 'a' : s.p[i]);
    if (s.n < sizeof plain && !is_subdomain(str_n(plain, s.n)))
        say(r, "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
               "'_', '-' or '.', and must start and end with an alphanumeric character (e.g. "
               "'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?"
               "[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')");
}

// A host name, a slash, and something that may stand in a path.
static void domain_path(struct report *r, struct str s)
{
    struct str rest = s, domain = str_cut(&rest, '/');
    if (!domain.n || !rest.n) {
        say(r, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    }
    subdomain(r, domain, "");
    for (size_t i = 0; i < rest.n; i++)
        if (!alnum(rest.p[i]) && (!rest.p[i] || !strchr("/-._~!$&'()*+,;=%:@", rest.p[i]))) {
            say(r, "Invalid path (regex used for validation is "
                   "'[A-Za-z0-9/\\-._~%%!$&'()*+,;=:]+')");
            return;
        }
}

static void csi_driver(struct report *r, struct str s)
{
    if (s.n > 63)
        say(r, "Too long: may not be more than 63 bytes");
    char name[64];
    size_t n = s.n < sizeof name ? s.n : sizeof name;
    for (size_t i = 0; i < n; i++)
        name[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + ('a' - 'A') : s.p[i]);
    subdomain(r, str_n(name, n), "");
}

static void path_segment(struct report *r, struct str s)
{
    if (str_eqc(s, ".") || str_eqc(s, ".."))
        say(r, "may not be '%.*s'", STR_ARG(s));
    if (str_chr(s, '/') >= 0)
        say(r, "may not contain '/'");
    if (str_chr(s, '%') >= 0)
        say(r, "may not contain '%%'");
}

static void env_name(struct report *r, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~' || s.p[i] == '=') {
            say(r, "a valid environment variable name must consist only of printable ASCII "
                   "characters other than '='");
            return;
        }
    if (!s.n)
        say(r, "environment variable name must not be empty");
}

bool schema_format_ok(struct arena *a, enum rule_format format, struct str s,
                      struct value *messages)
{
    struct report r = {a, messages, false};
    int bits;
    switch (format) {
    case FORMAT_DNS1123_LABEL:
        label(&r, s);
        break;
    case FORMAT_DNS1123_SUBDOMAIN:
        subdomain(&r, s, "");
        break;
    case FORMAT_DNS1035_LABEL:
        dns1035_label(&r, s);
        break;
    case FORMAT_QUALIFIED_NAME:
        qualified_name(&r, s);
        break;
    case FORMAT_LABEL_VALUE:
        label_value(&r, s);
        break;
    case FORMAT_PORT_NAME:
        port_name(&r, s);
        break;
    case FORMAT_PORT_OR_NAME: // a number in quotes is a name, and no good one
        port_name(&r, s);
        break;
    case FORMAT_IP:
        if (!is_address(s, &bits))
            say(&r, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        break;
    case FORMAT_CIDR:
        if (!is_cidr(s))
            say(&r, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        break;
    case FORMAT_PATH_SEGMENT:
        path_segment(&r, s);
        break;
    case FORMAT_ABSOLUTE_PATH:
        if (!s.n || s.p[0] != '/')
            say(&r, "must be an absolute path");
        break;
    case FORMAT_RELATIVE_PATH:
        if (s.n && s.p[0] == '/')
            say(&r, "must be a relative path");
        if (has_backstep(s))
            say(&r, "must not contain '..'");
        break;
    case FORMAT_LOCAL_PATH:
        if (s.n && s.p[0] == '/')
            say(&r, "must be a relative path");
        if (has_backstep(s))
            say(&r, "must not contain '..'");
        if (str_starts(s, STR("..")) && !str_starts(s, STR("../")))
            say(&r, "must not start with '..'");
        break;
    case FORMAT_HTTP_HEADER:
        if (!s.n || !has_only(s, "-"))
            say(&r, "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. "
                    "'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')");
        break;
    case FORMAT_SYSCTL:
        if (s.n > 253 || !is_sysctl(s))
            say(&r, "must have at most 253 characters and match regex "
                    "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$");
        break;
    case FORMAT_SEARCH_DOMAIN:
        search_domain(&r, s);
        break;
    case FORMAT_DOMAIN_PATH:
        domain_path(&r, s);
        break;
    case FORMAT_CSI_DRIVER:
        csi_driver(&r, s);
        break;
    case FORMAT_CONFIG_KEY:
        too_long(&r, s, 253);
        if (!s.n || !has_only(s, "-_."))
            say(&r, "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
                    "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation "
                    "is '[-._a-zA-Z0-9]+')");
        no_directory(&r, s);
        break;
    case FORMAT_ENV_NAME:
        env_name(&r, s);
        break;
    default: // formats of maps and numbers are the engine's business
        break;
    }
    return !r.bad;
}
