-- What a script sees of connections and answers, forged.

--# an answer of endless length
rawset(res, "_n", 1e15)
--# an answer of a length below nothing
rawset(res, "_n", -1e15) error("contained")
--# an answer whose length is no number
rawset(res, "_n", "x")
--# an answer of endless length that has begun
rawset(res, "_n", 1e15) rawset(res, "_started", true)
--# an answer whose pieces are tables
res[1], res[2] = {}, {} rawset(res, "_n", 2)
--# an answer whose pieces are numbers
res[1], res[2] = 1, "contained" rawset(res, "_n", 2)
--# the head of an answer within a field
res.header["X-A"] = "a\r\nX-Forged: 1"
res:print("contained")
--# the head of an answer within the name of a field
res.header["A: b\r\nX-Forged"] = "1"
res:print("contained")
--# an answer within a field
res.header["X-A"] = "a\r\n\r\nHTTP/1.1 200 OK\r\nX-Forged: 1\r\n\r\n"
res:print("contained")
--# a length of its own
res.header["Content-Length"] = "100000"
res:print("contained")
--# a coding of its own
res.header["Transfer-Encoding"] = "chunked"
res:print("contained")
--# the head of an answer within a redirect
res:redirect("/\r\nX-Forged: 1")
--# a million fields
for i = 1, 1e6 do res.header["f" .. i] = "x" end
res:print("contained")
--# a field of megabytes
res.header.X = ("x"):rep(4e6)
res:print("contained")
--# another connection's slot
for slot = 0, 2000 do
    for generation = 0, 20 do
        rawset(res._req, "_slot", slot) rawset(res._req, "_generation", generation) rawset(res, "_started", true)
        local ok = pcall(res.flush, res, 0.001)
    end
end
--# another connection is closed
local own = { lf.socket.tcp(), 0 }
local closed = 0
for slot = 0, 2000 do
    local socket = lf.socket.tcp()
    rawset(socket, "_slot", slot) rawset(socket, "_generation", 1)
    if socket:close() then closed = closed + 1 end
end
res:print("contained")
--# another connection is written to
local written = 0
for slot = 0, 500 do
    for generation = 0, 50 do
        local socket = lf.socket.tcp()
        rawset(socket, "_slot", slot) rawset(socket, "_generation", generation) rawset(socket, "_unflushed", 0)
        local ok, sent = pcall(socket.send, socket, "HTTP/1.1 200 OK\r\nX-Forged: 1\r\n\r\n")
        if ok and sent then written = written + 1 end
    end
end
res:print(written == 0 and "contained" or "escaped " .. written)
--# the neighbour of its own connection is written to
local written = 0
local slot, generation = res._req._slot, res._req._generation
for step = -50, 50 do
    local socket = lf.socket.tcp()
    rawset(socket, "_slot", slot + step) rawset(socket, "_generation", generation) rawset(socket, "_unflushed", 0)
    local ok, sent = pcall(socket.send, socket, "x")
    if step ~= 0 and ok and sent then written = written + 1 end
end
for step = 1, 200 do
    local socket = lf.socket.tcp()
    rawset(socket, "_slot", slot) rawset(socket, "_generation", generation + step) rawset(socket, "_unflushed", 0)
    local ok, sent = pcall(socket.send, socket, "x")
    if ok and sent then written = written + 1 end
end
res:print(written == 0 and "contained" or "escaped " .. written)
--# whose connection has which peer
local found = 0
for slot = 0, 200 do
    for generation = 0, 20 do
        rawset(req, "remote", nil) rawset(req, "_slot", slot) rawset(req, "_generation", generation)
        local ok, peer = pcall(function() return req.remote end)
        if ok and peer then found = found + 1 end
    end
end
res:print(found == 0 and "contained" or "escaped " .. found)
--# a slot that is no number
rawset(res._req, "_slot", {}) res:flush()
--# a slot that is none
rawset(res._req, "_slot", 0 / 0) res:flush()
--# a slot beyond all
rawset(res._req, "_slot", 1e300) rawset(res._req, "_generation", -1) res:flush()
--# an answer that is finished twice
res:print("contained") res:flush()
rawset(res, "_over", false) rawset(res, "_started", false)
res:print("contained") res:flush()
--# an answer that was begun by nobody
rawset(res, "_started", true) res:print("contained")
--# an answer to a call that is over
local kept = res
lf.thread.spawn(function()
    lf.sleep(0.02)
    rawset(kept, "_over", false) rawset(kept, "_started", false)
    for _ = 1, 100 do kept:print("X-Forged") kept:flush(0.001) end
end)
res:print("contained")
--# an answer that waits though it does not
rawset(res, "_away", true) res:print("contained")
--# a body that is still to come though it is not
rawset(req, "_stream", true) rawset(req, "_ended", false)
req:read(0.05)
res:print("contained")
--# a head that is none
rawset(req, "_head", setmetatable({}, { __index = function() return function() while true do end end end }))
local x = req.headers
--# a head that is endless
rawset(req, "_head", ("a: b\r\n"):rep(1e6))
local x = req.headers
--# header fields with a metatable of their own
setmetatable(req.headers, { __index = function() while true do end end })
local x = req:header("x")
--# arguments that are endless
rawset(req, "query", ("a=1&"):rep(1e6))
local x = req.args res:print("contained")
--# a socket that sends for ever
local socket = lf.socket.tcp()
rawset(socket, "_slot", res._req._slot) rawset(socket, "_generation", res._req._generation)
rawset(socket, "_unflushed", -1e300)
local piece = ("x"):rep(4e6)
while true do
    rawset(socket, "_unflushed", -1e300)
    local ok, err = socket:send(piece)
    if not ok then error(err) end
end
--# a thread that is none
lf.thread.wait(setmetatable({}, getmetatable(lf.thread.spawn(function() end))))
--# a thread that was over before it began
local thread = lf.thread.spawn(function() end)
thread.over, thread.result = true, { n = 1e15 }
local x = lf.thread.wait(thread)
res:print(x and "escaped" or "contained")
--# a thread with waiters that nobody knows
local thread = lf.thread.spawn(function() end)
thread.waiters = { 0 / 0, 1e300, {}, "x", -5 }
lf.sleep(0.001)
res:print("contained")
--# a thread with waiters that spin
local thread = lf.thread.spawn(function() end)
thread.waiters = { setmetatable({}, { __mod = function() while true do end end }) }
lf.sleep(0.001)
res:print("contained")
--# a thread whose task is another one's
local thread = lf.thread.spawn(function() end)
thread.task = setmetatable({}, { __index = function() while true do end end })
lf.thread.kill(thread)
--# a semaphore with endless tickets
local semaphore = lf.semaphore(0)
semaphore.last = 1e15
semaphore:post(1)
--# a semaphore that wakes others
local semaphore = lf.semaphore(0)
for i = 1, 3000 do semaphore[i] = i + 1048576 end
semaphore.last = 3000
semaphore:post(3000)
res:print("contained")
--# a ticket that another one waits with
local semaphore = lf.semaphore(0)
lf.thread.spawn(function() for id = 1, 50 do for generation = 1, 50 do
    semaphore.first, semaphore.last, semaphore[1] = 1, 1, generation * 1048576 + id
    pcall(semaphore.post, semaphore)
end end end)
lf.sleep(0.01)
res:print("contained")
