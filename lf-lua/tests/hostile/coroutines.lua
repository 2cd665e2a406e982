-- Coroutines, threads and timers: within them, between them, too many of them.

--# a coroutine that spins
coroutine.wrap(function() while true do end end)()
--# a coroutine that spins and is caught
while true do pcall(coroutine.wrap(function() while true do end end)) end
--# coroutines within coroutines
local function down() return coroutine.wrap(down)() end
down()
--# coroutines without end
while true do coroutine.wrap(function() coroutine.yield() end)() end
--# coroutines that are kept
local kept = {}
while true do
    local co = coroutine.create(function() coroutine.yield() end)
    coroutine.resume(co)
    kept[#kept + 1] = co
end
--# a yield out of the handler
coroutine.yield()
--# a yield of what the driver waits for
coroutine.yield({}, {}, {})
--# a yield out of an iterator
for x in coroutine.yield do end
--# a yield out of a sort
table.sort({ 3, 2, 1 }, function() coroutine.yield() end)
--# a yield out of a replacement
string.gsub("abc", ".", function() coroutine.yield() end)
--# a yield out of __tostring
tostring(setmetatable({}, { __tostring = function() coroutine.yield() end }))
--# the call's own coroutine, resumed from within
local co = coroutine.running()
res:print(coroutine.resume(co) and "escaped" or "contained")
--# the call's own coroutine, resumed by another
local co, got = coroutine.running(), nil
lf.thread.spawn(function() got = { coroutine.resume(co, "forged") } end)
local answer = lf.sleep(0.02)
res:print(got[1] == false and "contained" or "escaped")
--# the coroutine of a call that is over
local co
lf.thread.wait(lf.thread.spawn(function() co = coroutine.running() end))
local ok, done = coroutine.resume(co, function() return 1 end)
res:print(ok and "escaped" or "contained")
--# the driver's own sign for the end of a call
local co, sign
lf.thread.wait(lf.thread.spawn(function() co = coroutine.running() end))
local ok, done = coroutine.resume(co, function() return 1 end)
coroutine.yield(done)
--# the coroutine of a call as an iterator
local co
lf.thread.wait(lf.thread.spawn(function() co = coroutine.running() end))
local f = coroutine.wrap(coroutine.resume)
res:print(f(co, print) and "escaped" or "contained")
--# a coroutine that resumes itself
local co
co = coroutine.create(function() return coroutine.resume(co) end)
local _, ok = coroutine.resume(co)
res:print(ok == false and "contained" or "escaped")
--# wraps within wraps
local f = function() end
for _ = 1, 1e6 do f = coroutine.wrap(f) end
f()
--# a coroutine made of a function of the library
coroutine.wrap(lf.sleep)(0.001)
coroutine.wrap(coroutine.yield)(1)
res:print("contained")
--# a coroutine that waits while it is thrown away
local co = coroutine.create(function() lf.sleep(0.001) end)
local outer = coroutine.create(function() return coroutine.resume(co) end)
coroutine.resume(outer)
co, outer = nil, nil
res:print("contained")
--# threads without end
while true do lf.thread.spawn(function() end) end
--# threads that sleep without end
while true do lf.thread.spawn(function() lf.sleep(1e9) end) end
--# a thread that spawns its like
local function again() lf.thread.spawn(again) end
again()
res:print("contained")
--# threads that double
local function again() lf.thread.spawn(again) lf.thread.spawn(again) end
again()
res:print("contained")
--# a thread that spins
lf.thread.wait(lf.thread.spawn(function() while true do end end))
res:print("contained")
--# a thread that spins and is caught
lf.thread.spawn(function() while true do pcall(function() while true do end end) end end)
res:print("contained")
--# many threads that spin
for _ = 1, 3 do lf.thread.spawn(function() while true do end end) end
res:print("contained")
--# a thread that waits for itself
local thread
thread = lf.thread.spawn(function() lf.thread.wait(thread) end)
res:print("contained")
--# threads that wait for each other
local a, b
a = lf.thread.spawn(function() lf.thread.wait(b) end)
b = lf.thread.spawn(function() lf.thread.wait(a) end)
res:print("contained")
--# a thread that kills its caller
local thread = lf.thread.spawn(function() end)
lf.thread.kill(thread) lf.thread.kill(thread)
res:print("contained")
--# lf.all without end
local function again() return lf.all(again, again) end
again()
--# sleeping for no time without end
local function again() while true do lf.sleep(0) end end
lf.thread.spawn(again)
res:print("contained")
--# many who sleep for no time without end
for _ = 1, 100 do lf.thread.spawn(function() while true do lf.sleep(0) end end) end
res:print("contained")
--# sleeping for what is no time
for _, seconds in ipairs { 0 / 0, -1, -1 / 0, "x", {} } do pcall(lf.sleep, seconds) end
lf.thread.spawn(function() lf.sleep(1 / 0) end)
lf.thread.spawn(function() lf.sleep(1e300) end)
res:print("contained")
--# a timer of no period
lf.timer.every(1e-300, function() end)
res:print("contained")
--# timers without end
while true do lf.timer.at(0, function() end) end
--# a timer that sets its like
local function again() lf.timer.at(0, again) lf.timer.at(0, again) end
again()
res:print("contained")
--# a timer that spins
lf.timer.every(0.001, function() while true do end end)
res:print("contained")
--# semaphores that are posted without end
lf.semaphore(0):post(1e15)
--# semaphores that two throw at each other
local a, b = lf.semaphore(1), lf.semaphore(0)
lf.thread.spawn(function() while true do a:wait() b:post() end end)
lf.thread.spawn(function() while true do b:wait() a:post() end end)
res:print("contained")
