-- Sockets that scripts open: LuaSocket's TCP calls, which wait without holding anybody up. `lf.socket` has them, and so
-- does `require "socket"` for code that knows nothing of lf.

local rt, I, lf = ...

local type, tostring, tonumber, error, select = type, tostring, tonumber, error, select
local setmetatable, getmetatable, pcall = setmetatable, getmetatable, pcall
local concat, min, max = table.concat, math.min, math.max
local want, drained, reader = I.want, I.drained, I.reader

-- No more is sent while this much has not been taken by the other side.
local UNFLUSHED_MAX = 256 * 1024
-- A wait of no time at all would end before anybody had looked at the socket.
local SECONDS_MIN = 0.002
-- LuaSocket waits for ever unless it is told otherwise; nothing does here.
local SECONDS_MAX = 86400

local Socket = { __metatable = false }
Socket.__index = Socket

function Socket.__tostring(socket)
    if not socket._slot then return "tcp{master}" end
    return "tcp{client}: " .. rt.connection_id(socket._slot, socket._generation)
end

local function must_wait(what)
    if I.current() then return end
    error(what .. " waits, and can only be called in a handler, a timer or a thread: the main chunk runs before the server does", 3)
end

-- A call of the socket begins; how long it may take in all is counted from here.
local function begin(socket)
    if socket._total then socket._begun = rt.now() end
end

-- How long it may wait now.
local function seconds(socket)
    local most = socket._timeout
    if socket._total then
        local left = socket._total - (rt.now() - socket._begun)
        most = most and min(most, left) or left
    end
    return max(most or socket._otherwise, SECONDS_MIN)
end

local function pull(socket)
    if not socket._slot then return nil, "closed" end
    local piece, err = want(socket, seconds(socket))
    if not piece and err ~= "timeout" then socket._slot = nil end
    return piece, err
end

-- With "t", how long a call may take in all; else how long it may wait each time.
function Socket:settimeout(value, mode)
    if value ~= nil and type(value) ~= "number" then
        error("bad argument #1 to 'settimeout' (a number of seconds expected, got " .. type(value) .. ")", 2)
    end
    if value and value < 0 then value = nil end
    mode = mode or "b"
    if mode == "b" then
        self._timeout = value
    elseif mode == "t" or mode == "r" then
        self._total = value
    else
        error("bad argument #2 to 'settimeout' ('b' or 't' expected)", 2)
    end
    return 1
end

-- In milliseconds, as cosockets have it: one limit for all there is to do.
function Socket:settimeouts(_, _, read) return self:settimeout(read and read / 1000) end

local options = {}
for _, name in ipairs {
    "tcp-nodelay", "keepalive", "reuseaddr", "reuseport", "linger", "dontroute", "ipv6-v6only", "tcp-keepidle",
    "tcp-keepcnt", "tcp-keepintvl", "recv-buffer-size", "send-buffer-size",
} do options[name] = true end

-- Nothing is held back (`tcp-nodelay`); the rest is for the system to know best.
function Socket:setoption(name)
    if not options[name] then error("bad argument #1 to 'setoption' (unsupported option '" .. tostring(name) .. "')", 2) end
    return 1
end

function Socket:getoption(name)
    if name == "tcp-nodelay" then return true end
    return nil, "unsupported option '" .. tostring(name) .. "'"
end

function Socket:connect(host, port)
    must_wait("socket:connect")
    if self._slot then self:close() end
    begin(self)
    local ticket, limit = I.ticket(), seconds(self)
    rt.deadline(ticket, limit)
    local address = port and (tostring(host):find(":", 1, true) and "[" .. host .. "]:" .. port or host .. ":" .. port) or host
    rt.connect(ticket, address, limit)
    local slot, generation, peer, from = I.wait()
    if not slot then return nil, generation end
    self._slot, self._generation, self._unflushed, self._peer, self._from = slot, generation, 0, peer, from
    self._reader = reader(function() return pull(self) end)
    return 1
end

