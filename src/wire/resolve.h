// Names to addresses without blocking the loop. Private to this room.
#pragma once
#include "wire/loop.h"
#include <sys/socket.h>

struct resolve;
// fn runs once on the loop, later, unless cancelled: addresses in the system's order of preference
// (port set), or n == 0 with the reason. "localhost" and numeric hosts need no thread.
struct resolve *resolve_start(struct loop *l, struct str host, uint16_t port,
                              void (*fn)(void *ctx, const struct sockaddr_storage *addresses,
                                         size_t n, const char *why),
                              void *ctx);
void resolve_cancel(struct resolve *r);
// "127.0.0.1:80", "[::1]:80", or the path of a unix socket.
void resolve_text(const struct sockaddr_storage *ss, char *out, size_t n);
