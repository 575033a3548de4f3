// Images without containers: names, tar archives (also hostile ones), layers on layers, documents,
// the store's files, and pulls from a registry that lives in this process. What mounts overlayfs
// needs root.
#include "base/buf.h"
#include "base/thread.h"
#include "content/digest.h"
#include "content/image_name.h"
#include "content/image_store.h"
#include "content/tar.h"
#include "content/tree.h"
#include "content/unpack.h"
#include "object/json.h"
#include "runtime/image_pull.h"
#include "wire/http.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

static struct arena arena;
static char work[64];

static int setup(void **state)
{
    (void)state;
    arena_init(&arena);
    snprintf(work, sizeof work, "/tmp/coracle-image-XXXXXX");
    assert_non_null(mkdtemp(work));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(tree_remove(AT_FDCWD, work), 0);
    arena_done(&arena);
    return 0;
}

static const char *text(struct str s)
{
    return arena_cstr(&arena, s);
}

// --- names ----------------------------------------------------------------------------------

static void test_names(void **state)
{
    (void)state;
    static const char digest[] =
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    static const char *const rows[][2] = {
        {"busybox", "docker.io/library/busybox:latest"},
        {"me/app:1", "docker.io/me/app:1"},
        {"localhost/x", "localhost/x:latest"},
        {"localhost:5000/a/b:t-1", "localhost:5000/a/b:t-1"},
        {"registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"},
        {"index.docker.io/library/a", "docker.io/library/a:latest"},
        {"docker.io/a", "docker.io/library/a:latest"},
        {"a_b__c-d.e/f", "docker.io/a_b__c-d.e/f:latest"},
        {"[::1]:5000/x", "[::1]:5000/x:latest"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct image_name n;
        struct err e = ERR_INIT;
        struct str in = str_of(rows[i][0]);
        if (strstr(rows[i][0], "a_b__c-d.e")) // a dot makes it a domain, where "_" is not allowed
            assert_int_equal(image_name_parse(&arena, in, &n, &e), -400);
        else if (image_name_parse(&arena, in, &n, &e) < 0)
            fail_msg("%s: %s", rows[i][0], e.message);
        else
            assert_string_equal(text(image_name_text(&arena, &n)), rows[i][1]);
        err_done(&e);
    }
    struct image_name n;
    struct str with = arena_printf(&arena, "x.io/a:1@%s", digest);
    assert_int_equal(image_name_parse(&arena, with, &n, NULL), 0);
    assert_string_equal(text(image_name_text(&arena, &n)),
                        text(arena_printf(&arena, "x.io/a@%s", digest)));
    static const char *const bad[] = {
        "",    "a//b",  "a/",          "/a",           "a:",    "a b", "-a",     "a-",
        "a@b", "a___b", "a@sha256:00", "x.io:99999/a", "a:b:c", "..",  "a/../b", "a:\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = ERR_INIT;
        if (image_name_parse(&arena, str_of(bad[i]), &n, &e) != -400)
            fail_msg("\"%s\" was accepted", bad[i]);
        assert_non_null(strstr(e.message, "couldn't parse image name"));
        err_done(&e);
    }
    // A NUL must not make another name of it.
    assert_int_equal(image_name_parse(&arena, STR("good\0evil"), &n, NULL), -400);
    struct err e = ERR_INIT;
    assert_int_equal(image_name_parse(&arena, STR("Foo"), &n, &e), -400);
    assert_string_equal(e.message, "couldn't parse image name \"Foo\": invalid reference format: "
                                   "repository name must be lowercase");
    err_done(&e);
}

// --- archives made by hand ------------------------------------------------------------------

static void tar_header(struct buf *b, const char *name, char type, unsigned mode, const char *link,
                       size_t size)
{
    char h[512] = {0};
    snprintf(h, 100, "%s", name);
    snprintf(h + 100, 8, "%07o", mode);
    snprintf(h + 108, 8, "%07o", 0);
    snprintf(h + 116, 8, "%07o", 0);
    snprintf(h + 124, 12, "%011zo", size);
    snprintf(h + 136, 12, "%011o", 1000);
    memset(h + 148, ' ', 8);
    h[156] = type;
    snprintf(h + 157, 100, "%s", link ? link : "");
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    buf_add(b, h, 512);
}

static void tar_content(struct buf *b, struct str s)
{
    static const char zeros[512];
    buf_str(b, s);
    buf_add(b, zeros, (512 - s.n % 512) % 512);
}

static void tar_file(struct buf *b, const char *name, const char *content)
{
    tar_header(b, name, '0', 0644, NULL, strlen(content));
    tar_content(b, str_of(content));
}

static void tar_end(struct buf *b)
{
    static const char zeros[1024];
    buf_add(b, zeros, sizeof zeros);
}

static int file_of(struct str bytes)
{
    char path[] = "/tmp/coracle-image-bytes-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, bytes.p, bytes.n), bytes.n);
    return fd;
}

// Unpacks the archive as layer `directory` on top of parents (topmost first).
static int unpack(struct buf *b, const char *directory, const char *const *parents, size_t n,
                  struct err *e)
{
    char path[256];
    uint64_t bytes;
    snprintf(path, sizeof path, "%s/%s", work, directory);
    assert_int_equal(mkdir(path, 0755), 0);
    struct str job = arena_printf(&arena, "%s.work", directory);
    snprintf(path, sizeof path, "%s/%s", work, text(job));
    assert_int_equal(mkdir(path, 0700), 0);
    int fd = file_of(buf_view(b));
    struct byte_source *s = source_file(fd, 0, b->n);
    struct unpack u = {.layers_dir = work,
                       .parents = parents,
                       .nparents = n,
                       .directory = directory,
                       .work = text(job),
                       .max_bytes = 1 << 20,
                       .max_entries = 100};
    int r = unpack_layer(&u, s, &bytes, e);
    source_done(s);
    close(fd);
    buf_done(b);
    *b = BUF_INIT;
    return r;
}

static bool there(const char *path, struct stat *st)
{
    return lstat(text(arena_printf(&arena, "%s/%s", work, path)), st) == 0;
}

static void test_layers_on_layers(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct stat st;
    tar_header(&b, "./", '5', 0755, NULL, 0);
    tar_header(&b, "d/", '5', 01777, NULL, 0);
    tar_file(&b, "d/a", "a");
    tar_file(&b, "d/b", "b");
    tar_header(&b, "usr/", '5', 0755, NULL, 0);
    tar_header(&b, "usr/bin/", '5', 0755, NULL, 0);
    tar_header(&b, "bin", '2', 0777, "usr/bin", 0);
    tar_file(&b, "bin/sh", "shell"); // through the link, to usr/bin/sh
    tar_header(&b, "hard", '1', 0644, "d/a", 0);
    tar_end(&b);
    struct err e = ERR_INIT;
    if (unpack(&b, "one", NULL, 0, &e) < 0)
        fail_msg("%s", e.message);
    assert_true(there("one/usr/bin/sh", &st) && S_ISREG(st.st_mode));
    assert_true(there("one/hard", &st) && st.st_nlink == 2);
    assert_true(there("one/d", &st) && (st.st_mode & 07777) == 01777);
    assert_int_equal(st.st_uid, 0);

    tar_file(&b, "d/.wh.a", "");
    tar_file(&b, "d/c", "c"); // d itself is not in the archive: it keeps its mode
    tar_header(&b, "link", '1', 0644, "d/b", 0); // to a file of the layer below
    tar_end(&b);
    const char *one[] = {"one"};
    if (unpack(&b, "two", one, 1, &e) < 0)
        fail_msg("%s", e.message);
    assert_true(there("two/d/a", &st) && S_ISCHR(st.st_mode) &&
                st.st_rdev == 0); // overlay's whiteout
    assert_true(there("two/d", &st) && (st.st_mode & 07777) == 01777);
    assert_true(there("two/link", &st) && st.st_size == 1);
    assert_true(there("one/d/a", &st)); // the layer below is as it was

    tar_file(&b, "d/new", "n");
    tar_file(&b, "d/.wh..wh..opq", "");
    tar_end(&b);
    const char *both[] = {"two", "one"};
    if (unpack(&b, "three", both, 2, &e) < 0)
        fail_msg("%s", e.message);
    assert_true(there("three/d/new", &st));
    assert_true(there("three/d/b", &st) && S_ISCHR(st.st_mode));
    assert_true(there("three/d/c", &st) && S_ISCHR(st.st_mode));
}

static void test_hostile_archives(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        char type;
        const char *link, *words;
    } rows[] = {
        {"../out", '0', NULL, "invalid path \"../out\""},
        {"a/../../out", '0', NULL, "invalid path"},
        {"a//b", '0', NULL, "invalid path"},
        {"hard", '1', "../../etc/passwd", "hard link to invalid path"},
        {"hard", '1', "/etc/passwd", "No such file or directory"},
        {"odd", 'V', NULL, "an entry has an unknown type"},
        {"sparse", 'S', NULL, "sparse files are not supported"},
        {".wh...", '0', NULL, "bad whiteout"},
    };
    struct buf b = BUF_INIT;
    struct stat st;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err e = ERR_INIT;
        tar_header(&b, rows[i].name, rows[i].type, 0644, rows[i].link, 0);
        tar_end(&b);
        char dir[16];
        snprintf(dir, sizeof dir, "bad%zu", i);
        int r = unpack(&b, dir, NULL, 0, &e);
        if (r >= 0)
            fail_msg("%s was accepted", rows[i].name);
        if (!strstr(e.message, rows[i].words))
            fail_msg("\"%s\" does not say \"%s\"", e.message, rows[i].words);
        err_done(&e);
    }
    // Links that lead out lead to the layer's own root.
    struct err e = ERR_INIT;
    tar_header(&b, "abs", '2', 0777, "/", 0);
    tar_header(&b, "up", '2', 0777, "../../../..", 0);
    tar_file(&b, "abs/one", "1");
    tar_file(&b, "up/two", "2");
    tar_header(&b, "passwd", '2', 0777, "/etc/passwd", 0);
    tar_file(&b, "passwd", "replaced, not written through");
    tar_end(&b);
    if (unpack(&b, "links", NULL, 0, &e) < 0)
        fail_msg("%s", e.message);
    assert_true(there("links/one", &st) && there("links/two", &st));
    assert_true(there("links/passwd", &st) && S_ISREG(st.st_mode));
    assert_false(there("one", &st));
    // Bounds.
    tar_header(&b, "big", '0', 0644, NULL, 2 << 20);
    char *zeros = mem_zalloc(2 << 20);
    buf_add(&b, zeros, 2 << 20);
    free(zeros);
    tar_end(&b);
    assert_int_equal(unpack(&b, "big", NULL, 0, &e), -413);
    err_done(&e);
    for (int i = 0; i < 200; i++)
        tar_file(&b, text(arena_printf(&arena, "f%d", i)), "");
    e = ERR_INIT;
    assert_int_equal(unpack(&b, "many", NULL, 0, &e), -413);
    err_done(&e);
    // Cut off anywhere: an error, or a shorter archive where the cut is between entries.
    tar_file(&b, "x", "content");
    tar_file(&b, "y", "content");
    for (size_t n = 0; n < b.n; n += 100) {
        int fd = file_of(str_sub(buf_view(&b), 0, n));
        struct byte_source *s = source_file(fd, 0, n);
        struct tar_reader t;
        struct tar_entry entry;
        int r;
        e = ERR_INIT;
        tar_init(&t, s);
        while ((r = tar_next(&t, &entry, &e)) > 0)
            ;
        assert_true((r == 0) == (n % 1024 == 0));
        tar_done(&t);
        source_done(s);
        close(fd);
        err_done(&e);
    }
    buf_done(&b);
}

