-- What every script finds under `lf`, beside the servers: time, threads, timers, logging.

local rt, I, lf = ...

local type, tostring, select, setmetatable, error, pairs, ipairs, tonumber =
    type, tostring, select, setmetatable, error, pairs, ipairs, tonumber
local concat, insert = table.concat, table.insert
local unpack = table.unpack or unpack
local pack = table.pack or function(...) return { n = select("#", ...), ... } end

-- Handlers by number, in the order in which the main chunk named them: the same in every VM.
I.handlers = {}
-- Servers that the main chunk defined, and upstreams.
I.definitions = {}

function I.handler(what, f)
    if type(f) ~= "function" then
        error(what .. ": handler is a " .. type(f) .. "; a function expected", 3)
    end
    local n = #I.handlers + 1
    I.handlers[n] = f
    return n
end

function I.define(kind, options)
    if type(options) ~= "table" then error("lf." .. kind .. ": a table expected, got " .. type(options), 3) end
    if not I.loading then error("lf." .. kind .. ": servers are defined in the main chunk", 3) end
    local listen = options.listen
    if type(listen) == "string" then listen = { listen } end
    if type(listen) ~= "table" or #listen == 0 then
        error("lf." .. kind .. ": listen is missing; give an address such as \":8080\", or a list of them", 3)
    end
    local definition = {}
    for key, value in pairs(options) do
        if type(value) == "number" or type(value) == "string" or type(value) == "boolean" then definition[key] = value end
    end
    definition.kind, definition.listen = kind, listen
    insert(I.definitions, definition)
    return definition
end

lf.ERR, lf.WARN, lf.INFO, lf.DEBUG = 1, 2, 3, 4

-- lf.log(lf.WARN, ...) or lf.log("warn", ...).
local levels = { err = 1, error = 1, warn = 2, warning = 2, info = 3, debug = 4 }
function lf.log(level, ...)
    local number = tonumber(level) or levels[tostring(level):lower()]
    if not number then error("bad level '" .. tostring(level) .. "': lf.ERR, lf.WARN, lf.INFO or lf.DEBUG expected", 2) end
    if not rt.logs(number) then return end
    local parts = {}
    for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
    rt.log(number, concat(parts))
end

function print(...)
    local parts = {}
    for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
    rt.log(3, concat(parts, "\t"))
end

lf.now = rt.now
lf.sleep = I.sleep
lf.vm = rt.vm

-- Threads: functions that run beside whoever spawned them, in the same VM.
local Thread = {}
Thread.__index = Thread

local function finish_thread(thread, ok, ...)
    thread.over = true
    if ok then
        thread.result = pack(true, ...)
    else
        local err, trace = ...
        thread.result = pack(false, err)
        if #thread.waiters == 0 then rt.failed("thread", trace) end
    end
    thread.task = nil
    for _, waiter in ipairs(thread.waiters) do I.wake(waiter, thread) end
    thread.waiters = {}
    return I.more()
end

lf.thread = {}

function lf.thread.spawn(f, ...)
    if type(f) ~= "function" then error("bad argument #1 to 'spawn' (function expected, got " .. type(f) .. ")", 2) end
    local thread = setmetatable({ waiters = {}, over = false }, Thread)
    local args = pack(...)
    thread.task = I.spawn(args.n == 0 and f or function() return f(unpack(args, 1, args.n)) end, thread, finish_thread)
    return thread
end

-- Waits for the first of these threads to end: true and what it returned, or false and its error.
function lf.thread.wait(...)
    local threads = { ... }
    if #threads == 0 then error("bad argument #1 to 'wait' (a thread expected)", 2) end
    for _, thread in ipairs(threads) do
        if getmetatable(thread) ~= Thread then error("a thread expected, got " .. type(thread), 2) end
        if thread.over then return unpack(thread.result, 1, thread.result.n) end
    end
    local ticket = I.ticket()
    rt.deadline(ticket, 3600)
    for _, thread in ipairs(threads) do insert(thread.waiters, ticket) end
    local thread, err = I.wait()
    if not thread then return false, err end
    return unpack(thread.result, 1, thread.result.n)
end

-- Ends a thread that waits, or has not begun. true, or nil and why not.
function lf.thread.kill(thread)
    if getmetatable(thread) ~= Thread then error("a thread expected, got " .. type(thread), 2) end
    if thread.over then return nil, "already over" end
    if not I.kill(thread.task) then return nil, "a thread cannot kill itself" end
    thread.over, thread.task = true, nil
    thread.result = pack(false, "killed")
    for _, waiter in ipairs(thread.waiters) do I.wake(waiter, thread) end
    thread.waiters = {}
    return true
