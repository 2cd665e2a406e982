-- Calls to other servers.

local rt, I, lf = ...

local type, error, setmetatable, select, pairs = type, error, setmetatable, select, pairs
local ask, ticket, wait = rt.ask, I.ticket, I.wait

local Upstream = { __metatable = false }
Upstream.__index = Upstream

-- Defines an upstream, or finds the one that was defined.
function lf.upstream(name, options)
    if type(name) ~= "string" then error("bad argument #1 to 'upstream' (a name expected, got " .. type(name) .. ")", 2) end
    if options then rt.upstream(name, options) end
    return setmetatable({ name = name }, Upstream)
end

-- Names and values of fields, as they are asked for.
local function headers_of(...)
    local headers = {}
    for i = 1, select("#", ...), 2 do
        local name, value = select(i, ...)
        headers[name:lower()] = value
    end
    return headers
end

-- What a call answers, from what came with it.
local function answered(body, server, tries, took, by_backup, status, id, version, log_id, reserved, provider, ...)
    -- An error, and its kind.
    if body == nil then return nil, server, tries end
    -- Whole from the start: a table that grows is made several times.
    if log_id then
        return body, {
            server = server, tries = tries, took = took, by_backup = by_backup or nil,
            id = id, version = version, log_id = log_id, reserved = reserved, provider = provider,
        }
    end
    local headers = status and headers_of(...) or nil
    return body, { server = server, tries = tries, took = took, by_backup = by_backup or nil, status = status, headers = headers }
end

-- The answer's body (of redis, its value) and what else is known of it; or nil, an error and its kind.
function Upstream:call(body, options)
    local of, asked = ticket(), nil
    -- The upstream keeps the time; the deadline is for the case that it cannot.
    if options == nil and type(body) == "string" then
        asked = ask(of, self.name, body, 3601)
    else
        rt.deadline(of, (options and options.timeout or 3600) + 1)
        asked = rt.call(of, self.name, body, options)
    end
    if not asked then
        I.cancel()
        return nil, "there is no upstream " .. self.name .. " in a server that runs", "no_upstream"
    end
    return answered(wait())
end

-- HTTP: the same with a method and a path.
function Upstream:get(path, options)
    local all = { method = "GET", path = path, idempotent = true }
    for key, value in pairs(options or {}) do all[key] = value end
    return self:call(nil, all)
end

function Upstream:post(path, body, options)
    local all = { method = "POST", path = path }
    for key, value in pairs(options or {}) do all[key] = value end
    return self:call(body, all)
end

-- Redis: redis:command("SET", "key", "value").
function Upstream:command(...)
    local value, about, kind = self:call({ ... })
    if type(value) == "table" and value.err then return nil, value.err, "redis" end
    return value, about, kind
end

function Upstream:servers() return rt.upstream_servers(self.name) or {} end
