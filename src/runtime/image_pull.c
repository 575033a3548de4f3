// A pull, by the OCI distribution specification:
//
//   1. GET /v2/<repository>/manifests/<tag or digest>. 401: get a token as the challenge says (or
//   send the
//      credentials, for Basic) and ask again.
//   2. A list: the manifest for linux and this architecture, by its digest.
//   3. The configuration, and each layer that is not here yet, by digest, into unnamed temporary
//   files. Redirects
//      (to the storage behind a registry) are followed, without credentials where the host differs.
//   4. image_store_assemble unpacks, checks every digest and publishes.
//
// The caller's thread waits; the sockets are on an event loop that lives as long as the pull. Two
// pulls of one name with the same credentials are one: the second caller waits for the first one's
// end and gets the same answer.
//
// Errors are worded as containerd words them, since users search for those words.
#include "runtime/image_pull.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/thread.h"
#include "base/time.h"
#include "content/digest.h"
#include "content/room.h"
#include "object/base64.h"
#include "object/json.h"
#include "wire/http_client.h"
#include "wire/loop.h"
#include "wire/tls.h"
#include <errno.h>
#include <unistd.h>

#define REDIRECTS_MAX    5
#define LAYER_PACKED_MAX ((uint64_t)64 << 30)
#define IDLE_NS          (60 * NS_PER_S)
#define TOKEN_ANSWER_MAX (256 * 1024)

struct pull {
    struct image_store *store;
    struct arena *a;
    struct loop *loop;
    struct http_client *client;
    struct tls_client *tls;
    struct image_name name;
    struct str text;   // the name in full
    struct str base;   // "https://host/v2/<repository>"
    struct str origin; // of the registry
    struct str username, password;
    struct str authorization; // header value once it is known
    const struct image_manifest *manifest;
};

// --- one request ----------------------------------------------------------------------------

struct fetch {
    struct loop_task task;
    struct pull *p;
    struct str url;
    struct http_header headers[3];
    size_t nheaders;
    struct http_call *call;
    struct completion done;
    // What comes back.
    int status;
    struct str location, challenge; // in the pull's arena
    struct buf body;                // where fd is -1, and of every answer but 200
    int fd;
    uint64_t max, got;
    struct err error;
};

static void on_head(struct http_call *c, int status, const struct http_header *headers, size_t n)
{
    struct fetch *f = http_call_ctx(c);
    f->status = status;
    for (size_t i = 0; i < n; i++) {
        if (str_eqc(headers[i].name, "location"))
            f->location = arena_str(f->p->a, headers[i].value);
        // Several challenges: the bearer one is preferred.
        if (str_eqc(headers[i].name, "www-authenticate") &&
            (!f->challenge.n || str_ieq(str_sub(headers[i].value, 0, 6), STR("Bearer"))))
            f->challenge = arena_str(f->p->a, headers[i].value);
    }
}

static void fetch_fail(struct fetch *f, struct http_call *c)
{
    http_call_cancel(c);
    completion_signal(&f->done);
}

static void on_body(struct http_call *c, struct str part)
{
    struct fetch *f = http_call_ctx(c);
    f->got += part.n;
    if (f->status != 200 || f->fd < 0) {
        uint64_t max = f->status == 200 ? f->max : TOKEN_ANSWER_MAX;
        if (f->got <= max) {
            buf_add(&f->body, part.p, part.n);
            return;
        }
        if (f->status != 200) // an error page: its beginning is enough
            return;
    } else if (f->got <= f->max) {
        while (part.n) {
            ssize_t n = write(f->fd, part.p, part.n);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0) {
                err_errno(&f->error, errno, "failed to write the download");
                fetch_fail(f, c);
                return;
            }
            part = str_from(part, (size_t)n);
        }
        return;
    }
    err_set(&f->error, ERR_TOO_LARGE,
            "the registry sends more than the %llu bytes that it announced",
            (unsigned long long)f->max);
    fetch_fail(f, c);
}

static void on_end(struct http_call *c, const struct err *e)
{
    struct fetch *f = http_call_ctx(c);
    if (e)
        err_set(&f->error, e->reason, "%s", e->message);
    completion_signal(&f->done);
}

