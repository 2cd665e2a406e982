-- Publishing through lf-comet: its control listener is an upstream like any other.

local rt, I, lf = ...

local type, error, tostring, pairs = type, error, tostring, pairs

lf.comet = {}

local token, connected

-- Where lf-comet's control listener is: `servers` as with lf.upstream, `token` if it asks for one.
function lf.comet.connect(options)
    if type(options) ~= "table" then error("bad argument #1 to 'connect' (a table expected, got " .. type(options) .. ")", 2) end
    local all = { proto = "http", servers = options.servers or { "127.0.0.1:8001" }, host = "comet" }
    for _, name in pairs { "timeout", "connect_timeout", "retries", "keepalive", "limit" } do all[name] = options[name] end
    token = options.token
    rt.upstream("lf.comet", all)
    connected = true
end

local function ask(method, path, body)
    if not connected then lf.comet.connect {} end
    local headers = token and { Authorization = "Bearer " .. token } or {}
    local answer, about = lf.upstream("lf.comet"):call(body, { method = method, path = path, headers = headers })
    if not answer then return nil, about end
    if about.status ~= 200 then return nil, "lf-comet: " .. about.status .. " " .. answer:gsub("%s+$", "") end
    return lf.json.decode(answer)
end

-- Sends to all who listen to an id, or to one that is subscribed to it. How many connections it goes to.
function lf.comet.send(id, data)
    local answer, err = ask("POST", "/send/" .. lf.escape_uri(tostring(id)), tostring(data))
    if not answer then return nil, err end
    return answer.delivered
end

-- The same to the id alone.
function lf.comet.direct(id, data)
    local answer, err = ask("POST", "/direct/" .. lf.escape_uri(tostring(id)), tostring(data))
    if not answer then return nil, err end
    return answer.delivered
end

-- Subscribes an id to another one; true once that is on disk, and whether it was news.
function lf.comet.subscribe(subscriber, subscribee)
    local answer, err = ask("PUT", "/subscriptions", lf.json.encode({
        subscriber = tostring(subscriber), subscribee = tostring(subscribee),
    }) .. "\n")
    if not answer then return nil, err end
    return true, answer.added == 1
end

function lf.comet.unsubscribe(subscriber, subscribee)
    local answer, err = ask("DELETE", "/subscriptions", lf.json.encode({
        subscriber = tostring(subscriber), subscribee = tostring(subscribee),
    }) .. "\n")
    if not answer then return nil, err end
    return true, answer.removed == 1
end
