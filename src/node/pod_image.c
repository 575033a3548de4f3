// Images of containers: pull policy, pulls as jobs, back-off. One try has the states
//
//   UNKNOWN --found, policy allows--> PRESENT   (for this start; the next start asks again)
//      |  ----must be pulled--> PULLING --ok--> PULLED --reported--> PRESENT
//      |                           +--failed--> FAILED --back-off over--> UNKNOWN
//
// kept in pod_container.image; only the job writes PULLED and FAILED. The words of reasons,
// messages and events are upstream's: people and tools look for ErrImagePull and ImagePullBackOff.
#include "node/pod_field.h"
#include "node/pod_worker.h"
#include "object/json.h"

struct pull_job {
    struct pod_worker *w;
    struct arena a;
    struct str container, image;
    struct value *const *auths; // candidates, most specific first; then anonymous
    size_t nauths;
};

// ---- credentials -------------------------------------------------------------------------------

// The registry of an image as credentials name it.
static struct str image_registry(struct str image)
{
    struct str rest = image;
    struct str first = str_cut(&rest, '/');
    bool host = rest.p && (str_chr(first, '.') >= 0 || str_chr(first, ':') >= 0 ||
                           str_eqc(first, "localhost"));
    return host ? first : STR("docker.io");
}

static bool auth_matches(struct str key, struct str image)
{
    if (str_starts(key, STR("https://")))
        key = str_from(key, 8);
    else if (str_starts(key, STR("http://")))
        key = str_from(key, 7);
    if (str_ends(key, STR("/v1/")) || str_ends(key, STR("/v2/")))
        key.n -= 4;
    while (key.n && key.p[key.n - 1] == '/')
        key.n--;
    struct str rest = key;
    struct str host = str_cut(&rest, '/');
    if (str_eqc(host, "index.docker.io") || str_eqc(host, "registry-1.docker.io"))
        host = STR("docker.io");
    struct str registry = image_registry(image);
    if (str_starts(host, STR("*."))) {
        if (!str_ends(registry, str_from(host, 1)))
            return false;
    } else if (!str_eq(host, registry)) {
        return false;
    }
    return !rest.n || str_starts(image, key); // a path narrows it down
}

static void add_auths(struct arena *a, const struct value *auths, struct str image,
                      struct value ***list, size_t *n)
{
    value_each_field (auths, f) {
        if (!auth_matches(f->key, image))
            continue;
        struct str user = value_str_at(f->value, "username"),
                   password = value_str_at(f->value, "password"), both;
        if (!user.n && pod_data_decode(a, value_str_at(f->value, "auth"), &both)) {
            user = str_cut(&both, ':');
            password = both;
        }
        if (!user.n)
            continue;
        struct value *auth = value_object(a);
        value_setc(a, auth, "username", value_str(a, user));
        value_setc(a, auth, "password", value_str(a, password));
        *list = arena_grow(a, *list, *n * sizeof(**list), (*n + 1) * sizeof(**list));
        (*list)[(*n)++] = auth;
    }
}

static void find_auths(struct pod_sync *s, struct pull_job *j)
{
    struct value **list = NULL;
    const struct value *secrets = value_at(s->pod, "spec.imagePullSecrets");
    for (size_t i = 0; i < value_len(secrets); i++) {
        struct str name = value_str_at(value_item(secrets, i), "name");
        _cleanup_object_ struct object *o = NULL;
        if (node_objects_get(s->agent->objects, "secrets", str_of(s->w->ns), name, &o, NULL) < 0) {
            pod_event(s, STR_NULL, "Warning", "FailedToRetrieveImagePullSecret",
                      "Unable to retrieve some image pull secrets (%.*s); attempting to pull the "
                      "image may not succeed.",
                      STR_ARG(name));
            continue;
        }
        const struct value *data = value_getc(object_tree(&j->a, o), "data");
        struct str text;
        struct value *tree = NULL;
        bool legacy = !value_getc(data, ".dockerconfigjson");
        const struct value *v = value_getc(data, legacy ? ".dockercfg" : ".dockerconfigjson");
        if (!v || !pod_data_decode(&j->a, value_string(v), &text) ||
            json_parse(&j->a, text, NULL, &tree, NULL) < 0)
            continue;
        // What stays in the job must not point into the object.
        tree = value_clone(&j->a, tree);
        add_auths(&j->a, legacy ? tree : value_getc(tree, "auths"), j->image, &list, &j->nauths);
    }
    j->auths = list;
}

