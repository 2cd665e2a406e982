-- Tasks: each call of a script's function runs in one, so that it may wait. A task is a coroutine that is used again and
-- again; while it waits, a ticket names this wait and no other.

local rt, I = ...

local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
-- Without the debug library there is the message alone: the last argument.
local traceback = debug and debug.traceback or function(first, message) return message or first end
local select, type, error, tostring = select, type, error, tostring
local unpack = table.unpack or unpack
I.traceback = traceback

-- What a coroutine that yields tells its driver: it waits, or its function has returned.
local WAIT, DONE = {}, {}
-- As in deadlines.rs.
local TICKET_IDS = 1048576
-- Coroutines that are kept for the next calls; the rest are collected.
local KEPT_MAX = 256

-- What a run answers to its caller in Rust: bits of a number.
local SUSPENDED, READY, CLOSE, FAILED = 1, 2, 4, 8
I.SUSPENDED, I.READY, I.CLOSE, I.FAILED = SUSPENDED, READY, CLOSE, FAILED

local tasks, ids = {}, 0
local free, frees = {}, 0
local kept = 0
local current
-- Tasks that may go on, with the values that they go on with.
local ready, ready_first, ready_last = {}, 1, 0
-- How many wait, for the pages.
local waiting = 0

local function body(f, a, b, c)
    while true do
        f, a, b, c = yield(DONE, f(a, b, c))
    end
end

local function take()
    if frees > 0 then
        local t = free[frees]
        free[frees] = nil
        frees = frees - 1
        if t.co then
            kept = kept - 1
        else
            t.co = create(body)
        end
        return t
    end
    if ids >= TICKET_IDS - 1 then
        error("too many calls in progress: " .. ids .. "; bound them with a semaphore", 2)
    end
    ids = ids + 1
    local t = { id = ids, generation = 0, waits = false, co = create(body) }
    tasks[ids] = t
    return t
end

local function give_back(t)
    t.owner, t.finish, t.suspended = nil, nil, nil
    t.waits = false
    if t.co then
        if kept < KEPT_MAX then kept = kept + 1 else t.co = nil end
    end
    frees = frees + 1
    free[frees] = t
end

local function after(t, ok, tag, ...)
    current = nil
    if ok then
        if tag == DONE then
            local finish, owner = t.finish, t.owner
            give_back(t)
            return finish(owner, true, ...)
        end
        if tag == WAIT then
            local suspended = t.suspended
            if suspended then
                t.suspended = nil
                return suspended(t.owner)
            end
            return SUSPENDED
        end
        tag = "coroutine.yield outside of a coroutine of the script's own"
    end
    -- An overdue call has ended; the others have their own time.
    I.disarm()
    -- Not with tostring: what a script has to say about its error runs in no task.
    local trace = traceback(t.co, type(tag) == "string" and tag or "an error that is a " .. type(tag))
    local finish, owner = t.finish, t.owner
    t.co = nil
    t.generation = t.generation + 1
    give_back(t)
    return finish(owner, false, tag, trace)
end

-- Runs a function in a task of its own. `finish(owner, ok, ...)` gets what it returned, or its error and a traceback;
-- `suspended(owner)` is called once, if it waits before the run returns. Answers what either of them does.
function I.start(f, owner, finish, suspended, a, b, c)
    local t = take()
    t.owner, t.finish, t.suspended = owner, finish, suspended
    current = t
    return after(t, resume(t.co, f, a, b, c))
end

-- The same, later: once who runs now has come to an end or waits.
function I.spawn(f, owner, finish, a, b, c)
    local t = take()
    t.owner, t.finish, t.suspended = owner, finish, nil
    ready_last = ready_last + 1
    ready[ready_last] = { t, t.generation, f, a, b, c }
    return t
end

local function go_on(t, ...)
    t.waits = false
    waiting = waiting - 1
    current = t
    return after(t, resume(t.co, ...))
end

