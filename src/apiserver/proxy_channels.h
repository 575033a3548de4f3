// The WebSocket subprotocols of exec, attach and log, as clients of all ages offer them, in terms
// of the two that node agents speak. Room-private: proxy.c.
//
//   v5.channel.k8s.io, v4.channel.k8s.io   a byte for the channel, then bytes: passed on as is
//   v4.base64.channel.k8s.io               a digit for the channel, then base64, as text
//   channel.k8s.io, base64.channel.k8s.io  as v4, but the end is told in plain text, success not
//   (none offered)                         as channel.k8s.io
//   binary.k8s.io, base64.binary.k8s.io    log: one stream without channels
#pragma once
#include "base/buf.h"

struct channel_protocol {
    struct str name;    // what the client hears; STR_NULL: it offered none
    struct str to_node; // what the agent is asked for
    bool base64;
    bool plain_end; // channel 3 is a text for people, not a Status
};
// The best of those that the client offers (the value of Sec-WebSocket-Protocol); NULL: none of
// them is known. `log`: of those for streams without channels.
const struct channel_protocol *channel_protocol_choose(struct str offered, bool log);
// A message of the agent as the client shall get it, into *out, whose kind is the result: 1 binary,
// 0 text. Negative: it is not told. `message` may be passed through: *ret points to it or into out.
int channel_to_client(const struct channel_protocol *p, struct str message, struct buf *out,
                      struct str *ret);
// A message of the client for the agent. false: it is malformed.
bool channel_to_node(const struct channel_protocol *p, bool binary, struct str message,
                     struct buf *out, struct str *ret);
