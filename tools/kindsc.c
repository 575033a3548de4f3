// kindsc: compiles api/*.kinds into C tables. Runs at build time only.
//
//     kindsc OUTPUT.c INPUT.kinds... [RENDERER.c...]
//
// The format's manual is api/README.md. All files are read, then names are resolved, then inlined
// structs are flattened, then everything is checked, then written; nothing is written if anything
// is wrong, and every fault is reported as FILE:LINE: message, so that an editor can jump to it.
//
// The tables are `static const` arrays with pointers between them: no start-up work, shared by all
// processes. They satisfy object/type.h, schema/schema.h, schema/rules.h and schema/columns.h; the
// compiler checks that they do.
//
// It keeps everything it reads until it ends: an arena would be no simpler for a program that lives
// for ten milliseconds.
#include "kindsc.h"
#include <ctype.h>

struct package *packages[64];
int npackages;
struct name *names[4096];
int nnames;
struct kind *kinds[1024];
int nkinds;
int faults;
uint64_t fingerprint = 14695981039346656037u; // FNV-1a of all input

void *grow(void *p, size_t size)
{
    p = realloc(p, size);
    if (!p) {
        fprintf(stderr, "kindsc: out of memory\n");
        exit(1);
    }
    return p;
}

void *make(size_t size)
{
    return memset(grow(NULL, size), 0, size);
}

char *copy(const char *s)
{
    return s ? memcpy(grow(NULL, strlen(s) + 1), s, strlen(s) + 1) : NULL;
}

char *print(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        exit(1);
    va_end(ap);
    return text;
}

void fault(struct place at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s:%d: ", at.file, at.line);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    faults++;
}

// ---- reading ----------------------------------------------------------------------------------

// Splits at blanks; "quoted words" may hold blanks (the quotes are dropped when they begin a word,
// kept inside one: default="x y").
static int split(char *line, char **words, struct place at)
{
    int n = 0;
    for (char *p = line;;) {
        while (isblank((unsigned char)*p))
            p++;
        if (!*p || *p == '#')
            return n;
        if (n == MAX_WORDS) {
            fault(at, "more than %d words", MAX_WORDS);
            return n;
        }
        if (*p == '"') {
            words[n++] = ++p;
            while (*p && *p != '"')
                p++;
            if (!*p)
                fault(at, "quote is not closed");
        } else {
            words[n++] = p;
            for (bool quoted = false; *p && (quoted || !isblank((unsigned char)*p)); p++)
                if (*p == '"')
                    quoted = !quoted;
        }
        if (*p)
            *p++ = 0;
    }
}

struct name *find_name(struct package *package, const char *word)
{
    char *full = strchr(word, '.') || !package ? copy(word) : print("%s.%s", package->name, word);
    struct name *found = NULL;
    for (int i = 0; i < nnames && !found; i++)
        if (!strcmp(names[i]->full, full))
            found = names[i];
    free(full);
    return found;
}

static struct name *add_name(struct place at, struct package *package, enum name_kind kind,
                             const char *local)
{
    struct name *n = make(sizeof *n);
    n->at = at;
    n->kind = kind;
    n->package = package;
    n->local = copy(local);
    n->full = print("%s.%s", package->name, local);
    n->index = -1;
    struct name *other = find_name(NULL, n->full);
    if (other)
        fault(at, "%s is defined already at %s:%d", n->full, other->at.file, other->at.line);
    if (nnames == (int)(sizeof names / sizeof *names)) {
        fault(at, "too many types");
        return n;
    }
    names[nnames++] = n;
    return n;
}

static bool parse_number(const char *word, int pb[MAX_INLINE])
{
    memset(pb, 0, MAX_INLINE * sizeof *pb);
    if (!strcmp(word, "-"))
        return true;
    for (int depth = 0; depth < MAX_INLINE; depth++) {
        char *end;
        long v = strtol(word, &end, 10);
        if (end == word || v < 1 || v > 255)
            return false;
        pb[depth] = (int)v;
        if (!*end)
            return true;
        if (*end != '.')
            return false;
        word = end + 1;
    }
    return false;
}