static void fetch_start(struct loop_task *t)
{
    struct fetch *f = container_of(t, struct fetch, task);
    struct http_call_request r = {
        .method = "GET", .url = f->url, .headers = f->headers, .nheaders = f->nheaders};
    struct http_call_handler h = {on_head, on_body, on_end, f};
    f->call = http_call_start(f->p->client, &r, &h);
}

// One GET without following anything. e is set only when there was no answer.
static int fetch_once(struct fetch *f, struct str authorization, const char *accept, struct err *e)
{
    struct pull *p = f->p;
    f->task = (struct loop_task){.fn = fetch_start};
    f->nheaders = 0;
    f->status = 0;
    f->got = 0;
    f->location = f->challenge = STR_NULL;
    buf_reset(&f->body);
    f->headers[f->nheaders++] = (struct http_header){STR("user-agent"), STR("coracle")};
    if (accept)
        f->headers[f->nheaders++] = (struct http_header){STR("accept"), str_of(accept)};
    if (authorization.n)
        f->headers[f->nheaders++] = (struct http_header){STR("authorization"), authorization};
    completion_init(&f->done);
    loop_post(p->loop, &f->task);
    completion_wait(&f->done);
    completion_done(&f->done);
    if (!f->error.reason)
        return 0;
    struct str origin = image_url_origin(f->url); // without the query, which may hold a signature
    int r = err_wrap(e, &f->error, "failed to do request: Get \"%.*s\"", STR_ARG(origin));
    f->error = ERR_INIT;
    return r;
}

// --- authorisation --------------------------------------------------------------------------

static struct str basic(struct pull *p)
{
    struct str plain = arena_printf(p->a, "%.*s:%.*s", STR_ARG(p->username), STR_ARG(p->password));
    struct str text = base64_text(p->a, plain);
    return arena_printf(p->a, "Basic %.*s", STR_ARG(text));
}

static void query_add(struct buf *b, const char *key, struct str value)
{
    if (!value.n)
        return;
    buf_printf(b, "%c%s=", str_chr(buf_view(b), '?') < 0 ? '?' : '&', key);
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            strchr("-._~:/,", c))
            buf_char(b, c);
        else
            buf_printf(b, "%%%02X", (unsigned char)c);
    }
}

// A token from the server that the challenge names. Credentials go there only over TLS, or to this
// machine.
static int token_get(struct pull *p, const struct image_challenge *c, struct err *e)
{
    _cleanup_buf_ struct buf url = BUF_MAX(16 * 1024);
    struct value *v;
    buf_str(&url, c->realm);
    query_add(&url, "service", c->service);
    query_add(&url, "scope",
              c->scope.n ? c->scope
                         : arena_printf(p->a, "repository:%.*s:pull", STR_ARG(p->name.path)));
    bool secure = str_starts(c->realm, STR("https://")) || str_starts(p->origin, STR("http://"));
    if (!secure)
        return err_set(e, ERR_UNAUTHORIZED, "the registry asks for credentials without TLS");
    struct fetch f = {
        .p = p, .url = arena_str(p->a, buf_view(&url)), .fd = -1, .max = TOKEN_ANSWER_MAX};
    int r = fetch_once(&f, p->username.n ? basic(p) : STR_NULL, NULL, e);
    if (r == 0 && f.status != 200) {
        r = err_set(e, ERR_UNAUTHORIZED,
                    "failed to authorize: failed to fetch %s token: unexpected status: %d",
                    p->username.n ? "oauth" : "anonymous", f.status);
    } else if (r == 0) {
        struct str token = STR_NULL;
        if (json_parse(p->a, buf_view(&f.body), NULL, &v, NULL) == 0) {
            token = value_str_at(v, "token");
            if (!token.n)
                token = value_str_at(v, "access_token");
        }
        bool clean = token.n > 0;
        for (size_t i = 0; i < token.n; i++)
            clean &= (unsigned char)token.p[i] > ' ' && token.p[i] != 0x7f;
        if (clean)
            p->authorization = arena_printf(p->a, "Bearer %.*s", STR_ARG(token));
        else
            r = err_set(e, ERR_UNAUTHORIZED, "failed to authorize: no token in the answer");
    }
    buf_done(&f.body);
    return r;
}

