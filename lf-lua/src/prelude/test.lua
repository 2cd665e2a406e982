-- Tests of scripts: `describe` and `it`, and requests to the script's own servers.

local rt, I, lf, servers = ...

local type, tostring, error, pairs, ipairs, select, setmetatable, pcall, xpcall =
    type, tostring, error, pairs, ipairs, select, setmetatable, pcall, xpcall
local traceback = I.traceback

local groups, before, after = {}, {}, {}
local tests = {}

function describe(name, f)
    groups[#groups + 1] = name
    local befores, afters = #before, #after
    f()
    for i = #before, befores + 1, -1 do before[i] = nil end
    for i = #after, afters + 1, -1 do after[i] = nil end
    groups[#groups] = nil
end

local function copy(list)
    local out = {}
    for i, value in ipairs(list) do out[i] = value end
    return out
end

function it(name, f)
    local path = copy(groups)
    path[#path + 1] = name
    tests[#tests + 1] = { name = table.concat(path, ": "), f = f, before = copy(before), after = copy(after) }
end

function before_each(f) before[#before + 1] = f end
function after_each(f) after[#after + 1] = f end

local function show(value, depth)
    if type(value) == "string" then return ("%q"):format(value) end
    if type(value) ~= "table" or (depth or 0) > 3 then return tostring(value) end
    local parts = {}
    for key, each in pairs(value) do
        parts[#parts + 1] = ("[%s] = %s"):format(show(key, (depth or 0) + 1), show(each, (depth or 0) + 1))
    end
    table.sort(parts)
    return "{ " .. table.concat(parts, ", ") .. " }"
end

local function same(a, b)
    if a == b then return true end
    if type(a) ~= "table" or type(b) ~= "table" then return false end
    for key, value in pairs(a) do
        if not same(value, b[key]) then return false end
    end
    for key in pairs(b) do
        if a[key] == nil then return false end
    end
    return true
end

local plain = assert
local function check(holds, message, note)
    if holds then return true end
    -- Checks end with a call of this, which takes their place: one level up is the test.
    error((note and note .. ": " or "") .. message, 2)
end

assert = setmetatable({
    equal = function(expected, got, note)
        return check(expected == got, "expected " .. show(expected) .. ", got " .. show(got), note)
    end,
    same = function(expected, got, note)
        return check(same(expected, got), "expected " .. show(expected) .. ", got " .. show(got), note)
    end,
    truthy = function(got, note) return check(got, "expected something true, got " .. show(got), note) end,
    falsy = function(got, note) return check(not got, "expected nil or false, got " .. show(got), note) end,
    match = function(pattern, got, note)
        return check(type(got) == "string" and got:find(pattern), show(got) .. " does not match " .. show(pattern), note)
    end,
    error = function(f, pattern, note)
        local ok, err = pcall(f)
        check(not ok, "expected an error", note)
        return check(not pattern or tostring(err):find(pattern), show(err) .. " does not match " .. show(pattern), note)
    end,
}, { __call = function(_, ...) return plain(...) end })

-- The n-th server of a kind that the script has defined.
local function upstream(kind, proto, n)
    n = n or 1
    local found = 0
    for _, server in ipairs(servers) do
        if server.kind == kind then
            found = found + 1
            if found == n then
                return lf.upstream("test " .. server.address, { servers = { server.address }, proto = proto, retries = 0, host = server.address })
            end
        end
    end
    error("the script has defined " .. found .. " servers of " .. kind .. "; there is no number " .. n, 3)
end

test = {}

-- An HTTP request: method, path, body, headers, timeout, server (which of several). Answers status, body, headers.
function test.request(options)
    local body, about, kind = upstream("http", "http", options.server):call(options.body, {
        method = options.method or (options.body and "POST" or "GET"), path = options.path or "/",
        headers = options.headers or {}, timeout = options.timeout,
    })
    if not body then error(about, 2) end
    return { status = about.status, body = body, headers = about.headers, took = about.took }
end

local function with(options, more)
    local all = {}
    for key, value in pairs(options or {}) do all[key] = value end
    for key, value in pairs(more) do all[key] = value end
    return all
end

function test.get(path, options) return test.request(with(options, { method = "GET", path = path })) end
function test.post(path, body, options) return test.request(with(options, { path = path, body = body })) end

-- A line to an lf.tcp of lines, and the line that it answers.
function test.line(text, server)
    local answer, err = upstream("tcp line", "line", server):call(text)
    if not answer then error(err, 2) end
    return answer
end

-- A request to an lf.nshead: the body that it answers, and its header.
function test.nshead(body, options)
    local answer, about = upstream("nshead", "nshead", options and options.server):call(body, options)
    if not answer then error(about, 2) end
    return answer, about
end

local function run_one(each)
    for _, f in ipairs(each.before) do f() end
    local ok, err = xpcall(each.f, traceback)
    for _, f in ipairs(each.after) do f() end
    if not ok then error(err, 0) end
end

-- Runs a file of tests; what came of each goes to `rt.report`.
function I.test(name, text)
    local function all()
        local f, err = (loadstring or load)(text, "@" .. name)
        if not f then error(err, 0) end
        f()
        for _, each in ipairs(tests) do
            local ok, err = pcall(run_one, each)
            rt.report(ok and "ok" or "failed", each.name, ok and "" or tostring(err))
        end
    end
    local function finish(_, ok, err, trace)
        if not ok then rt.report("failed", name, trace or tostring(err)) end
        rt.report("end", name, "")
        return I.more()
    end
    I.spawn(all, name, finish)
    return I.more()
end
