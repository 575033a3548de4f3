// Service addresses and node ports: which are taken, and the marks in the store that make taking
// one atomic.
//
// An address is taken by an IPAddress object of its name, a node port by a key under
// /registry/ranges/; both are written in the same transaction as the Service, on the condition that
// they are not there. So two Services never share one, and none is lost, whenever the server dies.
// What is kept in memory only helps to guess well.
#pragma once
#include "apiserver/server.h"

int ranges_new(struct cache *cache, struct env *env, struct str service_cidr, uint16_t first_port,
               uint16_t last_port, struct ranges **ret, struct err *e);
void ranges_free(struct ranges *r);
// The n-th address of the range as text: 1 is the kubernetes Service's, 10 the DNS server's.
struct str ranges_address(struct ranges *r, struct arena *a, uint32_t n);
struct str ranges_cidr(struct ranges *r);
bool ranges_contains(struct ranges *r, struct str address);
bool ranges_taken(struct ranges *r, struct str address);
// A free address (dynamic ones come from the upper part of the range); STR_NULL: the range is full.
struct str ranges_free_address(struct ranges *r, struct arena *a);
uint16_t ranges_first_port(struct ranges *r);
uint16_t ranges_last_port(struct ranges *r);
bool ranges_port_taken(struct ranges *r, unsigned port);
// 0: all are taken. `not_this`: whether the operation has other plans with a port.
unsigned ranges_free_port(struct ranges *r, bool (*not_this)(void *ctx, unsigned port), void *ctx);
struct str ranges_port_key(struct arena *a, unsigned port);
// The IPAddress object that marks an address for a Service.
int ranges_mark(struct ranges *r, struct arena *a, struct str address, struct str ns,
                struct str name, struct object **ret, struct err *e);
struct str ranges_mark_key(struct ranges *r, struct arena *a, struct str address);