// ---- the pull ----------------------------------------------------------------------------------

static void pull(void *arg)
{
    struct pull_job *j = arg;
    struct pod_worker *w = j->w;
    struct node_agent *agent = w->agent;
    uint64_t start = env_mono(agent->env);
    struct image_info image = {0};
    _cleanup_err_ struct err e = ERR_INIT;
    int rc = -1;
    for (size_t i = 0; rc < 0 && i <= j->nauths; i++) {
        err_done(&e);
        e = ERR_INIT;
        rc = agent->runtime->ops->image_pull(agent->runtime, &j->a, j->image,
                                             i < j->nauths ? j->auths[i] : NULL, &image, &e);
    }
    _cleanup_buf_ struct buf took = BUF_INIT;
    duration_write(&took, (int64_t)((env_mono(agent->env) - start) / NS_PER_MS) * NS_PER_MS);
    if (rc == 0)
        pod_worker_event(w, j->container, "Normal", "Pulled",
                         arena_printf(&j->a,
                                      "Successfully pulled image \"%.*s\" in %.*s (%.*s including "
                                      "waiting). Image size: %lld bytes.",
                                      STR_ARG(j->image), STR_ARG(buf_view(&took)),
                                      STR_ARG(buf_view(&took)), (long long)image.size));
    else
        pod_worker_event(
            w, j->container, "Warning", "Failed",
            arena_printf(&j->a, "Failed to pull image \"%.*s\": %s", STR_ARG(j->image), e.message));
    pthread_mutex_lock(&w->lock);
    struct pod_container *m = pod_container_get(w, j->container);
    m->image = rc == 0 ? IMAGE_PULLED : IMAGE_FAILED;
    pod_set(&m->pull_error, rc == 0 ? STR_NULL : str_of(e.message));
    pthread_mutex_unlock(&w->lock);
    pod_worker_wake(w);
    if (rc == 0)
        node_register_wake(agent->node); // the Node lists its images
    pod_worker_unref(w);
    arena_done(&j->a);
    free(j);
}

static void start_pull(struct pod_sync *s, struct container_view *c, struct str image)
{
    struct pull_job *j = mem_zalloc(sizeof(*j));
    j->w = pod_worker_ref(s->w);
    j->container = arena_str(&j->a, c->name);
    j->image = arena_str(&j->a, image);
    find_auths(s, j);
    pthread_mutex_lock(&s->w->lock);
    c->mem->image = IMAGE_PULLING;
    pthread_mutex_unlock(&s->w->lock);
    pod_event(s, c->name, "Normal", "Pulling", "Pulling image \"%.*s\"", STR_ARG(image));
    job_pool_run(s->agent->jobs, pull, j);
}

static enum image_state get_state(struct pod_sync *s, struct container_view *c,
                                  struct str *ret_error)
{
    pthread_mutex_lock(&s->w->lock);
    enum image_state state = c->mem->image;
    *ret_error = arena_str(s->a, str_of(c->mem->pull_error));
    pthread_mutex_unlock(&s->w->lock);
    return state;
}

static void set_state(struct pod_sync *s, struct container_view *c, enum image_state state)
{
    pthread_mutex_lock(&s->w->lock);
    c->mem->image = state;
    pthread_mutex_unlock(&s->w->lock);
}

static enum start_result failed(struct pod_sync *s, struct container_view *c, const char *reason,
                                struct str message)
{
    pod_container_wait(c, reason, message);
    pod_event(s, c->name, "Warning", "Failed", "Error: %s", reason);
    return START_FAILED;
}

