// Encodings: base64, base32, digests, JSON and YAML. JSON is Go's: keys sorted, and <, > and &
// escaped unless it is the raw kind.
#include "object/base64.h"
#include "object/json.h"
#include "object/yaml.h"
#include "template/sprig.h"
#include "text/unicode.h"
#include <openssl/evp.h>

#define ARENA(c)   template_arena(c)
#define FN(name)   static struct value *name(struct template_call *c, struct value **args, size_t n)
#define UNUSED_N   (void)n
#define ENCODE_MAX ((size_t)64 << 20)
#define S(i)       value_string(args[i])

FN(fn_b64enc)
{
    UNUSED_N;
    struct buf b = BUF_MAX(ENCODE_MAX);
    base64_encode(&b, S(0));
    return sprig_take(c, &b);
}
FN(fn_b64dec)
{
    UNUSED_N;
    struct str out, s = S(0);
    if (base64_bytes(ARENA(c), s, &out))
        return sprig_string(c, out);
    size_t at = 0;
    while (at < s.n &&
           (unicode_is_letter((unsigned char)s.p[at]) || strchr("0123456789+/", s.p[at])) &&
           (unsigned char)s.p[at] < 128)
        at++;
    return sprig_string(c, arena_printf(ARENA(c), "illegal base64 data at input byte %zu",
                                        at < s.n ? at : s.n / 4 * 4));
}

FN(fn_b32enc)
{
    UNUSED_N;
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    struct str s = S(0);
    struct buf b = BUF_MAX(ENCODE_MAX);
    for (size_t i = 0; i < s.n; i += 5) {
        size_t have = s.n - i < 5 ? s.n - i : 5, chars = (have * 8 + 4) / 5;
        uint64_t v = 0;
        for (size_t k = 0; k < 5; k++)
            v = v << 8 | (k < have ? (unsigned char)s.p[i + k] : 0);
        for (size_t k = 0; k < 8; k++)
            buf_char(&b, k < chars ? alphabet[v >> (35 - 5 * k) & 31] : '=');
    }
    return sprig_take(c, &b);
}
FN(fn_b32dec)
{
    UNUSED_N;
    struct str s = S(0);
    struct buf b = BUF_MAX(ENCODE_MAX);
    uint64_t v = 0;
    int bits = 0;
    for (size_t i = 0; i < s.n && s.p[i] != '='; i++) {
        int d = s.p[i] >= 'A' && s.p[i] <= 'Z'   ? s.p[i] - 'A'
                : s.p[i] >= '2' && s.p[i] <= '7' ? s.p[i] - '2' + 26
                                                 : -1;
        if (d < 0 || s.n % 8) {
            buf_done(&b);
            return sprig_string(c,
                                arena_printf(ARENA(c), "illegal base32 data at input byte %zu", i));
        }
        v = v << 5 | (uint64_t)d;
        bits += 5;
        if (bits >= 8) {
            bits -= 8;
            buf_char(&b, (char)(v >> bits));
        }
    }
    return sprig_take(c, &b);
}

FN(fn_digest)
{
    UNUSED_N;
    static const EVP_MD *(*const kinds[])(void) = {EVP_sha1, EVP_sha256, EVP_sha512};
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    struct str s = S(0);
    EVP_Digest(s.p ? s.p : "", s.n, md, &size, kinds[template_param(c)](), NULL);
    struct buf b = BUF_MAX(ENCODE_MAX);
    for (unsigned i = 0; i < size; i++)
        buf_printf(&b, "%02x", md[i]);
    return sprig_take(c, &b);
}
FN(fn_adler)
{
    UNUSED_N;
    struct str s = S(0);
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < s.n; i++) {
        a = (a + (unsigned char)s.p[i]) % 65521;
        b = (b + a) % 65521;
    }
    return sprig_string(c, arena_printf(ARENA(c), "%u", b << 16 | a));
}

// ---- JSON and YAML ----

void sprig_floats(struct value *v)
{
    if (value_is(v, VALUE_INT)) {
        double f = (double)v->i;
        v->kind = VALUE_FLOAT;
        v->n = 0;
        v->f = f;
        v->text = NULL;
    } else if (value_is(v, VALUE_FLOAT)) {
        v->text = NULL;
        v->n = 0;
    }
    value_each_item (v, item)
        sprig_floats(item);
    value_each_field (v, f)
        sprig_floats(f->value);
}

static void sort(struct arena *a, struct value *v, int depth)
{
    if (depth > 500)
        return;
    value_each_item (v, item)
        sort(a, item, depth + 1);
    if (!value_is(v, VALUE_OBJECT))
        return;
    struct member **order = template_sorted(a, v),
                  *sorted = arena_array(a, struct member, v->n + 1);
    for (uint32_t i = 0; i < v->n; i++)
        sorted[i] = *order[i];
    v->members = sorted;
    v->cap = v->n;
    value_each_field (v, f)
        sort(a, f->value, depth + 1);
}

