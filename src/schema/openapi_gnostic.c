// The v2 document as gnostic's protobuf, which kubectl (for what is there already) and Argo CD
// read.
//
// The JSON document is made first and then written over, member by member, by tables of gnostic's
// messages: that keeps one renderer. What a table does not know and begins with "x-" becomes a
// vendor extension, whose value is YAML text (JSON is YAML).
#include "object/json.h"
#include "schema/openapi.h"
#include "schema/openapi_private.h"

enum shape {
    TEXT,       // string
    TEXTS,      // repeated string
    FLAG,       // bool
    MESSAGE,    // by table
    MESSAGES,   // repeated, from a list
    NAMED,      // from an object: a message of repeated {1 name, 2 value}, in field 1
    NAMED_HERE, // the same, but in field 2 of the message at hand (Paths)
    TYPE,       // "type": a TypeItem of one string
    ANY,        // Any {2 yaml}
    ANYS,       // repeated Any
    ONE_OF,     // a message whose only field (`inner`) holds the value
};

struct message;
struct entry {
    const char *key;
    uint8_t number, shape, inner;
    const struct message *of;
};
struct message {
    const struct entry *entries;
    size_t n;
    uint8_t extensions; // field of vendor extensions; 0: none
};

static const struct message schema, parameter, path_parameter, query_parameter, body_parameter;

static const struct entry schema_entries[] = {
    {"$ref", 1, TEXT},
    {"format", 2, TEXT},
    {"title", 3, TEXT},
    {"description", 4, TEXT},
    {"default", 5, ANY},
    {"uniqueItems", 16, FLAG},
    {"required", 19, TEXTS},
    {"enum", 20, ANYS},
    {"additionalProperties", 21, ONE_OF, 1, &schema},
    {"type", 22, TYPE},
    {"items", 23, ONE_OF, 1, &schema},
    {"properties", 25, NAMED, 0, &schema},
};
static const struct message schema = {schema_entries, 12, 31};

static const struct entry query_entries[] = {
    {"in", 2, TEXT},   {"description", 3, TEXT}, {"name", 4, TEXT},
    {"type", 6, TEXT}, {"format", 7, TEXT},      {"uniqueItems", 20, FLAG},
};
static const struct message query_parameter = {query_entries, 6, 23};
static const struct entry path_entries[] = {
    {"required", 1, FLAG}, {"in", 2, TEXT},     {"description", 3, TEXT},  {"name", 4, TEXT},
    {"type", 5, TEXT},     {"format", 6, TEXT}, {"uniqueItems", 19, FLAG},
};
static const struct message path_parameter = {path_entries, 7, 22};
static const struct entry body_entries[] = {
    {"description", 1, TEXT},           {"name", 2, TEXT}, {"in", 3, TEXT}, {"required", 4, FLAG},
    {"schema", 5, MESSAGE, 0, &schema},
};
static const struct message body_parameter = {body_entries, 5, 6};
static const struct message parameter = {0}; // by its "in": see write_parameter

static const struct entry schema_item_entries[] = {{"schema", 2, ONE_OF, 1, &schema},
                                                   {"description", 1, TEXT}};
static const struct message response = {schema_item_entries, 2, 5};
static const struct entry response_value_entries[] = {{"", 1, MESSAGE, 0, &response}};
static const struct message response_value = {response_value_entries, 1, 0};
static const struct entry operation_entries[] = {
    {"tags", 1, TEXTS},
    {"description", 3, TEXT},
    {"operationId", 5, TEXT},
    {"produces", 6, TEXTS},
    {"consumes", 7, TEXTS},
    {"parameters", 8, MESSAGES, 0, &parameter},
    {"responses", 9, NAMED, 0, &response_value},
    {"schemes", 10, TEXTS},
};
static const struct message operation = {operation_entries, 8, 13};
static const struct entry path_item_entries[] = {
    {"get", 2, MESSAGE, 0, &operation},   {"put", 3, MESSAGE, 0, &operation},
    {"post", 4, MESSAGE, 0, &operation},  {"delete", 5, MESSAGE, 0, &operation},
    {"patch", 8, MESSAGE, 0, &operation}, {"parameters", 9, MESSAGES, 0, &parameter},
};
static const struct message path_item = {path_item_entries, 6, 10};
static const struct entry info_entries[] = {{"title", 1, TEXT}, {"version", 2, TEXT}};
static const struct message info = {info_entries, 2, 7};
static const struct entry api_key_entries[] = {
    {"type", 1, TEXT}, {"name", 2, TEXT}, {"in", 3, TEXT}, {"description", 4, TEXT}};
static const struct message api_key = {api_key_entries, 4, 5};
static const struct entry security_item_entries[] = {{"", 2, MESSAGE, 0, &api_key}};
static const struct message security_item = {security_item_entries, 1, 0};
static const struct entry document_entries[] = {
    {"swagger", 1, TEXT},
    {"info", 2, MESSAGE, 0, &info},
    {"paths", 8, NAMED_HERE, 0, &path_item},
    {"definitions", 9, NAMED, 0, &schema},
    {"securityDefinitions", 13, NAMED, 0, &security_item},
};
static const struct message document = {document_entries, 5, 16};

