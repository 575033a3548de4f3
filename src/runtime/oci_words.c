// crun and runc describe the same fault differently:
//
//     crun  executable file `nope` not found in $PATH: No such file or directory
//     runc  time="…" level=error msg="runc run failed: unable to start container process: exec:
//     \"nope\":
//           executable file not found in $PATH"
//
// Users see pod status, and know the second form without its head. So a line is freed from logrus'
// quoting and from the known prefixes, and crun's phrases are rewritten from a table. The
// table matches on a phrase, with the name in back quotes kept: `format` has it as %s.
#include "runtime/oci_words.h"
#include "base/buf.h"

static const char *const prefixes[] = {
    "runc run failed: ",
    "runc create failed: ",
    "runc start failed: ",
    "exec failed: ",
    "unable to start container process: ",
    "container_linux.go:380: starting container process caused: ",
    "OCI runtime error: ",
};

static const struct phrase {
    const char *contains;
    const char *also;   // or NULL
    const char *format; // %s, if any: what stands in back quotes
} phrases[] = {
    {"executable file", "not found in $PATH", "exec: \"%s\": executable file not found in $PATH"},
    {"open executable", "No such file or directory", "exec: \"%s\": no such file or directory"},
    {"open executable", "Permission denied", "exec: \"%s\": permission denied"},
    {"executable file", "not found: No such file", "exec: \"%s\": no such file or directory"},
    {"executable file", "not executable", "exec: \"%s\": permission denied"},
    {"open executable: Permission denied", NULL, "exec: permission denied"},
    {"open executable: No such file", NULL, "exec: no such file or directory"},
    {"cannot find", "in $PATH", "exec: \"%s\": executable file not found in $PATH"},
};

// logrus: time="…" level=error msg="…": the text of msg without its quoting. A plain line is
// itself.
static struct str unquote(struct arena *a, struct str line)
{
    ptrdiff_t at = str_find(line, STR("msg="));
    if (!str_starts(line, STR("time=")) || at < 0)
        return line;
    struct str s = str_from(line, (size_t)at + 4);
    if (!s.n || s.p[0] != '"')
        return s;
    struct buf b = BUF_MAX(8192);
    for (size_t i = 1; i < s.n && s.p[i] != '"'; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n)
            i++;
        buf_char(&b, s.p[i]);
    }
    struct str text = arena_str(a, buf_view(&b));
    buf_done(&b);
    return text;
}

static struct str in_quotes(struct str s, char quote)
{
    ptrdiff_t from = str_chr(s, quote);
    if (from < 0)
        return STR_NULL;
    struct str rest = str_from(s, (size_t)from + 1);
    ptrdiff_t to = str_chr(rest, quote);
    return to < 0 ? STR_NULL : str_sub(rest, 0, (size_t)to);
}

struct str oci_words(struct arena *a, struct str raw)
{
    // The last line that says something: warnings come before the error that ended it.
    struct str line = STR_NULL;
    for (struct str rest = str_trim(raw); rest.p;) {
        struct str next = str_trim(str_cut(&rest, '\n'));
        if (next.n && (str_find(next, STR("level=warning")) < 0 || !line.n))
            line = next;
    }
    if (!line.n)
        return STR("the runtime gave no reason");
    line = unquote(a, line);
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
            if (str_starts(line, str_of(prefixes[i]))) {
                line = str_from(line, strlen(prefixes[i]));
                again = true;
            }
    }
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++) {
        const struct phrase *p = &phrases[i];
        struct str name = in_quotes(line, '`');
        bool wants_name = strstr(p->format, "%s") != NULL;
        if ((wants_name && !name.p) || str_find(line, str_of(p->contains)) < 0 ||
            (p->also && str_find(line, str_of(p->also)) < 0))
            continue;
        if (name.n && name.p[0] == '/' && i == 0) // a path is not searched
            return arena_printf(a, "exec: \"%.*s\": no such file or directory", STR_ARG(name));
        return wants_name ? arena_printf(a, p->format, arena_cstr(a, name)) : str_of(p->format);
    }
    return arena_str(a, line);
}
