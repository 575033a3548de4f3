// Flag parsing by table. Not getopt_long: the rows here also make the help text, and an unknown
// flag gets the nearest known one suggested.
#include "cli/flags.h"
#include "base/time.h"
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
    case FLAG_INT:
        if (!str_to_i64(str_of(text), f->value))
            break;
        return 0;
    case FLAG_DURATION:
        if (!duration_parse(str_of(text), f->value))
            break;
        return 0;
    case FLAG_LIST: {
        struct flag_list *l = f->value;
        if (l->n == FLAG_LIST_MAX)
            break;
        l->items[l->n++] = text;
        return 0;
    }
    }
    static const char *const expected[] = {[FLAG_BOOL] = "true or false",
                                           [FLAG_PORT] = "a port from 0 to 65535",
                                           [FLAG_SECONDS] = "a number of seconds",
                                           [FLAG_INT] = "a whole number",
                                           [FLAG_DURATION] = "a duration such as 90s or 1h30m",
                                           [FLAG_LIST] = "it 64 times at most"};
    fprintf(stderr, "invalid value \"%s\" for --%s: expected %s\n", text, f->name,
            expected[f->kind]);
    return -1;
}

// The value of a flag that stands in the words: in the rest of this one, or in the next.
static int take(const struct flag *f, const char *text, int argc, char **argv, int *i)
{
    if (!text && f->kind == FLAG_BOOL)
        text = "true";
    if (!text && *i + 1 < argc)
        text = argv[++*i];
    if (!text) {
        fprintf(stderr, "--%s needs a value: %s\n", f->name, f->metavar ? f->metavar : "");
        return -1;
    }
    return store(f, text);
}

// "-A", "-n shop", "-nshop", "-n=shop", "-An shop": letters, of which the last may take a value.
static int parse_short(const struct usage *u, int argc, char **argv, int *i)
{
    const char *word = argv[*i];
    for (const char *at = word + 1; *at; at++) {
        const struct flag *f = find(u, str_n(at, 1), true);
        if (!f)
            return unknown(u, word, str_n(at, 1));
        bool assigned = at[1] == '=';
        if (f->kind == FLAG_BOOL && !assigned) {
            if (store(f, "true") < 0)
                return -1;
            continue;
        }
        return take(f, at[1] ? at + 1 + assigned : NULL, argc, argv, i);
    }
    return 0;
}

// Variables stand in for flags: they are read first, so that a flag overrides its own.
static int from_environment(const struct usage *u)
{
    for (size_t i = 0; i < u->nflags; i++) {
        const char *text = u->flags[i].env ? getenv(u->flags[i].env) : NULL;
        if (text && *text && store(&u->flags[i], text) < 0)
            return -1;
    }
    return 0;
}

int flags_parse(const struct usage *u, int argc, char **argv, int *ret_nargs)
{
    int nargs = 0;
    if (from_environment(u) < 0)
        return -1;
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
        if (arg.p[1] != '-') {
            if (parse_short(u, argc, argv, &i) < 0)
                return -1;
            continue;
        }
        struct str rest = str_from(arg, 2);
        struct str name = str_cut(&rest, '=');
        const struct flag *f = find(u, name, false);
        if (!f)
            return unknown(u, argv[i], name);
        if (take(f, rest.p, argc, argv, &i) < 0)
            return -1;
    }
    *ret_nargs = nargs;
    return 0;
}
