// WebSocket frames (RFC 6455 5) without I/O. Private to this room.
#pragma once
#include "base/buf.h"

enum { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };
enum { WS_CONTROL_MAX = 125, WS_HEADER_MAX = 14 };

struct ws_parser {
    bool from_client; // frames must be masked; else they must not be
    size_t max;       // largest message
    uint8_t header[WS_HEADER_MAX];
    uint8_t header_n;
    bool in_payload, in_message, delivered;
    uint8_t opcode, message_opcode, mask_at;
    bool fin;
    uint8_t mask[4];
    uint64_t left;
    struct buf message;
    uint8_t control_n;
    char control[WS_CONTROL_MAX];
};
void ws_parser_done(struct ws_parser *p);

// Takes from *in. 1: a whole message or control frame is in *ret_opcode and *ret_payload (until the
// next call); 0: *in is used up; negative: the close code to end with (-1002 protocol error, -1007
// text that is not UTF-8, -1009 too big).
int ws_parse(struct ws_parser *p, struct str *in, uint8_t *ret_opcode, struct str *ret_payload);
// Writes the header of an unfragmented frame; mask NULL: unmasked. Returns its length.
size_t ws_header(char out[WS_HEADER_MAX], uint8_t opcode, uint64_t n, const uint8_t *mask);
void ws_mask(char *p, size_t n, const uint8_t mask[4], size_t at);
bool ws_utf8(struct str s);
