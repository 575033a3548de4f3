// kindsc's other half: writes the tables. kindsc.c has read, resolved and checked everything.
#include "kindsc.h"
#include <inttypes.h>

static FILE *out;

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
    "positive",      "filemode",         "portorzero",
    "httpheader",    "localpath",        "sysctl",
    "domainpath",    "abovezero",        "partition",
    "csidriver",     "searchdomain",     "integer",
};
static const char *const format_constants[] = {
    "FORMAT_DNS1123_LABEL",  "FORMAT_DNS1123_SUBDOMAIN", "FORMAT_DNS1035_LABEL",
    "FORMAT_QUALIFIED_NAME", "FORMAT_LABEL_VALUE",       "FORMAT_PORT",
    "FORMAT_PORT_NAME",      "FORMAT_PORT_OR_NAME",      "FORMAT_IP",
    "FORMAT_CIDR",           "FORMAT_PATH_SEGMENT",      "FORMAT_ABSOLUTE_PATH",
    "FORMAT_RELATIVE_PATH",  "FORMAT_CONFIG_KEY",        "FORMAT_ENV_NAME",
    "FORMAT_LABELS",         "FORMAT_ANNOTATIONS",       "FORMAT_RESOURCES",
    "FORMAT_SELECTOR",       "FORMAT_NONNEGATIVE",       "FORMAT_PERCENT",
    "FORMAT_POSITIVE",       "FORMAT_FILE_MODE",         "FORMAT_PORT_OR_ZERO",
    "FORMAT_HTTP_HEADER",    "FORMAT_LOCAL_PATH",        "FORMAT_SYSCTL",
    "FORMAT_DOMAIN_PATH",    "FORMAT_ABOVE_ZERO",        "FORMAT_PARTITION",
    "FORMAT_CSI_DRIVER",     "FORMAT_SEARCH_DOMAIN",     "FORMAT_INTEGER",
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

static bool has_member(const struct name *type, const char *member)
{
    for (int i = 0; type && i < type->nfields; i++)
        if (!strcmp(type->fields[i].row->name, member))
            return true;
    return false;
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
        } else if (!strcmp(name, "unique")) {
            rule_flags = or_flag(rule_flags, "RULE_UNIQUE");
            if (strcmp(f->shape, "SHAPE_LIST"))
                fault(r->at, "unique is of lists");
            if (value && !has_member(f->type, value))
                fault(r->at, "unique=%s: items have no such field", value);
            if (value)
                rules = print("%s.unique = \"%s\", ", rules, value);
        } else if (!strcmp(name, "oneof") && (!value || !strcmp(value, "first"))) {
            rule_flags = or_flag(rule_flags, value ? "RULE_ONEOF_FIRST" : "RULE_ONEOF");
        } else if (!strcmp(name, "format") && value) {
            rules = print("%s.format = %s, ", rules, format_constant(r->at, value));
        } else {
            fault(r->at, "unknown attribute %s%s%s", name, value ? "=" : "", value ? value : "");
        }
    }
    if (*rules || rule_flags) {
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
    if (n->defaults || n->check || n->oneof) {
        if (n->defaults)
            fprintf(out, "default_function default_%s;\n", n->defaults);
        if (n->check)
            fprintf(out, "check_function check_%s;\n", n->check);
        fprintf(out, "static const struct field_rules type_rules_%d = {", n->index);
        if (n->defaults)
            fprintf(out, ".defaults = default_%s, ", n->defaults);
        if (n->check)
            fprintf(out, ".check = check_%s, ", n->check);
        if (n->oneof)
            fprintf(out, ".oneof = \"%s\"", n->oneof);
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
        if (names[i]->kind == NAME_TYPE || names[i]->kind == NAME_ANY ||
            names[i]->kind == NAME_UNION)
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
        if (t->defaults || t->check || t->oneof)
            fprintf(out, ", .rules = &type_rules_%d", t->index);
        if (t->doc) {
            fputs(", .doc = ", out);
            quote(t->doc);
        }
        if (t->kind == NAME_ANY || t->kind == NAME_UNION)
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
    const struct word *words = verbs ? verb_words : flag_words;
    for (; words->word && strcmp(words->word, "rw"); words++) {
        if (bits & words->bit) {
            fprintf(out, "%s%s", bar, words->constant);
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

void write_tables(FILE *file)
{
    out = file;
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
}
