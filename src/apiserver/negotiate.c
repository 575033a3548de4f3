// See negotiate.h.
#include "apiserver/negotiate.h"

static int quality(struct str s)
{
    // 0, 1, 0.5, 0.333: at most three digits count.
    int q = 0, scale = 100;
    if (!s.n || (s.p[0] != '0' && s.p[0] != '1'))
        return 1000;
    if (s.p[0] == '1')
        return 1000;
    for (size_t i = 2; i < s.n && scale; i++, scale /= 10) {
        if (s.p[i] < '0' || s.p[i] > '9')
            break;
        q += (s.p[i] - '0') * scale;
    }
    return q;
}

static struct str unquote(struct str s)
{
    s = str_trim(s);
    return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? str_sub(s, 1, s.n - 2) : s;
}

static struct accept_clause parse_clause(struct str text)
{
    struct accept_clause c = {.q = 1000};
    c.type = str_trim(str_cut(&text, ';'));
    while (text.p) {
        struct str param = str_cut(&text, ';'), key = str_trim(str_cut(&param, '='));
        struct str value = unquote(param);
        if (str_eqc(key, "q"))
            c.q = quality(value);
        else if (str_eqc(key, "as"))
            c.as = value;
        else if (str_eqc(key, "g"))
            c.g = value;
        else if (str_eqc(key, "v"))
            c.v = value;
        else if (str_eqc(key, "pretty"))
            c.pretty = str_eqc(value, "1") || str_eqc(value, "true");
    }
    return c;
}

void accept_parse(struct str header, struct accept *ret)
{
    ret->n = 0;
    struct str rest = header;
    while (rest.p && ret->n < ACCEPT_CLAUSES) {
        struct accept_clause c = parse_clause(str_cut(&rest, ','));
        if (!c.type.n || !c.q)
            continue;
        size_t at = ret->n++;
        while (at && ret->clause[at - 1].q < c.q) {
            ret->clause[at] = ret->clause[at - 1];
            at--;
        }
        ret->clause[at] = c;
    }
    if (!header.n)
        ret->clause[ret->n++] = (struct accept_clause){.type = STR("*/*"), .q = 1000};
}

bool accept_covers(const struct accept_clause *c, const char *type)
{
    struct str t = str_of(type);
    if (str_ieq(c->type, t) || str_eqc(c->type, "*/*"))
        return true;
    return str_ends(c->type, STR("/*")) && str_starts(t, str_sub(c->type, 0, c->type.n - 1));
}

const char *media_type(enum media m)
{
    static const char *const types[] = {
        [MEDIA_JSON] = "application/json",
        [MEDIA_YAML] = "application/yaml",
        [MEDIA_PROTOBUF] = "application/vnd.kubernetes.protobuf",
    };
    return types[m];
}

// What a clause asks the thing to be turned into; false: not among the offers.
static bool transform(const struct accept_clause *c, unsigned offers, struct negotiated *ret)
{
    static const struct {
        const char *as;
        enum shape_as shape;
        unsigned offer;
    } shapes[] = {
        {"PartialObjectMetadata", AS_PARTIAL, OFFER_PARTIAL},
        {"PartialObjectMetadataList", AS_PARTIAL_LIST, OFFER_PARTIAL_LIST},
        {"Table", AS_TABLE, OFFER_TABLE},
    };
    ret->as = AS_OBJECT;
    ret->meta_version = NULL;
    if (!c->as.n)
        return true;
    if (!str_eqc(c->g, "meta.k8s.io"))
        return false;
    ret->meta_version = str_eqc(c->v, "v1") ? "v1" : str_eqc(c->v, "v1beta1") ? "v1beta1" : NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (str_eqc(c->as, shapes[i].as)) {
            ret->as = shapes[i].shape;
            return (offers & shapes[i].offer) && ret->meta_version;
        }
    return false;
}

static bool serves(const struct accept_clause *c, unsigned offers, enum media *ret)
{
    if (accept_covers(c, media_type(MEDIA_JSON))) {
        *ret = MEDIA_JSON;
        return true;
    }
    if ((offers & OFFER_YAML) && !c->as.n && accept_covers(c, media_type(MEDIA_YAML))) {
        *ret = MEDIA_YAML;
        return true;
    }
    // Tables and metadata alone are made in JSON only.
    if ((offers & OFFER_PROTOBUF) && !c->as.n && accept_covers(c, media_type(MEDIA_PROTOBUF))) {
        *ret = MEDIA_PROTOBUF;
        return true;
    }
    return false;
}

int negotiate(struct str header, unsigned offers, struct negotiated *ret, struct err *e)
{
    struct accept a;
    accept_parse(header, &a);
    int q = -1; // of the protobuf clause found first, while JSON of the same quality is looked for
    for (size_t i = 0; i < a.n; i++) {
        struct negotiated it = {.pretty = a.clause[i].pretty};
        if (q >= 0 && a.clause[i].q < q)
            break;
        if (!serves(&a.clause[i], offers, &it.media) || !transform(&a.clause[i], offers, &it))
            continue;
        if (it.media != MEDIA_PROTOBUF) {
            if (q < 0 || (it.as == AS_OBJECT && it.media == MEDIA_JSON)) {
                *ret = it;
                return 0;
            }
        } else if (q < 0) {
            *ret = it;
            q = a.clause[i].q;
        }
    }
    if (q >= 0)
        return 0;
    return err_set(
        e, ERR_NOT_ACCEPTABLE,
        "only the following media types are accepted: application/json, application/yaml, "
        "application/vnd.kubernetes.protobuf");
}

struct str content_type_base(struct str header)
{
    return str_trim(str_cut(&header, ';'));
}