// Inside JSON these stand in strings only.
static void html_safe(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '<' || s.p[i] == '>' || s.p[i] == '&')
            buf_printf(b, "\\u%04x", (unsigned char)s.p[i]);
        else
            buf_char(b, s.p[i]);
}

// param: 1 indented, 2 raw
FN(fn_to_json)
{
    UNUSED_N;
    struct value *v = template_plain(ARENA(c), args[0]);
    struct buf b = BUF_MAX(ENCODE_MAX), safe = BUF_MAX(ENCODE_MAX);
    sort(ARENA(c), v, 0);
    if (template_param(c) == 1)
        json_write_pretty(&b, v, 2);
    else
        json_write(&b, v);
    if (template_param(c) == 2)
        return sprig_take(c, &b);
    html_safe(&safe, buf_view(&b));
    buf_done(&b);
    return sprig_take(c, &safe);
}

// param: 0 nil for what is wrong, 1 a fault
FN(fn_from_json)
{
    UNUSED_N;
    struct value *v;
    _cleanup_err_ struct err e = ERR_INIT;
    if (json_parse(ARENA(c), arena_str(ARENA(c), S(0)), NULL, &v, &e) < 0)
        return template_param(c) ? template_fail(c, "%s", e.message) : NULL;
    sprig_floats(v);
    return v;
}

static struct value *problem(struct template_call *c, bool array, const char *message)
{
    struct value *text = value_str(ARENA(c), arena_str(ARENA(c), str_of(message)));
    struct value *v = array ? value_array(ARENA(c)) : value_object(ARENA(c));
    if (array)
        value_push(ARENA(c), v, text);
    else
        value_setc(ARENA(c), v, "Error", text);
    return v;
}

static const char *json_kind(const struct value *v)
{
    static const char *const names[] = {"null",   "bool",  "number", "number",
                                        "string", "array", "object"};
    return names[v->kind];
}

// Go names no line here.
static const char *without_place(const char *message)
{
    const char *colon = strstr(message, ": ");
    return strncmp(message, "line ", 5) == 0 && colon ? colon + 2 : message;
}

// helm's: param bit 0: an array is wanted, bit 1: YAML. What is wrong becomes a value.
FN(fn_from_text)
{
    UNUSED_N;
    bool array = template_param(c) & 1, yaml = template_param(c) & 2;
    struct value *v = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    struct str s = arena_str(ARENA(c), S(0));
    int r = yaml ? yaml_parse(ARENA(c), s, NULL, &v, &e) : json_parse(ARENA(c), s, NULL, &v, &e);
    if (r < 0) {
        const char *text =
            yaml ? arena_printf(ARENA(c), "error converting YAML to JSON: %s", e.message).p
                 : without_place(e.message);
        return problem(c, array, text);
    }
    if (value_is(v, VALUE_NULL))
        return array ? value_array(ARENA(c)) : value_object(ARENA(c));
    if (v->kind != (array ? VALUE_ARRAY : VALUE_OBJECT))
        return problem(
            c, array,
            arena_printf(ARENA(c), "%sjson: cannot unmarshal %s into Go value of type %s",
                         yaml ? "error unmarshaling JSON: while decoding JSON: " : "", json_kind(v),
                         array ? "[]interface {}" : "map[string]interface {}")
                .p);
    sprig_floats(v);
    return v;
}

FN(fn_to_yaml)
{
    UNUSED_N;
    struct buf b = BUF_MAX(ENCODE_MAX);
    yaml_write(&b, template_plain(ARENA(c), args[0]));
    if (b.n && b.p[b.n - 1] == '\n')
        b.n--;
    return sprig_take(c, &b);
}

static const struct template_function rows[] = {
    {"adler32sum", "s", fn_adler},
    {"b32dec", "s", fn_b32dec},
    {"b32enc", "s", fn_b32enc},
    {"b64dec", "s", fn_b64dec},
    {"b64enc", "s", fn_b64enc},
    {"fromJson", "s", fn_from_text, 0},
    {"fromJsonArray", "s", fn_from_text, 1},
    {"fromYaml", "s", fn_from_text, 2},
    {"fromYamlArray", "s", fn_from_text, 3},
    {"mustFromJson", "s", fn_from_json, 1},
    {"mustToJson", "a", fn_to_json, 0},
    {"mustToPrettyJson", "a", fn_to_json, 1},
    {"mustToRawJson", "a", fn_to_json, 2},
    {"mustToYaml", "a", fn_to_yaml},
    {"sha1sum", "s", fn_digest, 0},
    {"sha256sum", "s", fn_digest, 1},
    {"sha512sum", "s", fn_digest, 2},
    {"toJson", "a", fn_to_json, 0},
    {"toPrettyJson", "a", fn_to_json, 1},
    {"toRawJson", "a", fn_to_json, 2},
    {"toYaml", "a", fn_to_yaml},
};
const struct template_functions sprig_encode = {rows, sizeof rows / sizeof *rows};
