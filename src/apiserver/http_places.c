// See http_places.h.
#include "apiserver/http_places.h"
#include "base/map.h"
#include <pthread.h>

#define PLACES_COMMON 400

// each: what one user may have at a time. reserve: what the class has besides the common places.
static const struct {
    unsigned each, reserve;
} shares[] = {
    [CALLER_STRANGER] = {50, 0},
    [CALLER_USER] = {200, 0},
    [CALLER_PLATFORM] = {200, 100},
    [CALLER_ADMINISTRATOR] = {500, 100},
};
enum { CALLERS = sizeof shares / sizeof *shares };

struct place {
    enum caller caller;
    unsigned taken;
    size_t key_n;
    char key[];
};

struct places {
    pthread_mutex_t lock; // all below
    struct map users;     // user -> struct place, while they have one
    unsigned taken[CALLERS];
};

enum caller caller_of(const struct identity *who)
{
    for (size_t i = 0; i < who->ngroups; i++)
        if (str_eqc(who->groups[i], "system:masters"))
            return CALLER_ADMINISTRATOR;
    for (size_t i = 0; i < who->ngroups; i++)
        if (str_eqc(who->groups[i], "system:nodes"))
            return CALLER_PLATFORM;
    if (str_eqc(who->user, "system:anonymous") || !who->user.n)
        return CALLER_STRANGER;
    if (str_starts(who->user, STR("system:serviceaccount:")))
        return str_starts(who->user, STR("system:serviceaccount:kube-system:")) ? CALLER_PLATFORM
                                                                                : CALLER_USER;
    return str_starts(who->user, STR("system:")) ? CALLER_PLATFORM : CALLER_USER;
}

struct places *places_new(void)
{
    struct places *p = mem_zalloc(sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void places_free(struct places *p)
{
    if (!p)
        return;
    BUG_ON(p->users.n);
    map_done(&p->users);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static unsigned common(const struct places *p)
{
    unsigned n = 0;
    for (int i = 0; i < CALLERS; i++)
        n += p->taken[i] > shares[i].reserve ? p->taken[i] - shares[i].reserve : 0;
    return n;
}

static struct place *take(struct places *p, struct str user, enum caller caller)
{
    struct place *place = map_get(&p->users, user);
    bool room = p->taken[caller] < shares[caller].reserve || common(p) < PLACES_COMMON;
    if (!room || (place && place->taken >= shares[caller].each))
        return NULL;
    if (!place) {
        place = mem_zalloc(sizeof *place + user.n);
        place->caller = caller;
        place->key_n = user.n;
        memcpy(place->key, user.p, user.n);
        map_set(&p->users, user, place);
    }
    place->taken++;
    p->taken[place->caller]++;
    return place;
}

int places_take(struct places *p, const struct identity *who, struct place **ret, struct err *e)
{
    enum caller caller = caller_of(who);
    pthread_mutex_lock(&p->lock);
    struct place *place = take(p, who->user, caller);
    pthread_mutex_unlock(&p->lock);
    if (!place) {
        int code = err_set(e, ERR_TOO_MANY_REQUESTS, "too many requests, please try again later");
        if (e)
            e->retry_after_seconds = 1;
        return code;
    }
    *ret = place;
    return 0;
}

void places_leave(struct places *p, struct place *place)
{
    if (!place)
        return;
    pthread_mutex_lock(&p->lock);
    p->taken[place->caller]--;
    if (!--place->taken) {
        map_del(&p->users, str_n(place->key, place->key_n));
        free(place);
    }
    pthread_mutex_unlock(&p->lock);
}

unsigned places_taken(struct places *p)
{
    unsigned n = 0;
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < CALLERS; i++)
        n += p->taken[i];
    pthread_mutex_unlock(&p->lock);
    return n;
}
