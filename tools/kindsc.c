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
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#define MAX_WORDS  64
#define MAX_INLINE 3

struct place {
    const char *file;
    int line;
};

struct package {
    char *name, *group, *version, *openapi; // group NULL: serves nothing (meta.v1)
    int rank;
    struct place at;
};

enum name_kind { NAME_TYPE, NAME_PART, NAME_ANY, NAME_ENUM };

struct attribute {
    char *name, *value; // value NULL: bare word
};

struct row { // a field as written, or an inline
    struct place at;
    bool is_inline;
    char *name; // JSON name; inline: NULL
    int pb[MAX_INLINE];
    char *spec; // type as written
    struct attribute *attributes;
    int nattributes;
    char *doc;
    // resolved
    struct name *inlined;
};

struct field {
    struct row *row;
    int pb[MAX_INLINE];
    const char *kind;  // "FIELD_STRING"
    const char *shape; // "SHAPE_ONE"
    struct name *type; // message or any
    struct name *values;
    bool pointer, list_of_list;
};

struct name { // anything with a name that a field can have as its type
    struct place at;
    enum name_kind kind;
    struct package *package;
    char *local, *full;
    struct row *rows;
    int nrows;
    char **values; // enum
    int nvalues;
    bool open;
    char *doc, *defaults, *check;
    struct field *fields; // flattened
    int nfields;
    int index;
    bool flattening, flat;
};

struct sub {
    struct place at;
    char *name, *body; // "policy/v1/Eviction" or "-"
    char **verbs;
    int nverbs;
    char *scale[3];
};

struct column {
    struct place at;
    char *name, *type, *source, *doc;
    bool wide;
};

struct kind {
    struct place at;
    struct package *package;
    char *name, *resource, *singular, *storage, *stored_as;
    char **shorts, **categories, **selects; // selects: name, path pairs
    int nshorts, ncategories, nselects;
    bool namespaced, has_scope;
    char *names; // format of metadata.name
    unsigned verbs, flags;
    struct sub *subs;
    int nsubs;
    struct column *columns;
    int ncolumns;
    struct name *type;
    int index;
};

static struct package *packages[64];
static int npackages;
static struct name *names[4096];
static int nnames;
static struct kind *kinds[1024];
static int nkinds;
static int faults;
static FILE *out;
static uint64_t fingerprint = 14695981039346656037u; // FNV-1a of all input

static void *grow(void *p, size_t size)
{
    p = realloc(p, size);
    if (!p) {
        fprintf(stderr, "kindsc: out of memory\n");
        exit(1);
    }
    return p;
}

static void *make(size_t size)
{
    return memset(grow(NULL, size), 0, size);
}

static char *copy(const char *s)
{
    return s ? memcpy(grow(NULL, strlen(s) + 1), s, strlen(s) + 1) : NULL;
}

__attribute__((format(printf, 1, 2))) static char *print(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        exit(1);
    va_end(ap);
    return text;
}

__attribute__((format(printf, 2, 3))) static void fault(struct place at, const char *fmt, ...)
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

static struct name *find_name(struct package *package, const char *word)
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

