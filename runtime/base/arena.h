/* arena.h - memory that is handed out piece by piece and given back all at once.
 * Owner:  the arena owns every piece; sd_arena_fini() and sd_arena_reset() end them all.
 * Thread: one thread at a time; may move between threads while idle.
 * Errors: NULL when memory is out. */
#ifndef SD_BASE_ARENA_H
#define SD_BASE_ARENA_H

#include <stddef.h>

struct sd_arena_block;

struct sd_arena {
  struct sd_arena_block *head; /* the block that is being filled */
  size_t total;                /* bytes in all blocks */
};

void sd_arena_init(struct sd_arena *a);
void sd_arena_fini(struct sd_arena *a);

/* Ends every piece; keeps one block for what comes next. */
void sd_arena_reset(struct sd_arena *a);

/* `n` bytes aligned to 8, not zeroed. n == 0 gives a valid pointer. */
void *sd_arena_alloc(struct sd_arena *a, size_t n);

/* A copy of `n` bytes with a NUL behind them. */
char *sd_arena_copy(struct sd_arena *a, const void *p, size_t n);

#endif
