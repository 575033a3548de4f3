// See cni.h. A list of plugins is executed one after the other, each getting the result of the one
// before; for DEL in reverse, with the result of the whole ADD. What was used for an ADD (list and
// result) is kept in a file for each sandbox, so a DEL after a change of the configuration still
// undoes what was done.
//
// Plugins are started from whatever thread asks; their answer is bounded in size and time.
#include "network/cni.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/env.h"
#include "base/process.h"
#include "base/time.h"
#include "object/json.h"
#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#define CONF_MAX   (256 * 1024)
#define OUTPUT_MAX (256 * 1024)
#define TIMEOUT_NS (120 * NS_PER_S)
#define IFNAME     "eth0"

struct cni {
    char *state_dir;
    char *bin_dirs;
    struct arena arena;
    const struct value *list; // {"cniVersion","name","plugins":[…]}
};

// --- loading ---

static bool is_conf(const char *name)
{
    struct str s = str_of(name);
    return str_ends(s, STR(".conflist")) || str_ends(s, STR(".conf")) || str_ends(s, STR(".json"));
}

// The first configuration in name order.
static bool first_conf(struct arena *a, const char *dir, struct str *ret)
{
    DIR *d = opendir(dir);
    *ret = STR_NULL;
    if (!d)
        return false;
    for (struct dirent *f; (f = readdir(d));) {
        struct str name = str_of(f->d_name);
        if (is_conf(f->d_name) && (!ret->p || str_cmp(name, *ret) < 0))
            *ret = arena_str(a, name);
    }
    closedir(d);
    return ret->p != NULL;
}

// A .conf file is a single plugin: a list of one.
static const struct value *as_list(struct arena *a, struct value *conf)
{
    if (value_getc(conf, "plugins"))
        return conf;
    struct value *list = value_object(a), *plugins = value_array(a);
    value_setc(a, list, "cniVersion", value_str(a, value_str_at(conf, "cniVersion")));
    value_setc(a, list, "name", value_str(a, value_str_at(conf, "name")));
    value_push(a, plugins, conf);
    value_setc(a, list, "plugins", plugins);
    return list;
}

