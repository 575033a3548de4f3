// Discovery documents, written from the tables of kinds on first use. They are a few and small, so
// each is made once, under a lock, and kept: the aggregated ones, the group list, and one for each
// group and group version that is asked for.
//
// Kinds come sorted by the rank of their package, which is the order of preference that clients
// see.
#include "schema/discovery.h"
#include "object/json.h"
#include "schema/tables.h"
#include <openssl/evp.h>
#include <pthread.h>

#define DOCUMENTS_MAX 96

static struct {
    char *key;
    struct document document;
} documents[DOCUMENTS_MAX];
static size_t ndocuments;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // guards documents and ndocuments

static struct str etag_of(struct str body)
{
    static const char hex[] = "0123456789ABCDEF";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    BUG_ON(!EVP_Digest(body.p, body.n, digest, &n, EVP_sha256(), NULL));
    char *text = mem_alloc(2 * n + 3);
    text[0] = '"';
    for (unsigned i = 0; i < n; i++) {
        text[1 + 2 * i] = hex[digest[i] >> 4];
        text[2 + 2 * i] = hex[digest[i] & 15];
    }
    text[2 * n + 1] = '"';
    text[2 * n + 2] = 0;
    return (struct str){text, 2 * n + 2};
}

// Fills b for the key's arguments; false: there is nothing of that name.
typedef bool write_function(struct buf *b, struct str group, struct str version);

