-- What `lf` offers, used against its host.

--# JSON that is deep
local value, err = lf.json.decode(("["):rep(1e6))
res:print(value == nil and "contained" or "escaped")
--# JSON that is deep, to be written
local t = {} local top = t
for _ = 1, 1e5 do t[1] = {} t = t[1] end
local text, err = lf.json.encode(top)
res:print(text == nil and "contained" or "escaped")
--# JSON in a circle
local t = {} t[1] = t
local text, err = lf.json.encode(t)
res:print(text == nil and "contained" or "escaped")
--# JSON with a hole of any size
local text = lf.json.encode({ [1] = 1, [2 ^ 53] = 2 })
res:print(text == nil and "contained" or #text < 100 and "contained" or "escaped")
--# JSON of many small things
local text = "[" .. ("1,"):rep(1e6) .. "1]"
while true do lf.json.decode(text) end
--# JSON that is written for ever
local t = {} for i = 1, 1e5 do t[i] = i end
while true do lf.json.encode(t) end
--# JSON of one number
local text = ("1"):rep(4e6)
lf.json.decode(text) lf.json.decode("0." .. text) lf.json.decode("1e" .. text)
res:print("contained")
--# JSON of one string
lf.json.decode('"' .. ("\\u00e9"):rep(8e5) .. '"')
res:print("contained")
--# JSON of one key
lf.json.decode('{"' .. ("k"):rep(2e6) .. '":{"' .. ("k"):rep(2e6) .. '":1}}')
res:print("contained")
--# JSON of values that have none
for _, value in ipairs { print, coroutine.create(print), 0 / 0, 1 / 0 } do pcall(lf.json.encode, value) end
pcall(require("cjson").encode, setmetatable({}, { __index = function() while true do end end }))
res:print("contained")
--# an expression that is huge once compiled
for _ = 1, 5 do lf.re.match("a", "((a{1000}){1000}){1000}") end
res:print("contained")
--# expressions that are large, one after the other
for i = 1, 1e6 do lf.re.match("a", "\\w{200}" .. i, "u") end
--# an expression that is slow
local s = ("a"):rep(1e6)
while true do lf.re.find(s, "(a|aa|aaa)*(b|bb){100}(a?){200}c") end
--# an expression whose captures are slow
local s = ("a"):rep(1e6)
lf.re.match(s, "^((a?){200}|(a*)|(aa|a)*)*$")
res:print("contained")
--# an expression that is quadratic
lf.re.gsub(("a"):rep(1e6), ".*[^A-Z]|[a-z]|a*b", "x")
lf.re.split(("a"):rep(1e6), "a*b|c")
lf.re.gsub(("a"):rep(4e5), "a.*?b|a", "")
--# an expression that needs much memory for states
local s = {} for i = 1, 3e5 do s[i] = (i * 7919 % 13 < 6) and "a" or "b" end
s = table.concat(s)
while true do lf.re.find(s, "(a|b)*a(a|b){150}c") end
--# an expression that matches nothing, everywhere
while true do lf.re.gsub(("x"):rep(1e5), "", ("y"):rep(100)) end
--# an expression that is deep
lf.re.match("a", ("("):rep(1e5) .. (")"):rep(1e5))
res:print("contained")
--# an expression with a million alternatives
lf.re.match("a", ("a|"):rep(1e6))
res:print("contained")
--# a replacement by a function that spins, in an expression
lf.re.gsub("abc", ".", function() while true do end end)
--# digests without end
local s = ("x"):rep(4e6) while true do lf.sha256(s) end
--# keys of digests
lf.hmac("sha256", ("k"):rep(4e6), ("x"):rep(4e6))
res:print("contained")
--# encodings without end
local s = ("x"):rep(2e6) while true do lf.base64.decode(lf.base64.encode(s)) end
--# encodings that triple
local s = "%" while true do s = lf.escape_uri(s) end
--# random bytes without end
while true do lf.random_bytes(1e6) end
--# more random bytes than there are
local bytes = lf.random_bytes(1e6 + 1e9)
res:print(bytes == nil and "contained" or "escaped")
--# arguments of a query without end
local s = ("a=%41&"):rep(6e5) while true do lf.decode_args(s, 0) end
--# arguments to a query in a circle
local t = {} t.t = t
pcall(lf.encode_args, t)
res:print("contained")
--# arguments to a query that spin
lf.encode_args(setmetatable({}, { __pairs = function() while true do end end, __index = function() while true do end end }))
res:print("contained")
--# the log without end
while true do lf.log(lf.ERR, "x") end
--# the log with a level that spins
lf.log(setmetatable({}, { __tostring = function() while true do end end }), "x")
--# a print that spins
print(setmetatable({}, { __tostring = function() while true do end end }))
--# a shared dictionary that everybody waits for
while true do lf.shared.d:flush_all() lf.shared.d:keys(0) lf.shared.d:flush_expired() end
--# a shared dictionary full of keys that are listed
for i = 1, 3e4 do lf.shared.d:set("k" .. i, i) end
while true do lf.shared.d:keys(0) end
--# a shared dictionary with a key of any length
local ok = lf.shared.d:set(("k"):rep(1e6), 1)
res:print(not ok and "contained" or "escaped")
--# a shared dictionary with a name of any length
local dict = lf.shared[("d"):rep(1e6)]
res:print("escaped")
--# a shared dictionary that lives for ever
lf.shared.d:set("k", 1, 1e300) lf.shared.d:set("k", 1, 0 / 0) lf.shared.d:incr("k", 0 / 0) lf.shared.d:expire("k", -1)
res:print("contained")
--# servers that are defined in a call
lf.http { listen = "127.0.0.1:0" }
--# upstreams without end
for i = 1, 1e6 do lf.upstream("u" .. i, { servers = { "127.0.0.1:1" } }) end
--# an upstream with options that spin
lf.upstream("u", setmetatable({}, { __pairs = function() while true do end end, __index = function() while true do end end }))
--# an upstream that is asked with what spins
lf.upstream("u", { servers = { "127.0.0.1:1" }, connect_timeout = 0.05, timeout = 0.05 })
lf.upstream("u"):call("x", setmetatable({}, { __index = function() while true do end end }))
--# an upstream that is none
local answer, err = lf.upstream("none"):call("x", { timeout = -1 })
res:print(answer == nil and "contained" or "escaped")
--# sockets without end
for i = 1, 5000 do lf.thread.spawn(function() local s = lf.socket.tcp() s:settimeout(0.05) s:connect("127.0.0.1", 1) end) end
res:print("contained")
--# an address of megabytes
local socket, err = lf.socket.connect(("x"):rep(4e6), 80)
res:print(socket == nil and "contained" or "escaped")
--# an address that is an object
pcall(lf.socket.connect, setmetatable({}, { __tostring = function() return "unix:/run/pwned" end, __concat = function() return "unix:/x" end }), 1)
res:print("contained")
--# names that are looked up without end
for i = 1, 2000 do lf.thread.spawn(function() lf.socket.connect("pwned" .. i .. ".invalid", 1) end) end
res:print("contained")
--# a timeout that is none
local socket = lf.socket.tcp()
for _, seconds in ipairs { 0 / 0, 1 / 0, -1, 1e300 } do pcall(socket.settimeout, socket, seconds) end
pcall(socket.connect, socket, "127.0.0.1", 1)
res:print("contained")
--# the end of an answer, by a status that is none
res:exit({})
--# the end of an answer works
res:print("contained") res:exit(200)
--# main: a server with metatables that spin
local spin = function() while true do end end
for _, route in ipairs(app.routes) do setmetatable(route, { __index = spin }) end
setmetatable(app.routes, { __call = spin, __tostring = spin, __pairs = spin })