static void read_row(struct place at, struct name *type, char **w, int n)
{
    if (n < 3) {
        fault(at, "a field is: name number type [attributes]");
        return;
    }
    type->rows = grow(type->rows, sizeof *type->rows * (size_t)(type->nrows + 1));
    struct row *r = &type->rows[type->nrows++];
    memset(r, 0, sizeof *r);
    r->at = at;
    r->is_inline = !strcmp(w[0], "inline");
    r->name = copy(w[0]);
    if (!parse_number(w[1], r->pb))
        fault(at, "\"%s\" is not a protobuf number: use 7, 4.1 or -", w[1]);
    r->spec = copy(w[2]);
    for (int i = 3; i < n; i++) {
        r->attributes = grow(r->attributes, sizeof *r->attributes * (size_t)(r->nattributes + 1));
        struct attribute *a = &r->attributes[r->nattributes++];
        a->name = copy(w[i]);
        a->value = strchr(a->name, '=');
        if (a->value)
            *a->value++ = 0;
    }
}

static void append(char ***list, int *n, const char *word)
{
    *list = grow(*list, sizeof **list * (size_t)(*n + 1));
    (*list)[(*n)++] = copy(word);
}

const struct word verb_words[] = {
    {"get", "VERB_GET", 1},
    {"list", "VERB_LIST", 2},
    {"watch", "VERB_WATCH", 4},
    {"create", "VERB_CREATE", 8},
    {"update", "VERB_UPDATE", 16},
    {"patch", "VERB_PATCH", 32},
    {"delete", "VERB_DELETE", 64},
    {"deletecollection", "VERB_DELETECOLLECTION", 128},
    {"connect", "VERB_CONNECT", 256},
    {"rw", "VERB_RW", 255},
    {0},
};
const struct word flag_words[] = {
    {"generation", "KIND_GENERATION", 4},
    {"virtual", "KIND_VIRTUAL", 8},
    {"unconditional", "KIND_UNCONDITIONAL_UPDATE", 16},
    {"create-on-update", "KIND_CREATE_ON_UPDATE", 32},
    {"graceful", "KIND_GRACEFUL", 128},
    {0},
};

unsigned verb_bit(struct place at, const char *word)
{
    for (size_t i = 0; verb_words[i].word; i++)
        if (!strcmp(verb_words[i].word, word))
            return verb_words[i].bit;
    fault(at, "\"%s\" is not a verb", word);
    return 0;
}

static void read_sub(struct place at, struct kind *k, const char *name, const char *body,
                     char **verbs, int nverbs, char **scale)
{
    k->subs = grow(k->subs, sizeof *k->subs * (size_t)(k->nsubs + 1));
    struct sub *s = &k->subs[k->nsubs++];
    memset(s, 0, sizeof *s);
    s->at = at;
    s->name = copy(name);
    s->body = copy(body);
    for (int i = 0; i < nverbs; i++)
        append(&s->verbs, &s->nverbs, verbs[i]);
    for (int i = 0; scale && i < 3; i++)
        s->scale[i] = copy(scale[i]);
}