// ---- writing
// ------------------------------------------------------------------------------------------

static void varint(struct buf *b, uint64_t v)
{
    for (; v > 127; v >>= 7)
        buf_char(b, (char)(v | 128));
    buf_char(b, (char)v);
}

static void bytes(struct buf *b, unsigned number, struct str s)
{
    varint(b, number << 3 | 2);
    varint(b, s.n);
    buf_str(b, s);
}

static void write_message(struct buf *b, const struct message *m, const struct value *v);

// A parameter says what it is by "in": ParametersItem{1 Parameter{1 body | 2 other{3 query | 4
// path}}}
static void write_parameter(struct buf *b, const struct value *v)
{
    struct str in = value_str_at(v, "in");
    _cleanup_buf_ struct buf inner = BUF_INIT, middle = BUF_INIT, outer = BUF_INIT;
    if (str_eqc(in, "body")) {
        write_message(&inner, &body_parameter, v);
        bytes(&outer, 1, buf_view(&inner));
    } else {
        bool path = str_eqc(in, "path");
        write_message(&inner, path ? &path_parameter : &query_parameter, v);
        bytes(&middle, path ? 4 : 3, buf_view(&inner));
        bytes(&outer, 2, buf_view(&middle));
    }
    bytes(b, 1, buf_view(&outer));
}

static void write_any(struct buf *b, unsigned number, const struct value *v)
{
    _cleanup_buf_ struct buf yaml = BUF_INIT, any = BUF_INIT;
    json_write(&yaml, v);
    buf_char(&yaml, '\n');
    bytes(&any, 2, buf_view(&yaml));
    bytes(b, number, buf_view(&any));
}

static void write_named(struct buf *b, unsigned number, const struct message *m,
                        const struct value *object)
{
    value_each_field (object, member) {
        _cleanup_buf_ struct buf value = BUF_INIT, pair = BUF_INIT;
        write_message(&value, m, member->value);
        bytes(&pair, 1, member->key);
        bytes(&pair, 2, buf_view(&value));
        bytes(b, number, buf_view(&pair));
    }
}

static void write_entry(struct buf *b, const struct entry *e, const struct value *v)
{
    _cleanup_buf_ struct buf inner = BUF_INIT, outer = BUF_INIT;
    switch ((enum shape)e->shape) {
    case TEXT:
        bytes(b, e->number, value_string(v));
        break;
    case TEXTS:
        value_each_item (v, item)
            bytes(b, e->number, value_string(item));
        break;
    case FLAG:
        if (value_bool_or(v, false)) {
            varint(b, (uint64_t)e->number << 3);
            varint(b, 1);
        }
        break;
    case MESSAGE:
        write_message(&inner, e->of, v);
        bytes(b, e->number, buf_view(&inner));
        break;
    case MESSAGES:
        value_each_item (v, item) {
            buf_reset(&inner);
            write_message(&inner, e->of, item);
            bytes(b, e->number, buf_view(&inner));
        }
        break;
    case NAMED:
    case NAMED_HERE:
        write_named(&inner, e->shape == NAMED ? 1 : 2, e->of, v);
        bytes(b, e->number, buf_view(&inner));
        break;
    case TYPE:
        bytes(&inner, 1, value_string(v));
        bytes(b, e->number, buf_view(&inner));
        break;
    case ANY:
        write_any(b, e->number, v);
        break;
    case ANYS:
        value_each_item (v, item)
            write_any(b, e->number, item);
        break;
    case ONE_OF:
        write_message(&inner, e->of, v);
        bytes(&outer, e->inner, buf_view(&inner));
        bytes(b, e->number, buf_view(&outer));
        break;
    }
}

static void write_message(struct buf *b, const struct message *m, const struct value *v)
{
    if (m == &parameter) {
        write_parameter(b, v);
        return;
    }
    if (m->n == 1 && !*m->entries[0].key) { // a wrapper around the same value
        write_entry(b, &m->entries[0], v);
        return;
    }
    value_each_field (v, member) {
        const struct entry *found = NULL;
        for (size_t i = 0; i < m->n && !found; i++)
            if (str_eqc(member->key, m->entries[i].key))
                found = &m->entries[i];
        if (found) {
            write_entry(b, found, member->value);
        } else if (m->extensions && str_starts(member->key, STR("x-"))) {
            _cleanup_buf_ struct buf named = BUF_INIT;
            bytes(&named, 1, member->key);
            write_any(&named, 2, member->value);
            bytes(b, m->extensions, buf_view(&named));
        }
    }
}

void openapi_v2_protobuf(struct buf *b)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf json = BUF_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v;
    struct json_options borrow = {.borrow = true};
    openapi_v2(&json);
    BUG_ON(json_parse(&a, buf_view(&json), &borrow, &v, &e) < 0); // we wrote it
    write_message(b, &document, v);
}
