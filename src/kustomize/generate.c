// ConfigMaps and Secrets from literals, files and environment files; and the suffix by which their
// names follow their content: ten characters of a SHA-256 over a fixed JSON form.
#include "base/guard.h"
#include "kustomize/private.h"
#include "object/base64.h"
#include "object/json.h"
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 253

struct maker {
    struct kustomize_target *t;
    const struct value *args; // the entry of the kustomization
    bool secret;
    struct value *data, *binary;
};

// [-._a-zA-Z0-9]+, for environment names not beginning with a digit.
static bool key_valid(struct str key, bool environment)
{
    if (!key.n || key.n > KEY_MAX || str_eqc(key, ".") || str_eqc(key, ".."))
        return false;
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i];
        bool letter =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '.';
        if (!letter && !(c >= '0' && c <= '9' && (i || !environment)))
            return false;
    }
    return true;
}

// Base64 in lines of 70 where it is longer than one.
static struct str base64_lines(struct arena *a, struct str bytes)
{
    struct str text = base64_text(a, bytes);
    size_t line = 70, lines = text.n / line + 1, n = 0;
    if (lines == 1)
        return text;
    char *out = arena_alloc(a, text.n + lines + 1);
    for (size_t i = 0; i < text.n; i += line) {
        size_t part = text.n - i < line ? text.n - i : line;
        memcpy(out + n, text.p + i, part);
        n += part;
        out[n++] = '\n';
    }
    return str_n(out, n);
}

static int add(struct maker *m, struct str key, struct str content, struct err *e)
{
    struct arena *a = m->t->run->a;
    if (!key_valid(key, false))
        return err_set(e, ERR_INVALID,
                       "\"%.*s\" is not a valid key name: a valid config key must "
                       "consist of alphanumeric characters, '-', '_' or '.'",
                       STR_ARG(key));
    if (value_get(m->data, key) || value_get(m->binary, key))
        return err_set(e, ERR_INVALID,
                       "cannot add key '%.*s', another key by that name already exists",
                       STR_ARG(key));
    if (m->secret)
        value_push_member(a, m->data, key, value_str(a, base64_lines(a, content)));
    else if (json_utf8_valid(content))
        value_push_member(a, m->data, key, value_str(a, content));
    else
        value_push_member(a, m->binary, key, value_str(a, base64_lines(a, content)));
    return 0;
}

static int add_literal(struct maker *m, struct str text, struct err *e)
{
    ptrdiff_t eq = str_chr(text, '=');
    if (eq <= 0)
        return err_set(e, ERR_INVALID, "invalid literal source %.*s, expected key=value",
                       STR_ARG(text));
    struct str v = str_from(text, (size_t)eq + 1);
    if (v.n >= 2 && v.p[0] == v.p[v.n - 1] && (v.p[0] == '"' || v.p[0] == '\''))
        v = str_sub(v, 1, v.n - 2);
    return add(m, str_sub(text, 0, (size_t)eq), v, e);
}

static int add_file(struct maker *m, struct str text, struct err *e)
{
    ptrdiff_t eq = str_chr(text, '=');
    struct str path = eq < 0 ? text : str_from(text, (size_t)eq + 1), key, content;
    if (eq == 0)
        return err_set(e, ERR_INVALID, "key name for file path %.*s missing", STR_ARG(path));
    if (eq > 0 && !path.n)
        return err_set(e, ERR_INVALID, "file path for key name %.*s missing",
                       STR_ARG(str_sub(text, 0, (size_t)eq)));
    if (str_chr(path, '=') >= 0)
        return err_set(e, ERR_INVALID, "key names or file paths cannot contain '='");
    ptrdiff_t slash = str_rchr(path, '/');
    key = eq > 0 ? str_sub(text, 0, (size_t)eq) : str_from(path, (size_t)(slash + 1));
    int rc = kustomize_target_read(m->t, path, &content, e);
    return rc < 0 ? rc : add(m, key, content, e);
}