static void read_kind_line(struct place at, struct kind *k, char **w, int n)
{
    static char *get_update_patch[] = {"get", "patch", "update"};
    const char *key = w[0];
    if (!strcmp(key, "resource") && (n == 2 || n == 3)) {
        k->resource = copy(w[1]);
        k->singular = copy(n == 3 ? w[2] : NULL);
    } else if (!strcmp(key, "short") && n > 1) {
        for (int i = 1; i < n; i++)
            append(&k->shorts, &k->nshorts, w[i]);
    } else if (!strcmp(key, "categories") && n > 1) {
        for (int i = 1; i < n; i++)
            append(&k->categories, &k->ncategories, w[i]);
    } else if (!strcmp(key, "scope") && n == 2) {
        k->has_scope = true;
        k->namespaced = !strcmp(w[1], "namespaced");
        if (!k->namespaced && strcmp(w[1], "cluster"))
            fault(at, "scope is namespaced or cluster");
    } else if (!strcmp(key, "verbs") && n > 1) {
        for (int i = 1; i < n; i++)
            if (w[i][0] == '-')
                k->verbs &= ~verb_bit(at, w[i] + 1);
            else
                k->verbs |= verb_bit(at, w[i]);
    } else if (!strcmp(key, "flags") && n > 1) {
        for (int i = 1; i < n; i++) {
            size_t f = 0;
            while (flag_words[f].word && strcmp(flag_words[f].word, w[i]))
                f++;
            if (!flag_words[f].word)
                fault(at, "\"%s\" is not a flag", w[i]);
            else
                k->flags |= flag_words[f].bit;
        }
    } else if (!strcmp(key, "storage") && n == 2) {
        k->storage = copy(w[1]);
    } else if (!strcmp(key, "names") && n == 2) {
        k->names = copy(w[1]);
    } else if (!strcmp(key, "stored-as") && n == 2) {
        k->stored_as = copy(w[1]);
    } else if (!strcmp(key, "select") && (n == 2 || n == 3)) {
        append(&k->selects, &k->nselects, w[1]);
        append(&k->selects, &k->nselects, w[n - 1]);
    } else if (!strcmp(key, "status") && n == 1) {
        k->flags |= 2;
        read_sub(at, k, "status", "-", get_update_patch, 3, NULL);
    } else if (!strcmp(key, "scale") && n == 4) {
        read_sub(at, k, "scale", "autoscaling/v1/Scale", get_update_patch, 3, w + 1);
    } else if (!strcmp(key, "sub") && n >= 4) {
        read_sub(at, k, w[1], w[2], w + 3, n - 3, NULL);
    } else if (!strcmp(key, "column") && (n == 4 || (n == 5 && !strcmp(w[4], "wide")))) {
        k->columns = grow(k->columns, sizeof *k->columns * (size_t)(k->ncolumns + 1));
        struct column *c = &k->columns[k->ncolumns++];
        *c = (struct column){at, copy(w[1]), copy(w[2]), copy(w[3]), NULL, n == 5};
    } else {
        fault(at, "\"%s\" with %d words is no line of a kind", key, n);
    }
}

// Where the reader is: the innermost thing that an indented line belongs to.
struct reader {
    struct place at;
    struct package *package;
    struct name *name;
    struct kind *kind;
    bool in_package;
    char **doc; // where a `|` line is appended
};

static char *unquoted(const char *word)
{
    char *s = copy(*word == '"' ? word + 1 : word);
    size_t n = strlen(s);
    if (*word == '"' && n && s[n - 1] == '"')
        s[n - 1] = 0;
    return s;
}

static void read_top(struct reader *r, char **w, int n)
{
    r->name = NULL;
    r->kind = NULL;
    r->in_package = false;
    r->doc = NULL;
    if (n < 2) {
        fault(r->at, "\"%s\" needs a name", w[0]);
        return;
    }
    if (!strcmp(w[0], "package")) {
        struct package *p = make(sizeof *p);
        p->name = copy(w[1]);
        p->at = r->at;
        if (npackages < (int)COUNT(packages))
            packages[npackages++] = p;
        r->package = p;
        r->in_package = true;
        return;
    }
    if (!r->package) {
        fault(r->at, "before the first package");
        return;
    }
    if (!strcmp(w[0], "kind")) {
        struct kind *k = make(sizeof *k);
        k->at = r->at;
        k->package = r->package;
        k->name = copy(w[1]);
        if (nkinds < (int)COUNT(kinds))
            kinds[nkinds++] = k;
        r->kind = k;
    } else if (!strcmp(w[0], "type") || !strcmp(w[0], "part")) {
        r->name = add_name(r->at, r->package, w[0][0] == 't' ? NAME_TYPE : NAME_PART, w[1]);
        for (int i = 2; i < n; i++) {
            if (!strncmp(w[i], "default:", 8))
                r->name->defaults = copy(w[i] + 8);
            else if (!strncmp(w[i], "check:", 6))
                r->name->check = copy(w[i] + 6);
            else if (!strncmp(w[i], "oneof:", 6))
                r->name->oneof = unquoted(w[i] + 6);
            else
                fault(r->at,
                      "a type takes default:FUNCTION, check:FUNCTION and oneof:NOUN, not \"%s\"",
                      w[i]);
        }
        r->doc = &r->name->doc;
    } else if (!strcmp(w[0], "any") || !strcmp(w[0], "union")) {
        r->name = add_name(r->at, r->package, w[0][0] == 'a' ? NAME_ANY : NAME_UNION, w[1]);
        r->doc = &r->name->doc;
    } else if (!strcmp(w[0], "enum")) {
        r->name = add_name(r->at, r->package, NAME_ENUM, w[1]);
        int i = 2;
        if (n > 2 && !strcmp(w[2], "open"))
            r->name->open = true, i++;
        for (; i < n; i++)
            append(&r->name->values, &r->name->nvalues, w[i]);
    } else {
        fault(r->at, "\"%s\": expected package, kind, type, part, any, union or enum", w[0]);
    }
}