-- All of it is sent, or nothing. Answers the index of the last byte; or nil, an error, and the index before the first.
function Socket:send(data, first, last)
    data = type(data) == "table" and concat(data) or tostring(data)
    local size = #data
    first, last = first or 1, last or -1
    if first < 0 then first = size + first + 1 end
    if last < 0 then last = size + last + 1 end
    first, last = max(first, 1), min(last, size)
    if not self._slot then return nil, "closed", first - 1 end
    if first > last then return first - 1 end
    if last - first + 1 < size then data = data:sub(first, last) end
    if self._unflushed > UNFLUSHED_MAX then
        begin(self)
        local ok, err = drained(self, seconds(self))
        if not ok then return nil, err, first - 1 end
        self._unflushed = 0
    end
    local ok, err = rt.bytes(self._slot, self._generation, rt.SEND, data)
    if not ok then return nil, err, first - 1 end
    self._unflushed = self._unflushed + #data
    return last
end

-- A line, a number of bytes, or all until the end; `prefix` goes before it, and counts. Or nil, an error, and what there is.
function Socket:receive(pattern, prefix)
    if not self._reader then return nil, "closed", "" end
    begin(self)
    prefix = prefix and tostring(prefix) or ""
    local got, err, part = self._reader:receive(pattern, prefix)
    if got and not self._slot and #got == #prefix and (pattern == "*a" or pattern == "a") then return nil, "closed", got end
    if got then return got end
    return nil, err, part
end

function Socket:receiveany(most)
    if not self._reader then return nil, "closed" end
    begin(self)
    return self._reader:receive_any(most)
end

-- Host, port and family of an address.
local function parts_of(address)
    local host, port = address:match("^%[?(.-)%]?:(%d+)$")
    if not host then return address end
    return host, tonumber(port), host:find(":", 1, true) and "inet6" or "inet"
end

function Socket:getpeername()
    if not self._slot then return nil, "closed" end
    return parts_of(self._peer)
end

function Socket:getsockname()
    if not self._slot then return nil, "closed" end
    return parts_of(self._from or "")
end

function Socket:close()
    if self._slot then rt.plain(self._slot, self._generation, rt.CLOSE) end
    self._slot, self._reader = nil, nil
    return 1
end

function Socket:shutdown(how)
    if how == "send" then error("socket:shutdown('send'): a connection is only closed as a whole here; see socket:close", 2) end
    if how ~= nil and how ~= "both" and how ~= "receive" then
        error("bad argument #1 to 'shutdown' ('both', 'send' or 'receive' expected)", 2)
    end
    if not self._slot then return nil, "closed" end
    if how ~= "receive" then self:close() end
    return 1
end

-- As in OpenResty: sockets that are put back are taken by the next connect to the same place. Here a connection is
-- opened each time; pools are what lf.upstream is for.
function Socket:setkeepalive() return self:close() end
function Socket:getreusedtimes() return 0 end

for _, name in ipairs { "bind", "listen", "accept" } do
    Socket[name] = function()
        error("socket:" .. name .. ": scripts listen with lf.tcp and lf.http, in the main chunk", 2)
    end
end
for _, name in ipairs { "getfd", "setfd", "dirty", "getstats", "setstats" } do
    Socket[name] = function()
        error("socket:" .. name .. ": a connection of lf has nothing of the kind", 2)
    end
end

local function new(otherwise) return setmetatable({ _otherwise = otherwise }, Socket) end

local function connect(otherwise, host, port)
    local socket = new(otherwise)
    local ok, err = socket:connect(host, port)
    if not ok then return nil, err end
    return socket
end

lf.socket = {}
function lf.socket.tcp() return new(60) end

function lf.socket.connect(host, port)
    must_wait("lf.socket.connect")
    return connect(60, host, port)
end

-- What `require "socket"` answers.
local M = { _VERSION = "LuaSocket 3.1.0 (of lf-lua)", BLOCKSIZE = 2048, gettime = rt.now }

function M.tcp() return new(SECONDS_MAX) end
M.tcp4, M.tcp6 = M.tcp, M.tcp

