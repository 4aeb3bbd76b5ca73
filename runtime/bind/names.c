#include "bind/names.h"

#include <stdlib.h>

#include "bind/library.h"
#include "bind/op.h"
#include "engine/name_index.h"

struct index_names {
  struct lsd_op op;
  bool left;
};

static void run_index_names(struct sd_task *t, unsigned worker) {
  struct index_names *n = (struct index_names *)t;
  struct sd_store *s = n->op.lib->writer;
  (void)worker;
  int rc = sd_store_begin(s, &n->op.err);
  if (!rc) rc = sd_name_index_build(s, &n->left, &n->op.err);
  if (!rc) rc = sd_store_commit(s, &n->op.err);
  if (rc) sd_store_rollback(s);
  n->op.rc = rc;
}

static int push_index_names(lua_State *L, struct lsd_op *op) {
  lua_pushboolean(L, ((struct index_names *)op)->left);
  return 1;
}

int lsd_library_index_names(lua_State *L) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  lsd_check_await(L);
  struct index_names *n = calloc(1, sizeof(*n));
  if (!n) lsd_no_memory(L);
  n->op.push = push_index_names;
  lua_pushvalue(L, 1);
  lsd_op_init(L, &n->op, lib, run_index_names);
  return lsd_op_start(L, &n->op, lib->write);
}