static void test_pax_and_gnu(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    char name[300], record[400];
    memset(name, 'n', 250);
    name[250] = 0;
    int length = snprintf(record, sizeof record, "260 path=%s\n", name);
    assert_int_equal(length, 260);
    struct str pax =
        arena_printf(&arena, "%s26 SCHILY.xattr.user.a=bc\n22 mtime=1234.5000000\n", record);
    tar_header(&b, "pax", 'x', 0644, NULL, pax.n);
    tar_content(&b, pax);
    tar_file(&b, "short", "1");
    tar_header(&b, "././@LongLink", 'L', 0644, NULL, 251);
    tar_content(&b, str_n(name, 251));
    tar_file(&b, "short", "2");
    tar_end(&b);
    int fd = file_of(buf_view(&b));
    struct byte_source *s = source_file(fd, 0, b.n);
    struct tar_reader t;
    struct tar_entry entry;
    struct err e = ERR_INIT;
    tar_init(&t, s);
    if (tar_next(&t, &entry, &e) != 1)
        fail_msg("%s", e.message);
    assert_string_equal(text(entry.name), name);
    assert_int_equal(entry.mtime_ns, 1234500000000);
    assert_int_equal(entry.nxattrs, 1);
    assert_string_equal(text(entry.xattrs[0].name), "user.a");
    assert_string_equal(text(entry.xattrs[0].value), "bc");
    assert_int_equal(tar_next(&t, &entry, &e), 1);
    assert_string_equal(text(entry.name), name);
    assert_int_equal(entry.nxattrs, 0);
    assert_int_equal(tar_next(&t, &entry, &e), 0);
    tar_done(&t);
    source_done(s);
    close(fd);
    buf_done(&b);
}