function M.connect(host, port, local_host)
    must_wait("socket.connect")
    if local_host then error("socket.connect: the local address cannot be chosen", 2) end
    return connect(SECONDS_MAX, host, port)
end
M.connect4, M.connect6 = M.connect, M.connect

function M.sleep(delay)
    must_wait("socket.sleep")
    I.sleep(max(tonumber(delay) or error("bad argument #1 to 'sleep' (a number of seconds expected)", 2), 0))
end

for name, instead in pairs {
    select = "each call waits by itself; for several at once there are lf.thread.spawn and lf.all",
    bind = "scripts listen with lf.tcp and lf.http, in the main chunk",
    udp = "there is only TCP", udp4 = "there is only TCP", udp6 = "there is only TCP",
} do
    M[name] = function() error("socket." .. name .. ": " .. instead, 2) end
end

M.dns = {}

local function addresses(host)
    must_wait("socket.dns")
    local ticket = I.ticket()
    rt.deadline(ticket, 60)
    rt.look_up(ticket, tostring(host))
    local text, err = I.wait()
    if not text then return nil, err end
    local list = {}
    for address in text:gmatch("%S+") do list[#list + 1] = address end
    return list
end

function M.dns.toip(host)
    local list, err = addresses(host)
    if not list then return nil, err end
    return list[1], { name = host, alias = {}, ip = list }
end

function M.dns.getaddrinfo(host)
    local list, err = addresses(host)
    if not list then return nil, err end
    for i, address in ipairs(list) do
        list[i] = { family = address:find(":", 1, true) and "inet6" or "inet", addr = address }
    end
    return list
end

for _, name in ipairs { "tohostname", "getnameinfo", "gethostname" } do
    M.dns[name] = function() error("socket.dns." .. name .. ": names are only looked up by toip and getaddrinfo", 2) end
end

-- Errors that `try` raises and `protect` returns.
local Exception = {}

function M.newtry(finalize)
    return function(...)
        if (...) then return ... end
        if finalize then pcall(finalize) end
        error(setmetatable({ (select(2, ...)) }, Exception), 0)
    end
end
M.try = M.newtry()

local function protected(ok, ...)
    if ok then return ... end
    local err = ...
    if getmetatable(err) == Exception then return nil, err[1] end
    error(err, 0)
end

function M.protect(f)
    return function(...) return protected(pcall(f, ...)) end
end

function M.skip(n, ...) return select(n + 1, ...) end

-- Sources and sinks by name, as LTN12 has them. Other modules add to these tables.
M.sourcet, M.sinkt = {}, {}

M.sourcet["until-closed"] = function(socket)
    local over = false
    return function()
        if over then return nil end
        local piece, err = socket:receiveany(M.BLOCKSIZE)
        if piece then return piece end
        over = true
        if err ~= "closed" then return nil, err end
        socket:close()
    end
end
M.sourcet.default = M.sourcet["until-closed"]

M.sourcet["by-length"] = function(socket, length)
    return function()
        if length <= 0 then return nil end
        local piece, err = socket:receive(min(M.BLOCKSIZE, length))
        if not piece then return nil, err end
        length = length - #piece
        return piece
    end
end

M.sinkt["keep-open"] = function(socket)
    return function(piece)
        if piece then return socket:send(piece) end
        return 1
    end
end
M.sinkt.default = M.sinkt["keep-open"]

M.sinkt["close-when-done"] = function(socket)
    return function(piece)
        if piece then return socket:send(piece) end
        socket:close()
        return 1
    end
end

function M.choose(makers)
    return function(name, a, b)
        if type(name) ~= "string" then name, a, b = "default", name, a end
        local make = makers[name] or error("there is no source or sink '" .. name .. "'", 2)
        return make(a, b)
    end
end
M.source, M.sink = M.choose(M.sourcet), M.choose(M.sinkt)

package.preload["socket"] = function() return M end
package.preload["socket.core"] = package.preload["socket"]
