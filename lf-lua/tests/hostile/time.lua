-- Everything for itself: the processor.

--# a loop
while true do end
--# a loop that is compiled
local x = 0 while true do x = x + 1 end
--# a loop over floats
for i = 0, math.huge do end
--# a loop that does not move
for i = 1, 2, 0 do end
res:print("contained")
--# a loop of jumps
::again:: goto again
--# a loop of calls
local function f() return f() end f()
--# a loop of two that call each other
local a, b
function a() return b() end
function b() return a() end
a()
--# a loop of pcalls
while true do pcall(error) end
--# a loop that is caught
while true do pcall(function() while true do end end) end
--# a loop that is caught again and again
local function catch(n) if n == 0 then while true do end end return pcall(catch, n - 1) end
while true do catch(100) end
--# a loop that is caught by xpcall, with a handler that loops
while true do xpcall(function() while true do end end, function() while true do end end) end
--# a loop of errors
while true do pcall(error, {}) end
--# a loop that is compiled, within one that is caught
while true do pcall(function() local t = {} for i = 1, 1e9 do t[1] = i end end) end
--# a loop of nothing but a function of the library
while true do math.sin(1) end
--# a loop of strings
local s = "x" while true do s = s:upper():lower():reverse() end
--# a loop of formats
while true do string.format("%99.99f", 1e308) end
--# a format that is wide
string.format("%1000000d", 1)
--# a format that is precise
string.format("%.1000000f", 1)
--# a format of many things
string.format(("%s"):rep(1e5), ("x"):rep(1e4):byte(1, 200))
--# a sort that never ends
local t = {} for i = 1, 1e5 do t[i] = i % 7 end
while true do table.sort(t, function(a, b) return a < b end) end
--# a sort with a comparator that lies
local t = {} for i = 1, 2e5 do t[i] = i end
table.sort(t, function() return true end)
--# a sort with a comparator of the library
local t = {} for i = 1, 5e5 do t[i] = i end
while true do table.sort(t, rawequal) end
--# a sort of as much as there is room for
local t = {} for i = 1, 1e6 do t[i] = (i * 7919) % 1000003 end
while true do table.sort(t) end
--# a sort whose pivots are always the worst
local n = 60000
local t, place = {}, {}
for i = 1, n do t[i] = i end
local solid, candidate, gas = 0, 0, n + 1
local value = {}
for i = 1, n do value[i] = gas end
pcall(table.sort, t, function(a, b)
    if value[a] == gas and value[b] == gas then
        if a == candidate then value[a] = solid else value[b] = solid end
        solid = solid + 1
    end
    if value[a] == gas then candidate = a elseif value[b] == gas then candidate = b end
    return value[a] < value[b]
end)
table.sort(value)
while true do table.sort(value) end
--# an insertion in front, again and again
local t = {} while true do table.insert(t, 1, 1) end
--# a concatenation of nothing
table.concat({}, "x", 1, 1e15)
res:print("contained")
--# a concatenation of many numbers
local t = {} for i = 1, 3e5 do t[i] = i + 0.1 end
while true do table.concat(t) end
--# an unpacking of nothing
local x = { (unpack or table.unpack)({}, 1, 1e9) }
--# an unpacking from far below
local x = { (unpack or table.unpack)({}, -1e9, 1e9) }
--# a table that says it is long
local t = setmetatable({}, { __len = function() return 1e15 end })
table.insert(t, 1, 1)
res:print("contained")
--# a table that says it is long, and is taken from
local t = setmetatable({}, { __len = function() return 1e15 end })
table.remove(t, 1)
res:print("contained")
--# a table that says it is long, and is unpacked
local t = setmetatable({}, { __len = function() return 1e15 end, __index = function() return 1 end })
local x = { (unpack or table.unpack)(t) }
res:print("contained")
--# a table that is moved for ever
if not table.move then error("contained") end
table.move({}, 1, 1e15, 2)
--# a table that is moved for ever, from an index
if not table.move then error("contained") end
table.move(setmetatable({}, { __index = function() return nil end }), 1, 1e15, 2)
--# a key that is looked for in vain
local t = {} for i = 1, 1e5 do t[i] = i end
for i = 1, 1e5 do t[i] = nil end
while true do next(t) end
--# a table whose every key is cleared
local t = {} for i = 1, 3e5 do t["k" .. i] = i end
while true do for k in pairs(t) do t[k] = nil end end
--# select from the end
while true do select(-1, ("x"):rep(5000):byte(1, -1)) end
--# a pattern that goes back and forth
("a"):rep(1e5):find((".-"):rep(50) .. "b")
--# a pattern that goes back and forth, found by all
for x in ("a"):rep(1e5):gmatch((".*"):rep(20) .. "b") do end
--# a pattern that goes back and forth, to be replaced
("a"):rep(1e5):gsub((".-"):rep(30) .. "b", "")
--# a pattern that is balanced nowhere
local s = ("("):rep(1e6) while true do s:match("%b()") end
--# a pattern of a large set
("a"):rep(1e6):find("[" .. ("b"):rep(1e6) .. "]")
--# a pattern of frontiers
while true do ("a"):rep(1e5):gsub("%f[%w]%f[%W]", "") end
--# a pattern with back references
("a"):rep(1e5):find("(a*)%1b")
--# a pattern without end
("a"):rep(100):find(("(a*"):rep(32))
--# a pattern of nothing but options
("a"):rep(30000):find(("a?"):rep(30000) .. ("a"):rep(30000))
--# a plain search that nearly finds
local s, p = ("a"):rep(4e6), ("a"):rep(2e6) .. "b"
while true do s:find(p, 1, true) end
--# a replacement by a function that spins
("abc"):gsub(".", function() while true do end end)
--# a replacement by a table that spins
("abc"):gsub(".", setmetatable({}, { __index = function() while true do end end }))
--# a text that is compiled again and again
local s = ("local x = {1, 2, 3} "):rep(150)
while true do load(s) end
--# a text of thousands of labels
local t = {} for i = 1, 60000 do t[i] = "::a" .. i .. "::" end
load(table.concat(t))
while true do end
--# a text that is deep
local f = load("return " .. ("("):rep(1e6) .. "1" .. (")"):rep(1e6))
local g = load(("do "):rep(1e6) .. ("end "):rep(1e6))
local h = load("x = " .. ("{"):rep(1e6))
local i = load("return " .. ("-"):rep(1e6) .. "1")
res:print(not (f or g or h or i) and "contained" or "escaped")
--# a number of megabytes
tonumber(("9"):rep(4e6)) tonumber("0x" .. ("f"):rep(4e6)) tonumber("1e" .. ("9"):rep(4e6))
res:print("contained")
--# a number with a base, of megabytes
tonumber(("z"):rep(4e6), 36)
res:print("contained")
--# comparisons of long strings
local a, b = ("x"):rep(4e6) .. "a", ("x"):rep(4e6) .. "b"
while true do local x = a < b end
--# random numbers without end
while true do math.random(0) end
--# the clock without end
while true do os.clock() os.time() os.date("!*t") end
--# waiting by looking at the clock
local began = os.clock() while os.clock() < began + 1e9 do end
--# the collector without end
while true do collectgarbage() collectgarbage("collect") collectgarbage("step", 1e9) end
--# the collector is not stopped
collectgarbage("stop") collectgarbage("setpause", 1e9)
for _ = 1, 2000 do local t = {} for i = 1, 1000 do t[i] = {} end end
res:print("contained")
--# lf.blocking is no way around
lf.blocking(function() while true do end end)
--# work between many short waits
for _ = 1, 1000 do
    lf.sleep(0.001)
    while true do end
end