-- Runs what may go on, and what that sets going, so many rounds; what is left then has its turn after other events.
function I.drain(rounds)
    for _ = 1, rounds do
        local last = ready_last
        while ready_first <= last do
            local entry = ready[ready_first]
            ready[ready_first] = nil
            ready_first = ready_first + 1
            local t = entry[1]
            if t.generation == entry[2] then
                if entry.values then
                    if t.waits then go_on(t, unpack(entry, 3, entry.values)) end
                else
                    current = t
                    after(t, resume(t.co, entry[3], entry[4], entry[5], entry[6]))
                end
            end
        end
        if ready_first > ready_last then
            ready_first, ready_last = 1, 0
            return 0
        end
    end
    return READY
end

function I.more() return ready_last >= ready_first and READY or 0 end

-- A ticket for a wait that is about to begin.
local function ticket()
    local t = current
    if not t then error("this waits, and can only be called in a handler, a timer or a thread", 3) end
    t.generation = t.generation + 1
    t.waits = true
    return t.generation * TICKET_IDS + t.id
end
I.ticket = ticket

-- No wait begins after all.
function I.cancel() current.waits = false end

-- Waits for `complete` with the ticket that was taken last.
local function wait()
    waiting = waiting + 1
    return yield(WAIT)
end
I.wait = wait

-- Waits for what `ask` asks a connection for: the ticket, and what came of it. nil and "closed" if it is gone.
function I.wait_for(ask, c, seconds)
    local of = ticket()
    rt.deadline(of, seconds)
    if not ask(c._slot, c._generation, of) then
        current.waits = false
        return nil, "closed"
    end
    return of, wait()
end

-- Waits until the peer of a connection has taken all.
function I.drained(c, seconds)
    local of, ok, err = I.wait_for(rt.drained, c, seconds)
    if not of then return nil, ok end
    return ok, err
end

-- Connections by the ticket of a wait that has timed out, until nothing can come for it any more.
local late = {}
I.late = late

-- The wait with this ticket is over; whoever waited goes on with the other arguments. Nobody may: the wait was
-- ended by its deadline, or its task was killed.
function I.complete(of, ...)
    local id = of % TICKET_IDS
    local t = tasks[id]
    if t and t.waits and t.generation * TICKET_IDS + id == of then
        go_on(t, ...)
        return ready_last >= ready_first and READY or 0
    end
    local c = late[of]
    if c then c._late = { ... } end
    return 0
end

-- The same from within a script: it goes on once who runs now has come to an end or waits.
function I.wake(of, ...)
    local id = of % TICKET_IDS
    local t = tasks[id]
    if not (t and t.waits and t.generation * TICKET_IDS + id == of) then return false end
    local n = select("#", ...)
    ready_last = ready_last + 1
    ready[ready_last] = { t, t.generation, values = n + 2, ... }
    return true
end

-- Ends a task that waits or has not begun. `false` if it is over, or runs.
function I.kill(t)
    if t == current then return false end
    if t.waits then waiting = waiting - 1 end
    t.generation = t.generation + 1
    t.co = nil
    give_back(t)
    return true
end

function I.current() return current end
function I.counts() return ids - frees, waiting, kept end

-- Coroutines of the script's own: a wait inside one is a wait of its task, so it is passed on to the driver.
local function relay(co, ok, tag, ...)
    if ok and tag == WAIT then return relay(co, resume(co, yield(WAIT))) end
    return ok, tag, ...
end

function coroutine.resume(co, ...) return relay(co, resume(co, ...)) end

local function unwrap(co, ok, ...)
    if ok then return ... end
    local message = ...
    error(message, 0)
end

function coroutine.wrap(f)
    local co = create(f)
    return function(...) return unwrap(co, relay(co, resume(co, ...))) end
end

-- Sleeping needs nothing but a deadline.
local function sleep(seconds)
    if type(seconds) ~= "number" or not (seconds >= 0) then
        error("bad argument #1 to 'sleep' (a number of seconds expected, got " .. tostring(seconds) .. ")", 2)
    end
    rt.deadline(ticket(), seconds)
    wait()
end
I.sleep = sleep