static const struct {
    const char *word;
    const char *constant;
    unsigned bit;
} verb_words[] =
    {
        {"get", "VERB_GET", 1},           {"list", "VERB_LIST", 2},
        {"watch", "VERB_WATCH", 4},       {"create", "VERB_CREATE", 8},
        {"update", "VERB_UPDATE", 16},    {"patch", "VERB_PATCH", 32},
        {"delete", "VERB_DELETE", 64},    {"deletecollection", "VERB_DELETECOLLECTION", 128},
        {"connect", "VERB_CONNECT", 256}, {"rw", "VERB_RW", 255},
},
  flag_words[] = {
      {"generation", "KIND_GENERATION", 4},
      {"virtual", "KIND_VIRTUAL", 8},
      {"unconditional", "KIND_UNCONDITIONAL_UPDATE", 16},
      {"create-on-update", "KIND_CREATE_ON_UPDATE", 32},
      {"graceful", "KIND_GRACEFUL", 128},
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static unsigned verb_bit(struct place at, const char *word)
{
    for (size_t i = 0; i < COUNT(verb_words); i++)
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
            while (f < COUNT(flag_words) && strcmp(flag_words[f].word, w[i]))
                f++;
            if (f == COUNT(flag_words))
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
            else
                fault(r->at, "a type takes default:FUNCTION and check:FUNCTION, not \"%s\"", w[i]);
        }
        r->doc = &r->name->doc;
    } else if (!strcmp(w[0], "any")) {
        r->name = add_name(r->at, r->package, NAME_ANY, w[1]);
        r->doc = &r->name->doc;
    } else if (!strcmp(w[0], "enum")) {
        r->name = add_name(r->at, r->package, NAME_ENUM, w[1]);
        int i = 2;
        if (n > 2 && !strcmp(w[2], "open"))
            r->name->open = true, i++;
        for (; i < n; i++)
            append(&r->name->values, &r->name->nvalues, w[i]);
    } else {
        fault(r->at, "\"%s\": expected package, kind, type, part, any or enum", w[0]);
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
        f->kind = n->kind == NAME_ANY ? "FIELD_ANY" : "FIELD_MESSAGE";
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

static void check_type(struct name *n)
{
    const int *last = NULL;
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
static struct package *find_api_version(const char *text)
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

// ---- writing ----------------------------------------------------------------------------------

static void quote(const char *s)
{
    fputc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            fputc('\\', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

static void write_str(const char *s)
{
    if (!s) {
        fputs("{0}", out);
        return;
    }
    fputs("S(", out);
    quote(s);
    fputc(')', out);
}

// Lists of strings that occur more than once (merge keys, mostly) are written once.
static struct {
    char *text;
} lists[4096];
static int nlists;

static int string_list(char *const *words, int n)
{
    char *text = copy("");
    for (int i = 0; i < n; i++)
        text = print("%s%s\n", text, words[i]);
    for (int i = 0; i < nlists; i++)
        if (!strcmp(lists[i].text, text))
            return i;
    lists[nlists].text = text;
    fprintf(out, "static const struct str list_%d[] = {", nlists);
    for (int i = 0; i < n; i++) {
        write_str(words[i]);
        fputs(", ", out);
    }
    fputs("{0}};\n", out);
    return nlists++;
}

static const char *const formats[] = {
    "dns1123label",  "dns1123subdomain", "dns1035label",
    "qualifiedname", "labelvalue",       "port",
    "portname",      "portorname",       "ip",
    "cidr",          "pathsegment",      "absolutepath",
    "relativepath",  "configkey",        "envname",
    "labels",        "annotations",      "resources",
    "selector",      "nonnegative",      "percent",
};
static const char *const format_constants[] = {
    "FORMAT_DNS1123_LABEL",  "FORMAT_DNS1123_SUBDOMAIN", "FORMAT_DNS1035_LABEL",
    "FORMAT_QUALIFIED_NAME", "FORMAT_LABEL_VALUE",       "FORMAT_PORT",
    "FORMAT_PORT_NAME",      "FORMAT_PORT_OR_NAME",      "FORMAT_IP",
    "FORMAT_CIDR",           "FORMAT_PATH_SEGMENT",      "FORMAT_ABSOLUTE_PATH",
    "FORMAT_RELATIVE_PATH",  "FORMAT_CONFIG_KEY",        "FORMAT_ENV_NAME",
    "FORMAT_LABELS",         "FORMAT_ANNOTATIONS",       "FORMAT_RESOURCES",
    "FORMAT_SELECTOR",       "FORMAT_NONNEGATIVE",       "FORMAT_PERCENT",
};
_Static_assert(COUNT(formats) == COUNT(format_constants), "a format without its constant");

static const char *format_constant(struct place at, const char *name)
{
    for (size_t i = 0; i < COUNT(formats); i++)
        if (!strcmp(formats[i], name))
            return format_constants[i];
    fault(at, "unknown format \"%s\"", name);
    return "FORMAT_NONE";
}

// A default: "text", 7, true, {} or []. Written as a struct value.
static int write_preset(struct place at, const char *json)
{
    static int n;
    size_t len = strlen(json);
    char *end;
    if (json[0] == '"' && len > 1 && json[len - 1] == '"')
        fprintf(
            out,
            "static const struct value preset_%d = {.kind = VALUE_STRING, .n = %zu, .s = %s};\n", n,
            len - 2, json);
    else if (!strcmp(json, "true") || !strcmp(json, "false"))
        fprintf(out, "static const struct value preset_%d = {.kind = VALUE_BOOL, .b = %s};\n", n,
                json);
    else if (!strcmp(json, "{}") || !strcmp(json, "[]"))
        fprintf(out, "static const struct value preset_%d = {.kind = %s};\n", n,
                json[0] == '{' ? "VALUE_OBJECT" : "VALUE_ARRAY");
    else if (strtoll(json, &end, 10), end != json && !*end)
        fprintf(out, "static const struct value preset_%d = {.kind = VALUE_INT, .i = %s};\n", n,
                json);
    else
        fault(at, "default=%s: use \"text\", a number, true, false, {} or []", json);
    return n++;
}

// What the attributes of a row become.
struct built {
    char *flags, *merge_key, *rules;
    int list_keys; // -1: none
};

static char *or_flag(char *flags, const char *flag)
{
    return flags ? print("%s | %s", flags, flag) : copy(flag);
}

static int split_commas(char *text, char **words)
{
    int n = 0;
    for (char *p = strtok_r(text, ",", &text); p && n < MAX_WORDS; p = strtok_r(NULL, ",", &text))
        words[n++] = p;
    return n;
}

// Rules of a row are written once, even when the row is inlined in several types.
static struct built build_row(struct field *f, int index)
{
    struct row *r = f->row;
    struct built b = {.list_keys = -1};
    char *rules = copy(""), *rule_flags = NULL;
    char *words[MAX_WORDS];
    if (f->pointer)
        b.flags = or_flag(b.flags, "FIELD_POINTER");
    if (f->list_of_list)
        b.flags = or_flag(b.flags, "FIELD_LIST_OF_LIST");
    if (f->values) {
        rules = print(".values = list_%d, ", string_list(f->values->values, f->values->nvalues));
        if (f->values->open)
            rule_flags = or_flag(rule_flags, "RULE_OPEN");
    }
    for (int i = 0; i < r->nattributes; i++) {
        const char *name = r->attributes[i].name, *value = r->attributes[i].value;
        if (!strcmp(name, "required") && !value) {
            b.flags = or_flag(b.flags, "FIELD_REQUIRED");
        } else if (!strcmp(name, "nonempty") && !value) {
            b.flags = or_flag(b.flags, "FIELD_NONEMPTY");
        } else if (!strcmp(name, "immutable") && !value) {
            b.flags = or_flag(b.flags, "FIELD_IMMUTABLE");
        } else if (!strcmp(name, "nullable") && !value) {
            b.flags = or_flag(b.flags, "FIELD_NULLABLE");
        } else if (!strcmp(name, "retainkeys") && !value) {
            b.flags = or_flag(b.flags, "PATCH_RETAIN_KEYS");
        } else if (!strcmp(name, "merge")) {
            b.flags = or_flag(b.flags, "PATCH_MERGE");
            b.merge_key = copy(value);
        } else if (!strcmp(name, "list") && value && !strcmp(value, "atomic")) {
            b.flags = or_flag(b.flags, "LIST_ATOMIC");
        } else if (!strcmp(name, "list") && value && !strcmp(value, "set")) {
            b.flags = or_flag(b.flags, "LIST_SET");
        } else if (!strcmp(name, "list") && value && !strncmp(value, "map:", 4)) {
            b.flags = or_flag(b.flags, "LIST_MAP");
            int n = split_commas(copy(value + 4), words);
            b.list_keys = string_list(words, n);
        } else if (!strcmp(name, "map") && value && !strcmp(value, "atomic")) {
            b.flags = or_flag(b.flags, "MAP_ATOMIC");
        } else if (!strcmp(name, "default") && value) {
            rules = print("%s.preset = &preset_%d, ", rules, write_preset(r->at, value));
        } else if ((!strcmp(name, "min") || !strcmp(name, "max")) && value) {
            rules = print("%s.%s = %s, ", rules, name, value);
            rule_flags = or_flag(rule_flags, name[1] == 'i' ? "RULE_MIN" : "RULE_MAX");
        } else if (!strcmp(name, "maxlength") && value) {
            rules = print("%s.max_length = %s, ", rules, value);
        } else if (!strcmp(name, "maxitems") && value) {
            rules = print("%s.max_items = %s, ", rules, value);
        } else if (!strcmp(name, "format") && value) {
            rules = print("%s.format = %s, ", rules, format_constant(r->at, value));
        } else {
            fault(r->at, "unknown attribute %s%s%s", name, value ? "=" : "", value ? value : "");
        }
    }
    if (*rules) {
        b.rules = print("rules_%d", index);
        fprintf(out, "static const struct field_rules rules_%d = {%s.flags = %s};\n", index, rules,
                rule_flags ? rule_flags : "0");
    }
    return b;
}

static const struct name *sorting;
static int by_json_name(const void *a, const void *b)
{
    return strcmp(sorting->fields[*(const int *)a].row->name,
                  sorting->fields[*(const int *)b].row->name);
}

static void write_type(struct name *n)
{
    static int next_rule;
    struct built *built = make(sizeof *built * (size_t)(n->nfields + 1));
    int *order = make(sizeof *order * (size_t)(n->nfields + 1));
    for (int i = 0; i < n->nfields; i++) {
        built[i] = build_row(&n->fields[i], next_rule++);
        order[i] = i;
    }
    if (n->nfields) {
        fprintf(out, "static const struct field fields_%d[] = {\n", n->index);
        for (int i = 0; i < n->nfields; i++) {
            struct field *f = &n->fields[i];
            fputs("    {.name = ", out);
            write_str(f->row->name);
            fprintf(out, ", .kind = %s, .shape = %s", f->kind, f->shape);
            if (f->pb[0])
                fprintf(out, ", .pb = {%d, %d, %d}", f->pb[0], f->pb[1], f->pb[2]);
            if (built[i].flags)
                fprintf(out, ", .flags = %s", built[i].flags);
            if (f->type)
                fprintf(out, ", .type = &types[%d]", f->type->index);
            if (built[i].merge_key) {
                fputs(", .merge_key = ", out);
                write_str(built[i].merge_key);
            }
            if (built[i].list_keys >= 0)
                fprintf(out, ", .list_keys = list_%d", built[i].list_keys);
            if (built[i].rules)
                fprintf(out, ", .rules = &%s", built[i].rules);
            if (f->row->doc) {
                fputs(", .doc = ", out);
                quote(f->row->doc);
            }
            fputs("},\n", out);
        }
        fputs("};\n", out);
        sorting = n;
        qsort(order, (size_t)n->nfields, sizeof *order, by_json_name);
        fprintf(out, "static const uint16_t order_%d[] = {", n->index);
        for (int i = 0; i < n->nfields; i++)
            fprintf(out, "%d, ", order[i]);
        fputs("};\n", out);
    }
    if (n->defaults || n->check) {
        if (n->defaults)
            fprintf(out, "default_function default_%s;\n", n->defaults);
        if (n->check)
            fprintf(out, "check_function check_%s;\n", n->check);
        fprintf(out, "static const struct field_rules type_rules_%d = {", n->index);
        if (n->defaults)
            fprintf(out, ".defaults = default_%s, ", n->defaults);
        if (n->check)
            fprintf(out, ".check = check_%s", n->check);
        fputs("};\n", out);
    }
    free(built);
    free(order);
}

static int by_full_name(const void *a, const void *b)
{
    return strcmp((*(struct name *const *)a)->full, (*(struct name *const *)b)->full);
}

static void write_types(void)
{
    int n = 0;
    qsort(names, (size_t)nnames, sizeof *names, by_full_name);
    for (int i = 0; i < nnames; i++)
        if (names[i]->kind == NAME_TYPE || names[i]->kind == NAME_ANY)
            names[i]->index = n++;
    fprintf(out, "static const struct type types[%d];\n", n);
    for (int i = 0; i < nnames; i++)
        if (names[i]->index >= 0)
            write_type(names[i]);
    fprintf(out, "static const struct type types[%d] = {\n", n);
    for (int i = 0; i < nnames; i++) {
        struct name *t = names[i];
        if (t->index < 0)
            continue;
        fputs("    {.name = ", out);
        write_str(t->full);
        if (t->nfields)
            fprintf(out, ", .fields = fields_%d, .nfields = %d, .by_name = order_%d", t->index,
                    t->nfields, t->index);
        if (t->defaults || t->check)
            fprintf(out, ", .rules = &type_rules_%d", t->index);
        if (t->doc) {
            fputs(", .doc = ", out);
            quote(t->doc);
        }
        if (t->kind == NAME_ANY)
            fputs(", .preserve_unknown = true", out);
        fputs("},\n", out);
    }
    fprintf(out,
            "};\nconst struct type *const schema_types = types;\n"
            "const size_t schema_ntypes = %d;\n\n",
            n);
}

static void write_bits(unsigned bits, bool verbs)
{
    if (verbs && bits == 255) {
        fputs("VERB_RW", out);
        return;
    }
    const char *bar = "";
    for (size_t i = 0; i < (verbs ? COUNT(verb_words) - 1 : COUNT(flag_words)); i++) {
        if (bits & (verbs ? verb_words[i].bit : flag_words[i].bit)) {
            fprintf(out, "%s%s", bar, verbs ? verb_words[i].constant : flag_words[i].constant);
            bar = " | ";
        }
    }
    if (!*bar)
        fputs("0", out);
}

static void write_subs(struct kind *k)
{
    fprintf(out, "static const struct subresource subs_%d[] = {\n", k->index);
    for (int i = 0; i < k->nsubs; i++) {
        struct sub *s = &k->subs[i];
        unsigned verbs = 0;
        for (int j = 0; j < s->nverbs; j++)
            verbs |= verb_bit(s->at, s->verbs[j]);
        fputs("    {.name = ", out);
        write_str(s->name);
        fputs(", .verbs = ", out);
        write_bits(verbs, true);
        if (strcmp(s->body, "-")) {
            char *slash = strrchr(s->body, '/');
            if (!slash) {
                fault(s->at, "the body of %s is apiVersion/Kind or -", s->name);
                continue;
            }
            *slash = 0;
            struct package *p = find_api_version(s->body);
            struct name *type = p ? find_name(p, slash + 1) : NULL;
            if (!type)
                fault(s->at, "unknown body %s/%s", s->body, slash + 1);
            else {
                fputs(", .group = ", out);
                write_str(p->group);
                fputs(", .version = ", out);
                write_str(p->version);
                fputs(", .kind = ", out);
                write_str(type->local);
                fprintf(out, ", .type = &types[%d]", type->index);
            }
        }
        if (s->scale[0])
            fprintf(out, ", .scale_spec = \"%s\", .scale_status = \"%s\", .scale_selector = \"%s\"",
                    s->scale[0], s->scale[1], s->scale[2]);
        fputs("},\n", out);
    }
    fputs("};\n", out);
}

static void write_columns(struct kind *k)
{
    for (int i = 0; i < k->ncolumns; i++)
        if (k->columns[i].source[0] == '@')
            fprintf(out, "column_function column_%s;\n", k->columns[i].source + 1);
    fprintf(out, "static const struct column columns_%d[] = {\n", k->index);
    for (int i = 0; i < k->ncolumns; i++) {
        struct column *c = &k->columns[i];
        fputs("    {.name = ", out);
        write_str(c->name);
        fputs(", .type = ", out);
        write_str(c->type);
        if (!strcmp(c->name, "Name"))
            fputs(", .format = S(\"name\")", out);
        if (c->doc) {
            fputs(", .description = ", out);
            write_str(c->doc);
        }
        if (c->wide)
            fputs(", .priority = 1", out);
        if (c->source[0] == '@')
            fprintf(out, ", .function = column_%s", c->source + 1);
        else {
            fputs(", .path = ", out);
            quote(c->source);
        }
        fputs("},\n", out);
    }
    fputs("};\n", out);
}

static void write_kind(struct kind *k)
{
    int shorts = k->nshorts ? string_list(k->shorts, k->nshorts) : -1;
    int categories = k->ncategories ? string_list(k->categories, k->ncategories) : -1;
    if (k->nsubs)
        write_subs(k);
    if (k->ncolumns)
        write_columns(k);
    if (k->nselects) {
        fprintf(out, "static const struct selectable_field selects_%d[] = {\n", k->index);
        for (int i = 0; i < k->nselects; i += 2) {
            fputs("    {", out);
            write_str(k->selects[i]);
            fputs(", ", out);
            quote(k->selects[i + 1]);
            fputs("},\n", out);
        }
        fputs("};\n", out);
    }
    // the rest goes into the array of kinds, see write_kinds
    fprintf(out, "#define LISTS_%d", k->index);
    if (shorts >= 0)
        fprintf(out, " .short_names = list_%d,", shorts);
    if (categories >= 0)
        fprintf(out, " .categories = list_%d,", categories);
    fputs("\n", out);
}

static void write_kinds(void)
{
    qsort(kinds, (size_t)nkinds, sizeof *kinds, by_rank);
    for (int i = 0; i < nkinds; i++)
        kinds[i]->index = i;
    fprintf(out, "const struct kind schema_kinds[%d];\n", nkinds);
    for (int i = 0; i < nkinds; i++)
        write_kind(kinds[i]);
    fprintf(out, "const struct kind schema_kinds[%d] = {\n", nkinds);
    for (int i = 0; i < nkinds; i++) {
        struct kind *k = kinds[i], *stored = k;
        if (k->stored_as) {
            struct package *p = find_api_version(k->stored_as);
            stored = NULL;
            for (int j = 0; j < nkinds && p; j++)
                if (kinds[j]->package == p && !strcmp(kinds[j]->name, k->name))
                    stored = kinds[j];
            if (!stored) {
                fault(k->at, "%s has no kind %s to be stored as", k->stored_as, k->name);
                continue;
            }
        }
        fprintf(out, "    {.group = ");
        write_str(k->package->group);
        fputs(", .version = ", out);
        write_str(k->package->version);
        fputs(", .api_version = ", out);
        write_str(*k->package->group ? print("%s/%s", k->package->group, k->package->version)
                                     : k->package->version);
        fputs(", .kind = ", out);
        write_str(k->name);
        fputs(", .list_kind = ", out);
        write_str(print("%sList", k->name));
        fputs(",\n     .resource = ", out);
        write_str(k->resource);
        fputs(", .singular = ", out);
        write_str(k->singular);
        fputs(", .storage_prefix = ", out);
        write_str(print("/registry/%s/", stored->storage ? stored->storage : stored->resource));
        fprintf(out, ",\n     LISTS_%d .verbs = ", i);
        write_bits(k->verbs, true);
        fputs(", .flags = ", out);
        write_bits(k->flags, false);
        fprintf(out, "%s%s", k->namespaced ? " | KIND_NAMESPACED" : "",
                k->flags & 2 ? " | KIND_STATUS" : "");
        fprintf(out, ",\n     .type = &types[%d]", k->type->index);
        if (k->nsubs)
            fprintf(out, ", .subresources = subs_%d, .nsubresources = %d", i, k->nsubs);
        if (k->nselects)
            fprintf(out, ", .selectable = selects_%d, .nselectable = %d", i, k->nselects / 2);
        if (k->ncolumns)
            fprintf(out, ", .columns = columns_%d, .ncolumns = %d", i, k->ncolumns);
        else
            fputs(", .columns = default_columns, .ncolumns = 2", out);
        fprintf(out, ",\n     .storage = &schema_kinds[%d], .name_format = %s, .index = %d},\n",
                stored->index, format_constant(k->at, k->names ? k->names : "dns1123subdomain"), i);
    }
    fprintf(out, "};\nconst size_t schema_nkinds = %d;\n\n", nkinds);
}

static void write_packages(void)
{
    fputs("const struct package schema_packages[] = {\n", out);
    for (int i = 0; i < npackages; i++) {
        struct package *p = packages[i];
        fputs("    {.name = ", out);
        write_str(p->name);
        fputs(", .group = ", out);
        write_str(p->group);
        fputs(", .version = ", out);
        write_str(p->version);
        fputs(", .openapi = ", out);
        write_str(p->openapi);
        fprintf(out, ", .serves = %s},\n", p->group ? "true" : "false");
    }
    fprintf(out, "};\nconst size_t schema_npackages = %d;\n", npackages);
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
    if (faults)
        return 1;
    char *temporary = print("%s.new", argv[1]);
    out = fopen(temporary, "w");
    if (!out) {
        perror(temporary);
        return 1;
    }
    fputs("// Made by kindsc from api/*.kinds. Do not edit.\n"
          "#include \"schema/tables.h\"\n\n"
          "#define S(text) {text, sizeof(text) - 1}\n\n"
          "column_function column_age;\n"
          "static const struct column default_columns[] = {\n"
          "    {.name = S(\"Name\"), .type = S(\"string\"), .format = S(\"name\"),\n"
          "     .path = \"metadata.name\"},\n"
          "    {.name = S(\"Age\"), .type = S(\"string\"), .function = column_age},\n"
          "};\n",
          out);
    write_types();
    write_kinds();
    write_packages();
    fprintf(out, "const char schema_fingerprint[] = \"%016" PRIX64 "\";\n", fingerprint);
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
