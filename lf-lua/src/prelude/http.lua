-- HTTP: what a script sees of a request, an answer and a WebSocket.

local rt, I, lf = ...

local type, tostring, select, setmetatable, rawget, rawset, error, pairs, ipairs =
    type, tostring, select, setmetatable, rawget, rawset, error, pairs, ipairs
local tonumber, xpcall = tonumber, xpcall
local concat = table.concat
local traceback = I.traceback
local SUSPENDED = I.SUSPENDED
local more = I.more

local handlers = I.handlers

-- An answer in pieces waits for its peer once this much was written since it last waited.
local UNFLUSHED_MAX = 256 * 1024

local Request, Response = { __metatable = false }, { __metatable = false }

-- Header fields: names in lower case, and in any case when asked.
local Headers = {
    __index = function(headers, name)
        if type(name) ~= "string" then return nil end
        return rawget(headers, name:lower():gsub("_", "-"))
    end,
}

local function parse_head(head)
    local headers = {}
    for name, value in head:gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)\r\n") do
        name = name:lower()
        value = value:gsub("[ \t]+$", "")
        local before = headers[name]
        -- RFC 9110, 5.3: fields of one name are one list; cookies have a list of their own.
        headers[name] = before and (before .. (name == "cookie" and "; " or ", ") .. value) or value
    end
    return setmetatable(headers, Headers)
end

local lazy = {
    headers = function(req) return parse_head(req._head or rt.head(req._slot, req._generation) or "") end,
    args = function(req) return req.query and lf.decode_args(req.query) or {} end,
    params = function() return {} end,
    remote = function(req) return rt.peer(req._slot, req._generation) end,
    id = function() return rt.request_id() end,
}

function Request.__index(req, key)
    local method = Request[key]
    if method then return method end
    local make = lazy[key]
    if not make then return nil end
    local value = make(req)
    rawset(req, key, value)
    return value
end

function Request:header(name) return self.headers[name] end