static void read_doc(struct reader *r, const char *text)
{
    while (isblank((unsigned char)*text))
        text++;
    if (!r->doc)
        fault(r->at, "nothing here to describe");
    else
        *r->doc = *r->doc ? print("%s %s", *r->doc, text) : copy(text);
}

static void read_indented(struct reader *r, char **w, int n)
{
    struct package *p = r->package;
    if (r->in_package) {
        if (n != 2)
            fault(r->at, "a package line is: key value");
        else if (!strcmp(w[0], "group"))
            p->group = copy(w[1]);
        else if (!strcmp(w[0], "version"))
            p->version = copy(w[1]);
        else if (!strcmp(w[0], "rank"))
            p->rank = (int)strtol(w[1], NULL, 10);
        else if (!strcmp(w[0], "openapi"))
            p->openapi = copy(w[1]);
        else
            fault(r->at, "\"%s\" is no line of a package", w[0]);
    } else if (r->kind) {
        read_kind_line(r->at, r->kind, w, n);
        r->doc = r->kind->ncolumns ? &r->kind->columns[r->kind->ncolumns - 1].doc : NULL;
    } else if (r->name && r->name->kind == NAME_ENUM) {
        for (int i = 0; i < n; i++)
            append(&r->name->values, &r->name->nvalues, w[i]);
    } else if (r->name && r->name->kind != NAME_ANY) {
        read_row(r->at, r->name, w, n);
        r->doc = r->name->nrows ? &r->name->rows[r->name->nrows - 1].doc : NULL;
    } else {
        fault(r->at, "an indented line that belongs to nothing");
    }
}

// Files that are no .kinds count in the fingerprint only: what renders the tables.
static bool is_kinds(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && !strcmp(dot, ".kinds");
}

static void read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    struct reader r = {.at = {path, 0}};
    if (!f) {
        fault(r.at, "cannot be opened");
        return;
    }
    char *line = NULL, *words[MAX_WORDS];
    size_t cap = 0;
    for (ssize_t len; (len = getline(&line, &cap, f)) >= 0;) {
        r.at.line++;
        for (ssize_t i = 0; i < len; i++)
            fingerprint = (fingerprint ^ (unsigned char)line[i]) * 1099511628211u;
        if (!is_kinds(path))
            continue;
        while (len && isspace((unsigned char)line[len - 1]))
            line[--len] = 0;
        bool indented = isblank((unsigned char)line[0]);
        char *p = line;
        while (isblank((unsigned char)*p))
            p++;
        if (*p == '|') {
            read_doc(&r, p + 1);
            continue;
        }
        int n = split(p, words, r.at);
        if (!n)
            continue;
        if (indented)
            read_indented(&r, words, n);
        else
            read_top(&r, words, n);
    }
    free(line);
    fclose(f);
}

// ---- resolving --------------------------------------------------------------------------------

static const struct {
    const char *word, *constant;
} scalars[] = {
    {"string", "FIELD_STRING"},     {"bytes", "FIELD_BYTES"},
    {"bool", "FIELD_BOOL"},         {"int32", "FIELD_INT32"},
    {"int64", "FIELD_INT64"},       {"double", "FIELD_DOUBLE"},
    {"quantity", "FIELD_QUANTITY"}, {"intorstring", "FIELD_INT_OR_STRING"},
    {"time", "FIELD_TIME"},         {"microtime", "FIELD_MICRO_TIME"},
    {"duration", "FIELD_DURATION"},
};

