// `generators`, `transformers` and `validators` whose configuration is for one of the built-in
// steps: the entry is turned into the kustomization that would ask for it, with the entry's own
// field specifications, and that step runs. Programs and containers are refused: what runs on a
// build machine is not for a manifest to say.
#include "base/guard.h"
#include "kustomize/private.h"

// A built-in plug-in: the fields of its configuration, and where the kustomization has them.
struct plugin {
    const char *kind;
    const char *from, *to; // member of the configuration -> field of the kustomization
    bool list;             // the field is a list: of this one
    size_t fields;         // offset of the field specifications in the configuration, or NO_FIELDS
    bool generator;
};
#define NO_FIELDS  SIZE_MAX
#define AT(member) offsetof(struct kustomize_config, member)

static const struct plugin plugins[] = {
    {"PrefixTransformer", "prefix", "namePrefix", false, AT(name_prefix), false},
    {"SuffixTransformer", "suffix", "nameSuffix", false, AT(name_suffix), false},
    {"NamespaceTransformer", "metadata.namespace", "namespace", false, AT(space), false},
    {"LabelTransformer", "labels", "commonLabels", false, AT(common_labels), false},
    {"AnnotationsTransformer", "annotations", "commonAnnotations", false, AT(annotations), false},
    {"ImageTagTransformer", "imageTag", "images", true, AT(images), false},
    {"ReplicaCountTransformer", "replica", "replicas", true, AT(replicas), false},
    {"ReplacementTransformer", "replacements", "replacements", false, NO_FIELDS, false},
    {"PatchTransformer", "", "patches", true, NO_FIELDS, false},
    {"PatchJson6902Transformer", "", "patchesJson6902", true, NO_FIELDS, false},
    {"ConfigMapGenerator", "", "configMapGenerator", true, NO_FIELDS, true},
    {"SecretGenerator", "", "secretGenerator", true, NO_FIELDS, true},
};

static int run_plugin(struct kustomize_target *t, struct kustomize_bag *bag,
                      const struct value *config, struct err *e)
{
    struct arena *a = t->run->a;
    struct str kind = value_str_at(config, "kind"), version = value_str_at(config, "apiVersion");
    size_t i = 0, n = ARRAY_LEN(plugins);
    while (i < n && !str_eqc(kind, plugins[i].kind))
        i++;
    if (i == n || !str_eqc(version, "builtin"))
        return err_set(e, ERR_INVALID,
                       "external plugins disabled; unable to load external plugin '%.*s' of '%.*s'",
                       STR_ARG(kind), STR_ARG(version));
    const struct plugin *p = &plugins[i];
    struct value *v = value_clone(a, *p->from ? value_at(config, p->from) : config);
    struct kustomize_target step = *t;
    struct kustomize_bag own = *bag;
    if (!*p->from) { // an entry of its list, as it is
        struct str name = value_str_at(v, "metadata.name"),
                   space = value_str_at(v, "metadata.namespace");
        if (p->generator && name.n)
            value_setc(a, v, "name", value_str(a, name));
        if (p->generator && space.n)
            value_setc(a, v, "namespace", value_str(a, space));
        if (value_getc(v, "jsonOp"))
            value_setc(a, v, "patch", value_getc(v, "jsonOp"));
    }
    if (p->list) {
        struct value *list = value_array(a);
        value_push(a, list, v);
        v = list;
    }
    step.k = value_object(a);
    value_setc(a, step.k, p->to, v);
    if (p->fields != NO_FIELDS) {
        struct kustomize_fields *fields =
            (struct kustomize_fields *)((char *)&own.config + p->fields);
        *fields = (struct kustomize_fields){0};
        int rc = kustomize_fields_read(a, fields, value_getc(config, "fieldSpecs"), e);
        if (rc < 0)
            return rc;
    }
    int rc =
        p->generator ? kustomize_generate(&step, &own, e) : kustomize_transform(&step, &own, e);
    bag->resources = own.resources;
    return rc;
}

static int run_entry(struct kustomize_target *t, struct kustomize_bag *bag, struct str text,
                     struct err *e)
{
    struct kustomize_resources configs = {0};
    struct str content = text;
    _cleanup_err_ struct err inner = ERR_INIT;
    int rc;
    if (str_chr(text, '\n') < 0) { // a file; or, as resources are, a kustomization that makes them
        struct str path = kustomize_clean(t->run->a, t->root, text);
        if (t->run->files->kind(t->run->files->context, path) == 'd') {
            struct value *objects;
            if ((rc = kustomize_build(t->run->a, t->run->options, path, &objects, e)) < 0)
                return rc;
            value_each_item (objects, object)
                if ((rc = run_plugin(t, bag, object, e)) < 0)
                    return rc;
            return 0;
        }
        if ((rc = kustomize_target_read(t, text, &content, e)) < 0)
            return rc;
    }
    if (kustomize_parse(t->run, content, text, &configs, &inner) < 0)
        return err_wrap(e, &inner, "loading a plugin configuration");
    for (size_t i = 0; i < configs.n; i++)
        if ((rc = run_plugin(t, bag, configs.items[i]->object, e)) < 0)
            return rc;
    return 0;
}

int kustomize_plugins(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    static const char *const fields[] = {"transformers", "validators"};
    for (size_t i = 0; i < 2; i++)
        value_each_item (value_getc(t->k, fields[i]), entry) {
            int rc = run_entry(t, bag, value_string(entry), e);
            if (rc < 0)
                return rc;
        }
    return 0;
}

int kustomize_plugin_generators(struct kustomize_target *t, struct kustomize_bag *bag,
                                struct err *e)
{
    value_each_item (value_getc(t->k, "generators"), entry) {
        int rc = run_entry(t, bag, value_string(entry), e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
