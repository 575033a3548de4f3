// Service account tokens for projected volumes. A token is asked of the API (serviceaccounts/token,
// bound to the pod), kept in memory until the pod goes, and renewed when four fifths of its life
// are over or it is a day old, whichever comes first; a failing renewal keeps the old token while
// it lives. After a restart of the agent tokens are asked for anew: they are cheap, and nothing
// secret is kept on disk.
#include "client/client.h"
#include "node/volume_internal.h"

#define TOKEN_MAX_AGE  (24 * 3600 * NS_PER_S)
#define TOKEN_RETRY    (60 * NS_PER_S)
#define DEFAULT_EXPIRY 3600

struct volume_token {
    char *text;
    uint64_t expires, refresh; // monotonic
};

static void token_free(struct volume_token *t)
{
    if (!t)
        return;
    if (t->text)
        explicit_bzero(t->text, strlen(t->text));
    free(t->text);
    free(t);
}

static int request(struct volume_request *r, const struct value *source, struct str *ret_token,
                   int64_t *ret_expires_real, struct err *e)
{
    struct arena *a = r->a;
    const struct value *pod = r->facts->pod;
    struct value *body = value_object(a), *audiences = value_array(a);
    value_set_at(a, body, "apiVersion", value_strc(a, "authentication.k8s.io/v1"));
    value_set_at(a, body, "kind", value_strc(a, "TokenRequest"));
    struct str audience = value_str_at(source, "audience");
    if (audience.n)
        value_push(a, audiences, value_str(a, audience));
    value_set_at(a, body, "spec.audiences", audiences);
    int64_t seconds = value_int_at(source, "expirationSeconds", DEFAULT_EXPIRY);
    value_set_at(a, body, "spec.expirationSeconds", value_int(a, seconds));
    value_set_at(a, body, "spec.boundObjectRef.kind", value_strc(a, "Pod"));
    value_set_at(a, body, "spec.boundObjectRef.apiVersion", value_strc(a, "v1"));
    value_set_at(a, body, "spec.boundObjectRef.name",
                 value_str(a, value_str_at(pod, "metadata.name")));
    value_set_at(a, body, "spec.boundObjectRef.uid", value_str(a, r->uid));
    struct str account = value_str_at(pod, "spec.serviceAccountName");
    struct api_request req = {
        .verb = VERB_CREATE,
        .kind = KIND("", "serviceaccounts"),
        .subresource = STR("token"),
        .ns = r->ns,
        .name = account.n ? account : STR("default"),
        .body = body,
        .grace_period_seconds = -1,
    };
    _cleanup_answer_ struct api_answer answer = {0};
    int rc = client_call(r->v->o.client, &req, &answer, e);
    if (rc < 0)
        return err_wrap(e, e, "failed to fetch token");
    const struct value *v = answer.value    ? answer.value
                            : answer.object ? object_tree(a, answer.object)
                                            : NULL;
    *ret_token = arena_str(a, value_str_at(v, "status.token"));
    if (!ret_token->n)
        return err_set(e, ERR_INTERNAL, "failed to fetch token: the answer holds none");
    if (!time_parse_rfc3339(value_str_at(v, "status.expirationTimestamp"), ret_expires_real))
        *ret_expires_real = env_now(r->v->o.env) + seconds * NS_PER_S;
    return 0;
}

int volume_payload_token(struct volume_request *r, const struct value *source, size_t index,
                         unsigned mode, struct volume_files *out, struct err *e)
{
    struct volumes *v = r->v;
    struct str key = arena_printf(r->a, "%.*s/%.*s/%zu", STR_ARG(r->uid), STR_ARG(r->name), index);
    uint64_t now = env_mono(v->o.env);
    pthread_mutex_lock(&v->lock);
    struct volume_token *t = map_get(&v->tokens, key);
    pthread_mutex_unlock(&v->lock);
    // Only this pod's thread touches its tokens; the lock is for the map.
    if (!t || t->refresh <= now) {
        struct str text = STR_NULL;
        int64_t expires = 0;
        _cleanup_err_ struct err mine = ERR_INIT;
        int rc = request(r, source, &text, &expires, &mine);
        if (rc < 0 && (!t || t->expires <= now)) {
            err_move(e, &mine);
            return rc;
        }
        if (rc < 0) {
            t->refresh = now + TOKEN_RETRY;
        } else {
            bool fresh = !t;
            if (fresh)
                t = mem_zalloc(sizeof(*t));
            free(t->text);
            t->text = mem_cstr(text);
            int64_t life = expires - env_now(v->o.env);
            if (life < NS_PER_S)
                life = NS_PER_S;
            t->expires = now + (uint64_t)life;
            t->refresh = now + (uint64_t)(life / 5 * 4);
            if (t->refresh > now + TOKEN_MAX_AGE)
                t->refresh = now + TOKEN_MAX_AGE;
            pthread_mutex_lock(&v->lock);
            if (fresh)
                map_set(&v->tokens, key, t);
            pthread_mutex_unlock(&v->lock);
        }
    }
    if (!r->refresh || t->refresh < r->refresh)
        r->refresh = t->refresh;
    struct str path = value_str_at(source, "path");
    // Readable by the pod's user only, where upstream can tell who that is.
    unsigned token_mode = r->owner.fs_group >= 0 || r->owner.user >= 0 ? 0600 : mode;
    volume_files_add(r->a, out, path.n ? path : STR("token"), arena_str(r->a, str_of(t->text)),
                     token_mode);
    return 0;
}

void volume_tokens_forget(struct volumes *v, struct str uid)
{
    pthread_mutex_lock(&v->lock);
    bool again = true;
    while (again) { // removal invalidates the iteration: start over after each
        again = false;
        map_each (&v->tokens, s) {
            struct str key = str_n(s->key, s->key_n);
            if (!uid.n || (str_starts(key, uid) && key.n > uid.n && key.p[uid.n] == '/')) {
                token_free(map_del(&v->tokens, key));
                again = true;
                break;
            }
        }
    }
    pthread_mutex_unlock(&v->lock);
}
