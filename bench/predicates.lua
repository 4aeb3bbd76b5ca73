-- Predicates as people write them, for walk_rules: a kind of file, a size, a few directories.
local KEPT = { c = true, h = true, lua = true, md = true, txt = true, dat = true, bin = true }

return {
  accept_entry = function(e)
    return KEPT[e.name:match("%.(%w+)$") or ""] or e.size < 1 << 40
  end,
  accept_directory = function(d)
    return d.name ~= "node_modules" and d.name ~= "target"
  end,
}