static int authorise(struct pull *p, struct str header, struct err *e)
{
    struct image_challenge c;
    if (!image_challenge_parse(p->a, header, &c))
        return err_set(e, ERR_UNAUTHORIZED, "the registry asks for an unknown kind of credentials");
    if (c.bearer)
        return token_get(p, &c, e);
    if (!p->username.n)
        return err_set(e, ERR_UNAUTHORIZED, "no basic auth credentials");
    p->authorization = basic(p);
    return 0;
}

// --- resources ------------------------------------------------------------------------------

static int refused(struct pull *p, const struct fetch *f, const char *what, struct err *e)
{
    struct value *v;
    struct str message = STR_NULL;
    if (json_parse(p->a, buf_view(&f->body), NULL, &v, NULL) == 0)
        message = value_str_at(value_item(value_getc(v, "errors"), 0), "message");
    message = str_sub(message, 0, 300);
    switch (f->status) {
    case 404:
        return err_set(e, ERR_NOT_FOUND, "%.*s: not found", STR_ARG(p->text));
    case 401:
    case 403:
        return err_set(e, f->status == 401 ? ERR_UNAUTHORIZED : ERR_FORBIDDEN,
                       "pull access denied, repository does not exist or may require "
                       "authorization%s%.*s",
                       message.n ? ": server message: " : "", STR_ARG(message));
    case 429:
        return err_set(e, ERR_TOO_MANY_REQUESTS,
                       "unexpected status from GET request to %s: 429 Too "
                       "Many Requests%s%.*s",
                       what, message.n ? ": " : "", STR_ARG(message));
    default:
        return err_set(e, ERR_UNAVAILABLE, "unexpected status from GET request to %s: %d%s%.*s",
                       what, f->status, message.n ? ": " : "", STR_ARG(message));
    }
}

// GET base/<path>: into f->body or f->fd. Challenges are answered, redirects followed.
static int get(struct pull *p, struct fetch *f, struct str path, const char *accept, struct err *e)
{
    bool asked = false;
    unsigned redirects = 0;
    struct str first = arena_printf(p->a, "%.*s/%.*s", STR_ARG(p->base), STR_ARG(path));
    f->p = p;
    f->url = first;
    for (;;) {
        bool home = str_eq(image_url_origin(f->url), p->origin);
        int r = fetch_once(f, home ? p->authorization : STR_NULL, accept, e);
        if (r < 0)
            return r;
        if (f->status == 200)
            return 0;
        if (f->status == 401 && home && !asked && f->challenge.n) {
            asked = true; // a token may have expired since the last request: once for each
            r = authorise(p, f->challenge, e);
            if (r < 0)
                return r;
            continue;
        }
        bool moved = f->status == 301 || f->status == 302 || f->status == 303 || f->status == 307 ||
                     f->status == 308;
        if (!moved)
            return refused(p, f, arena_cstr(p->a, first), e);
        struct str to = image_redirect_url(p->a, f->url, f->location);
        if (!to.n || ++redirects > REDIRECTS_MAX)
            return err_set(e, ERR_UNAVAILABLE, "the registry redirects to nowhere useful");
        f->url = to;
    }
}

// A document, its digest checked where one is expected; *ret_digest is what it has.
static int get_document(struct pull *p, const char *kind, struct str reference, struct str expected,
                        struct str *ret, struct str *ret_digest, struct err *e)
{
    static const char accept[] =
        "application/vnd.docker.distribution.manifest.v2+json, "
        "application/vnd.docker.distribution.manifest.list.v2+json, "
        "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";
    char hex[65];
    struct fetch f = {.fd = -1, .max = IMAGE_DOCUMENT_MAX};
    int r = get(p, &f, arena_printf(p->a, "%s/%.*s", kind, STR_ARG(reference)), accept, e);
    if (r == 0) {
        digest_sha256(buf_view(&f.body), hex);
        *ret = arena_str(p->a, buf_view(&f.body));
        *ret_digest = arena_printf(p->a, "sha256:%s", hex);
        if (expected.n && !str_eq(*ret_digest, expected))
            r = err_set(e, ERR_BAD_REQUEST, "the registry sent %.*s as %.*s", STR_ARG(*ret_digest),
                        STR_ARG(expected));
    }
    buf_done(&f.body);
    return r;
}

