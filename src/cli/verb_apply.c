// `coracle apply`: makes the cluster as files say, as kubectl's own apply does. What was applied is
// kept in an annotation of the object, the same one, so both can be used on one object; from it,
// the file and the object as it is comes the patch (object/patch_three_way.h). What others have set
// stays, unless the file says otherwise.
#include "base/guard.h"
#include "cli/flags.h"
#include "cli/objects.h"
#include "cli/print.h"
#include "client/client.h"
#include "object/json.h"
#include "object/patch_three_way.h"

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"

struct apply {
    struct cli *c;
    bool dry_run, recursive;
    struct flag_list files;
    int status;
};

// The object with the text of itself in the annotation.
static struct value *annotated(struct arena *a, const struct value *body)
{
    struct value *v = value_clone(a, body), *metadata = value_getc(v, "metadata");
    struct value *annotations = value_getc(metadata, "annotations");
    if (!value_is(annotations, VALUE_OBJECT)) {
        annotations = value_object(a);
        value_setc(a, metadata, "annotations", annotations);
    }
    value_delc(annotations, LAST_APPLIED);
    print_sort_keys(v);
    struct str text = arena_printf(a, "%.*s\n", STR_ARG(json_text(a, v)));
    value_setc(a, annotations, LAST_APPLIED, value_str(a, text));
    return v;
}

static struct value *last_applied(struct arena *a, const struct value *live)
{
    struct value *v = NULL;
    struct str text =
        value_string(value_get(value_at(live, "metadata.annotations"), STR(LAST_APPLIED)));
    if (text.n && json_parse(a, text, NULL, &v, NULL) < 0)
        v = NULL; // not ours to judge: then nothing counts as applied before
    return v;
}

static int send(struct apply *p, const struct object_file *o, const struct api_request *how,
                struct object **ret, struct err *e)
{
    struct api_request r = *how;
    r.kind = o->kind;
    r.ns = o->ns;
    r.name = o->name;
    r.field_manager = STR("coracle-apply");
    r.field_validation = VALIDATION_STRICT;
    r.dry_run = p->dry_run;
    r.grace_period_seconds = -1;
    _cleanup_answer_ struct api_answer answer = {0};
    int result = client_call(p->c->client, &r, &answer, e);
    for (size_t i = 0; result == 0 && i < answer.nwarnings; i++)
        fprintf(p->c->err, "Warning: %.*s\n", STR_ARG(answer.warnings[i]));
    if (result == 0)
        *ret = TAKE_PTR(answer.object);
    return result;
}

// *ret_verb: "created", "configured", "unchanged".
static int apply_object(struct apply *p, const struct object_file *o, const char **ret_verb,
                        struct err *e)
{
    struct arena *a = p->c->arena;
    struct value *modified = annotated(a, o->body);
    _cleanup_object_ struct object *live = NULL, *now = NULL;
    _cleanup_err_ struct err why = ERR_INIT;
    if (client_get(p->c->client, o->kind, o->ns, o->name, &live, &why) < 0) {
        if (!err_is(&why, ERR_NOT_FOUND))
            return err_wrap(e, &why, "%s", o->source);
        const struct api_request create = {.verb = VERB_CREATE, .body = modified};
        *ret_verb = "created";
        return send(p, o, &create, &now, e);
    }
    struct value *before = object_tree(a, live);
    bool custom = o->kind->flags & KIND_CUSTOM;
    const struct api_request patch = {
        .verb = VERB_PATCH,
        .patch_type = custom ? PATCH_TYPE_MERGE : PATCH_TYPE_STRATEGIC,
        .body = patch_three_way(a, custom ? NULL : o->kind->type, last_applied(a, before), modified,
                                before)};
    *ret_verb = "unchanged";
    if (!patch.body)
        return 0;
    int r = send(p, o, &patch, &now, e);
    if (r == 0 && (!now || p->dry_run || now->revision != live->revision))
        *ret_verb = "configured";
    return r;
}

static int apply_one(void *ctx, const struct object_file *o, struct err *e)
{
    struct apply *p = ctx;
    struct cli *c = p->c;
    if (!o->name.n)
        return err_set(e, ERR_BAD_REQUEST, "%s: metadata.name is required for apply", o->source);
    // One object's refusal does not keep the others from being tried.
    _cleanup_err_ struct err why = ERR_INIT;
    const char *verb = NULL;
    if (apply_object(p, o, &verb, &why) < 0) {
        p->status = cli_fail(c, &why);
        return 0;
    }
    fprintf(c->out, "%.*s %s%s\n", STR_ARG(print_name(c->arena, o->kind, o->name)), verb,
            p->dry_run ? " (server dry run)" : "");
    return 0;
}

int verb_apply(struct cli *c, int argc, char **argv)
{
    struct apply p = {.c = c};
    const struct flag flags[] = {
        CLI_CLUSTER_FLAGS(c),
        {"dry-run", 0, FLAG_BOOL, &p.dry_run, NULL, "let the server check, but change nothing"},
        {"filename", 'f', FLAG_LIST, &p.files, "FILE", "file, directory, or - ; may be repeated"},
        {"recursive", 'R', FLAG_BOOL, &p.recursive, NULL, "directories within directories too"},
    };
    const struct usage usage = {
        .synopsis = "coracle apply -f FILE… [flags]",
        .text = "Makes the cluster as the files say: creates what is not there, changes what "
                "differs, removes fields\nthat an earlier apply had set, and leaves alone what "
                "others have set.",
        .examples = "  coracle apply -f web.yaml\n"
                    "  coracle apply -R -f manifests/\n"
                    "  cat web.yaml | coracle apply -f -",
        .flags = flags,
        .nflags = ARRAY_LEN(flags)};
    int nargs, parsed = flags_parse(&usage, argc, argv, &nargs);
    if (parsed != 0)
        return parsed > 0 ? CLI_OK : CLI_USAGE;
    if (nargs > 0 || !p.files.n)
        return cli_usage(c, "apply", nargs > 0 ? "apply takes files only" : "must specify -f");
    _cleanup_err_ struct err e = ERR_INIT;
    if (cli_connect(c, &e) < 0 || objects_read(c, &p.files, p.recursive, apply_one, &p, &e) < 0)
        return cli_error(c, &e);
    return p.status;
}
