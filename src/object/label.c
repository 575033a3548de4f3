// Label keys are qualified names: an optional DNS subdomain and a slash, then up to 63 characters
// of letters, digits, - _ . that begin and end with a letter or digit. Values are the same without
// a prefix, and may be empty.
#include "object/label.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_RULE                                                                                  \
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "    \
    "alphanumeric character"

static bool is_name(struct str s)
{
    if (!s.n || !isalnum((unsigned char)s.p[0]) || !isalnum((unsigned char)s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && !memchr("-_.", s.p[i], 3))
            return false;
    return true;
}

static bool is_subdomain(struct str s)
{
    bool edge = true; // at the beginning of a label
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (c == '.' ? edge || s.p[i - 1] == '-' : !letter && (c != '-' || edge))
            return false;
        edge = c == '.';
    }
    return s.n && !edge && s.p[s.n - 1] != '-';
}

__attribute__((format(printf, 4, 5))) static void say(char *why, size_t size, size_t *n,
                                                      const char *fmt, ...)
{
    if (*n + 2 < size && *n) {
        memcpy(why + *n, "; ", 3);
        *n += 2;
    }
    va_list ap;
    va_start(ap, fmt);
    int w = vsnprintf(why + *n, size - *n, fmt, ap);
    va_end(ap);
    if (w > 0)
        *n = *n + (size_t)w < size ? *n + (size_t)w : size - 1;
}

bool label_key_check(struct str key, char *why, size_t size)
{
    size_t n = 0;
    struct str name = key;
    ptrdiff_t slash = str_chr(key, '/');
    why[0] = 0;
    if (slash >= 0) {
        struct str prefix = str_sub(key, 0, (size_t)slash);
        name = str_from(key, (size_t)slash + 1);
        if (str_chr(name, '/') >= 0) {
            say(why, size, &n,
                "a qualified name " NAME_RULE
                " (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
                "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix "
                "and '/' (e.g. 'example.com/MyName')");
            return false;
        }
        if (!prefix.n)
            say(why, size, &n, "prefix part must be non-empty");
        else if (prefix.n > 253)
            say(why, size, &n, "prefix part must be no more than 253 characters");
        else if (!is_subdomain(prefix))
            say(why, size, &n,
                "prefix part a lowercase RFC 1123 subdomain must consist of lower case "
                "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric "
                "character (e.g. 'example.com', regex used for validation is "
                "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
    }
    if (!name.n)
        say(why, size, &n, "name part must be non-empty");
    else if (name.n > 63)
        say(why, size, &n, "name part must be no more than 63 characters");
    if (!is_name(name))
        say(why, size, &n,
            "name part " NAME_RULE
            " (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')");
    return n == 0;
}

bool label_value_check(struct str value, char *why, size_t size)
{
    size_t n = 0;
    why[0] = 0;
    if (value.n > 63)
        say(why, size, &n, "must be no more than 63 characters");
    if (value.n && !is_name(value))
        say(why, size, &n,
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' "
            "or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
            "'my_value',  or '12345', regex used for validation is "
            "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')");
    return n == 0;
}
