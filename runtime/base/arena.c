#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE = 64 * 1024, ALIGN = 8 };

struct sd_arena_block {
  struct sd_arena_block *next;
  size_t used, size;
  _Alignas(ALIGN) char data[];
};

void sd_arena_init(struct sd_arena *a) {
  a->head = NULL;
  a->total = 0;
}

static void free_from(struct sd_arena_block *b) {
  while (b) {
    struct sd_arena_block *next = b->next;
    free(b);
    b = next;
  }
}

void sd_arena_fini(struct sd_arena *a) {
  free_from(a->head);
  sd_arena_init(a);
}

void sd_arena_reset(struct sd_arena *a) {
  struct sd_arena_block *b = a->head;
  if (!b) return;
  free_from(b->next);
  b->next = NULL;
  b->used = 0;
  a->total = b->size;
}

static struct sd_arena_block *grow(struct sd_arena *a, size_t n) {
  size_t size = n > BLOCK_SIZE ? n : BLOCK_SIZE;
  if (size > SIZE_MAX - sizeof(struct sd_arena_block)) return NULL;
  struct sd_arena_block *b = malloc(sizeof(*b) + size);
  if (!b) return NULL;
  b->next = a->head;
  b->used = 0;
  b->size = size;
  a->head = b;
  a->total += size;
  return b;
}

void *sd_arena_alloc(struct sd_arena *a, size_t n) {
  struct sd_arena_block *b = a->head;
  if (n > SIZE_MAX - ALIGN) return NULL;
  n = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  if ((!b || b->size - b->used < n) && !(b = grow(a, n))) return NULL;
  void *p = b->data + b->used;
  b->used += n;
  return p;
}

char *sd_arena_copy(struct sd_arena *a, const void *p, size_t n) {
  char *s = n < SIZE_MAX ? sd_arena_alloc(a, n + 1) : NULL;
  if (!s) return NULL;
  memcpy(s, p, n);
  s[n] = '\0';
  return s;
}
