-- lf-lua --compat: the whole script is run for each frame. What it asks and answers goes through `lua_ctx`, a global that is
-- another one in each call, also while several of them wait.

local rt, I, lf = ...

local type, tostring, error, setmetatable, rawget = type, tostring, error, setmetatable, rawget

local Context = { __metatable = false }
Context.__index = Context

-- What can go out as a frame; `level` is that of who is to blame.
local function frame_of(context, value, name)
    local kind = type(value)
    if kind ~= "string" and kind ~= "number" then
        error("bad argument #1 to '" .. name .. "' (string expected, got " .. kind .. ")", 3)
    end
    value = tostring(value)
    if context._is_line and value:find("\n", 1, true) then
        error("bad argument #1 to '" .. name .. "' (a line cannot hold a line feed; see --frame)", 3)
    end
    return value
end

-- The frame that this call is for.
function Context:getRequest() return self._request end

-- What is sent once the call is over; the last one counts, and nil takes it back.
function Context:setResponse(response)
    self._response = response ~= nil and frame_of(self, response, "setResponse") or nil
end

-- A name for the connection: no other one has it, before or after.
function Context:getSfd()
    local sfd = self._sfd
    if not sfd then
        local c = self._connection
        sfd = rt.name_of(c._slot, c._generation)
        self._sfd = sfd
    end
    return sfd
end

-- Sends a frame to the connection with this name: true; or nil and an error, such as "closed".
function Context:publish(message, sfd)
    message = frame_of(self, message, "publish")
    if type(sfd) ~= "string" then error("bad argument #2 to 'publish' (what getSfd answered expected, got " .. type(sfd) .. ")", 2) end
    if sfd == self:getSfd() then
        -- In order with what else this call sends.
        local ok, err = self._connection:send(message)
        if not ok then return nil, err end
        return true
    end
    local slot, generation = rt.named(sfd)
    if not slot then return nil, "closed" end
    return rt.bytes(slot, generation, rt.SEND, message)
end

-- Serves `chunk`, a function, on an address.
function I.compat(chunk, listen, frame)
    local is_line = frame == "line"
    setmetatable(_G, { __index = function(_, name)
        if name ~= "lua_ctx" then return nil end
        local task = I.current()
        local owner = task and task.owner
        return type(owner) == "table" and rawget(owner, "_context") or nil
    end })
    lf.tcp { listen = listen, frame = frame, handler = function(c, message)
        local context = setmetatable({ _connection = c, _request = message, _is_line = is_line }, Context)
        c._context = context
        chunk()
        local response = context._response
        if response then c:send(response) end
    end }
end