static const struct document *document(const char *what, write_function *write, struct str group,
                                       struct str version)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    char *key =
        arena_cstr(&a, arena_printf(&a, "%s %.*s/%.*s", what, STR_ARG(group), STR_ARG(version)));
    const struct document *found = NULL;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < ndocuments && !found; i++)
        if (!strcmp(documents[i].key, key))
            found = &documents[i].document;
    if (!found) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        if (write(&b, group, version)) {
            BUG_ON(ndocuments == DOCUMENTS_MAX); // keys are those of our own groups
            documents[ndocuments].key = mem_cstr(str_of(key));
            documents[ndocuments].document.body = blob_new(buf_view(&b));
            documents[ndocuments].document.etag = etag_of(buf_view(&b));
            found = &documents[ndocuments++].document;
        }
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static void key(struct buf *b, const char *name)
{
    if (b->n && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[')
        buf_char(b, ',');
    buf_printf(b, "\"%s\":", name);
}

static void text(struct buf *b, const char *name, struct str s)
{
    key(b, name);
    json_write_string(b, s);
}

static void strings(struct buf *b, const char *name, const struct str *list)
{
    if (!list)
        return;
    key(b, name);
    buf_char(b, '[');
    for (size_t i = 0; list[i].p; i++) {
        if (i)
            buf_char(b, ',');
        json_write_string(b, list[i]);
    }
    buf_char(b, ']');
}

// In the originals' order. `connect` is shown as the HTTP verbs that a connection may use.
static void verbs(struct buf *b, unsigned bits, struct str subresource)
{
    static const struct {
        const char *name;
        unsigned bit;
    } all[] = {
        {"create", VERB_CREATE},
        {"delete", VERB_DELETE},
        {"deletecollection", VERB_DELETECOLLECTION},
        {"get", VERB_GET},
        {"list", VERB_LIST},
        {"patch", VERB_PATCH},
        {"update", VERB_UPDATE},
        {"watch", VERB_WATCH},
    };
    if (bits & VERB_CONNECT) {
        bits |= VERB_GET | VERB_CREATE;
        if (str_eqc(subresource, "proxy"))
            bits |= VERB_DELETE | VERB_PATCH | VERB_UPDATE;
    }
    key(b, "verbs");
    buf_char(b, '[');
    for (size_t i = 0, n = 0; i < sizeof all / sizeof *all; i++)
        if (bits & all[i].bit)
            buf_printf(b, "%s\"%s\"", n++ ? "," : "", all[i].name);
    buf_char(b, ']');
}

static void response_kind(struct buf *b, const char *name, struct str group, struct str version,
                          struct str kind)
{
    key(b, name);
    buf_char(b, '{');
    text(b, "group", group);
    text(b, "version", version);
    text(b, "kind", kind);
    buf_char(b, '}');
}

// ---- aggregated
// -----------------------------------------------------------------------------------

static void aggregated_resource(struct buf *b, const struct kind *k)
{
    const char *scope = k->flags & KIND_NAMESPACED ? "Namespaced" : "Cluster";
    buf_char(b, '{');
    text(b, "resource", k->resource);
    // "" means that of the group version; the originals fill it for kinds of their own
    response_kind(b, "responseKind", STR(""), STR(""), k->kind);
    text(b, "scope", str_of(scope));
    text(b, "singularResource", k->singular);
    verbs(b, k->verbs, STR_NULL);
    strings(b, "shortNames", k->short_names);
    strings(b, "categories", k->categories);
    if (k->nsubresources) {
        key(b, "subresources");
        buf_char(b, '[');
        for (size_t i = 0; i < k->nsubresources; i++) {
            const struct subresource *s = &k->subresources[i];
            if (i)
                buf_char(b, ',');
            buf_char(b, '{');
            text(b, "subresource", s->name);
            response_kind(b, "responseKind", s->kind.p ? s->group : STR(""),
                          s->kind.p ? s->version : STR(""), s->kind.p ? s->kind : k->kind);
            verbs(b, s->verbs, s->name);
            buf_char(b, '}');
        }
        buf_char(b, ']');
    }
    buf_char(b, '}');
}

// The kinds are sorted by group version; the versions of a group stand together.
static bool write_aggregated(struct buf *b, struct str which, struct str version)
{
    bool core = str_eqc(which, "core");
    buf_puts(b, "{\"kind\":\"APIGroupDiscoveryList\"");
    buf_printf(b, ",\"apiVersion\":\"apidiscovery.k8s.io/%.*s\",\"metadata\":{},\"items\":[",
               STR_ARG(version));
    const struct kind *last = NULL;
    for (size_t i = 0; i < schema_nkinds; i++) {
        const struct kind *k = &schema_kinds[i];
        if (core != !k->group.n)
            continue;
        bool new_group = !last || !str_eq(last->group, k->group);
        bool new_version = new_group || !str_eq(last->version, k->version);
        if (new_version && last)
            buf_puts(b, "],\"freshness\":\"Current\"}");
        if (new_group) {
            buf_puts(b, last ? "]},{\"metadata\":{" : "{\"metadata\":{");
            if (!core)
                text(b, "name", k->group);
            key(b, "creationTimestamp");
            buf_puts(b, "null},\"versions\":[");
        }
        if (new_version) {
            buf_puts(b, new_group ? "{" : ",{");
            text(b, "version", k->version);
            key(b, "resources");
            buf_char(b, '[');
        } else {
            buf_char(b, ',');
        }
        aggregated_resource(b, k);
        last = k;
    }
    buf_puts(b, last ? "],\"freshness\":\"Current\"}]}]}" : "]}");
    return true;
}

const struct document *discovery_aggregated(bool core, bool beta)
{
    return document("aggregated", write_aggregated, core ? STR("core") : STR("groups"),
                    beta ? STR("v2beta1") : STR("v2"));
}

// ---- legacy
// -----------------------------------------------------------------------------------------

static void group_version(struct buf *b, const struct kind *k)
{
    buf_char(b, '{');
    text(b, "groupVersion", k->api_version);
    text(b, "version", k->version);
    buf_char(b, '}');
}

// name, versions and preferredVersion of the group that begins at kind i.
static void group_body(struct buf *b, size_t i)
{
    const struct kind *first = &schema_kinds[i], *last = NULL;
    text(b, "name", first->group);
    key(b, "versions");
    buf_char(b, '[');
    for (; i < schema_nkinds && str_eq(schema_kinds[i].group, first->group); i++) {
        if (last && str_eq(last->version, schema_kinds[i].version))
            continue;
        if (last)
            buf_char(b, ',');
        last = &schema_kinds[i];
        group_version(b, last);
    }
    buf_char(b, ']');
    key(b, "preferredVersion");
    group_version(b, first);
}

static bool write_groups(struct buf *b, struct str group, struct str version)
{
    (void)group, (void)version;
    buf_puts(b, "{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[");
    bool first = true;
    for (size_t i = 0; i < schema_nkinds; i++) {
        const struct kind *k = &schema_kinds[i];
        if (!k->group.n || str_eq(k->group, k[-1].group)) // k is not the first: core comes before
            continue;
        buf_puts(b, first ? "{" : ",{");
        first = false;
        group_body(b, i);
        buf_char(b, '}');
    }
    buf_puts(b, "]}");
    return true;
}

const struct document *discovery_groups(void)
{
    return document("groups", write_groups, STR_NULL, STR_NULL);
}

static bool write_group(struct buf *b, struct str group, struct str version)
{
    (void)version;
    for (size_t i = 0; i < schema_nkinds; i++) {
        if (!str_eq(schema_kinds[i].group, group))
            continue;
        buf_puts(b, "{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\"");
        group_body(b, i);
        buf_char(b, '}');
        return true;
    }
    return false;
}

const struct document *discovery_group(struct str group)
{
    return group.n ? document("group", write_group, group, STR_NULL) : NULL;
}

static void resource(struct buf *b, const struct kind *k, const struct subresource *s)
{
    buf_puts(b, b->p[b->n - 1] == '[' ? "{" : ",{");
    key(b, "name");
    if (s)
        buf_printf(b, "\"%.*s/%.*s\"", STR_ARG(k->resource), STR_ARG(s->name));
    else
        json_write_string(b, k->resource);
    text(b, "singularName", s ? STR("") : k->singular);
    key(b, "namespaced");
    buf_puts(b, k->flags & KIND_NAMESPACED ? "true" : "false");
    if (s && s->kind.p) {
        if (s->group.n && !str_eq(s->group, k->group))
            text(b, "group", s->group);
        if (!str_eq(s->group, k->group) || !str_eq(s->version, k->version))
            text(b, "version", s->version);
    }
    text(b, "kind", s && s->kind.p ? s->kind : k->kind);
    verbs(b, s ? s->verbs : k->verbs, s ? s->name : STR_NULL);
    if (!s) {
        strings(b, "shortNames", k->short_names);
        strings(b, "categories", k->categories);
    }
    buf_char(b, '}');
}

static bool write_resources(struct buf *b, struct str group, struct str version)
{
    bool found = false;
    for (size_t i = 0; i < schema_nkinds; i++) {
        const struct kind *k = &schema_kinds[i];
        if (!str_eq(k->group, group) || !str_eq(k->version, version))
            continue;
        if (!found) {
            buf_puts(b, "{\"kind\":\"APIResourceList\"");
            text(b, "apiVersion", STR("v1"));
            text(b, "groupVersion", k->api_version);
            key(b, "resources");
            buf_char(b, '[');
            found = true;
        }
        resource(b, k, NULL);
        for (size_t j = 0; j < k->nsubresources; j++)
            resource(b, k, &k->subresources[j]);
    }
    if (found)
        buf_puts(b, "]}");
    return found;
}

const struct document *discovery_resources(struct str group, struct str version)
{
    return document("resources", write_resources, group, version);
}

struct str discovery_versions(struct arena *a, struct str server_address)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],\"serverAddressByClientCIDRs\":"
                 "[{\"clientCIDR\":\"0.0.0.0/0\"");
    text(&b, "serverAddress", server_address);
    buf_puts(&b, "}]}");
    return arena_str(a, buf_view(&b));
}