static bool take(const char **s, const char *prefix)
{
    size_t n = strlen(prefix);
    if (strncmp(*s, prefix, n))
        return false;
    *s += n;
    return true;
}

static void resolve_field(struct name *owner, struct row *r, struct field *f)
{
    const char *s = r->spec;
    f->row = r;
    f->shape = "SHAPE_ONE";
    if (take(&s, "*"))
        f->pointer = true;
    else if (take(&s, "map[string]")) {
        f->shape = "SHAPE_MAP";
        f->list_of_list = take(&s, "[]");
    } else if (take(&s, "[]"))
        f->shape = "SHAPE_LIST";
    for (size_t i = 0; i < COUNT(scalars); i++)
        if (!strcmp(scalars[i].word, s))
            f->kind = scalars[i].constant;
    if (f->kind)
        return;
    // a row that was inlined from another package resolves where it was written
    struct name *n = find_name(owner->package, s);
    if (!n || n->kind == NAME_PART) {
        fault(r->at, "unknown type \"%s\"%s", s, n ? " (a part can only be inlined)" : "");
        f->kind = "FIELD_ANY";
    } else if (n->kind == NAME_ENUM) {
        f->kind = "FIELD_STRING";
        f->values = n;
    } else {
        f->kind = n->kind == NAME_ANY     ? "FIELD_ANY"
                  : n->kind == NAME_UNION ? "FIELD_UNION"
                                          : "FIELD_MESSAGE";
        f->type = n;
    }
}

static void flatten(struct name *n)
{
    if (n->flat)
        return;
    n->flattening = true;
    for (int i = 0; i < n->nrows; i++) {
        struct row *r = &n->rows[i];
        if (!r->is_inline) {
            n->fields = grow(n->fields, sizeof *n->fields * (size_t)(n->nfields + 1));
            struct field *f = &n->fields[n->nfields++];
            memset(f, 0, sizeof *f);
            memcpy(f->pb, r->pb, sizeof f->pb);
            resolve_field(n, r, f);
            continue;
        }
        struct name *in = find_name(n->package, r->spec);
        if (!in || (in->kind != NAME_PART && in->kind != NAME_TYPE) || in->flattening) {
            fault(r->at, "cannot inline \"%s\"", r->spec);
            continue;
        }
        flatten(in);
        for (int j = 0; j < in->nfields; j++) {
            n->fields = grow(n->fields, sizeof *n->fields * (size_t)(n->nfields + 1));
            struct field *f = &n->fields[n->nfields++];
            *f = in->fields[j];
            memset(f->pb, 0, sizeof f->pb);
            if (!r->pb[0])
                continue; // the message itself is not in protobuf (TypeMeta)
            if (in->fields[j].pb[MAX_INLINE - 1])
                fault(r->at, "inlined deeper than %d", MAX_INLINE);
            f->pb[0] = r->pb[0];
            memcpy(f->pb + 1, in->fields[j].pb, (MAX_INLINE - 1) * sizeof *f->pb);
        }
    }
    n->flattening = false;
    n->flat = true;
}

