// One program, many roles: this file only picks the role. Those that host a part of the platform
// are the rows here (role_*.c), since the files of src/ alone may know every room; verbs that are
// no more than a client are rows of cli/verbs.c.
#include "base/guard.h"
#include "base/log.h"
#include "cli/verbs.h"
#include "roles.h"
#include "runtime/runtime.h"
#include <sys/stat.h>

// Roles and verbs that are more than a client. Sorted by name; cli_main merges them with its own.
static const struct verb roles[] = {
    {.name = "helm", .summary = "render charts as helm does", .verbs = role_helm_verbs},
    {.name = "image",
     .summary = "import, list, pull and remove container images",
     .verbs = role_image_verbs},
    {.name = "reset",
     .summary = "stop every pod and take away what coracle left on this machine",
     .run = role_reset},
    {.name = "server",
     .summary = "run a whole cluster: API server, controllers, scheduler, node",
     .run = role_server},
};

int main(int argc, char **argv)
{
    log_init();
    // Every file says its own mode; whatever the caller's shell has must not take from it.
    umask(0022);
    // The supervisor must stay small: it is entered before anything else is touched.
    if (argc > 1 && strcmp(argv[1], "supervisor") == 0)
        return runtime_supervisor_main(argc - 1, argv + 1);
    return cli_main(argc, argv, roles, ARRAY_LEN(roles));
}
