// WebSocket frames, from both sides: in one piece and byte by byte the same messages come out, none
// larger than the bound.
#include "base/err.h"
#include "wire/websocket_frame.h"
#include <string.h>

enum { MAX = 5000 };

static int run(struct ws_parser *p, struct str in, uint64_t *sum)
{
    for (;;) {
        uint8_t opcode;
        struct str payload;
        int code = ws_parse(p, &in, &opcode, &payload);
        if (code != 1)
            return code;
        BUG_ON(payload.n > MAX);
        *sum = *sum * 31 + opcode;
        for (size_t i = 0; i < payload.n; i++)
            *sum = *sum * 31 + (uint8_t)payload.p[i];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    bool from_client = data[0] & 1;
    struct ws_parser one = {.from_client = from_client, .max = MAX};
    struct ws_parser many = {.from_client = from_client, .max = MAX};
    uint64_t sum = 0, other = 0;
    int code = run(&one, str_n(data + 1, size - 1), &sum), code_many = 0;
    for (size_t i = 1; i < size && code_many == 0; i++)
        code_many = run(&many, str_n(data + i, 1), &other);
    BUG_ON(code != code_many || sum != other);
    ws_parser_done(&one);
    ws_parser_done(&many);
    return 0;
}
