// JSON speed: MB/s of reading (copying and borrowing), writing, and of making and reading published
// objects, over documents of pods. Single thread; the best of several rounds. Bare figures: for
// comparing one build of this code with another.
#include "base/env.h"
#include "base/err.h"
#include "object/json.h"
#include "object/object.h"
#include "object/yaml.h"
#include <stdio.h>

enum { ROUNDS = 9 };

static struct str pods(struct arena *a, size_t n)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct str pod = STR_NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v;
    if (file_read_all(a, SOURCE_DIR "/tests/golden/roundtrip/core.v1.Pod.json", 1 << 24, &pod, &e) <
            0 ||
        json_parse(a, pod, NULL, &v, &e) < 0) {
        fprintf(stderr, "%s\n", e.message);
        exit(1);
    }
    struct str compact = json_text(a, v);
    buf_char(&b, '[');
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, i ? "," : "");
        buf_str(&b, compact);
    }
    buf_char(&b, ']');
    return arena_str(a, buf_view(&b));
}

static double seconds(uint64_t since)
{
    return (double)(env_mono(env_system()) - since) / 1e9;
}

static void report(const char *what, size_t bytes, double best)
{
    printf("%-34s %8.0f MB/s\n", what, (double)bytes / best / 1e6);
}

static void parse(const char *what, struct str text, bool borrow)
{
    double best = 1e9;
    struct arena a = ARENA_INIT;
    for (int i = 0; i < ROUNDS; i++) {
        struct json_options opt = {.borrow = borrow};
        struct value *v;
        arena_reset(&a);
        uint64_t t = env_mono(env_system());
        BUG_ON(json_parse(&a, text, &opt, &v, NULL) < 0);
        double s = seconds(t);
        best = s < best ? s : best;
    }
    arena_done(&a);
    report(what, text.n, best);
}

static void write_text(const char *what, struct str text)
{
    double best = 1e9;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct json_options opt = {.borrow = true};
    struct value *v;
    BUG_ON(json_parse(&a, text, &opt, &v, NULL) < 0);
    for (int i = 0; i < ROUNDS; i++) {
        buf_reset(&b);
        uint64_t t = env_mono(env_system());
        json_write(&b, v);
        double s = seconds(t);
        best = s < best ? s : best;
    }
    report(what, text.n, best);
}

static void objects(struct arena *a, struct str one)
{
    enum { N = 200 };
    double make = 1e9, read = 1e9, put = 1e9;
    struct value *v;
    BUG_ON(json_parse(a, one, NULL, &v, NULL) < 0);
    v = value_item(v, 0);
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct arena scratch = ARENA_INIT;
    size_t size = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct object *o = NULL;
        uint64_t t = env_mono(env_system());
        for (int k = 0; k < N; k++) {
            object_unref(o);
            BUG_ON(object_from_value(NULL, STR("/registry/pods/a/b"), 7, v, &o, NULL) < 0);
        }
        double s = seconds(t);
        make = s < make ? s : make;
        t = env_mono(env_system());
        for (int k = 0; k < N; k++) {
            arena_reset(&scratch);
            object_tree(&scratch, o);
        }
        s = seconds(t);
        read = s < read ? s : read;
        t = env_mono(env_system());
        for (int k = 0; k < N; k++) {
            buf_reset(&b);
            object_write(&b, o);
        }
        s = seconds(t);
        put = s < put ? s : put;
        size = o->json->n;
        object_unref(o);
    }
    arena_done(&scratch);
    report("object: from a tree", size * N, make);
    report("object: to a tree", size * N, read);
    report("object: written out", size * N, put);
}

static void yaml(struct arena *a)
{
    struct str text = STR_NULL;
    double in = 1e9, out = 1e9;
    _cleanup_buf_ struct buf b = BUF_INIT;
    BUG_ON(file_read_all(a, SOURCE_DIR "/tests/golden/roundtrip/core.v1.Pod.yaml", 1 << 24, &text,
                         NULL) < 0);
    for (int i = 0; i < ROUNDS; i++) {
        struct value *v;
        _cleanup_arena_ struct arena s = ARENA_INIT;
        uint64_t t = env_mono(env_system());
        BUG_ON(yaml_parse(&s, text, NULL, &v, NULL) < 0);
        double took = seconds(t);
        in = took < in ? took : in;
        buf_reset(&b);
        t = env_mono(env_system());
        yaml_write(&b, v);
        took = seconds(t);
        out = took < out ? took : out;
    }
    report("YAML: read", text.n, in);
    report("YAML: write", text.n, out);
}

int main(void)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str many = pods(&a, 800), one = pods(&a, 1);
    printf("documents of %zu kB and %zu MB\n", one.n / 1000, many.n / 1000000);
    parse("JSON: read, copying, one pod", one, false);
    parse("JSON: read, borrowing, one pod", one, true);
    parse("JSON: read, copying, a list", many, false);
    parse("JSON: read, borrowing, a list", many, true);
    write_text("JSON: write, one pod", one);
    write_text("JSON: write, a list", many);
    objects(&a, one);
    yaml(&a);
    return 0;
}