-- The body whole. A route with `stream = true` reads what has not come yet, and waits for it.
function Request:body()
    if self._stream then
        -- Kept for the case that it pauses, and is asked for again.
        local pieces = rawget(self, "_pieces") or {}
        self._pieces = pieces
        for piece in self:pieces() do pieces[#pieces + 1] = piece end
        if self._broken then return nil, self._broken end
        self._body = concat(pieces)
        self._stream, self._pieces = nil, nil
    end
    return self._body or ""
end

-- The next piece of a body that comes in pieces; nil at its end, nil and an error if the client has gone. After a timeout it
-- can be asked for again.
function Request:read(seconds)
    if not self._stream or self._ended then return nil end
    local ticket, piece, err, last = I.wait_for(rt.want, self, seconds or 60)
    if not ticket then
        piece, err = nil, piece
    elseif not piece and err == "timeout" then
        piece, err, last = I.take_back(self, ticket)
    end
    self._broken = not piece and err or nil
    if last or (not piece and err ~= "timeout") then self._ended = true end
    return piece, not piece and err or nil
end

function Request:pieces()
    return function()
        local piece
        repeat piece = self:read() until piece ~= "" or self._ended
        if piece == "" then return nil end
        return piece
    end
end

function Request:json() return lf.json.decode(self:body()) end

function Request:form() return lf.decode_args(self:body()) end

function Request:cookie(name)
    local cookies = self.headers.cookie
    if not cookies then return nil end
    for key, value in cookies:gmatch("([^=;%s]+)=([^;]*)") do
        if key == name then return (value:gsub('^"(.*)"$', "%1")) end
    end
end

-- Fields as they go to Rust: name, value, name, value ...
local function flat(fields)
    local out, n = {}, 0
    for name, value in pairs(fields) do
        if type(value) == "table" then
            for _, each in ipairs(value) do
                out[n + 1], out[n + 2] = tostring(name), tostring(each)
                n = n + 2
            end
        else
            out[n + 1], out[n + 2] = tostring(name), tostring(value)
            n = n + 2
        end
    end
    return out
end

local HeaderTable = {
    __call = function(header, first, second)
        -- `res.header{...}` and `res:header{...}`; `res:header(name, value)` too.
        local fields = first
        if type(first) == "table" and rawget(first, "_req") then fields = second end
        if type(fields) ~= "table" then error("a table of header fields expected, got " .. type(fields), 2) end
        for name, value in pairs(fields) do header[name] = value end
    end,
}

function Response.__index(res, key)
    local method = Response[key]
    if method then return method end
    if key == "header" then
        local header = setmetatable({}, HeaderTable)
        rawset(res, "header", header)
        return header
    end
end

local function over(res)
    if res._over then error("the answer is finished already", 3) end
end

function Response:print(first, ...)
    if self._over then over(self) end
    local n = self._n + 1
    self[n] = type(first) == "string" and first or tostring(first)
    for i = 1, select("#", ...) do
        n = n + 1
        self[n] = tostring((select(i, ...)))
    end
    self._n = n
    return self
end

function Response:say(...)
    self:print(...)
    local n = self._n + 1
    self[n] = "\n"
    self._n = n
    return self
end

function Response:json(value, status)
    local text, err = lf.json.encode(value)
    if not text then error(err, 2) end
    if status then self.status = status end
    self._type = "application/json"
    return self:print(text)
end

-- Ends the answer now, with this status, and the call with it.
local EXIT = {}
function Response:exit(status)
    if status then self.status = status end
    error(EXIT, 0)
end

function Response:redirect(location, status)
    self.header.Location = location
    return self:exit(status or 302)
end

local function taken(res)
    local n = res._n
    if n == 1 then
        local body = res[1]
        res[1], res._n = false, 0
        return body
    end
    if n == 0 then return "" end
    local body = concat(res, "", 1, n)
    for i = 1, n do res[i] = nil end
    res._n = 0
    return body
end

local function begin(res)
    local header = rawget(res, "header")
    local fields = header and flat(header) or {}
    if res._type and not (header and (header["Content-Type"] or header["content-type"])) then
        fields[#fields + 1] = "Content-Type"
        fields[#fields + 1] = res._type
    end
    res._started = true
    local req = res._req
    return rt.start(req._slot, req._generation, res.status, fields)
end

-- Sends what was written so far, and waits until the client has room for more. nil and an error if it has gone.
function Response:flush(seconds)
    if self._over then over(self) end
    if not self._started then
        local ok, err = begin(self)
        if not ok then return nil, err end
    end
    local body, req = taken(self), self._req
    if body ~= "" then
        local ok, err = rt.bytes(req._slot, req._generation, rt.CHUNK, body)
        if not ok then return nil, err end
    end
    return I.drained(req, seconds or 60)
end

-- What is to be answered. Here, in the call's own task, because it may call the script's functions.
local function prepared(res)
    if res._started then return 0, taken(res) end
    local fields, kind = nil, res._type or nil
    local header = rawget(res, "header")
    if header then
        fields = flat(header)
        if header["Content-Type"] or header["content-type"] then kind = "" end
    end
    return tonumber(res.status) or 500, taken(res), kind, fields
end

-- Runs a handler; what is to be answered, or nil and a traceback.
local function call(f, req, res)
    local ok, err = xpcall(f, traceback, req, res)
    if ok or err == EXIT then return prepared(res) end
    return nil, type(err) == "string" and err or "an error that is a " .. type(err) .. ": " .. tostring(err)
end

-- The answer, at the end of the call: to whom called if that is still there, else over to the connection.
local function finish(res, ok, status, body, kind, fields)
    if not ok then status, body = nil, body end
    local req = res._req
    res._over = true
    if not status then
        rt.failed(rt.request_id(), body)
        status, body, kind, fields = 500, "500 Internal Server Error\n", nil, nil
        if res._started then
            rt.plain(req._slot, req._generation, rt.CLOSE)
            return more()
        end
    elseif res._started then
        if body ~= "" then rt.bytes(req._slot, req._generation, rt.CHUNK, body) end
        rt.plain(req._slot, req._generation, rt.FINISH)
        return more()
    end
    if res._away then
        rt.respond(req._slot, req._generation, status, body, kind or "text/plain; charset=utf-8", fields)
        return more()
    end
    return more(), status, body, kind, fields
end

local function suspended(res)
    local req = res._req
    -- What only this turn knows.
    if not rawget(req, "headers") then req._head = rt.head(req._slot, req._generation) end
    res._away = true
    return SUSPENDED + more()
end

-- Parameters of the path: name, value, name, value ...
local function with_params(req, name, ...)
    local params, rest = {}, { name, ... }
    for i = 1, #rest, 2 do params[rest[i]] = rest[i + 1] end
    req.params = params
    return req
end

-- What is read before it is written is there from the start: asking a metatable for it would cost more than the rest.
local function request(method, path, query, slot, generation, name, ...)
    local req = setmetatable({
        method = method, path = path, query = query or false, _slot = slot, _generation = generation,
        _body = false, _stream = false, _ended = false, _head = false, _late = false,
    }, Request)
    if name then return with_params(req, name, ...) end
    return req
end

-- Eight names with `header`: one more, and the table is twice as large.
local function response(req)
    return setmetatable({
        false, status = 200, _n = 0, _req = req, _type = false, _started = false, _over = false, _away = false,
    }, Response)
end

-- A request whose body has come whole. Answers flags, and with none of them the status, body, type and fields.
function I.http(handler, slot, generation, method, path, query, body, ...)
    local req = request(method, path, query, slot, generation, ...)
    req._body = body
    local res = response(req)
    return I.start(call, res, finish, suspended, handlers[handler], req, res)
end

-- A request whose body comes in pieces.
function I.http_stream(handler, slot, generation, method, path, query, _, ...)
    local req = request(method, path, query, slot, generation, ...)
    req._stream = true
    local res = response(req)
    return I.start(call, res, finish, suspended, handlers[handler], req, res)
end

-- WebSockets.
local Socket = { __metatable = false }
Socket.__index = Socket

-- What came before the end, and was not asked for before it.
local leftovers = {}

function I.left(slot, generation, message, kind)
    local key = rt.connection_id(slot, generation)
    local list = leftovers[key]
    if not list then
        list = { first = 1 }
        leftovers[key] = list
    end
    list[#list + 1] = { message, kind }
    return 0
end

local function leftover(socket, err)
    local key = rt.connection_id(socket._slot, socket._generation)
    local list = leftovers[key]
    local entry = list and list[list.first]
    if not entry then
        leftovers[key] = nil
        socket._closed = true
        return nil, err
    end
    list[list.first] = false
    list.first = list.first + 1
    return entry[1], entry[2]
end

function Socket:recv(seconds)
    if self._closed then return nil, "closed" end
    local ticket, message, err, kind = I.wait_for(rt.want, self, seconds or 3600)
    if not ticket then return leftover(self, message) end
    if not message and err == "timeout" then message, err, kind = I.take_back(self, ticket) end
    if not message then
        if err == "timeout" then return nil, err end
        return leftover(self, err)
    end
    return message, kind
end
Socket.receive = Socket.recv

local function send(socket, op, message)
    if socket._closed then return nil, "closed" end
    message = tostring(message)
    local ok, err = rt.bytes(socket._slot, socket._generation, op, message)
    if not ok then return nil, err end
    local unflushed = socket._unflushed + #message
    if unflushed > UNFLUSHED_MAX and I.current() then
        socket._unflushed = 0
        return I.drained(socket, 60)
    end
    socket._unflushed = unflushed
    return true
end

function Socket:send(message) return send(self, rt.TEXT, message) end
Socket.send_text = Socket.send
function Socket:send_binary(message) return send(self, rt.BINARY, message) end
function Socket:ping(payload) return send(self, rt.PING, payload or "") end

function Socket:close(code, reason)
    if self._closed then return nil, "closed" end
    self._closed = true
    return rt.close_socket(self._slot, self._generation, code or 1000, reason or "")
end

local function finish_socket(socket, ok, err, trace)
    if not ok and err ~= EXIT then
        rt.failed(rt.request_id(), trace)
        if not socket._closed then rt.close_socket(socket._slot, socket._generation, 1011, "internal error") end
    elseif not socket._closed then
        rt.close_socket(socket._slot, socket._generation, 1000, "")
    end
    socket._closed = true
    leftovers[rt.connection_id(socket._slot, socket._generation)] = nil
    return more()
end

local function suspended_socket(socket)
    local req = socket.request
    if not rawget(req, "headers") then req._head = rt.head(req._slot, req._generation) end
    return SUSPENDED + more()
end

function I.websocket(handler, slot, generation, method, path, query, _, ...)
    local req = request(method, path, query, slot, generation, ...)
    local socket = setmetatable({ request = req, _slot = slot, _generation = generation, _unflushed = 0 }, Socket)
    return I.start(handlers[handler], socket, finish_socket, suspended_socket, socket, req)
end

local function accepted(f, req)
    local answer, text = f(req)
    if answer == true then return 101 end
    return tonumber(answer) or 403, text and tostring(text)
end

local function finish_accept(req, ok, status, text)
    if req._late then return more() end
    if ok then return status, text end
    rt.failed(rt.request_id(), text)
    return 500, "500 Internal Server Error\n"
end

local function suspended_accept(req)
    req._late = true
    rt.failed(rt.request_id(), "the accept function of a WebSocket waits, which it cannot")
    return 500, "500 Internal Server Error\n"
end

-- Whether a WebSocket may be opened: what `accept(req)` answers. It cannot wait.
function I.accept(handler, slot, generation, method, path, query, _, ...)
    local req = request(method, path, query, slot, generation, ...)
    return I.start(accepted, req, finish_accept, suspended_accept, handlers[handler], req)
end

-- What the main chunk calls.
local App = {}
App.__index = App

function App:route(method, path, handler, options)
    if type(method) ~= "string" or type(path) ~= "string" or type(handler) ~= "function" then
        error("route(method, path, function [, options]) expected", 2)
    end
    local n = #handlers + 1
    handlers[n] = handler
    local route = { method = method:upper(), path = path, handler = n }
    for key, value in pairs(options or {}) do route[key] = value end
    self.routes[#self.routes + 1] = route
    return self
end

for _, method in ipairs { "get", "post", "put", "delete", "patch", "head", "options" } do
    App[method] = function(app, path, handler, options) return app:route(method, path, handler, options) end
end
function App:any(path, handler, options) return self:route("*", path, handler, options) end

function App:websocket(path, handler, options)
    self:route("GET", path, handler, options)
    local route = self.routes[#self.routes]
    route.websocket = true
    if route.accept then
        if type(route.accept) ~= "function" then error("accept has to be a function", 2) end
        handlers[#handlers + 1] = route.accept
        route.accept = #handlers
    end
    return self
end

function lf.http(options)
    local definition = I.define("http", options)
    definition.routes = {}
    return setmetatable(definition, App)
end
