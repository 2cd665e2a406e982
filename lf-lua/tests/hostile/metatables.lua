-- Values that run code when they are looked at: in Rust, in the prelude, in the driver.

--# __tostring that spins, printed
res:print(setmetatable({}, { __tostring = function() while true do end end }))
--# __tostring that spins, as an error
error(setmetatable({}, { __tostring = function() while true do end end }))
--# __tostring that fails, as an error
error(setmetatable({}, { __tostring = function() error("again") end }))
--# __tostring that is no string
res:print(setmetatable({}, { __tostring = function() return {} end }))
--# __index that spins, as header fields
res.header = setmetatable({}, { __index = function() while true do end end })
--# __pairs that spins, as header fields
res.header = setmetatable({}, { __pairs = function() while true do end end })
res:print("contained")
--# __index that spins, as a list of values of a field
res.header.X = setmetatable({}, { __index = function() while true do end end })
res:print("contained")
--# __tostring that spins, as the value of a field
res.header.X = setmetatable({}, { __tostring = function() while true do end end, __pairs = 1 })
res.header.Y = { setmetatable({}, { __tostring = function() while true do end end }) }
--# __tostring that spins, as the name of a field
res.header[setmetatable({}, { __tostring = function() while true do end end })] = "x"
--# a status that is a table with everything
local spin = function() while true do end end
res.status = setmetatable({}, { __tostring = spin, __index = spin, __eq = spin, __lt = spin, __le = spin, __unm = spin })
--# a status that is a string
res.status = "2e2" res:print("contained")
--# a status that is no status
res.status = 1e308
--# a status that is not a number
res.status = 0 / 0
--# a status of an upgrade
res.status = 101
--# a status below all
res.status = -1
--# __newindex that spins, in the place of the request
rawset(res, "_req", setmetatable({}, { __newindex = function() while true do end end }))
lf.sleep(0.001)
--# __index that spins, in the place of the request
rawset(res, "_req", setmetatable({}, { __index = function() while true do end end }))
lf.sleep(0.001)
--# __concat that spins, in the place of a connection
rawset(res._req, "_slot", setmetatable({}, { __concat = function() while true do end end, __lt = function() while true do end end }))
res:flush()
--# __lt that spins, as the length of an answer
rawset(res, "_n", setmetatable({}, { __lt = function() while true do end end, __eq = function() while true do end end }))
--# __len that spins, given to the library
lf.json.encode(setmetatable({}, { __len = function() while true do end end, __index = function() while true do end end }))
res:print("contained")
--# __call instead of a handler
local f = setmetatable({}, { __call = function() while true do end end })
lf.thread.spawn(f)
--# __gc of a table
setmetatable({}, { __gc = function() while true do end end })
for _ = 1, 100 do local t = {} for i = 1, 1000 do t[i] = {} end end
res:print("contained")
--# __gc that is set later
local mt = { __gc = true }
setmetatable({}, mt)
mt.__gc = function() while true do end end
for _ = 1, 100 do local t = {} for i = 1, 1000 do t[i] = {} end end
res:print("contained")
--# __mode that loses what the prelude keeps
setmetatable(_G, { __mode = "kv" })
res:print("contained")
--# __index of the globals
setmetatable(_G, { __index = function() while true do end end })
local x = nothing
--# __metatable is respected
res:print(pcall(setmetatable, res, {}) and "escaped" or "contained")
--# methods of answers cannot be replaced for others
local mt = getmetatable(res)
if mt then mt.print = function() end end
res:print("contained")
--# __eq between two calls
local a = setmetatable({}, { __eq = function() while true do end end })
local b = setmetatable({}, getmetatable(a))
res:print(a == b)
--# __lt within a sort
local mt = { __lt = function() while true do end end }
table.sort({ setmetatable({}, mt), setmetatable({}, mt) })
--# __lt that lies within a sort
local mt = { __lt = function() return true end }
local t = {}
for i = 1, 5000 do t[i] = setmetatable({}, mt) end
pcall(table.sort, t)
res:print("contained")
--# __concat for ever
local mt = {}
mt.__concat = function(a, b) return a .. b end
local t = setmetatable({}, mt)
local x = t .. t
--# __index for ever
local t = {}
setmetatable(t, { __index = function(t, k) return t[k .. "x"] end })
local x = t.x
--# __index in a circle
local a, b = {}, {}
setmetatable(a, { __index = b }) setmetatable(b, { __index = a })
local x = a.x
--# __newindex in a circle
local a, b = {}, {}
setmetatable(a, { __newindex = b }) setmetatable(b, { __newindex = a })
a.x = 1
--# a handler of errors that fails
xpcall(function() error("x") end, function(e) error(e) end)
res:print("contained")
--# a handler of errors that spins
xpcall(function() error("x") end, function(e) while true do end end)
--# a handler of errors that spins after its time
xpcall(function() while true do end end, function(e) while true do end end)
--# string methods replaced under the prelude
string.lower = function() while true do end end
string.gsub, string.find, string.gmatch, string.match = string.lower, string.lower, string.lower, string.lower
local x = req.headers.host
--# the iteration of tables replaced under the prelude
pairs, ipairs, next, type, tostring, select, unpack, error = nil, nil, nil, nil, nil, nil, nil, nil
table.concat, table.insert = nil, nil
res.header.A = { "b" }
res:say("x") res:print("contained")
--# the library replaced under the prelude
lf.json.encode = function() while true do end end
res:json { 1 }
