// Intrusive doubly linked ring. A list head is a node linked to itself.
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};
#define LIST_INIT(l) ((struct list){&(l), &(l)})
static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}
static inline void list_insert_before(struct list *at, struct list *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}
static inline void list_push(struct list *head, struct list *node) // at the end
{
    list_insert_before(head, node);
}
static inline void list_remove(struct list *node) // safe on a node linked to itself
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = node;
}
static inline struct list *list_pop(struct list *head) // from the front, or NULL
{
    struct list *n = head->next;
    if (n == head)
        return NULL;
    list_remove(n);
    return n;
}
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define list_each(head, it) for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_each_safe(head, it)                                                                   \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)
