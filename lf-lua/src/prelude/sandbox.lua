-- Takes away what a script that is not trusted must not have. What is left reaches nothing but memory and `lf`.

local type, error, load, loadstring = type, error, load, loadstring
local concat, getmetatable, math_min = table.concat, getmetatable, math.min
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

-- Compiling runs in C, where nothing ends it, and takes the square of the labels of a text.
local SOURCE_BYTES_MAX = 65536

-- Comparing with a function of the script's kind lets the watchdog end a sort. One within another is a frame of C, and an error
-- takes its time through many of those.
local sort, running, pcall = table.sort, coroutine.running, pcall
local SORTS_MAX = 100
local sorts = setmetatable({}, { __mode = "k" })
local function less(a, b) return a < b end
local function sorted(at, depth, ok, err)
    sorts[at] = depth
    if not ok then error(err, 0) end
end
function table.sort(list, before)
    if before ~= nil and type(before) ~= "function" then
        error("bad argument #2 to 'sort' (function expected, got " .. type(before) .. ")", 2)
    end
    local at = running() or sorts
    local depth = sorts[at] or 0
    if depth >= SORTS_MAX then error("more than " .. SORTS_MAX .. " sorts within each other", 2) end
    sorts[at] = depth + 1
    return sorted(at, depth, pcall(sort, list, before and function(a, b) return before(a, b) end or less))
end

-- Reading a number of millions of digits takes the C library a while, where nothing ends it. None needs so many.
local DIGITS_MAX = 4096
local to_number = tonumber
function _G.tonumber(value, ...)
    if type(value) == "string" and #value > DIGITS_MAX then return nil end
    return to_number(value, ...)
end

-- Writing a million numbers takes C a while: in pieces, it can be ended between two.
local PIECE = 8192
function table.concat(list, separator, first, last)
    first, last = first or 1, last or #list
    if type(first) ~= "number" or type(last) ~= "number" or last - first < PIECE then
        return concat(list, separator, first, last)
    end
    local pieces = {}
    for at = first, last, PIECE do pieces[#pieces + 1] = concat(list, separator, at, math_min(at + PIECE - 1, last)) end
    return concat(pieces, separator)
end

-- A handler of errors runs within the hook that has raised them, where no hook ends it: so it is called behind that.
local function handled(handler, ok, ...)
    if ok then return true, ... end
    return false, handler(...)
end
function _G.xpcall(f, handler, ...)
    if type(handler) ~= "function" then error("bad argument #2 to 'xpcall' (function expected)", 2) end
    return handled(handler, pcall(f, ...))
end

-- Finalizers run where nothing ends them.
local setmetatable, rawget = setmetatable, rawget
function _G.setmetatable(value, metatable)
    if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
        error("__gc is not for scripts that are not trusted", 2)
    end
    return setmetatable(value, metatable)
end

-- Tables say how long they are with __len, and these would believe it, in C.
if not is_51 then
    local rawlen, insert, remove, move = rawlen, table.insert, table.remove, table.move
    local function real(list, name)
        local metatable = getmetatable(list)
        if metatable ~= nil then error("bad argument #1 to '" .. name .. "' (a table without a metatable expected)", 3) end
    end
    function table.insert(list, ...) real(list, "insert") return insert(list, ...) end
    function table.remove(list, ...) real(list, "remove") return remove(list, ...) end
    function table.move(from, first, last, at, to)
        real(from, "move")
        if to ~= nil then real(to, "move") end
        if last - first >= rawlen(from) + 1024 then error("bad argument #3 to 'move' (too many elements)", 2) end
        return move(from, first, last, at, to or from)
    end
end

-- The coroutine of a call belongs to its driver: only those that the script has made are resumed by it.
-- Each coroutine within another takes a piece of the thread's own stack.
local DEPTH_MAX = 100
local create, resume = coroutine.create, coroutine.resume
-- How deep each was when it was resumed last.
local own = setmetatable({}, { __mode = "k" })
function coroutine.create(f)
    local co = create(f)
    own[co] = 1
    return co
end
local function resume_own(co, ...)
    local parent = running()
    local depth = (parent and own[parent] or 0) + 1
    if depth > DEPTH_MAX then return false, "more than " .. DEPTH_MAX .. " coroutines within each other" end
    own[co] = depth
    return resume(co, ...)
end
function coroutine.resume(co, ...)
    if type(co) ~= "thread" then return resume(co, ...) end
    if not own[co] then return false, "cannot resume a coroutine that is not the script's" end
    return resume_own(co, ...)
end
local function unwrap(ok, ...)
    if ok then return ... end
    error((...), 0)
end
function coroutine.wrap(f)
    local co = create(f)
    return function(...) return unwrap(resume_own(co, ...)) end
end
coroutine.close = nil

-- Text only: bytecode is not checked.
local function text_only(chunk, name, _, env)
    if type(chunk) == "function" then
        local pieces, bytes = {}, 0
        while true do
            local piece = chunk()
            if piece == nil or piece == "" then break end
            if type(piece) ~= "string" then error("reader function must return a string", 3) end
            pieces[#pieces + 1], bytes = piece, bytes + #piece
            if bytes > SOURCE_BYTES_MAX then break end
        end
        chunk = concat(pieces)
    end
    if type(chunk) ~= "string" then error("bad argument #1 to 'load' (a string or a function expected)", 3) end
    if #chunk > SOURCE_BYTES_MAX then
        return nil, "a text of more than " .. SOURCE_BYTES_MAX .. " bytes is not compiled for scripts that are not trusted"
    end
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
