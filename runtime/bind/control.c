#include "bind/control.h"

#include <string.h>

#include "bind/op.h"
#include "loop/control.h"

struct server {
  struct lsd_core *core;
  struct sd_control *control; /* NULL: closed */
  int on_open;                /* ref of a function */
};

struct connection {
  struct lsd_core *core;
  struct sd_dial *dial;    /* while connect() waits */
  struct sd_conn *conn;    /* NULL: closed */
  struct sd_err err;       /* why the dial failed */
  struct lsd_wait coming;  /* connect(), receive() */
  struct lsd_wait leaving; /* flush() */
  int self;                /* ref from close() until those who waited are woken */
};

static struct server *check_server(lua_State *L, int i) {
  struct server *s = luaL_checkudata(L, i, LSD_SERVER);
  if (!s->control) luaL_argerror(L, i, "the server is closed");
  return s;
}

static struct connection *check_connection(lua_State *L, int i) {
  struct connection *h = luaL_checkudata(L, i, LSD_CONNECTION);
  if (!h->conn) luaL_argerror(L, i, "the connection is closed");
  return h;
}

static int push_closed(lua_State *L) {
  const struct sd_err err = {.code = SD_ECANCELED, .msg = "the connection was closed"};
  return lsd_push_error(L, &err);
}

/* ---- connections ---- */

static void on_ready(struct sd_conn *c, void *ud) {
  struct connection *h = ud;
  (void)c;
  lsd_wake(&h->coming); /* nobody: the next receive() finds it */
}

static void on_drained(struct sd_conn *c, void *ud) {
  struct connection *h = ud;
  (void)c;
  lsd_wake(&h->leaving);
}

static const struct sd_conn_ops ops = {.on_ready = on_ready, .on_drained = on_drained};

static struct connection *push_connection(lua_State *L) {
  struct connection *h = lua_newuserdatauv(L, sizeof(*h), 0);
  memset(h, 0, sizeof(*h));
  h->core = lsd_core(L);
  h->self = LUA_NOREF;
  luaL_setmetatable(L, LSD_CONNECTION);
  return h;
}

static void take_over(struct connection *h, struct sd_conn *c) {
  h->conn = c;
  sd_conn_set(c, &ops, h);
}

static void wake_waiting(void *ud) {
  struct connection *h = ud;
  lua_State *L = h->core->main;
  lsd_wake(&h->coming);
  lsd_wake(&h->leaving);
  int self = h->self;
  h->self = LUA_NOREF;
  luaL_unref(L, LUA_REGISTRYINDEX, self); /* the handle may end here */
}

/* Who waits goes on, later. */
static int lsd_connection_close(lua_State *L) {
  struct connection *h = luaL_checkudata(L, 1, LSD_CONNECTION);
  sd_dial_close(h->dial);
  sd_conn_close(h->conn);
  h->dial = NULL;
  h->conn = NULL;
  if (h->self != LUA_NOREF || !(h->coming.co || h->leaving.co)) return 0;
  lua_settop(L, 1);
  h->self = luaL_ref(L, LUA_REGISTRYINDEX);
  sd_loop_defer(h->core->loop, wake_waiting, h);
  return 0;
}

static int take_message(lua_State *L, int status, lua_KContext ctx) {
  struct connection *h = lua_touserdata(L, 1);
  struct sd_frame_text text;
  struct sd_err err;
  (void)status, (void)ctx;
  if (!h->conn) return push_closed(L);
  switch (sd_conn_next(h->conn, &text, &err)) {
    case SD_CONN_MESSAGE: lua_pushlstring(L, text.data, text.len); return 1;
    case SD_CONN_WAIT: return lsd_await(L, &h->coming, take_message, 0);
    case SD_CONN_END: luaL_pushfail(L); return 1;
    default: return lsd_push_error(L, &err);
  }
}

/* receive() -> text; nil when the peer has sent its last; nil, message, code. Waits. */
static int lsd_connection_receive(lua_State *L) {
  struct connection *h = check_connection(L, 1);
  lsd_check_await(L);
  lua_settop(L, 1);
  if (h->coming.co) return luaL_error(L, "the connection is waited for already");
  return take_message(L, LUA_OK, 0);
}

