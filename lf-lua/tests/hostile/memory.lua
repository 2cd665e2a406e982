-- Everything for itself: memory.

--# a string that doubles
local s = "x" while true do s = s .. s end
--# a string that grows
local s = "" while true do s = s .. "0123456789" end
--# a string some times
local s = ("x"):rep(1e9)
--# a string more times than there are bytes
local s = ("x"):rep(2 ^ 53)
--# a string endless times
local s = ("x"):rep(1 / 0)
--# a string with a separator
local s = (""):rep(1e9, ("x"):rep(1000))
--# strings in a table
local t = {} while true do t[#t + 1] = ("x"):rep(1e6) .. #t end
--# tables in tables
local t = {} while true do t = { t, {}, {} } end
--# tables side by side
local t = {} for i = 1, 1e12 do t[i] = {} end
--# numbers in a table
local t = {} for i = 1, 1e12 do t[i] = i end
--# numbers in a hash
local t = {} for i = 1, 1e12 do t[i + 0.5] = i end
--# a table that is concatenated
local t = {} for i = 1, 4000 do t[i] = ("x"):rep(1e4) end
local s = table.concat(t, ("y"):rep(1e4))
--# closures
local t = {} while true do local i = #t t[i + 1] = function() return i end end
--# functions that are compiled
local t = {} while true do t[#t + 1] = load("return function() return '" .. #t .. "' end") end
--# a text that is too long to be compiled
local s = ("x=1 "):rep(2e6)
res:print(load(s) and "compiled" or "contained")
--# a text with too many constants
local t = {} for i = 1, 200000 do t[i] = "'" .. i .. "'" end
local f = load("return {" .. table.concat(t, ",") .. "}")
res:print("contained")
--# a text in endless pieces
res:print(load(function() return "x=1 " end) and "escaped" or "contained")
--# a text in endless pieces of nothing but spaces
res:print(load(function() return (" "):rep(1e5) end) and "escaped" or "contained")
--# recursion
local function down() return 1 + down() end
down()
--# recursion through pcall
local function down() return pcall(down), 1 end
down() res:print("contained")
--# recursion through metamethods
local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end
local x = t.x
--# recursion through tostring
local t = setmetatable({}, { __tostring = function(t) return tostring(t) end })
tostring(t)
--# recursion through a replacement
local function down(s) return (s:gsub(".", down)) end
down("abc")
--# recursion through a sort
local function down() table.sort({ 1, 2, 3 }, down) return true end
down()
--# recursion through load
local function down() return load(down) end
down() res:print("contained")
--# replacements that are huge
local s = ("x"):rep(1e5):gsub("x", ("y"):rep(1e5))
--# replacements that are huge, from a function
local y = ("y"):rep(1e5)
local s = ("x"):rep(1e5):gsub("x", function() return y end)
--# replacements of nothing
local s = ("x"):rep(1e5):gsub("", ("y"):rep(1e4))
--# captures
local t = {} while true do t[#t + 1] = { ("x"):rep(1000):match(("(.)"):rep(30)) } end
--# arguments
local t = {} for i = 1, 1e6 do t[i] = i end
print(unpack and unpack(t) or table.unpack(t))
--# bytes as arguments
local x = { ("x"):rep(1e6):byte(1, -1) }
--# an answer that is too large
for _ = 1, 1e6 do res:print(("x"):rep(1e5)) end
--# memory that is caught
local t = {} while true do pcall(function() while true do t[#t + 1] = ("x"):rep(1e5) .. #t end end) end
--# memory that is kept for the next one
kept = {} while true do kept[#kept + 1] = ("x"):rep(1e5) .. #kept end
--# memory that is kept nearly full
kept = {} for i = 1, 290 do kept[i] = ("x"):rep(1e5) .. i end
while true do kept[#kept + 1] = {} end
--# memory of a thread that waits
lf.thread.spawn(function() local t = {} for i = 1, 280 do t[i] = ("x"):rep(1e5) .. i end lf.sleep(1000) return t end)
res:print("contained")
--# shared dictionaries without end
for i = 1, 300 do
    local dict = lf.shared["d" .. i]
    for j = 1, 20 do dict:set("k" .. j, ("x"):rep(5e5)) end
end
--# a shared dictionary of any size
local dict = lf.shared_dict("huge", 1e12)
res:print("escaped")
--# a list in a shared dictionary
local dict = lf.shared.list
while dict:rpush("l", ("x"):rep(1e5)) do end
res:print("contained")
--# a shared dictionary of tiny things
for i = 1, 1e9 do lf.shared.tiny:set(i, i) end
--# names of interned strings
for i = 1, 1e9 do local s = "name" .. i end

--# full to the last byte by means of the language alone, and then all that is ours
local list, block, n = nil, "x", 0
local blocks = {}
for _ = 0, 20 do
    blocks[#blocks + 1] = block
    block = block .. block
end
local function fill()
    n = n + 1
    list = { list, block .. n }
end
local function names() return lf.vm() end
local calls = {
    lf.now, names, fill, lf.md5, lf.sha1, lf.base64.encode, lf.json.encode, lf.json.decode, lf.decode_args, lf.encode_args,
    function() return lf.shared.full:set("key", "value") end,
    function() return lf.re.find("subject", "s.b") end,
    function() return lf.timer.at(1, names) end,
    function() return lf.log(lf.DEBUG, "full") end,
    function() return req.headers.host end,
    function() return req.remote end,
    function() return lf.upstream("nobody"):call("x") end,
}
for i = #blocks, 1, -1 do
    block = blocks[i]
    while pcall(fill) do end
end
for i = 1, #calls do pcall(calls[i], "argument") end
error("the VM is full")
