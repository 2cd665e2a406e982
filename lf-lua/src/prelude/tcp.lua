-- Connections of lf.tcp and lf.nshead, and reading by pattern.

local rt, I, lf = ...

local type, tostring, setmetatable, error, tonumber, ipairs = type, tostring, setmetatable, error, tonumber, ipairs
local concat = table.concat
local SUSPENDED, CLOSE, FAILED = I.SUSPENDED, I.CLOSE, I.FAILED
local more, handlers = I.more, I.handlers

local UNFLUSHED_MAX = 256 * 1024

-- Reading by pattern, over pieces as they come. `pull(seconds)` answers a piece, or nil and an error.
local Reader = {}
Reader.__index = Reader

local function reader(pull) return setmetatable({ pull = pull, buffer = "" }, Reader) end
I.reader = reader

-- Lines without their ends, a number of bytes, or all until the end. What came of it is the third value of an error.
function Reader:receive(pattern, prefix, seconds)
    prefix = prefix or ""
    if pattern == nil or pattern == "*l" or pattern == "l" then
        local searched = 1
        while true do
            local at = self.buffer:find("\n", searched, true)
            if at then
                local line = self.buffer:sub(1, at - 1)
                self.buffer = self.buffer:sub(at + 1)
                return prefix .. (line:gsub("\r", ""))
            end
            searched = #self.buffer + 1
            local piece, err = self.pull(seconds)
            if not piece then
                local partial = self.buffer
                self.buffer = ""
                return nil, err, prefix .. partial
            end
            self.buffer = self.buffer .. piece
        end
    elseif pattern == "*a" or pattern == "a" then
        local pieces = { prefix, self.buffer }
        self.buffer = ""
        while true do
            local piece, err = self.pull(seconds)
            if not piece then
                local all = concat(pieces)
                if err == "closed" then return all end
                return nil, err, all
            end
            pieces[#pieces + 1] = piece
        end
    end
    local wanted = tonumber(pattern)
    if not wanted or wanted < 0 then
        error("bad pattern '" .. tostring(pattern) .. "': '*l', '*a' or a number of bytes expected", 3)
    end
    wanted = wanted - #prefix
    if wanted <= 0 then return prefix end
    local pieces, there = { self.buffer }, #self.buffer
    while there < wanted do
        local piece, err = self.pull(seconds)
        if not piece then
            self.buffer = ""
            return nil, err, prefix .. concat(pieces)
        end
        pieces[#pieces + 1] = piece
        there = there + #piece
    end
    local all = concat(pieces)
    self.buffer = all:sub(wanted + 1)
    return prefix .. all:sub(1, wanted)
end

-- What is there, at least a byte and at most `max`.
function Reader:receive_any(max, seconds)
    if self.buffer == "" then
        local piece, err = self.pull(seconds)
        if not piece then return nil, err end
        self.buffer = piece
    end
    local all = self.buffer
    self.buffer = all:sub(max + 1)
    return all:sub(1, max)
end

-- A connection of lf.tcp.
local Connection = { __metatable = false }

local lazy = {
    peer = function(c) return rt.peer(c._slot, c._generation) end,
    id = function(c) return rt.connection_id(c._slot, c._generation) end,
}

function Connection.__index(c, key)
    local method = Connection[key]
    if method then return method end
    local make = lazy[key]
    return make and make(c)
end

-- Nobody waits any more for what `of` has asked for. What was on its way meanwhile must not be lost.
local function take_back(c, of)
    I.late[of] = c
    I.wait_for(rt.unwant, c, 60)
    I.late[of] = nil
    local late = c._late
    if not late then return nil, "timeout" end
    c._late = nil
    return late[1], late[2], late[3]
end
I.take_back = take_back

local function want(c, seconds)
    local ticket, piece, err = I.wait_for(rt.want, c, seconds or c._timeout or 60)
    if not ticket then return nil, piece end
    if piece == nil and err == "timeout" then return take_back(c, ticket) end
    return piece, err
end
I.want = want

local function drained(c) return I.drained(c, c._timeout or 60) end

-- Sends a frame (with `raw`, bytes). It waits only for a client that does not read.
function Connection:send(data)
    if type(data) ~= "string" then data = type(data) == "table" and concat(data) or tostring(data) end
    if not self._away then
        -- In the call that the frame made: all goes out together at its end.
        local n = self._n + 1
        self._n = n
        self[n] = data
        return #data
    end
    local ok, err = rt.bytes(self._slot, self._generation, rt.SEND, data)
    if not ok then return nil, err end
    local unflushed = (self._unflushed or 0) + #data
    self._unflushed = unflushed
    if unflushed > UNFLUSHED_MAX and I.current() then
        self._unflushed = 0
        local ok, err = drained(self)
        if not ok then return nil, err end
    end
    return #data
end

-- Closes the connection once all is out.
function Connection:close()
    if self._away then
        rt.plain(self._slot, self._generation, rt.CLOSE)
    else
        self._close = true
    end
    return true
end

-- The next frame; of `raw` connections a line ("*l"), a number of bytes, or everything ("*a").
function Connection:receive(pattern, prefix)
    if not self._raw then return want(self) end
    local read = self._reader
    if not read then
        read = reader(function(seconds) return want(self, seconds) end)
        self._reader = read
    end
    return read:receive(pattern, prefix, self._timeout)
end

-- What came with the call that was not asked for, goes before what is still to come.
function Connection:unread(data)
    local read = self._reader or reader(function(seconds) return want(self, seconds) end)
    self._reader = read
    read.buffer = data .. read.buffer
end

function Connection:settimeout(seconds) self._timeout = seconds end

-- Calls `f(connection)` once the connection has ended, whoever ended it.
function Connection:on_close(f)
    local key = rt.connection_id(self._slot, self._generation)
    local watchers = I.watchers[key]
    if not watchers then
        watchers = {}
        I.watchers[key] = watchers
        rt.plain(self._slot, self._generation, rt.WATCH)
    end
    watchers[#watchers + 1] = { f, self }
end

I.watchers = {}

local function logged(what, ok, err, trace)
    if not ok then rt.failed(what, trace) end
    return 0
end

function I.closed(slot, generation)
    local key = rt.connection_id(slot, generation)
    local watchers = I.watchers[key]
    I.watchers[key] = nil
    for _, watcher in ipairs(watchers or {}) do
        I.spawn(watcher[1], "on_close", logged, watcher[2])
    end
    return more()
end

local function outgoing(c)
    local n = c._n
    if n == 0 then return nil end
    if n == 1 then
        local out = c[1]
        c[1], c._n = false, 0
        return out
    end
    local out = {}
    for i = 1, n do out[i], c[i] = c[i], nil end
    c._n = 0
    return out
end

local function finish(c, ok, err, trace)
    local flags = 0
    if not ok then
        rt.failed(rt.connection_id(c._slot, c._generation), trace)
        flags = FAILED
    end
    if c._away then
        rt.plain(c._slot, c._generation, ok and rt.RELEASE or rt.CLOSE)
        return 0
    end
    if c._close then flags = flags + CLOSE end
    return flags + more(), outgoing(c)
end

local function suspended(c)
    c._away = true
    -- A close before a wait comes after what was sent before it.
    if c._close then return SUSPENDED + CLOSE + more(), outgoing(c) end
    return SUSPENDED + more(), outgoing(c)
end

function I.tcp(handler, slot, generation, message, raw)
    -- What is read before it is written is there from the start: asking the metatable for it would cost more than the rest.
    local c = setmetatable({
        false, _slot = slot, _generation = generation, _n = 0, _raw = raw, _away = false, _close = false, _reader = false,
    }, Connection)
    return I.start(handlers[handler], c, finish, suspended, c, message)
end

function lf.tcp(options)
    local definition = I.define("tcp", options)
    definition.frame = definition.frame or "line"
    local frame = definition.frame
    if frame ~= "raw" and frame ~= "line" and frame ~= "len32" then
        error("lf.tcp: frame is '" .. tostring(frame) .. "'; it can be 'raw', 'line' or 'len32'", 2)
    end
    definition.handler = I.handler("lf.tcp", options.handler)
    return definition
end

-- nshead: the answer copies what the script does not say otherwise.
local Nshead = { __metatable = false }

function Nshead.__index(req, key)
    if key == "remote" then return rt.peer(req._slot, req._generation) end
    return Nshead[key]
end

local function number_of(value, default)
    if value == nil then return default end
    return tonumber(value) or error("nshead: a number expected, got " .. tostring(value), 0)
end

-- In the call's own task, because it may call the script's functions.
local function call_nshead(f, req)
    local body, fields = f(req)
    if type(fields) ~= "table" then fields = {} end
    if type(body) ~= "string" then body = body == nil and "" or tostring(body) end
    return {
        body, number_of(fields.id, req.id), number_of(fields.version, req.version), number_of(fields.log_id, req.log_id),
        tostring(fields.provider or req.provider), number_of(fields.reserved, 0),
    }
end

local function finish_nshead(req, ok, answer, trace)
    local flags = 0
    if not ok then
        rt.failed(rt.request_id(), trace)
        flags, answer = FAILED, { "", req.id, req.version, req.log_id, "", 0 }
    end
    local body, id, version, log_id, provider, reserved =
        answer[1], answer[2], answer[3], answer[4], answer[5], answer[6]
    if req._away then
        rt.nshead(req._slot, req._generation, ok, id, version, log_id, provider, reserved, body)
        return more()
    end
    return flags + more(), body, id, version, log_id, provider, reserved
end

local function suspended_nshead(req)
    req._away = true
    return SUSPENDED + more()
end

function I.nshead(handler, slot, generation, id, version, log_id, provider, reserved, body)
    local req = setmetatable({
        id = id, version = version, log_id = log_id, provider = provider, reserved = reserved, body = body,
        _slot = slot, _generation = generation,
    }, Nshead)
    return I.start(call_nshead, req, finish_nshead, suspended_nshead, handlers[handler], req)
end

function lf.nshead(options)
    local definition = I.define("nshead", options)
    definition.handler = I.handler("lf.nshead", options.handler)
    return definition
end
