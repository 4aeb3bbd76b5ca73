std = "lua54"
max_line_length = 100
ignore = { "212/self" } -- methods that do not need their object

files["spec"] = { std = "+busted" }

-- Descriptions of C modules: functions without bodies.
files["lua/sd/meta"] = { ignore = { "211", "212", "241" } }