int cni_load(const char *conf_dir, const char *bin_dirs, const char *state_dir, struct cni **ret,
             struct err *e)
{
    struct cni *c = mem_zalloc(sizeof *c);
    struct str name, text;
    struct value *conf;
    int r = 0;
    if (!first_conf(&c->arena, conf_dir, &name)) {
        r = err_set(e, ERR_NOT_FOUND, "%s holds no CNI configuration", conf_dir);
    } else {
        const char *path = arena_printf(&c->arena, "%s/%.*s%c", conf_dir, STR_ARG(name), 0).p;
        if ((r = file_read_all(&c->arena, path, CONF_MAX, &text, e)) == 0 &&
            (r = json_parse(&c->arena, text, &(struct json_options){0}, &conf, e)) < 0)
            err_wrap(e, e, "CNI configuration %s", path);
    }
    if (r == 0) {
        c->list = as_list(&c->arena, conf);
        if (value_len(value_getc(c->list, "plugins")) == 0 || !value_str_at(c->list, "name").n)
            r = err_set(e, ERR_BAD_REQUEST,
                        "CNI configuration %s/%.*s: name or plugins are missing", conf_dir,
                        STR_ARG(name));
    }
    c->state_dir = mem_cstr(arena_printf(&c->arena, "%s/cni", state_dir));
    c->bin_dirs = mem_cstr(str_of(bin_dirs));
    if (r == 0)
        r = file_mkdir_all(c->state_dir, 0700, e);
    if (r < 0) {
        cni_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

void cni_free(struct cni *c)
{
    if (!c)
        return;
    arena_done(&c->arena);
    free(c->state_dir);
    free(c->bin_dirs);
    free(c);
}

// --- one plugin ---

static int find_plugin(const struct cni *c, struct arena *a, struct str type, const char **ret,
                       struct err *e)
{
    // The name becomes part of a path.
    if (type.n == 0 || str_chr(type, '/') >= 0)
        return err_set(e, ERR_BAD_REQUEST, "CNI plugin type \"%.*s\" is not a file name",
                       STR_ARG(type));
    for (struct str rest = str_of(c->bin_dirs); rest.p;) {
        struct str dir = str_cut(&rest, ':');
        *ret = arena_printf(a, "%.*s/%.*s%c", STR_ARG(dir), STR_ARG(type), 0).p;
        if (access(*ret, X_OK) == 0)
            return 0;
    }
    return err_set(e, ERR_NOT_FOUND, "CNI plugin \"%.*s\" is in none of %s", STR_ARG(type),
                   c->bin_dirs);
}

static const char *const *environment(const struct cni *c, struct arena *a, const char *command,
                                      const struct pod_network_request *r)
{
    const char **env = arena_array(a, const char *, 8);
    size_t n = 0;
    const char *path = getenv("PATH");
    env[n++] = arena_printf(a, "PATH=%s%c", path ? path : "/usr/sbin:/usr/bin:/sbin:/bin", 0).p;
    env[n++] = arena_printf(a, "CNI_COMMAND=%s%c", command, 0).p;
    env[n++] = arena_printf(a, "CNI_CONTAINERID=%.*s%c", STR_ARG(r->sandbox_id), 0).p;
    env[n++] = arena_printf(a, "CNI_NETNS=%.*s%c", STR_ARG(r->netns_path), 0).p;
    env[n++] = "CNI_IFNAME=" IFNAME;
    env[n++] = arena_printf(a, "CNI_PATH=%s%c", c->bin_dirs, 0).p;
    env[n++] = arena_printf(a,
                            "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=%.*s;K8S_POD_NAME=%.*s;"
                            "K8S_POD_INFRA_CONTAINER_ID=%.*s;K8S_POD_UID=%.*s%c",
                            STR_ARG(r->pod_namespace), STR_ARG(r->pod_name), STR_ARG(r->sandbox_id),
                            STR_ARG(r->pod_uid), 0)
                   .p;
    return env;
}

// In the plugin's own words: {"code":11,"msg":"…","details":"…"}.
static int plugin_error(struct err *e, struct str type, const char *command, struct str output,
                        int status)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v = NULL;
    struct str msg = STR_NULL, details = STR_NULL;
    if (json_parse(&a, output, &(struct json_options){0}, &v, NULL) == 0) {
        msg = value_str_at(v, "msg");
        details = value_str_at(v, "details");
    }
    if (msg.n)
        return err_set(e, ERR_INTERNAL, "plugin type=\"%.*s\" failed (%s): %.*s%s%.*s",
                       STR_ARG(type), command, STR_ARG(msg), details.n ? "; " : "",
                       STR_ARG(details));
    return err_set(e, ERR_INTERNAL,
                   "plugin type=\"%.*s\" failed (%s): it ended with status %d%s%.*s", STR_ARG(type),
                   command, process_exit_code(status), output.n ? ": " : "",
                   STR_ARG(str_sub(output, 0, 500)));
}

static int run_plugin(const struct cni *c, struct arena *a, const char *command,
                      const struct value *conf, const struct pod_network_request *r,
                      struct str *ret_output, struct err *e)
{
    const char *path = NULL;
    struct str type = value_str_at(conf, "type");
    struct process_result answer;
    int result = find_plugin(c, a, type, &path, e);
    if (result < 0)
        return result;
    const char *const argv[] = {path, NULL};
    const struct process_options how = {.program = path,
                                        .argv = argv,
                                        .environment = environment(c, a, command, r),
                                        .input = json_text(a, conf),
                                        .output_max = OUTPUT_MAX,
                                        .timeout_ns = TIMEOUT_NS,
                                        .streams = {0, 0, PROCESS_INHERIT},
                                        .leave_group = true}; // as DHCP's daemon
    result = process_run(env_system(), a, &how, &answer, e);
    if (result < 0)
        return err_wrap(e, e, "plugin type=\"%.*s\" failed (%s)", STR_ARG(type), command);
    if (!process_succeeded(&answer))
        return plugin_error(e, type, command, answer.output, answer.status);
    *ret_output = answer.output;
    return 0;
}

// --- lists ---

static struct value *port_mappings(struct arena *a, const struct pod_network_request *r)
{
    struct value *list = value_array(a);
    for (size_t i = 0; i < r->nports; i++) {
        const struct pod_port_map *p = &r->ports[i];
        struct value *m = value_object(a);
        value_setc(a, m, "hostPort", value_int(a, p->host_port));
        value_setc(a, m, "containerPort", value_int(a, p->container_port));
        value_setc(a, m, "protocol",
                   value_strc(a, p->protocol == 17    ? "udp"
                                 : p->protocol == 132 ? "sctp"
                                                      : "tcp"));
        if (p->host_ip.n)
            value_setc(a, m, "hostIP", value_str(a, p->host_ip));
        value_push(a, list, m);
    }
    return list;
}

// A plugin's configuration with what the runtime adds.
static struct value *plugin_conf(struct arena *a, const struct value *list,
                                 const struct value *plugin, const struct value *previous,
                                 const struct pod_network_request *r)
{
    struct value *conf = value_clone(a, plugin);
    value_setc(a, conf, "name", value_str(a, value_str_at(list, "name")));
    value_setc(a, conf, "cniVersion", value_str(a, value_str_at(list, "cniVersion")));
    if (previous)
        value_setc(a, conf, "prevResult", (struct value *)previous);
    if (value_bool_at(conf, "capabilities.portMappings", false) && r->nports > 0)
        value_set_at(a, conf, "runtimeConfig.portMappings", port_mappings(a, r));
    value_delc(conf, "capabilities");
    return conf;
}

static const char *record_path(const struct cni *c, struct arena *a, struct str sandbox)
{
    return arena_printf(a, "%s/%.*s.json%c", c->state_dir, STR_ARG(sandbox), 0).p;
}

// {"list":…,"result":…} of an earlier ADD; NULL: there was none.
static struct value *read_record(const struct cni *c, struct arena *a, struct str sandbox)
{
    struct str text;
    struct value *record = NULL;
    const char *path = record_path(c, a, sandbox);
    if (file_read_all(a, path, CONF_MAX + OUTPUT_MAX, &text, NULL) < 0 ||
        json_parse(a, text, &(struct json_options){0}, &record, NULL) < 0)
        return NULL;
    return record;
}

static int result_ip(struct arena *a, const struct value *result, struct str *ret, struct err *e)
{
    value_each_item (value_getc(result, "ips"), ip) {
        struct str rest = value_str_at(ip, "address"), address = str_cut(&rest, '/');
        if (address.n > 0 && str_chr(address, ':') < 0) {
            *ret = arena_str(a, address);
            return 0;
        }
    }
    struct str old = value_str_at(result, "ip4.ip"); // before version 0.3.0
    if (old.n > 0) {
        *ret = arena_str(a, str_cut(&old, '/'));
        return 0;
    }
    return err_set(e, ERR_INTERNAL, "the CNI plugins gave the pod no IPv4 address");
}

int cni_add(struct cni *c, struct arena *a, const struct pod_network_request *r, struct str *ret_ip,
            struct err *e)
{
    struct value *record = read_record(c, a, r->sandbox_id), *result = NULL;
    int failed;
    if (record && value_getc(record, "result"))
        return result_ip(a, value_getc(record, "result"), ret_ip, e);
    // Noted before the first plugin runs, so that a crash in between is undone by a DEL.
    record = value_object(a);
    value_setc(a, record, "list", (struct value *)c->list);
    if ((failed = file_write_all(record_path(c, a, r->sandbox_id), json_text(a, record), 0600, e)) <
        0)
        return failed;
    value_each_item (value_getc(c->list, "plugins"), plugin) {
        struct str output;
        failed = run_plugin(c, a, "ADD", plugin_conf(a, c->list, plugin, result, r), r, &output, e);
        if (failed == 0 &&
            (failed = json_parse(a, output, &(struct json_options){0}, &result, e)) < 0)
            err_wrap(e, e, "the result of the CNI plugin %.*s",
                     STR_ARG(value_str_at(plugin, "type")));
        if (failed < 0) {
            cni_del(c, r, NULL);
            return failed;
        }
    }
    value_setc(a, record, "result", result);
    if ((failed = file_write_all(record_path(c, a, r->sandbox_id), json_text(a, record), 0600, e)) <
        0)
        return failed;
    return result_ip(a, result, ret_ip, e);
}

// The specification has it from 0.4.0.
static bool del_has_result(struct str version)
{
    return version.n > 0 && !str_starts(version, STR("0.1.")) &&
           !str_starts(version, STR("0.2.")) && !str_starts(version, STR("0.3."));
}

int cni_del(struct cni *c, const struct pod_network_request *r, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *record = read_record(c, &a, r->sandbox_id);
    if (!record)
        return 0;
    const struct value *list = value_getc(record, "list"), *result = value_getc(record, "result");
    const struct value *plugins = value_getc(list, "plugins");
    if (!del_has_result(value_str_at(list, "cniVersion")))
        result = NULL;
    int failed = 0;
    for (size_t i = value_len(plugins); i-- > 0;) {
        struct str output;
        const struct value *conf = plugin_conf(&a, list, value_item(plugins, i), result, r);
        // The others are undone all the same; the first error is told.
        int one = run_plugin(c, &a, "DEL", conf, r, &output, failed ? NULL : e);
        failed = failed ? failed : one;
    }
    if (failed == 0 && unlink(record_path(c, &a, r->sandbox_id)) < 0 && errno != ENOENT)
        failed = err_errno(e, errno, "removing %s", record_path(c, &a, r->sandbox_id));
    return failed;
}

int cni_each(struct cni *c, void (*fn)(void *ctx, struct str sandbox_id), void *ctx, struct err *e)
{
    DIR *d = opendir(c->state_dir);
    if (!d)
        return err_errno(e, errno, "reading %s", c->state_dir);
    struct str suffix = STR(".json");
    for (struct dirent *f; (f = readdir(d));) {
        struct str name = str_of(f->d_name);
        if (str_ends(name, suffix) && name.p[0] != '.')
            fn(ctx, str_sub(name, 0, name.n - suffix.n));
    }
    closedir(d);
    return 0;
}
