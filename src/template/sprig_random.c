// What is random: letters, numbers, identifiers. The bytes come from the environment, so that a
// simulation repeats them.
#include "object/base64.h"
#include "template/sprig.h"

#define ARENA(c)   template_arena(c)
#define FN(name)   static struct value *name(struct template_call *c, struct value **args, size_t n)
#define UNUSED_N   (void)n
#define RANDOM_MAX ((int64_t)1 << 20)

static uint64_t below(struct template_call *c, uint64_t limit)
{
    uint64_t v, last = UINT64_MAX - UINT64_MAX % limit;
    do
        env_random(template_env(c), &v, sizeof v);
    while (v >= last);
    return v % limit;
}

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

// param: 0 letters and digits, 1 letters, 2 digits, 3 printable
FN(fn_rand)
{
    UNUSED_N;
    static const struct {
        unsigned from, n;
    } kinds[] = {{0, 62}, {0, 52}, {52, 10}};
    int64_t count = args[0]->i;
    if (count > RANDOM_MAX)
        return template_fail(c, "result is too long");
    char *out = arena_alloc(ARENA(c), (size_t)(count > 0 ? count : 0) + 1);
    size_t k = 0;
    for (; (int64_t)k < count; k++)
        out[k] =
            template_param(c) == 3
                ? (char)(32 + below(c, 95))
                : letters[kinds[template_param(c)].from + below(c, kinds[template_param(c)].n)];
    return sprig_string(c, str_n(out, k));
}
FN(fn_rand_bytes)
{
    UNUSED_N;
    int64_t count = args[0]->i;
    if (count < 0 || count > RANDOM_MAX)
        return template_fail(c, "result is too long");
    char *out = arena_alloc(ARENA(c), (size_t)count + 1);
    env_random(template_env(c), out, (size_t)count);
    return sprig_string(c, base64_text(ARENA(c), str_n(out, (size_t)count)));
}
FN(fn_rand_int)
{
    UNUSED_N;
    int64_t low = args[0]->i, high = args[1]->i;
    if (high <= low)
        return template_fail(c, "invalid argument to Intn");
    return template_int_value(ARENA(c), TEMPLATE_INT,
                              low + (int64_t)below(c, (uint64_t)(high - low)));
}
FN(fn_shuffle)
{
    UNUSED_N;
    struct str s = arena_str(ARENA(c), value_string(args[0]));
    char *p = arena_alloc(ARENA(c), s.n + 1);
    memcpy(p, s.p ? s.p : "", s.n);
    for (size_t i = s.n; i > 1; i--) {
        size_t j = below(c, i);
        char swap = p[i - 1];
        p[i - 1] = p[j];
        p[j] = swap;
    }
    return sprig_string(c, str_n(p, s.n));
}
FN(fn_uuid)
{
    (void)args;
    UNUSED_N;
    char *out = arena_alloc(ARENA(c), 36);
    env_uuid(template_env(c), out);
    return sprig_string(c, str_n(out, 36));
}
// Names are not looked up unless the host's own table does it.
FN(fn_host)
{
    (void)args;
    UNUSED_N;
    return sprig_string(c, STR(""));
}

static const struct template_function rows[] = {
    {"getHostByName", "s", fn_host},   {"randAlpha", "i", fn_rand, 1},
    {"randAlphaNum", "i", fn_rand, 0}, {"randAscii", "i", fn_rand, 3},
    {"randBytes", "i", fn_rand_bytes}, {"randInt", "ii", fn_rand_int},
    {"randNumeric", "i", fn_rand, 2},  {"shuffle", "s", fn_shuffle},
    {"uuidv4", "", fn_uuid},
};
const struct template_functions sprig_random = {rows, sizeof rows / sizeof *rows};