// A layer's archive as a source that owns its file.
struct file_source {
    struct byte_source base, *below;
    int fd;
};

static ssize_t owned_read(struct byte_source *s, void *to, size_t n, struct err *e)
{
    struct file_source *f = (struct file_source *)s;
    return f->below->read(f->below, to, n, e);
}

static void owned_done(struct byte_source *s)
{
    struct file_source *f = (struct file_source *)s;
    source_done(f->below);
    close(f->fd);
    free(f);
}

static int layer_open(void *ctx, size_t i, struct byte_source **ret, struct str *ret_digest,
                      struct err *e)
{
    struct pull *p = ctx;
    const struct image_descriptor *d = &p->manifest->entries[i];
    if (d->size > LAYER_PACKED_MAX)
        return err_set(e, ERR_TOO_LARGE, "layer %.*s is larger than is allowed",
                       STR_ARG(d->digest));
    struct fetch f = {.fd = image_store_temporary(p->store, e), .max = d->size};
    if (f.fd < 0)
        return err_code(e);
    int r = room_check(f.fd, d->size, e); // before a byte of it is asked for
    if (r < 0) {
        close(f.fd);
        return err_wrap(e, e, "layer %.*s", STR_ARG(d->digest));
    }
    r = get(p, &f, arena_printf(p->a, "blobs/%.*s", STR_ARG(d->digest)), NULL, e);
    buf_done(&f.body);
    if (r == 0 && f.got != d->size)
        r = err_set(e, ERR_UNAVAILABLE, "layer %.*s: the registry sent %llu of %llu bytes",
                    STR_ARG(d->digest), (unsigned long long)f.got, (unsigned long long)d->size);
    if (r < 0) {
        close(f.fd);
        return r;
    }
    struct file_source *s = mem_zalloc(sizeof *s);
    *s = (struct file_source){{owned_read, owned_done}, source_file(f.fd, 0, d->size), f.fd};
    *ret = &s->base;
    *ret_digest = d->digest;
    return 0;
}

static int pull_image(struct pull *p, struct image_info *ret, struct err *e)
{
    struct err why = ERR_INIT;
    struct image_manifest m;
    struct str document, digest, config, config_digest;
    bool by_digest = p->name.digest.n > 0;

    int r = get_document(p, "manifests", by_digest ? p->name.digest : p->name.tag, p->name.digest,
                         &document, &digest, &why);
    if (r < 0)
        return err_wrap(e, &why, "failed to resolve reference \"%.*s\"", STR_ARG(p->text));
    struct str top = digest;
    r = image_manifest_parse(p->a, document, &m, e);
    if (r == 0 && m.is_list) {
        const struct image_descriptor *mine =
            image_manifest_choose(&m, str_of(image_architecture()));
        if (!mine)
            return err_set(e, ERR_NOT_FOUND,
                           "no match for platform in manifest: linux/%s: not found",
                           image_architecture());
        r = get_document(p, "manifests", mine->digest, mine->digest, &document, &digest, e);
        if (r == 0)
            r = image_manifest_parse(p->a, document, &m, e);
        if (r == 0 && m.is_list)
            r = err_set(e, ERR_BAD_REQUEST, "the manifest list names another list");
    }
    if (r == 0)
        r = get_document(p, "blobs", m.config.digest, m.config.digest, &config, &config_digest, e);
    if (r < 0)
        return r;
    p->manifest = &m;
    struct image_assembly x = {
        .config = config,
        .manifest = document,
        .names = &p->text,
        .nnames = by_digest ? 0 : 1,
        .digest_name = arena_printf(p->a, "%.*s@%.*s",
                                    STR_ARG(image_name_repository(p->a, &p->name)), STR_ARG(top)),
        .nlayers = m.nentries,
        .layer_open = layer_open,
        .ctx = p,
    };
    return image_store_assemble(p->store, p->a, &x, ret, e);
}