static void test_compression(void **state)
{
    (void)state;
    static char plain[300000], packed[400000];
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (char)(i * 7 % 251);
    for (int kind = 0; kind < 3; kind++) {
        size_t n = sizeof plain;
        if (kind == 1) {
            z_stream z = {0};
            deflateInit2(&z, 1, Z_DEFLATED, 31, 8, 0);
            z.next_in = (void *)plain, z.avail_in = sizeof plain;
            z.next_out = (void *)packed, z.avail_out = sizeof packed;
            assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
            n = z.total_out;
            deflateEnd(&z);
        } else if (kind == 2) {
            n = ZSTD_compress(packed, sizeof packed, plain, sizeof plain, 1);
        } else {
            memcpy(packed, plain, n);
        }
        for (int cut = 0; cut < 3; cut++) { // whole; cut off; larger than allowed
            int fd = file_of(str_n(packed, cut == 1 ? n - 5 : n));
            struct byte_source *s;
            struct err e = ERR_INIT;
            assert_int_equal(source_decompress(source_file(fd, 0, cut == 1 ? n - 5 : n),
                                               cut == 2 ? 1000 : 1 << 20, &s, &e),
                             0);
            char *out = mem_alloc(sizeof plain);
            size_t at = 0;
            ssize_t got;
            while ((got = s->read(s, out + at,
                                  sizeof plain - at < 999 ? sizeof plain - at + 1 : 999, &e)) > 0)
                at += (size_t)got;
            if (cut == 0) {
                assert_int_equal(got, 0);
                assert_int_equal(at, sizeof plain);
                assert_memory_equal(out, plain, at);
            } else if (cut == 2) {
                assert_int_equal(got, -413);
            } else if (kind) {
                assert_int_equal(got, -400);
                assert_non_null(strstr(e.message, "cut off"));
            }
            free(out);
            source_done(s);
            close(fd);
            err_done(&e);
        }
    }
}

