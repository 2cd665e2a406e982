-- Takes away what a script that is not trusted must not have. What is left reaches nothing but memory and `lf`.

local type, error, load, loadstring = type, error, load, loadstring
local is_51 = loadstring ~= nil

for _, name in ipairs {
    "dofile", "loadfile", "loadstring", "getfenv", "setfenv", "newproxy", "module", "jit", "debug", "ffi", "io", "bit32",
    "gcinfo",
} do
    _G[name] = nil
end

local clock, date, difftime, time = os.clock, os.date, os.difftime, os.time
os = { clock = clock, date = function(format, ...)
    -- Formats are C's business, and some of them crash it.
    if format ~= nil and (type(format) ~= "string" or #format > 256) then error("bad argument #1 to 'date'", 2) end
    return date(format, ...)
end, difftime = difftime, time = time }

string.dump = nil

-- Text only: bytecode is not checked.
local function text_only(chunk, name, _, env)
    if type(chunk) == "function" then
        local pieces = {}
        while true do
            local piece = chunk()
            if piece == nil or piece == "" then break end
            pieces[#pieces + 1] = piece
        end
        chunk = table.concat(pieces)
    end
    if type(chunk) ~= "string" then error("bad argument #1 to 'load' (a string or a function expected)", 3) end
    if env ~= nil then return load(chunk, name, "t", env) end
    return load(chunk, name, "t")
end

function _G.load(chunk, name, mode, env) return text_only(chunk, name, mode, env) end
if is_51 then
    function _G.loadstring(chunk, name) return text_only(chunk, name) end
end

local collect = collectgarbage
function _G.collectgarbage(what)
    if what == "count" then return collect("count") end
    return 0
end

local loaded, preload = package.loaded, package.preload
local known = {}
for _, name in ipairs { "socket", "cjson", "cjson.safe" } do known[name] = preload[name] end
known.string, known.table, known.math, known.coroutine, known.os = string, table, math, coroutine, os
package = nil

-- Modules: those that are there already.
local results = {}
function _G.require(name)
    if type(name) ~= "string" then error("bad argument #1 to 'require' (string expected)", 2) end
    if results[name] ~= nil then return results[name] end
    local there = known[name]
    if there == nil then error("module '" .. name .. "' is not there for scripts that are not trusted", 2) end
    local result = type(there) == "function" and there(name) or there
    results[name] = result
    return result
end
loaded._G, loaded.package, loaded.io, loaded.debug, loaded.ffi, loaded.jit = nil, nil, nil, nil, nil, nil

local strings = getmetatable("")
if strings then strings.__metatable = false end