static int compare_pb(const int *a, const int *b)
{
    for (int i = 0; i < MAX_INLINE; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

static bool has_attribute(const struct row *r, const char *name)
{
    for (int i = 0; i < r->nattributes; i++)
        if (!strcmp(r->attributes[i].name, name))
            return true;
    return false;
}

static void check_type(struct name *n)
{
    const int *last = NULL;
    int choices = 0;
    for (int i = 0; i < n->nfields; i++)
        choices += has_attribute(n->fields[i].row, "oneof");
    if (n->kind == NAME_TYPE && !n->oneof != !choices)
        fault(n->at,
              n->oneof ? "%s has oneof: and no field with oneof"
                       : "%s has a field with oneof and no oneof:",
              n->full);
    if (n->kind == NAME_ENUM && !n->nvalues)
        fault(n->at, "an enum without values");
    for (int i = 0; i < n->nfields; i++) {
        struct field *f = &n->fields[i];
        for (int j = 0; j < i; j++)
            if (!strcmp(n->fields[j].row->name, f->row->name))
                fault(f->row->at, "%s has two fields \"%s\"", n->full, f->row->name);
        if (!f->pb[0])
            continue;
        if (last && compare_pb(last, f->pb) >= 0)
            fault(f->row->at, "%s.%s: protobuf numbers must ascend (encoders write in this order)",
                  n->full, f->row->name);
        last = f->pb;
    }
}

static struct package *find_package(const char *group, const char *version)
{
    for (int i = 0; i < npackages; i++)
        if (packages[i]->group && !strcmp(packages[i]->group, group) &&
            !strcmp(packages[i]->version, version))
            return packages[i];
    return NULL;
}

// "apps/v1" or "v1"
struct package *find_api_version(const char *text)
{
    const char *slash = strrchr(text, '/');
    char *group = slash ? strndup(text, (size_t)(slash - text)) : copy("");
    struct package *p = find_package(group, slash ? slash + 1 : text);
    free(group);
    return p;
}

static int by_rank(const void *a, const void *b)
{
    const struct kind *x = *(struct kind *const *)a, *y = *(struct kind *const *)b;
    if (x->package->rank != y->package->rank)
        return x->package->rank < y->package->rank ? -1 : 1;
    return strcmp(x->resource, y->resource);
}

static void check_kinds(void)
{
    for (int i = 0; i < nkinds; i++) {
        struct kind *k = kinds[i];
        if (!k->resource || !k->has_scope || !k->verbs)
            fault(k->at, "kind %s needs resource, scope and verbs", k->name);
        if (!k->resource)
            k->resource = copy("?");
        if (!k->package->group || !k->package->version)
            fault(k->at, "package %s has no group and version", k->package->name);
        k->type = find_name(k->package, k->name);
        if (!k->type || k->type->kind != NAME_TYPE)
            fault(k->at, "kind %s has no type of that name", k->name);
        for (int j = 0; j < i; j++)
            if (kinds[j]->package == k->package && !strcmp(kinds[j]->resource, k->resource))
                fault(k->at, "two kinds have the resource %s", k->resource);
        for (int j = 0; j < k->nsubs; j++)
            for (int m = 0; m < j; m++)
                if (!strcmp(k->subs[j].name, k->subs[m].name))
                    fault(k->subs[j].at, "two subresources %s", k->subs[j].name);
        if (!k->singular) {
            k->singular = copy(k->name);
            for (char *p = k->singular; *p; p++)
                *p = (char)tolower((unsigned char)*p);
        }
    }
    for (int i = 0; i < npackages; i++) {
        if (!packages[i]->openapi)
            fault(packages[i]->at, "package %s needs an openapi line", packages[i]->name);
        for (int j = 0; j < i; j++)
            if (!strcmp(packages[i]->name, packages[j]->name))
                fault(packages[i]->at, "package %s is opened twice", packages[i]->name);
            else if (packages[i]->group && packages[j]->group &&
                     packages[i]->rank == packages[j]->rank)
                fault(packages[i]->at, "packages %s and %s have the same rank", packages[i]->name,
                      packages[j]->name);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: kindsc OUTPUT.c INPUT.kinds... [RENDERER.c...]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++)
        read_file(argv[i]);
    for (int i = 0; i < nnames; i++)
        flatten(names[i]);
    for (int i = 0; i < nnames; i++)
        check_type(names[i]);
    check_kinds();
    qsort(kinds, (size_t)nkinds, sizeof *kinds, by_rank);
    for (int i = 0; i < nkinds; i++)
        kinds[i]->index = i;
    if (faults)
        return 1;
    char *temporary = print("%s.new", argv[1]);
    FILE *out = fopen(temporary, "w");
    if (!out) {
        perror(temporary);
        return 1;
    }
    write_tables(out);
    if (fclose(out) || faults) {
        remove(temporary);
        return 1;
    }
    if (rename(temporary, argv[1])) {
        perror(argv[1]);
        return 1;
    }
    return 0;
}
