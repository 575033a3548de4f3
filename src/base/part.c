// Starting and stopping a list of parts.
#include "base/part.h"
#include "base/buf.h"
#include "base/guard.h"
#include "base/metric.h"

struct part_set {
    const struct part *const *list;
    size_t n; // reached so far, the one that failed included
    const char *without;
    struct part_host *host;
    void *state[];
};

// Cuts the next word off a list whose words are separated by commas or spaces; empty at its end.
static struct str next_word(struct str *rest)
{
    size_t from = 0, n = 0;
    while (from < rest->n && (rest->p[from] == ',' || rest->p[from] == ' '))
        from++;
    while (from + n < rest->n && rest->p[from + n] != ',' && rest->p[from + n] != ' ')
        n++;
    struct str word = str_sub(*rest, from, n);
    *rest = str_from(*rest, from + n);
    return word;
}

static bool has_word(const char *list, struct str word)
{
    struct str rest = str_of(list);
    for (struct str w; (w = next_word(&rest)).n;)
        if (str_eq(w, word))
            return true;
    return false;
}

static bool is_left_out(const struct part *p, const char *without)
{
    struct str rest = str_of(p->without);
    for (struct str w; (w = next_word(&rest)).n;)
        if (has_word(without, w))
            return true;
    return false;
}

int parts_check_without(const struct part *const *list, size_t n, const char *without,
                        const char *reserved, struct err *e)
{
    _cleanup_buf_ struct buf known = BUF_INIT;
    for (size_t i = 0; i <= n; i++) {
        struct str rest = str_of(i < n ? list[i]->without : reserved);
        for (struct str w; (w = next_word(&rest)).n;)
            if (!has_word(buf_cstr(&known), w)) {
                buf_puts(&known, known.n ? ", " : "");
                buf_str(&known, w);
            }
    }
    struct str rest = str_of(without);
    for (struct str w; (w = next_word(&rest)).n;)
        if (!has_word(buf_cstr(&known), w))
            return err_set(e, ERR_BAD_REQUEST,
                           "--without %.*s: there is no such part; choose from %s", STR_ARG(w),
                           buf_cstr(&known));
    return 0;
}

int parts_start(const struct part *const *list, size_t n, const char *without, struct part_host *h,
                struct part_set **ret, struct err *e)
{
    struct part_set *p = mem_zalloc(sizeof *p + n * sizeof p->state[0]);
    p->list = list;
    p->without = without;
    p->host = h;
    for (int r = 0; p->n < n;) {
        size_t i = p->n++;
        if (!is_left_out(list[i], without)) {
            if (list[i]->metrics)
                metric_register(list[i]->metrics);
            r = list[i]->start(h, &p->state[i], e);
        }
        if (r < 0) {
            r = err_wrap(e, e, "starting the %s", list[i]->name);
            parts_stop(p);
            return r;
        }
    }
    *ret = p;
    return 0;
}

void parts_stop(struct part_set *p)
{
    if (!p)
        return;
    while (p->n > 0) {
        const struct part *part = p->list[--p->n];
        if (is_left_out(part, p->without))
            continue;
        if (part->stop)
            part->stop(p->host, p->state[p->n]);
        if (part->metrics)
            metric_unregister(part->metrics);
    }
    free(p);
}
