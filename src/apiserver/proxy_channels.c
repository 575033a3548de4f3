// See proxy_channels.h. The rules are remotecommand's and wsstream's of Kubernetes 1.34.
#include "apiserver/proxy_channels.h"
#include "object/base64.h"
#include "object/json.h"

#define CHANNEL_ERROR 3
#define V4            STR("v4.channel.k8s.io")

// In the order in which they are preferred; the last is for clients that offer none.
static const struct channel_protocol of_exec[] = {
    {STR("v5.channel.k8s.io"), STR("v5.channel.k8s.io"), false, false},
    {V4, V4, false, false},
    {STR("v4.base64.channel.k8s.io"), V4, true, false},
    {STR("channel.k8s.io"), V4, false, true},
    {STR("base64.channel.k8s.io"), V4, true, true},
    {STR_NULL, V4, false, true},
};
static const struct channel_protocol of_log[] = {
    {STR("binary.k8s.io"), STR_NULL, false, false},
    {STR("base64.binary.k8s.io"), STR_NULL, true, false},
    {STR_NULL, STR_NULL, false, false},
};

static bool offers(struct str offered, struct str name)
{
    while (offered.p)
        if (str_eq(str_trim(str_cut(&offered, ',')), name))
            return true;
    return false;
}

const struct channel_protocol *channel_protocol_choose(struct str offered, bool log)
{
    const struct channel_protocol *p = log ? of_log : of_exec;
    for (; p->name.p; p++)
        if (offers(offered, p->name))
            return p;
    return str_trim(offered).n ? NULL : p;
}

// The text for people of the Status that ends a session; false: it went well.
static bool plain_end(struct str status, struct buf *out)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v = NULL;
    if (json_parse(&a, status, NULL, &v, NULL) < 0) {
        buf_str(out, status);
        return true;
    }
    if (str_eqc(value_str_at(v, "status"), "Success"))
        return false;
    buf_str(out, value_str_at(v, "message"));
    return true;
}

int channel_to_client(const struct channel_protocol *p, struct str message, struct buf *out,
                      struct str *ret)
{
    bool log = !p->to_node.p;
    _cleanup_buf_ struct buf end = BUF_INIT;
    *ret = message;
    if (p->plain_end && message.n > 1 && message.p[0] == CHANNEL_ERROR) {
        buf_char(&end, CHANNEL_ERROR);
        if (!plain_end(str_from(message, 1), &end))
            return -1;
        *ret = buf_view(&end);
    }
    if (!p->base64 && ret->p == message.p)
        return 1;
    buf_reset(out);
    if (!p->base64) {
        buf_str(out, *ret);
    } else if (log) {
        base64_encode(out, *ret);
    } else if (ret->n) {
        buf_char(out, (char)('0' + ret->p[0]));
        base64_encode(out, str_from(*ret, 1));
    }
    *ret = buf_view(out);
    return p->base64 ? 0 : 1;
}

bool channel_to_node(const struct channel_protocol *p, bool binary, struct str message,
                     struct buf *out, struct str *ret)
{
    (void)binary; // text that is meant as bytes is taken as such
    *ret = message;
    if (!p->base64)
        return true;
    if (!message.n || message.p[0] < '0' || message.p[0] > '9')
        return false;
    buf_reset(out);
    buf_char(out, (char)(message.p[0] - '0'));
    if (!base64_decode(out, str_from(message, 1)))
        return false;
    *ret = buf_view(out);
    return true;
}