static int add_env_file(struct maker *m, struct str path, struct err *e)
{
    const struct kustomize_options *o = m->t->run->options;
    struct str content;
    int rc = kustomize_target_read(m->t, path, &content, e);
    if (rc < 0)
        return rc;
    if (str_starts(content, STR("\xef\xbb\xbf")))
        content = str_from(content, 3);
    struct str rest = content;
    for (size_t line = 1; rest.p; line++) {
        struct str text = str_cut(&rest, '\n');
        if (text.n && text.p[text.n - 1] == '\r')
            text.n--;
        while (text.n && (text.p[0] == ' ' || text.p[0] == '\t'))
            text = str_from(text, 1);
        if (!text.n || text.p[0] == '#')
            continue;
        if (!json_utf8_valid(text))
            return err_set(e, ERR_INVALID, "line %zu has invalid utf8 bytes", line);
        ptrdiff_t eq = str_chr(text, '=');
        struct str key = eq < 0 ? text : str_sub(text, 0, (size_t)eq);
        if (!key_valid(key, true))
            return err_set(e, ERR_INVALID,
                           "\"%.*s\" is not a valid key name: a valid environment "
                           "variable name must consist of alphabetic characters, "
                           "digits, '_', '-', or '.', and must not start with a digit",
                           STR_ARG(key));
        struct str v = STR("");
        if (eq >= 0)
            v = str_from(text, (size_t)eq + 1);
        else if (o->environment)
            v = o->environment(o->context, key);
        if ((rc = add(m, key, v, e)) < 0)
            return rc;
    }
    return 0;
}

static int add_sources(struct maker *m, struct err *e)
{
    static const struct {
        const char *field;
        int (*add)(struct maker *, struct str, struct err *);
    } sources[] = {{"envs", add_env_file}, {"literals", add_literal}, {"files", add_file}};
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        value_each_item (value_getc(m->args, sources[i].field), item) {
            int rc = sources[i].add(m, value_string(item), e);
            if (rc < 0)
                return rc;
        }
    return 0;
}

// What the whole kustomization says of generated objects, under what this entry says.
static void set_options(struct maker *m, struct value *object)
{
    struct arena *a = m->t->run->a;
    const struct value *all = value_getc(m->t->k, "generatorOptions"),
                       *own = value_getc(m->args, "options");
    static const char *const maps[] = {"labels", "annotations"};
    for (size_t i = 0; i < 2; i++) {
        struct value *merged = value_object(a);
        value_each_field (value_getc(all, maps[i]), f)
            value_set(a, merged, f->key, f->value);
        value_each_field (value_getc(own, maps[i]), f)
            value_set(a, merged, f->key, f->value);
        if (merged->n)
            value_setc(a, value_getc(object, "metadata"), maps[i], merged);
    }
    if (value_bool_at(all, "immutable", false) || value_bool_at(own, "immutable", false))
        value_setc(a, object, "immutable", value_bool(a, true));
}

static int behavior_of(struct str text, enum kustomize_behavior *ret, struct err *e)
{
    static const char *const names[] = {"", "create", "replace", "merge"};
    for (int i = 0; i < 4; i++)
        if (str_eqc(text, names[i])) {
            *ret = (enum kustomize_behavior)i;
            return 0;
        }
    return err_set(e, ERR_INVALID, "behavior must be create, replace or merge, not '%.*s'",
                   STR_ARG(text));
}

static int make(struct kustomize_target *t, const struct value *args, bool secret,
                struct kustomize_bag *bag, struct err *e)
{
    struct arena *a = t->run->a;
    struct maker m = {t, args, secret, value_object(a), value_object(a)};
    struct str name = value_str_at(args, "name"), space = value_str_at(args, "namespace"),
               type = value_str_at(args, "type");
    if (!name.n)
        return err_set(e, ERR_INVALID, "a %s must have a name", secret ? "secret" : "configmap");
    struct value *object = value_object(a), *metadata = value_object(a);
    value_setc(a, object, "apiVersion", value_strc(a, "v1"));
    value_setc(a, object, "kind", value_strc(a, secret ? "Secret" : "ConfigMap"));
    value_setc(a, object, "metadata", metadata);
    value_setc(a, metadata, "name", value_str(a, name));
    if (space.n)
        value_setc(a, metadata, "namespace", value_str(a, space));
    if (secret)
        value_setc(a, object, "type", value_str(a, type.n ? type : STR("Opaque")));
    _cleanup_err_ struct err inner = ERR_INIT;
    if (add_sources(&m, &inner) < 0)
        return err_wrap(e, &inner, "loading KV pairs: %s %.*s", secret ? "secret" : "configmap",
                        STR_ARG(name));
    if (m.data->n)
        value_setc(a, object, "data", m.data);
    if (m.binary->n)
        value_setc(a, object, "binaryData", m.binary);
    set_options(&m, object);
    struct kustomize_resource *r = kustomize_resource_make(t->run, object, e);
    if (!r)
        return err_code(e);
    int rc = behavior_of(value_str_at(args, "behavior"), &r->behavior, e);
    if (rc < 0)
        return rc;
    r->needs_hash = !value_bool_at(t->k, "generatorOptions.disableNameSuffixHash", false) &&
                    !value_bool_at(args, "options.disableNameSuffixHash", false);
    if (kustomize_absorb(t->run, &bag->resources, r, &inner) < 0)
        return err_wrap(e, &inner, "merging from generator %.*s", STR_ARG(name));
    return 0;
}

