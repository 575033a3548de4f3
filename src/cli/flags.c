// Flag parsing by table. Not getopt_long: the rows here also make the help text, and an unknown
// flag gets the nearest known one suggested.
#include "cli/flags.h"
#include "base/str.h"
#include <limits.h>

static void print_help(const struct usage *u)
{
    printf("Usage: %s\n\n%s\n", u->synopsis, u->text);
    if (u->nflags > 0)
        printf("\nFlags:\n");
    for (size_t i = 0; i < u->nflags; i++) {
        const struct flag *f = &u->flags[i];
        char left[64];
        snprintf(left, sizeof left, "%s%c%s--%s%s%s", f->short_name ? "-" : " ",
                 f->short_name ? f->short_name : ' ', f->short_name ? ", " : "  ", f->name,
                 f->metavar ? " " : "", f->metavar ? f->metavar : "");
        printf("  %-30s %s\n", left, f->help);
    }
    if (u->examples)
        printf("\nExamples:\n%s\n", u->examples);
}

// Number of single-character edits between two short words.
static unsigned distance(struct str a, struct str b)
{
    unsigned row[65];
    if (a.n > 64 || b.n > 64)
        return UINT_MAX;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a.n; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.n; j++) {
            unsigned substitute = diagonal + (a.p[i - 1] != b.p[j - 1]);
            diagonal = row[j];
            unsigned other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = substitute < other ? substitute : other;
        }
    }
    return row[b.n];
}

static const struct flag *find(const struct usage *u, struct str name, bool is_short)
{
    for (size_t i = 0; i < u->nflags; i++) {
        const struct flag *f = &u->flags[i];
        if (is_short ? name.n == 1 && f->short_name == name.p[0] : str_eqc(name, f->name))
            return f;
    }
    return NULL;
}

static int unknown(const struct usage *u, const char *arg, struct str name)
{
    const struct flag *nearest = NULL;
    unsigned best = 3;
    for (size_t i = 0; i < u->nflags; i++) {
        unsigned d = distance(name, str_of(u->flags[i].name));
        if (d < best) {
            best = d;
            nearest = &u->flags[i];
        }
    }
    fprintf(stderr, "unknown flag %s", arg);
    if (nearest)
        fprintf(stderr, ", did you mean --%s?", nearest->name);
    fprintf(stderr, "\nSee '%.*s --help'.\n", (int)strcspn(u->synopsis, "[") - 1, u->synopsis);
    return -1;
}

static int store(const struct flag *f, const char *text)
{
    uint64_t number;
    switch (f->kind) {
    case FLAG_STRING:
        *(const char **)f->value = text;
        return 0;
    case FLAG_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            break;
        *(bool *)f->value = text[0] == 't';
        return 0;
    case FLAG_PORT:
        if (!str_to_u64(str_of(text), &number) || number > 65535)
            break;
        *(uint16_t *)f->value = (uint16_t)number;
        return 0;
    case FLAG_SECONDS:
        if (!str_to_u64(str_of(text), &number) || number > UINT_MAX)
            break;
        *(unsigned *)f->value = (unsigned)number;
        return 0;
    }
    static const char *const expected[] = {[FLAG_BOOL] = "true or false",
                                           [FLAG_PORT] = "a port from 0 to 65535",
                                           [FLAG_SECONDS] = "a number of seconds"};
    fprintf(stderr, "invalid value \"%s\" for --%s: expected %s\n", text, f->name,
            expected[f->kind]);
    return -1;
}

int flags_parse(const struct usage *u, int argc, char **argv, int *ret_nargs)
{
    int nargs = 0;
    bool only_arguments = false;
    for (int i = 1; i < argc; i++) {
        struct str arg = str_of(argv[i]);
        if (only_arguments || arg.n < 2 || arg.p[0] != '-') {
            argv[++nargs] = argv[i];
            continue;
        }
        if (str_eqc(arg, "--")) {
            only_arguments = true;
            continue;
        }
        if (str_eqc(arg, "--help") || str_eqc(arg, "-h")) {
            print_help(u);
            return 1;
        }
        bool is_short = arg.p[1] != '-';
        struct str rest = str_from(arg, is_short ? 1 : 2);
        struct str name = str_cut(&rest, '=');
        const struct flag *f = find(u, name, is_short);
        if (!f)
            return unknown(u, argv[i], name);
        const char *text = rest.p;
        if (!text && f->kind == FLAG_BOOL)
            text = "true";
        if (!text && i + 1 < argc)
            text = argv[++i];
        if (!text) {
            fprintf(stderr, "--%s needs a value: %s\n", f->name, f->metavar ? f->metavar : "");
            return -1;
        }
        if (store(f, text) < 0)
            return -1;
    }
    *ret_nargs = nargs;
    return 0;
}
