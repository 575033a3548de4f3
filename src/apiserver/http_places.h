// Places for calls that are being worked on: taken when a call begins, its body being whole and its
// caller allowed, and given back when its result is known, before the answer goes out. So no place
// waits for a client. Calls that never wait (reads, pages) take none.
//
// Shares keep one user from taking them all, and the platform's own parts and administrators have
// some that nobody else can take. A simple stand-in for API Priority and Fairness. Any thread.
#pragma once
#include "schema/request.h"

enum caller { CALLER_STRANGER, CALLER_USER, CALLER_PLATFORM, CALLER_ADMINISTRATOR };
// Administrators: system:masters. The platform: nodes, components by their certificates, and the
// ServiceAccounts of kube-system.
enum caller caller_of(const struct identity *who);

struct places;
struct place; // a user's; private
struct places *places_new(void);
void places_free(struct places *p); // NULL is nothing; no place is taken
// 0, or ERR_TOO_MANY_REQUESTS with a time to come again.
int places_take(struct places *p, const struct identity *who, struct place **ret, struct err *e);
void places_leave(struct places *p, struct place *place); // NULL is nothing
unsigned places_taken(struct places *p);