// --- the loop -------------------------------------------------------------------------------

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void stop_loop(void *arg)
{
    struct pull *p = arg;
    http_client_free(p->client);
    loop_stop(p->loop);
}

static int pull_run(struct pull *p, struct image_info *ret, struct err *e)
{
    if (str_starts(p->origin, STR("https://"))) {
        int r = tls_client_new(STR_NULL, STR_NULL, STR_NULL, false, &p->tls, e);
        if (r < 0)
            return r;
    }
    struct http_client_options options = {.tls = p->tls, .idle_timeout_ns = IDLE_NS};
    p->loop = loop_new(image_store_env(p->store));
    p->client = http_client_new(p->loop, &options);
    pthread_t thread = thread_start("image-pull", run_loop, p->loop);
    int r = pull_image(p, ret, e);
    loop_call(p->loop, stop_loop, p);
    pthread_join(thread, NULL);
    loop_free(p->loop);
    tls_client_free(p->tls);
    return r;
}

// --- pulls of one image at the same time ----------------------------------------------------

struct running {
    struct list node;
    struct str key; // heap
    unsigned users;
    bool done;
    struct err error;
};

struct image_puller {
    struct image_store *store;
    pthread_mutex_t lock; // guards the list and what hangs on it
    pthread_cond_t changed;
    struct list running;
};

struct image_puller *image_puller_new(struct image_store *s)
{
    struct image_puller *p = mem_zalloc(sizeof *p);
    p->store = s;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    list_init(&p->running);
    return p;
}

void image_puller_free(struct image_puller *p)
{
    if (!p)
        return;
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    free(p);
}

// Lock held.
static void running_leave(struct running *r)
{
    if (--r->users)
        return;
    free((char *)r->key.p);
    err_done(&r->error);
    free(r);
}

int image_pull(struct image_puller *puller, struct arena *a, struct str image,
               const struct value *auth, struct image_info *ret, struct err *e)
{
    struct pull p = {
        .store = puller->store,
        .a = a,
        .username = value_str_at(auth, "username"),
        .password = value_str_at(auth, "password"),
    };
    struct err why = ERR_INIT;

    int r = image_name_parse(a, image, &p.name, &why);
    if (r < 0)
        return err_wrap(e, &why, "failed to pull image \"%.*s\"", STR_ARG(str_sub(image, 0, 300)));
    p.text = image_name_text(a, &p.name);
    p.origin = image_registry_url(a, &p.name);
    p.base = arena_printf(a, "%.*s/v2/%.*s", STR_ARG(p.origin), STR_ARG(p.name.path));
    struct str key = arena_printf(a, "%.*s %.*s %.*s", STR_ARG(p.text), STR_ARG(p.username),
                                  STR_ARG(p.password));

    struct running *mine = NULL;
    pthread_mutex_lock(&puller->lock);
    list_each (&puller->running, it) {
        struct running *x = container_of(it, struct running, node);
        if (str_eq(x->key, key))
            mine = x;
    }
    if (mine) {
        mine->users++;
        while (!mine->done)
            pthread_cond_wait(&puller->changed, &puller->lock);
        if (mine->error.reason)
            r = err_set(e, mine->error.reason, "%s", mine->error.message);
        running_leave(mine);
        pthread_mutex_unlock(&puller->lock);
        return r < 0 ? r : image_store_status(puller->store, a, p.text, ret, e);
    }
    mine = mem_zalloc(sizeof *mine);
    mine->key = mem_str(key);
    mine->users = 1;
    list_push(&puller->running, &mine->node);
    pthread_mutex_unlock(&puller->lock);

    r = pull_run(&p, ret, &why);
    if (r < 0)
        r = err_wrap(e, &why, "failed to pull and unpack image \"%.*s\"", STR_ARG(p.text));
    pthread_mutex_lock(&puller->lock);
    list_remove(&mine->node);
    mine->done = true;
    if (r < 0 && e)
        err_set(&mine->error, e->reason, "%s", e->message);
    else if (r < 0)
        err_set(&mine->error, err_reason_from_http(-r), "failed to pull image");
    pthread_cond_broadcast(&puller->changed);
    running_leave(mine);
    pthread_mutex_unlock(&puller->lock);
    return r;
}
