-- The commands of `sdlua` and the module of each. A file of its own, since the program looks here
-- whether a word is a command before it takes it for a script.

---@type table<string, string>
return {
  du = "sd.cli.du",
  dupes = "sd.cli.dupes",
  export = "sd.cli.export",
  index = "sd.cli.index",
  job = "sd.cli.job",
  location = "sd.cli.location",
  ls = "sd.cli.ls",
  rules = "sd.cli.rules",
  run = "sd.cli.run",
  search = "sd.cli.search",
  serve = "sd.cli.serve",
  sql = "sd.cli.sql",
  stat = "sd.cli.stat",
  top = "sd.cli.top",
  tree = "sd.cli.tree",
  verify = "sd.cli.verify",
}
