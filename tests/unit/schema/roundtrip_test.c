// The fixtures of tests/golden/roundtrip, as the originals wrote them: each object as JSON, YAML
// and protobuf, and every one of the three made from every other. YAML and protobuf to the byte;
// JSON as the same tree (member order is Go's declaration order there, which the tables do not
// have).
#include "base/env.h"
#include "object/protobuf.h"
#include "object/yaml.h"
#include "schema/schema.h"
#include "unit/object/test.h"
#include <dirent.h>

#define FIXTURES SOURCE_DIR "/tests/golden/roundtrip"
#define BODIES   SOURCE_DIR "/tests/golden/protobuf"

static struct str slurp(struct arena *a, struct str name, const char *suffix)
{
    struct str text = STR_NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    struct str path = arena_printf(a, FIXTURES "/%.*s.%s", STR_ARG(name), suffix);
    if (file_read_all(a, arena_cstr(a, path), 1 << 24, &text, &e) < 0)
        fail_msg("%s", e.message);
    return text;
}

// "core.v1.Pod" -> the type, also of those that are no resource and stand for any group version.
static const struct type *type_of(struct str name)
{
    const struct type *t = type_by_name(name);
    if (t)
        return t;
    // The originals name group types by the whole group: apps.v1, networking.k8s.io.v1.
    _cleanup_arena_ struct arena a = ARENA_INIT;
    ptrdiff_t dot = str_rchr(name, '.');
    struct str kind = str_from(name, (size_t)dot + 1), group = str_sub(name, 0, (size_t)dot);
    ptrdiff_t dot2 = str_rchr(group, '.');
    struct str version = str_from(group, (size_t)dot2 + 1);
    group = str_sub(group, 0, (size_t)dot2);
    if (str_eqc(group, "core"))
        return type_by_kind(version, kind);
    return type_by_kind(arena_printf(&a, "%.*s/%.*s", STR_ARG(group), STR_ARG(version)), kind);
}

static void same_tree(struct str name, const char *what, struct arena *a, struct value *is,
                      struct value *want)
{
    if (!value_eq(is, want))
        fail_msg("%.*s: %s gives\n%.*s\nnot\n%.*s", STR_ARG(name), what, STR_ARG(json_text(a, is)),
                 STR_ARG(json_text(a, want)));
}

static void same_bytes(struct str name, const char *what, struct str is, struct str want)
{
    size_t at = 0;
    while (at < is.n && at < want.n && is.p[at] == want.p[at])
        at++;
    if (at == is.n && at == want.n)
        return;
    size_t from = at > 40 ? at - 40 : 0;
    fail_msg("%.*s: %s differs at byte %zu of %zu (%zu):\nis  %.*s\nnot %.*s", STR_ARG(name), what,
             at, want.n, is.n, STR_ARG(str_sub(is, from, 80)), STR_ARG(str_sub(want, from, 80)));
}

static void one(struct str name)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct str json = slurp(&a, name, "json"), yaml = slurp(&a, name, "yaml");
    struct str pb = slurp(&a, name, "pb"), version, kind, raw;
    struct value *from_json, *from_yaml, *from_pb;
    const struct type *type = type_of(name);
    if (!type)
        fail_msg("%.*s: no such type", STR_ARG(name));
    if (json_parse(&a, json, NULL, &from_json, &e) < 0 ||
        yaml_parse(&a, yaml, NULL, &from_yaml, &e) < 0 ||
        protobuf_envelope(pb, &version, &kind, &raw, &e) < 0 ||
        protobuf_decode(&a, type, raw, &from_pb, &e) < 0)
        fail_msg("%.*s: %s", STR_ARG(name), e.message);
    if (version.n)
        value_setc(&a, from_pb, "apiVersion", value_str(&a, version));
    if (kind.n)
        value_setc(&a, from_pb, "kind", value_str(&a, kind));
    same_tree(name, "YAML", &a, from_yaml, from_json);
    same_tree(name, "protobuf", &a, from_pb, from_json);
    struct value *trees[] = {from_json, from_yaml, from_pb};
    for (size_t i = 0; i < 3; i++) {
        buf_reset(&out);
        if (protobuf_encode_object(&out, type, trees[i], &e) < 0)
            fail_msg("%.*s: %s", STR_ARG(name), e.message);
        same_bytes(name, "protobuf", buf_view(&out), pb);
        buf_reset(&out);
        yaml_write(&out, trees[i]);
        same_bytes(name, "YAML", buf_view(&out), yaml);
    }
    buf_reset(&out);
    json_write_pretty(&out, from_json, 2);
    same_bytes(name, "JSON", buf_view(&out), json);
}

static void all(void **state)
{
    (void)state;
    DIR *d = opendir(FIXTURES);
    assert_non_null(d);
    size_t n = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        struct str name = str_of(entry->d_name);
        if (!str_ends(name, STR(".json")))
            continue;
        one(str_sub(name, 0, name.n - 5));
        n++;
    }
    closedir(d);
    assert_int_equal(n, 38);
}

// Bodies that kubectl 1.33 sent (create deployment, ingress, token, …): decoded to JSON and encoded
// again they are the same bytes, so the tables know which fields Go writes even when they are zero.
static void bodies(void **state)
{
    (void)state;
    DIR *d = opendir(BODIES);
    assert_non_null(d);
    size_t n = 0, failed = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_buf_ struct buf out = BUF_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct str pb, version, kind, raw;
        struct value *v;
        if (!str_ends(str_of(entry->d_name), STR(".pb")))
            continue;
        struct str path = arena_printf(&a, BODIES "/%s", entry->d_name);
        assert_int_equal(file_read_all(&a, arena_cstr(&a, path), 1 << 24, &pb, NULL), 0);
        if (protobuf_envelope(pb, &version, &kind, &raw, &e) < 0)
            fail_msg("%s: %s", entry->d_name, e.message);
        const struct type *type = type_by_kind(version, kind);
        if (!type)
            fail_msg("%s: no type %.*s %.*s", entry->d_name, STR_ARG(version), STR_ARG(kind));
        if (protobuf_decode(&a, type, raw, &v, &e) < 0 || protobuf_encode(&out, type, v, &e) < 0)
            fail_msg("%s: %s", entry->d_name, e.message);
        if (!str_eq(buf_view(&out), raw)) {
            size_t at = 0;
            while (at < out.n && at < raw.n && out.p[at] == raw.p[at])
                at++;
            print_error("%s: differs at byte %zu of %zu (%zu): %.*s\n", entry->d_name, at, raw.n,
                        out.n, STR_ARG(json_text(&a, v)));
            failed++;
        }
        n++;
    }
    closedir(d);
    assert_int_equal(failed, 0);
    assert_int_equal(n, 23);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all), cmocka_unit_test(bodies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