static void test_documents(void **state)
{
    (void)state;
    static const struct {
        const char *json, *words;
    } bad[] = {
        {"[]", "is not a JSON object"},
        {"{", "is not JSON"},
        {"{\"schemaVersion\":1}", "schemaVersion 1; only 2 is supported"},
        {"{\"schemaVersion\":2}", "has digest \"\", which is not a SHA-256 digest"},
        {"{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:../..\",\"size\":1}]}",
         "not a SHA-256"},
        {"{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:"
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}]}",
         "has no size"},
    };
    struct image_manifest m;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = ERR_INIT;
        assert_int_equal(image_manifest_parse(&arena, str_of(bad[i].json), &m, &e), -400);
        if (!strstr(e.message, bad[i].words))
            fail_msg("\"%s\" does not say \"%s\"", e.message, bad[i].words);
        err_done(&e);
    }
    struct image_config c;
    struct err e = ERR_INIT;
    assert_int_equal(image_config_parse(&arena, STR("{\"config\":{\"Env\":[1]}}"), &c, &e), -400);
    assert_string_equal(e.message, "the image's environment is not a list of strings");
    err_done(&e);
    assert_int_equal(
        image_config_parse(&arena, STR("{\"rootfs\":{\"diff_ids\":[\"x\"]}}"), &c, NULL), -400);
}

