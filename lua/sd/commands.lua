-- The commands of `sdlua` and the module of each. A file of its own, since the program looks here
-- whether a word is a command before it takes it for a script.

---@type table<string, string>
return {
  du = "sd.cli.du",
  export = "sd.cli.export",
  index = "sd.cli.index",
  job = "sd.cli.job",
  location = "sd.cli.location",
  ls = "sd.cli.ls",
  run = "sd.cli.run",
  serve = "sd.cli.serve",
  sql = "sd.cli.sql",
  stat = "sd.cli.stat",
  top = "sd.cli.top",
  tree = "sd.cli.tree",
  verify = "sd.cli.verify",
}
