// What is accepted although it is not what the writer wants: told in Warning headers, in the words
// of the originals. A row for each kind that has a pod template.
#include "apiserver/server.h"

static const struct {
    const char *group, *resource, *path;
} templates[] = {
    {"", "podtemplates", "template.spec"},
    {"", "replicationcontrollers", "spec.template.spec"},
    {"apps", "daemonsets", "spec.template.spec"},
    {"apps", "deployments", "spec.template.spec"},
    {"apps", "replicasets", "spec.template.spec"},
    {"apps", "statefulsets", "spec.template.spec"},
    {"batch", "cronjobs", "spec.jobTemplate.spec.template.spec"},
    {"batch", "jobs", "spec.template.spec"},
};

static void warn_template(struct op *op, const char *path)
{
    const struct value *spec = value_at(op->new, path);
    if (value_int_at(spec, "terminationGracePeriodSeconds", 0) < 0)
        op_warn(op,
                "%s.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and "
                "will be treated as 1",
                path);
}

void op_warnings(struct op *op)
{
    if (op->request->subresource.n)
        return;
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++)
        if (op_is(op, templates[i].group, templates[i].resource))
            warn_template(op, templates[i].path);
}