static void test_registry_headers(void **state)
{
    (void)state;
    struct image_challenge c;
    assert_true(image_challenge_parse(
        &arena,
        STR("Bearer "
            "realm=\"https://auth.docker.io/"
            "token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\""),
        &c));
    assert_true(c.bearer);
    assert_string_equal(text(c.realm), "https://auth.docker.io/token");
    assert_string_equal(text(c.scope), "repository:a/b:pull,push");
    assert_true(image_challenge_parse(&arena, STR("basic realm=x"), &c) && !c.bearer);
    static const char *const bad[] = {
        "", "Digest realm=x", "Bearer", "Bearer realm=\"x", "Bearer service=x", "Bearer x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(image_challenge_parse(&arena, str_of(bad[i]), &c));
    struct str from = STR("https://r.io/v2/a/blobs/x");
    assert_string_equal(text(image_redirect_url(&arena, from, STR("/y"))), "https://r.io/y");
    assert_string_equal(text(image_redirect_url(&arena, from, STR("//c.io/y"))), "https://c.io/y");
    assert_null(image_redirect_url(&arena, from, STR("http://c.io/y")).p);
    assert_null(image_redirect_url(&arena, from, STR("file:///etc/passwd")).p);
    assert_null(image_redirect_url(&arena, from, STR("https://c.io/\r\nx: y")).p);
}

// --- a registry -----------------------------------------------------------------------------

// Serves one image with a token, a list of platforms, and layers behind a redirect.
static struct registry {
    struct loop *loop;
    struct http_server *server;
    unsigned port;
    struct str layer, config, manifest, list; // bytes
    char layer_hex[65], config_hex[65], manifest_hex[65];
    atomic_int blobs, tokens;
    bool corrupt;
} registry;

static void respond(struct http_exchange *x, int status, const char *name, struct str value,
                    struct str body)
{
    struct http_header h = {str_of(name), value};
    http_respond(x, status, &h, name ? 1 : 0, body);
}

static void handle(void *ctx, struct http_exchange *x)
{
    struct registry *g = ctx;
    struct arena *a = http_arena(x);
    const struct http_request *q = http_request(x);
    struct str path = q->path, auth = http_header(q, "authorization");

    if (str_eqc(path, "/token")) {
        g->tokens++;
        // "u:p"
        bool ok = !auth.n || str_eqc(auth, "Basic dTpw");
        assert_string_equal(arena_cstr(a, http_query(a, q, "scope", 0)),
                            "repository:team/app:pull");
        respond(x, ok ? 200 : 401, NULL, STR_NULL,
                auth.n ? STR("{\"token\":\"full\"}") : STR("{\"access_token\":\"anon\"}"));
    } else if (str_starts(path, STR("/store/"))) {
        g->blobs++;
        assert_int_equal(auth.n == 0 || str_starts(q->host, STR("127.0.0.1")), 1);
        respond(x, 200, NULL, STR_NULL, g->layer);
    } else if (!str_starts(auth, STR("Bearer "))) {
        respond(x, 401, "www-authenticate",
                arena_printf(a,
                             "Bearer realm=\"http://127.0.0.1:%u/token\",service=\"test\","
                             "scope=\"repository:team/app:pull\"",
                             g->port),
                STR("{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}"));
    } else if (str_ends(path, STR("/manifests/private")) && !str_eqc(auth, "Bearer full")) {
        respond(
            x, 403, NULL, STR_NULL,
            STR("{\"errors\":[{\"code\":\"DENIED\",\"message\":\"requested access is denied\"}]}"));
    } else if (str_ends(path, STR("/manifests/1")) || str_ends(path, STR("/manifests/private"))) {
        respond(x, 200, NULL, STR_NULL, g->list);
    } else if (str_ends(path, str_of(g->manifest_hex))) {
        respond(x, 200, NULL, STR_NULL, g->manifest);
    } else if (str_ends(path, str_of(g->config_hex))) {
        respond(x, 200, NULL, STR_NULL, g->corrupt ? STR("{}") : g->config);
    } else if (str_ends(path, str_of(g->layer_hex))) {
        respond(x, 307, "location", arena_printf(a, "http://localhost:%u/store/layer", g->port),
                STR_NULL);
    } else {
        respond(x, 404, NULL, STR_NULL, STR("{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\"}]}"));
    }
}

static void *serve(void *arg)
{
    loop_run(arg);
    return NULL;
}

static struct image_store *store_open(void)
{
    struct image_store *s;
    struct err e = ERR_INIT;
    if (image_store_open(env_system(), work, &s, &e) < 0)
        fail_msg("%s", e.message);
    return s;
}

struct puller {
    struct image_puller *puller;
    int result;
    pthread_t thread;
};

static void *pull_one(void *arg)
{
    struct puller *p = arg;
    struct arena a = ARENA_INIT;
    struct image_info image;
    p->result =
        image_pull(p->puller, &a, arena_printf(&a, "127.0.0.1:%u/team/app:1", registry.port), NULL,
                   &image, NULL);
    arena_done(&a);
    return NULL;
}

static void stop_done(void *arg)
{
    loop_stop(arg);
}

static void stop_server(void *arg)
{
    struct registry *g = arg;
    http_server_stop(g->server, 0, stop_done, g->loop);
}

static void test_pull(void **state)
{
    (void)state;
    struct registry *g = &registry;
    struct buf b = BUF_INIT;
    char hex[65];
    tar_file(&b, "hello", "world");
    tar_end(&b);
    g->layer = arena_str(&arena, buf_view(&b));
    buf_done(&b);
    digest_sha256(g->layer, g->layer_hex);
    g->config = arena_printf(&arena,
                             "{\"config\":{\"User\":\"1000\",\"Cmd\":[\"x\"]},\"rootfs\":{\"diff_"
                             "ids\":[\"sha256:%s\"]}}",
                             g->layer_hex);
    digest_sha256(g->config, g->config_hex);
    g->manifest =
        arena_printf(&arena,
                     "{\"schemaVersion\":2,\"config\":{\"digest\":\"sha256:%s\",\"size\":%zu},"
                     "\"layers\":[{\"digest\":\"sha256:%s\",\"size\":%zu}]}",
                     g->config_hex, g->config.n, g->layer_hex, g->layer.n);
    digest_sha256(g->manifest, g->manifest_hex);
    g->list = arena_printf(
        &arena,
        "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:%064d\",\"size\":1,"
        "\"platform\":{\"os\":\"linux\",\"architecture\":\"mips\"}},{\"digest\":\"sha256:%s\","
        "\"size\":%zu,\"platform\":{\"os\":\"linux\",\"architecture\":\"%s\"}}]}",
        0, g->manifest_hex, g->manifest.n, image_architecture());
    digest_sha256(g->list, hex);
    g->loop = loop_new(env_system());
    struct http_handler handler = {handle, NULL, g};
    struct http_server_options options = {0};
    struct err e = ERR_INIT;
    if (http_server_new(&g->loop, 1, STR("127.0.0.1:0"), &handler, &options, &g->server, &e) < 0)
        fail_msg("%s", e.message);
    g->port = http_server_port(g->server);
    pthread_t thread = thread_start("registry", serve, g->loop);

    struct image_store *s = store_open();
    struct image_puller *puller = image_puller_new(s);
    // Four at once are one.
    struct puller pullers[4];
    for (int i = 0; i < 4; i++) {
        pullers[i] = (struct puller){.puller = puller, .result = -1};
        pullers[i].thread = thread_start("puller", pull_one, &pullers[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(pullers[i].thread, NULL);
        assert_int_equal(pullers[i].result, 0);
    }
    assert_int_equal(g->blobs, 1);
    struct image_info image;
    struct str name = arena_printf(&arena, "127.0.0.1:%u/team/app", g->port);
    if (image_store_status(s, &arena, arena_printf(&arena, "%s:1", text(name)), &image, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(image.uid, 1000);
    assert_string_equal(text(image.digests[0]),
                        text(arena_printf(&arena, "%s@sha256:%s", text(name), hex)));
    // Refusals.
    struct str private = arena_printf(&arena, "%s:private", text(name));
    assert_int_equal(image_pull(puller, &arena, private, NULL, &image, &e), -403);
    assert_string_equal(
        e.message,
        text(arena_printf(
            &arena,
            "failed to pull and unpack image \"%s\": failed to resolve reference \"%s\": "
            "pull access denied, repository does not exist or may require authorization: "
            "server message: requested access is denied",
            text(private), text(private))));
    err_done(&e);
    struct value *auth = value_object(&arena);
    value_setc(&arena, auth, "username", value_strc(&arena, "u"));
    value_setc(&arena, auth, "password", value_strc(&arena, "wrong"));
    e = ERR_INIT;
    assert_int_equal(image_pull(puller, &arena, private, auth, &image, &e), -401);
    assert_null(strstr(e.message, "wrong"));
    err_done(&e);
    value_setc(&arena, auth, "password", value_strc(&arena, "p"));
    e = ERR_INIT;
    if (image_pull(puller, &arena, private, auth, &image, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(image.ntags, 2);
    assert_int_equal(g->blobs, 1); // the layer is there
    assert_int_equal(
        image_pull(puller, &arena, arena_printf(&arena, "%s:none", text(name)), NULL, &image, &e),
        -404);
    assert_true(str_ends(str_of(e.message), STR(":none: not found")));
    err_done(&e);
    g->corrupt = true;
    e = ERR_INIT;
    assert_int_equal(
        image_pull(puller, &arena, arena_printf(&arena, "%s:1", text(name)), NULL, &image, &e),
        -400);
    assert_non_null(strstr(e.message, "the registry sent sha256:"));
    err_done(&e);
    image_puller_free(puller);
    image_store_close(s);
    loop_call(g->loop, stop_server, g);
    pthread_join(thread, NULL);
    loop_free(g->loop);
}

// --- the store's files ----------------------------------------------------------------------

static int open_member(void *ctx, size_t i, struct byte_source **ret, struct str *ret_digest,
                       struct err *e)
{
    struct str *layer = ctx;
    (void)e;
    static int fd = -1;
    if (fd >= 0)
        close(fd);
    fd = file_of(layer[i]);
    *ret = source_file(fd, 0, layer[i].n);
    *ret_digest = STR_NULL;
    return 0;
}

static void test_store_survives(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct str layers[2];
    char hex[2][65];
    for (int i = 0; i < 2; i++) {
        tar_file(&b, i ? "two" : "one", "x");
        tar_end(&b);
        layers[i] = arena_str(&arena, buf_view(&b));
        digest_sha256(layers[i], hex[i]);
        buf_done(&b);
        b = BUF_INIT;
    }
    struct str name = STR("docker.io/library/a:1");
    struct image_assembly x = {
        .config = arena_printf(&arena, "{\"rootfs\":{\"diff_ids\":[\"sha256:%s\",\"sha256:%s\"]}}",
                               hex[0], hex[1]),
        .names = &name,
        .nnames = 1,
        .nlayers = 2,
        .layer_open = open_member,
        .ctx = layers,
    };
    struct image_store *s = store_open(), *other = store_open();
    struct image_info image, *list;
    struct err e = ERR_INIT;
    size_t n;
    // A digest that does not fit: an error, and nothing stays.
    struct image_assembly wrong = x;
    wrong.config = arena_printf(&arena, "{\"rootfs\":{\"diff_ids\":[\"sha256:%s\",\"sha256:%s\"]}}",
                                hex[0], hex[0]);
    assert_int_equal(image_store_assemble(s, &arena, &wrong, &image, &e), -400);
    assert_non_null(strstr(e.message, "failed to extract layer: its content has digest sha256:"));
    err_done(&e);
    e = ERR_INIT;
    if (image_store_assemble(s, &arena, &x, &image, &e) < 0)
        fail_msg("%s", e.message);
    // Another handle on the directory, as another process has it, sees it.
    assert_int_equal(image_store_list(other, &arena, &list, &n, NULL), 0);
    assert_int_equal(n, 1);
    image_store_close(other);
    image_store_close(s);
    // Litter of a crash goes at the next start; the image stays.
    char path[256];
    struct stat st;
    snprintf(path, sizeof path, "%s/images/layers/deadbeef", work);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/images/tmp/7", work);
    mkdir(path, 0755);
    s = store_open();
    assert_false(there("images/layers/deadbeef", &st) || there("images/tmp/7", &st));
    struct image_details d;
    assert_int_equal(image_store_details(s, &arena, STR("a:1"), &d, NULL), 0);
    assert_int_equal(d.nlayers, 2);
    assert_true(there(text(arena_printf(&arena, "images/layers/%s/two", text(d.layers[0]))), &st));
    image_store_close(s);
    // A damaged index is said, not overwritten.
    snprintf(path, sizeof path, "%s/images/index.json", work);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "{\"ver", 5), 5);
    close(fd);
    e = ERR_INIT;
    assert_int_equal(image_store_open(env_system(), work, &s, &e), -500);
    assert_non_null(strstr(e.message, "index.json is damaged"));
    err_done(&e);
}

// cases/attack-availability.md, 9: a small archive that unpacks to more than the disk holds stops
// before the disk is full, and leaves nothing.
static void test_case_attack_availability_disk(void **state)
{
    (void)state;
    enum { DISK = 40 << 20, CONTENT = 60 << 20 };
    if (geteuid() != 0)
        skip();
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("tmpfs", work, "tmpfs", 0, "size=40m"), 0);
    struct buf b = BUF_INIT;
    tar_header(&b, "zeros", '0', 0644, NULL, CONTENT);
    memset(buf_reserve(&b, CONTENT), 0, CONTENT);
    b.n += CONTENT;
    tar_end(&b);
    char hex[65];
    digest_sha256(buf_view(&b), hex);
    size_t max = ZSTD_compressBound(b.n);
    char *packed = mem_alloc(max);
    size_t n = ZSTD_compress(packed, max, b.p, b.n, 1);
    buf_done(&b);
    assert_true(n < 1 << 20);
    struct str layer = str_n(packed, n), name = STR("docker.io/library/bomb:1");
    struct image_assembly x = {
        .config = arena_printf(&arena, "{\"rootfs\":{\"diff_ids\":[\"sha256:%s\"]}}", hex),
        .names = &name,
        .nnames = 1,
        .nlayers = 1,
        .layer_open = open_member,
        .ctx = &layer,
    };
    struct image_store *s = store_open();
    struct image_info image;
    struct statvfs before, after;
    struct err e = ERR_INIT;
    assert_int_equal(statvfs(work, &before), 0);
    assert_int_equal(image_store_assemble(s, &arena, &x, &image, &e), -503);
    assert_non_null(strstr(e.message, "failed to extract layer: no space left on device: "));
    err_done(&e);
    assert_int_equal(statvfs(work, &after), 0);
    assert_true(after.f_bfree + 16 >= before.f_bfree);
    assert_int_equal(image_store_status(s, &arena, name, &image, NULL), -404);
    image_store_close(s);
    free(packed);
    assert_int_equal(umount2(work, MNT_DETACH), 0);
}

// A change of the index that cannot be written is as if it had not been asked for.
static void test_index_not_written(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    tar_end(&b);
    char hex[65], path[256];
    digest_sha256(buf_view(&b), hex);
    struct str layer = arena_str(&arena, buf_view(&b)),
               names[] = {STR("docker.io/library/a:1"), STR("docker.io/library/a:2")};
    buf_done(&b);
    struct image_assembly x = {
        .config = arena_printf(&arena, "{\"rootfs\":{\"diff_ids\":[\"sha256:%s\"]}}", hex),
        .names = names,
        .nnames = 1,
        .nlayers = 1,
        .layer_open = open_member,
        .ctx = &layer,
    };
    struct image_store *s = store_open();
    struct image_info image, *list;
    struct err e = ERR_INIT;
    size_t n;
    assert_int_equal(image_store_assemble(s, &arena, &x, &image, &e), 0);
    // file_write_all renames over index.json: a directory there cannot be replaced.
    snprintf(path, sizeof path, "%s/images/index.json", work);
    char kept[300];
    snprintf(kept, sizeof kept, "%s.kept", path);
    for (int remove = 0; remove < 2; remove++) {
        assert_int_equal(rename(path, kept), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        x.names = &names[1];
        int r = remove ? image_store_remove(s, names[0], NULL, NULL, &e)
                       : image_store_assemble(s, &arena, &x, &image, &e);
        assert_true(r < 0);
        err_done(&e);
        e = ERR_INIT;
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(rename(kept, path), 0);
        assert_int_equal(image_store_list(s, &arena, &list, &n, &e), 0);
        assert_int_equal(n, 1);
        assert_int_equal(list[0].ntags, 1);
        assert_string_equal(text(list[0].tags[0]), "docker.io/library/a:1");
    }
    image_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_layers_on_layers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_archives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pax_and_gnu, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compression, setup, teardown),
        cmocka_unit_test_setup_teardown(test_documents, setup, teardown),
        cmocka_unit_test_setup_teardown(test_registry_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pull, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_survives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_index_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_case_attack_availability_disk, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
