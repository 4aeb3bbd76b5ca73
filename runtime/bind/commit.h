/* commit.h - one transaction: batches, contents, SQL, job state and queue changes together.
 * Owner, thread, errors: as op.h. */
#ifndef SD_BIND_COMMIT_H
#define SD_BIND_COMMIT_H

#include "bind/await.h"

/* library:commit{job_id=, location_id=, want_content=, batches={...}, contents={...}, sql={{text,
 * ...}}, state={text, ...}, queues={...}} -> counts; nil, message, code. `sql` runs before, `state`
 * after the rows; the time of state and queues is what checkpoints cost. Waits. */
int lsd_library_commit(lua_State *L);

#endif
