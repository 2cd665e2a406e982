---@meta
-- Time, threads, timers, logging; other servers.

---@class lf
lf = {}

---Levels of the log.
lf.ERR, lf.WARN, lf.INFO, lf.DEBUG = 1, 2, 3, 4

---@alias lf.Level 1|2|3|4|"err"|"error"|"warn"|"warning"|"info"|"debug"

---Writes a line to the log.
---@param level lf.Level
---@param ... any Joined without anything between them.
function lf.log(level, ...) end

---Seconds since 1970.
---@return number
function lf.now() end

---Waits.
---@param seconds number
function lf.sleep(seconds) end

---Which VM this is.
---@return { id: integer, group: integer }
function lf.vm() end

---Calls `f`, which may block its thread.
---@generic T
---@param f fun(...): T
---@param ... any
---@return T
function lf.blocking(f, ...) end

---Runs functions beside each other, and waits for all: the first value of each, and errors behind them.
---@param ... fun(): any
---@return any ...
function lf.all(...) end

lf.thread = {}

---@class lf.Thread

---Runs a function beside whoever calls this, in the same VM.
---@param f function
---@param ... any
---@return lf.Thread
function lf.thread.spawn(f, ...) end

---Waits for the first of these to end.
---@param thread lf.Thread
---@param ... lf.Thread
---@return boolean ok
---@return any ... What it returned, or its error.
function lf.thread.wait(thread, ...) end

---Ends a thread that waits, or has not begun.
---@param thread lf.Thread
---@return boolean? ok
---@return string? err
function lf.thread.kill(thread) end

---A semaphore of this VM.
---@param n integer
---@return lf.Semaphore
function lf.semaphore(n) end

---@class lf.Semaphore
local Semaphore = {}

---Gives back.
---@param n? integer 1 unless given.
function Semaphore:post(n) end

---Takes one, and waits for it.
---@param seconds? number 60 unless given.
---@return boolean? ok
---@return string? err
function Semaphore:wait(seconds) end

---@return integer
function Semaphore:count() end

lf.timer = {}

---@class lf.Timer
local Timer = {}

---Calls `f(premature, ...)` in some time; earlier, with `premature`, if the script is replaced.
---@param delay number Seconds.
---@param f fun(premature: boolean, ...)
---@param ... any
---@return lf.Timer
function lf.timer.at(delay, f, ...) end

---Calls it again and again, until the script is replaced.
---@param period number Seconds from the end of one call to the next one.
---@param f fun(premature: boolean, ...)
---@param ... any
---@return lf.Timer
function lf.timer.every(period, f, ...) end

---@return boolean? ok
---@return string? err
function Timer:cancel() end

lf.socket = {}

---A TCP socket, as LuaSocket's.
---@return lf.Socket
function lf.socket.tcp() end

---A connected one.
---@param host string
---@param port integer
---@return lf.Socket? socket
---@return string? err
function lf.socket.connect(host, port) end

---@class lf.Socket
local Socket = {}

---@param host string
---@param port integer
---@return integer? ok
---@return string? err
function Socket:connect(host, port) end

---@param data string|string[]
---@param first? integer
---@param last? integer
---@return integer? last
---@return string? err
---@return integer? sent
function Socket:send(data, first, last) end

---@param pattern? "*l"|"*a"|integer A line unless given.
---@param prefix? string
---@return string? data
---@return string? err
---@return string? partial
function Socket:receive(pattern, prefix) end

---What is there.
---@param max integer
---@return string? data
---@return string? err
function Socket:receiveany(max) end

---@param seconds number?
---@param mode? "b"|"t" For each wait, or for a call in all.
function Socket:settimeout(seconds, mode) end

---@param connect integer Milliseconds; as the next one, without effect.
---@param send integer
---@param read integer For everything.
function Socket:settimeouts(connect, send, read) end

---@return string? host
---@return integer|string port_or_err
function Socket:getpeername() end

---This end: host, port and family.
---@return string? host
---@return integer|string? port Or the error.
---@return "inet"|"inet6"? family
function Socket:getsockname() end

---@param name string Only `"tcp-nodelay"`, which is always set, is known.
---@return true?
---@return string? err
function Socket:getoption(name) end

---@return integer? ok
---@return string? err
function Socket:close() end

---With "both", or nothing, as `close`; with "receive" it changes nothing.
---@param how? "both"|"receive"
---@return integer? ok
---@return string? err
function Socket:shutdown(how) end

---As `close`.
function Socket:setkeepalive() end

---@return integer # 0
function Socket:getreusedtimes() end

---Changes nothing; an error for what is no option.
---@param name string
---@return integer # 1
function Socket:setoption(name) end

---@class lf.UpstreamOptions
---@field servers? string[] `HOST:PORT`, `unix:/PATH`; with `weight=N` after it.
---@field file? string In place of `servers`: one a line.
---@field proto? "nshead"|"http"|"len32"|"line"|"redis"
---@field balance? "rr"|"p2c"|"hash"
---@field timeout? number Seconds for a call all in all.
---@field connect_timeout? number
---@field keepalive? integer Idle connections in each group.
---@field idle_timeout? number
---@field max_connections? integer To one server.
---@field pipeline? integer Calls in flight on one connection: 1, with redis 128. Not with HTTP.
---@field queue? integer Calls that may wait for a connection.
---@field retries? integer
---@field retry_sent? boolean Sends again what was sent and not answered.
---@field backup_after? number Asks another server, too, after so long.
---@field max_fails? integer
---@field fail_timeout? number
---@field limit? integer|"adaptive" Calls in flight.
---@field limit_min? integer
---@field limit_max? integer
---@field probe_interval? number
---@field probe_timeout? number
---@field probe_path? string
---@field answer_max? integer Bytes.
---@field dns_refresh? number
---@field host? string

---@class lf.CallOptions
---@field timeout? number
---@field idempotent? boolean
---@field key? string For `balance = "hash"`.
---@field log_id? integer
---@field id? integer
---@field version? integer
---@field provider? string
---@field reserved? integer
---@field method? string
---@field path? string
---@field headers? table<string, string>

---@class lf.About
---@field server string
---@field tries integer
---@field took number
---@field by_backup? boolean
---@field status? integer
---@field headers? table<string, string>
---@field id? integer
---@field version? integer
---@field log_id? integer
---@field provider? string
---@field reserved? integer

---Defines an upstream; without options, finds it.
---@param name string
---@param options? lf.UpstreamOptions
---@return lf.Upstream
function lf.upstream(name, options) end

---@class lf.Upstream
---@field name string
local Upstream = {}

---Waits for the answer.
---@param body? string|string[] The arguments of a command to redis.
---@param options? lf.CallOptions
---@return any answer
---@return lf.About|string about_or_err
---@return string? kind Of the error.
function Upstream:call(body, options) end

---@param path string
---@param options? lf.CallOptions
---@return string? body
---@return lf.About|string about_or_err
---@return string? kind
function Upstream:get(path, options) end

---@param path string
---@param body string
---@param options? lf.CallOptions
---@return string? body
---@return lf.About|string about_or_err
---@return string? kind
function Upstream:post(path, body, options) end

---A command to redis.
---@param ... string
---@return any value
---@return lf.About|string about_or_err
---@return string? kind
function Upstream:command(...) end

---@return string[]
function Upstream:servers() end
