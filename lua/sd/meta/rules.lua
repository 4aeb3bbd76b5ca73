---@meta sd.core.rules
-- runtime/bind/rules.c: what is left out of the index. docs/rules.md explains the rules.

---@class sd.core.rules
local M = {}

--- Without any of them, only remote and snapshot mounts are left out. `include` and `exclude` are
--- patterns as in a .gitignore, relative to the root; a later one outweighs an earlier one.
---@class sd.RulesOptions
---@field rules? string Names of rules, commas between: see `known()`.
---@field include? string[] Only files stay that one matches, or that are below such a directory.
---@field exclude? string[] What one matches is left out; `!` takes back.
---@field accept_children? string[] Names: only files stay below a directory with one of them.
---@field reject_children? string[] Names: a directory with one of them in it is left empty.
---@field min_size? integer Bytes, of regular files.
---@field max_size? integer Bytes, of regular files.
---@field newer? integer Files modified before it are left out; nanoseconds since 1970.
---@field older? integer Files modified after it are left out; nanoseconds since 1970.
---@field one_filesystem? boolean Mounts below the root are not entered.
---@field remote? boolean Remote file systems are entered below the root as well.
---@field snapshots? boolean Snapshots are entered below the root as well.

--- Makes a rule set. An unknown option raises.
---@param options sd.RulesOptions
---@return sd.Rules? rules
---@return string? message Names the rule or the pattern that is none.
---@return string? code "EINVAL".
function M.compile(options) end

--- The names that `rules` may have.
---@return string[]
function M.known() end

---@class sd.Rules: userdata Does not change; walkers may share it.
local Rules = {}

--- What a walk of `root` does with a path. Reads ignore files on the way, and does not wait for the
--- loop. What is not there is taken for a file, what stands before a slash for a directory. The
--- detail is also given for a pattern that takes the path back.
---@param root string Absolute, free of symlinks.
---@param path string Below the root.
---@return boolean? accepted
---@return string? rule The rule that leaves it out; nil where it stays. Or the message.
---@return string about The path, or the directory above it that the rule is about. Or the code.
---@return string detail FILE:LINE:PATTERN, a pattern, or a child's name; "" where there is none.
function Rules:decide(root, path) end

--- Walkers that use the set keep it. `__close` and `__gc` do it.
function Rules:close() end

return M