end

-- Runs functions beside each other and waits for all of them. The first value of each; nil where it failed, and the
-- errors in a table behind them.
function lf.all(...)
    local threads, n = {}, select("#", ...)
    for i = 1, n do threads[i] = lf.thread.spawn((select(i, ...))) end
    local results, errors = {}, nil
    for i = 1, n do
        local ok, value, err = lf.thread.wait(threads[i])
        if ok then
            results[i] = value
            if value == nil and err ~= nil then
                errors = errors or {}
                errors[i] = err
            end
        else
            errors = errors or {}
            errors[i] = value
        end
    end
    results[n + 1] = errors
    return unpack(results, 1, n + 1)
end

-- Semaphores of one VM.
local Semaphore = {}
Semaphore.__index = Semaphore

function lf.semaphore(n)
    if type(n) ~= "number" or n < 0 then error("bad argument #1 to 'semaphore' (a number from 0 expected)", 2) end
    return setmetatable({ n = n, first = 1, last = 0 }, Semaphore)
end

function Semaphore:post(n)
    for _ = 1, n or 1 do
        local given = false
        while self.first <= self.last and not given do
            local ticket = self[self.first]
            self[self.first] = nil
            self.first = self.first + 1
            given = I.wake(ticket, true)
        end
        if not given then self.n = self.n + 1 end
    end
end

function Semaphore:wait(seconds)
    if self.n > 0 then
        self.n = self.n - 1
        return true
    end
    if seconds == 0 then return nil, "timeout" end
    local ticket = I.ticket()
    rt.deadline(ticket, seconds or 60)
    self.last = self.last + 1
    self[self.last] = ticket
    return I.wait()
end

function Semaphore:count() return self.n end

-- Timers of one VM. They begin once the main chunk is through.
lf.timer = {}

local Timer = {}
Timer.__index = Timer
-- Those that rest, and their tickets.
local timers = {}

local function finish_timer(_, ok, _, trace)
    if not ok then rt.failed("timer", trace) end
    return I.more()
end

local function seconds_of(value, name)
    if type(value) ~= "number" or not (value >= 0) then
        error("bad argument #1 to '" .. name .. "' (a number of seconds expected, got " .. tostring(value) .. ")", 3)
    end
    return value
end

local function timer(delay, period, f, ...)
    if type(f) ~= "function" then error("bad argument #2 (function expected, got " .. type(f) .. ")", 3) end
    local args = pack(...)
    local self = setmetatable({}, Timer)
    local function call()
        local premature = I.retired == true
        return f(premature, unpack(args, 1, args.n))
    end
    -- Until it is time, or the script is replaced.
    local function rest(seconds)
        if I.retired then return end
        local ticket = I.ticket()
        timers[self] = ticket
        rt.deadline(ticket, seconds)
        I.wait()
        timers[self] = nil
    end
    self.task = I.spawn(function()
        rest(delay)
        self.begun = true
        if not period then return call() end
        while not (self.cancelled or I.retired) do
            lf.thread.wait(lf.thread.spawn(call))
            rest(period)
        end
    end, self, finish_timer)
    return self
end

-- The script was replaced: timers are due now, and end.
function I.retire()
    I.retired = true
    for _, ticket in pairs(timers) do I.wake(ticket, "retired") end
    return I.more()
end

-- Calls `f(premature, ...)` in `delay` seconds; earlier, with premature = true, if the script is replaced before.
function lf.timer.at(delay, f, ...) return timer(seconds_of(delay, "at"), nil, f, ...) end

-- Calls it every `period` seconds, measured from the end of the last call.
function lf.timer.every(period, f, ...)
    seconds_of(period, "every")
    if period == 0 then error("bad argument #1 to 'every' (more than 0 seconds expected)", 2) end
    return timer(period, period, f, ...)
end

function Timer:cancel()
    if self.cancelled or (self.begun and not self.task) then return nil, "over" end
    self.cancelled = true
    if not self.begun then
        I.kill(self.task)
        self.task = nil
        timers[self] = nil
    end
    return true
end

-- Says that `f` may block its thread, so that another worker takes over the group's events at once.
function lf.blocking(f, ...)
    if type(f) ~= "function" then error("bad argument #1 to 'blocking' (function expected, got " .. type(f) .. ")", 2) end
    rt.blocking()
    return f(...)
end