int kustomize_generate(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    static const struct {
        const char *field;
        bool secret;
    } generators[] = {{"configMapGenerator", false}, {"secretGenerator", true}};
    for (size_t i = 0; i < 2; i++)
        value_each_item (value_getc(t->k, generators[i].field), args) {
            int rc = make(t, args, generators[i].secret, bag, e);
            if (rc < 0)
                return rc;
        }
    return 0;
}

// Hashes.

static int compare_members(const void *x, const void *y)
{
    return str_cmp(((const struct member *)x)->key, ((const struct member *)y)->key);
}

static void sort_members(struct value *v)
{
    if (v->kind == VALUE_OBJECT && v->n) {
        qsort(v->members, v->n, sizeof *v->members, compare_members);
        for (uint32_t i = 0; i < v->n; i++)
            sort_members(v->members[i].value);
    }
    value_each_item (v, item)
        sort_members(item);
}

// JSON as Go's encoder writes it by default: sorted keys, and <, > and & escaped.
static void write_json(struct buf *b, struct value *v)
{
    _cleanup_buf_ struct buf plain = BUF_INIT;
    sort_members(v);
    json_write(&plain, v);
    for (size_t i = 0; i < plain.n; i++) {
        char c = plain.p[i];
        if (c == '<' || c == '>' || c == '&')
            buf_printf(b, "\\u%04x", (unsigned)c);
        else
            buf_char(b, c);
    }
}

static struct value *member_or_empty(struct arena *a, const struct value *object, const char *key)
{
    const struct value *v = value_getc(object, key);
    return v ? value_clone(a, v) : value_strc(a, "");
}

static struct str hash(struct arena *a, const struct value *object)
{
    struct str kind = value_str_at(object, "kind");
    struct value *form = value_object(a);
    bool map = str_eqc(kind, "ConfigMap"), secret = str_eqc(kind, "Secret");
    if (!map && !secret)
        form = value_clone(a, object);
    else {
        value_setc(a, form, "kind", value_str(a, kind));
        value_setc(a, form, "name", value_strc(a, "")); // always empty in the original, too
        value_setc(a, form, "data", member_or_empty(a, object, "data"));
        if (secret)
            value_setc(a, form, "type", member_or_empty(a, object, "type"));
        const char *more = map ? "binaryData" : "stringData";
        if (value_getc(object, more))
            value_setc(a, form, more, member_or_empty(a, object, more));
    }
    _cleanup_buf_ struct buf text = BUF_INIT;
    write_json(&text, form);
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)(text.p ? text.p : ""), text.n, digest);
    // The first ten digits, without those that could make a word.
    static const char shown[] = "gh2k456789mbcdtf";
    char *out = arena_alloc(a, 10);
    for (int i = 0; i < 10; i++)
        out[i] = shown[i % 2 ? digest[i / 2] & 15 : digest[i / 2] >> 4];
    return str_n(out, 10);
}

int kustomize_add_hashes(struct kustomize_run *run, struct kustomize_bag *bag, struct err *e)
{
    (void)e;
    struct kustomize_resources *rs = &bag->resources;
    for (size_t i = 0; i < rs->n; i++) {
        struct kustomize_resource *r = rs->items[i];
        if (!r->needs_hash)
            continue;
        struct str name = value_str_at(r->object, "metadata.name");
        kustomize_remember(run->a, r);
        value_set_at(run->a, r->object, "metadata.name",
                     value_str(run->a, arena_printf(run->a, "%.*s-%.*s", STR_ARG(name),
                                                    STR_ARG(hash(run->a, r->object)))));
    }
    kustomize_renamed(rs);
    return 0;
}