/* send(text) -> true; nil, message, code */
static int lsd_connection_send(lua_State *L) {
  struct connection *h = check_connection(L, 1);
  size_t len;
  struct sd_err err;
  const char *text = luaL_checklstring(L, 2, &len);
  luaL_argcheck(L, !memchr(text, '\n', len), 2, "a message has no newline in it");
  if (sd_conn_send(h->conn, text, len, &err)) return lsd_push_error(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static int take_drained(lua_State *L, int status, lua_KContext ctx) {
  struct connection *h = lua_touserdata(L, 1);
  struct sd_err err;
  (void)status, (void)ctx;
  if (!h->conn) return push_closed(L);
  int rc = sd_conn_drain(h->conn, &err);
  if (rc < 0) return lsd_push_error(L, &err);
  if (rc == 0) return lsd_await(L, &h->leaving, take_drained, 0);
  lua_pushboolean(L, 1);
  return 1;
}

/* flush() -> true when the peer has taken everything; nil, message, code. Waits. */
static int lsd_connection_flush(lua_State *L) {
  struct connection *h = check_connection(L, 1);
  lsd_check_await(L);
  lua_settop(L, 1);
  if (h->leaving.co) return luaL_error(L, "the connection is flushed already");
  return take_drained(L, LUA_OK, 0);
}

/* pending() -> bytes that the peer has not taken; nothing where it is gone */
static int lsd_connection_pending(lua_State *L) {
  bool gone;
  size_t n = sd_conn_pending(check_connection(L, 1)->conn, &gone);
  if (gone) return 0;
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

/* peer() -> pid, uid */
static int lsd_connection_peer(lua_State *L) {
  const struct sd_conn_peer *peer = sd_conn_peer(check_connection(L, 1)->conn);
  lua_pushinteger(L, peer->pid);
  lua_pushinteger(L, peer->uid);
  return 2;
}

/* ---- connecting ---- */

static lua_Number field_seconds(lua_State *L, int i, const char *name, int ms) {
  lua_getfield(L, i, name);
  lua_Number s = luaL_optnumber(L, -1, (lua_Number)ms / 1000);
  lua_pop(L, 1);
  if (!(s >= 0 && s <= 86400)) luaL_error(L, "%s: from 0 to 86400 seconds", name);
  return s;
}

static void on_dialed(struct sd_conn *c, const struct sd_err *err, void *ud) {
  struct connection *h = ud;
  h->dial = NULL;
  if (c) take_over(h, c);
  else h->err = *err;
  if (lsd_wake(&h->coming) || !h->conn) return;
  sd_conn_close(h->conn); /* who asked for it has ended */
  h->conn = NULL;
}

static int take_dialed(lua_State *L, int status, lua_KContext ctx) {
  struct connection *h = lua_touserdata(L, 1);
  (void)status, (void)ctx;
  lua_settop(L, 1);
  return h->conn ? 1 : lsd_push_error(L, &h->err);
}

/* connect(dir, {timeout = seconds}?) -> connection; nil, message, code. Waits. */
static int lsd_control_connect(lua_State *L) {
  struct sd_err err;
  struct sd_dial_opts opts = {.dir = luaL_checkstring(L, 1), .on_done = on_dialed};
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) lua_newtable(L), lua_replace(L, 2);
  luaL_checktype(L, 2, LUA_TTABLE);
  opts.timeout_ms = (unsigned)(1000 * field_seconds(L, 2, "timeout", SD_CONTROL_DIAL_MS));
  lsd_check_await(L);
  struct connection *h = push_connection(L);
  opts.ud = h;
  if (sd_dial_open(h->core->loop, &opts, &h->dial, &err)) return lsd_push_error(L, &err);
  lua_replace(L, 1);
  lua_settop(L, 1);
  return lsd_await(L, &h->coming, take_dialed, 0);
}

/* ---- the server ---- */

struct arrival {
  struct sd_conn *conn;
  int on_open;
  bool taken;
};

/* In protected mode, since memory may be out. */
static int call_on_open(lua_State *L) {
  struct arrival *a = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, a->on_open);
  take_over(push_connection(L), a->conn);
  a->taken = true;
  lua_call(L, 1, 0);
  return 0;
}

static void on_open(struct sd_conn *c, void *ud) {
  struct server *s = ud;
  lua_State *L = s->core->main;
  struct arrival a = {.conn = c, .on_open = s->on_open};
  lua_pushcfunction(L, call_on_open);
  lua_pushlightuserdata(L, &a);
  lsd_call(s->core, 1);
  if (!a.taken) sd_conn_close(c);
}

static const char *field_string(lua_State *L, int i, const char *name) {
  lua_getfield(L, i, name); /* stays on the stack, and so the string */
  return luaL_optstring(L, -1, NULL);
}

/* listen(dir, {on_open = function, refusal = string?, background = boolean?, clients = integer?,
 * first = seconds?}) -> server; nil, message, code */
static int lsd_control_listen(lua_State *L) {
  struct sd_err err;
  struct sd_control_opts opts = {.dir = luaL_checkstring(L, 1), .on_open = on_open};
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  opts.refusal = field_string(L, 2, "refusal");
  lua_getfield(L, 2, "background");
  opts.background = lua_toboolean(L, -1);
  lua_getfield(L, 2, "clients");
  lua_Integer clients = luaL_optinteger(L, -1, SD_CONTROL_CLIENTS);
  luaL_argcheck(L, clients >= 1 && clients <= SD_CONTROL_CLIENTS, 2, "clients: out of range");
  opts.clients = (unsigned)clients;
  opts.first_ms = 1 + (unsigned)(1000 * field_seconds(L, 2, "first", SD_CONTROL_FIRST_MS));
  lua_getfield(L, 2, "on_open");
  luaL_argexpected(L, lua_isfunction(L, -1), 2, "table with a function on_open");
  struct server *s = lua_newuserdatauv(L, sizeof(*s), 0);
  *s = (struct server){.core = lsd_core(L), .on_open = LUA_NOREF};
  luaL_setmetatable(L, LSD_SERVER);
  lua_insert(L, -2);
  s->on_open = luaL_ref(L, LUA_REGISTRYINDEX);
  opts.ud = s;
  if (sd_control_listen(s->core->loop, &opts, &s->control, &err)) return lsd_push_error(L, &err);
  return 1;
}

static int lsd_server_close(lua_State *L) {
  struct server *s = luaL_checkudata(L, 1, LSD_SERVER);
  sd_control_close(s->control);
  s->control = NULL;
  luaL_unref(L, LUA_REGISTRYINDEX, s->on_open);
  s->on_open = LUA_NOREF;
  return 0;
}

/* clients() -> connections that are not closed */
static int lsd_server_clients(lua_State *L) {
  lua_pushinteger(L, sd_control_clients(check_server(L, 1)->control));
  return 1;
}

/* ---- the module ---- */

static void push_limits(lua_State *L) {
  static const struct {
    const char *name;
    lua_Integer value;
  } all[] = {{"clients", SD_CONTROL_CLIENTS},
             {"request_max", SD_CONTROL_REQUEST_MAX},
             {"answer_max", SD_CONTROL_ANSWER_MAX},
             {"pending_max", SD_CONTROL_PENDING_MAX},
             {"pending_all", SD_CONTROL_PENDING_ALL},
             {"behind", SD_CONTROL_BEHIND},
             {"rate", SD_CONTROL_RATE},
             {"burst", SD_CONTROL_BURST},
             {"rate_bytes", SD_CONTROL_RATE_BYTES},
             {"first_ms", SD_CONTROL_FIRST_MS},
             {"requests", SD_CONTROL_REQUESTS},
             {"notifications", SD_CONTROL_NOTIFICATIONS},
             {"dial_ms", SD_CONTROL_DIAL_MS}};
  size_t n = sizeof(all) / sizeof(all[0]);
  lua_createtable(L, 0, (int)n);
  for (size_t i = 0; i < n; i++) {
    lua_pushinteger(L, all[i].value);
    lua_setfield(L, -2, all[i].name);
  }
}

static void new_class(lua_State *L, const char *name, const luaL_Reg *meta, const luaL_Reg *list) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  luaL_setfuncs(L, list, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

static const luaL_Reg functions[] = {
    {"listen", lsd_control_listen}, {"connect", lsd_control_connect}, {NULL, NULL}};

static const luaL_Reg server_methods[] = {
    {"close", lsd_server_close}, {"clients", lsd_server_clients}, {NULL, NULL}};

static const luaL_Reg server_metamethods[] = {
    {"__gc", lsd_server_close}, {"__close", lsd_server_close}, {NULL, NULL}};

static const luaL_Reg connection_methods[] = {
    {"receive", lsd_connection_receive},
    {"send", lsd_connection_send},
    {"flush", lsd_connection_flush},
    {"pending", lsd_connection_pending},
    {"peer", lsd_connection_peer},
    {"close", lsd_connection_close},
    {NULL, NULL},
};

static const luaL_Reg connection_metamethods[] = {
    {"__gc", lsd_connection_close}, {"__close", lsd_connection_close}, {NULL, NULL}};

int luaopen_sd_control(lua_State *L) {
  new_class(L, LSD_SERVER, server_metamethods, server_methods);
  new_class(L, LSD_CONNECTION, connection_metamethods, connection_methods);
  luaL_newlib(L, functions);
  lua_pushstring(L, SD_CONTROL_NAME);
  lua_setfield(L, -2, "name");
  push_limits(L);
  lua_setfield(L, -2, "limits");
  return 1;
}