// A finished pull that failed: once ErrImagePull, then ImagePullBackOff until the delay is over.
static enum start_result after_failure(struct pod_sync *s, struct container_view *c,
                                       struct str image, struct str error)
{
    struct pod_container *m = c->mem;
    if (!m->pull_not_before) {
        m->pull_not_before = s->now + pod_backoff_next(&m->pull, s->now);
        pod_sync_due(s, s->now + 2 * NS_PER_S); // so that the back-off shows soon
        return failed(s, c, "ErrImagePull", error);
    }
    if (s->now < m->pull_not_before) {
        pod_sync_due(s, m->pull_not_before);
        struct str message =
            arena_printf(s->a, "Back-off pulling image \"%.*s\": ErrImagePull: %.*s",
                         STR_ARG(image), STR_ARG(error));
        if (m->waiting_reason && strcmp(m->waiting_reason, "ImagePullBackOff") == 0)
            return START_FAILED;
        pod_event(s, c->name, "Normal", "BackOff", "Back-off pulling image \"%.*s\"",
                  STR_ARG(image));
        return failed(s, c, "ImagePullBackOff", message);
    }
    m->pull_not_before = 0;
    start_pull(s, c, image);
    return START_WAIT;
}

enum start_result pod_image_ensure(struct pod_sync *s, struct container_view *c,
                                   struct image_info *ret)
{
    struct runtime *r = s->agent->runtime;
    struct pod_container *m = c->mem;
    struct str image = value_str_at(c->spec, "image"), error;
    if (!m->image_name || !str_eqc(image, m->image_name)) { // a new image starts afresh
        enum image_state state = get_state(s, c, &error);
        if (state == IMAGE_PULLING)
            return START_WAIT;
        pod_set(&m->image_name, image);
        m->pull = (struct pod_backoff){0};
        m->pull_not_before = 0;
        set_state(s, c, IMAGE_UNKNOWN);
    }
    enum image_state state = get_state(s, c, &error);
    if (state == IMAGE_PULLING)
        return START_WAIT;
    if (state == IMAGE_FAILED)
        return after_failure(s, c, image, error);

    struct str policy = value_str_at(c->spec, "imagePullPolicy");
    bool fresh = state == IMAGE_PULLED || state == IMAGE_PRESENT;
    _cleanup_err_ struct err e = ERR_INIT;
    int rc = r->ops->image_status(r, s->a, image, ret, &e);
    if (rc < 0 && err_is(&e, ERR_BAD_REQUEST)) { // the name cannot be parsed
        if (!m->waiting_reason || strcmp(m->waiting_reason, "InvalidImageName") != 0) {
            pod_event(s, c->name, "Warning", "InspectFailed", "%s", e.message);
            failed(s, c, "InvalidImageName", str_of(e.message));
        }
        return START_FAILED;
    }
    if (rc < 0 && !err_is(&e, ERR_NOT_FOUND)) {
        pod_event(s, c->name, "Warning", "InspectFailed", "Failed to inspect image \"%.*s\": %s",
                  STR_ARG(image), e.message);
        pod_sync_due(s, s->now + BACKOFF_FIRST);
        return failed(
            s, c, "ImageInspectError",
            arena_printf(s->a, "Failed to inspect image \"%.*s\": %s", STR_ARG(image), e.message));
    }
    if (rc == 0 && (fresh || !str_eqc(policy, "Always"))) {
        if (state == IMAGE_UNKNOWN)
            pod_event(s, c->name, "Normal", "Pulled",
                      "Container image \"%.*s\" already present on machine", STR_ARG(image));
        if (state == IMAGE_PULLED)
            m->pull = (struct pod_backoff){0};
        set_state(s, c, IMAGE_PRESENT);
        return START_DONE;
    }
    if (str_eqc(policy, "Never")) {
        struct str message =
            arena_printf(s->a, "Container image \"%.*s\" is not present with pull policy of Never",
                         STR_ARG(image));
        pod_sync_due(s, s->now + BACKOFF_FIRST);
        if (!m->waiting_reason || strcmp(m->waiting_reason, "ErrImageNeverPull") != 0) {
            pod_event(s, c->name, "Warning", "ErrImageNeverPull", "%.*s", STR_ARG(message));
            failed(s, c, "ErrImageNeverPull", message);
        }
        return START_FAILED;
    }
    start_pull(s, c, image);
    return START_WAIT;
}
