---@meta
-- Servers: HTTP, WebSockets, TCP and nshead.

---@class lf.HttpOptions
---@field listen string|string[]
---@field max_body? integer Bytes.

---@class lf.RouteOptions
---@field max_body? integer Bytes.
---@field stream? boolean The handler reads the body in pieces.

---@class lf.WebSocketOptions
---@field accept? fun(req: lf.Request): true|integer, string? Decides whether the socket is opened; cannot wait.

---@alias lf.HttpHandler fun(req: lf.Request, res: lf.Response)

---An HTTP server.
---@param options lf.HttpOptions
---@return lf.App
function lf.http(options) end

---@class lf.App
local App = {}

---@param method string
---@param path string `/u/:id`, `/files/*rest`
---@param handler lf.HttpHandler
---@param options? lf.RouteOptions
---@return lf.App
function App:route(method, path, handler, options) end

---@param path string
---@param handler lf.HttpHandler
---@param options? lf.RouteOptions
---@return lf.App
function App:get(path, handler, options) end

---@param path string
---@param handler lf.HttpHandler
---@param options? lf.RouteOptions
---@return lf.App
function App:post(path, handler, options) end

---@param path string
---@param handler lf.HttpHandler
---@param options? lf.RouteOptions
---@return lf.App
function App:put(path, handler, options) end

---@param path string
---@param handler lf.HttpHandler
---@param options? lf.RouteOptions
---@return lf.App
function App:delete(path, handler, options) end

---@param path string
---@param handler lf.HttpHandler
---@param options? lf.RouteOptions
---@return lf.App
function App:patch(path, handler, options) end

---@param path string
---@param handler lf.HttpHandler
---@param options? lf.RouteOptions
---@return lf.App
function App:head(path, handler, options) end

---@param path string
---@param handler lf.HttpHandler
---@param options? lf.RouteOptions
---@return lf.App
function App:options(path, handler, options) end

---Every method.
---@param path string
---@param handler lf.HttpHandler
---@param options? lf.RouteOptions
---@return lf.App
function App:any(path, handler, options) end

---@param path string
---@param handler fun(ws: lf.WebSocket, req: lf.Request)
---@param options? lf.WebSocketOptions
---@return lf.App
function App:websocket(path, handler, options) end

---@class lf.Request
---@field method string
---@field path string
---@field query string|false
---@field params table<string, string> Parts of the path.
---@field args table<string, string|true|table> Arguments of the query.
---@field headers table<string, string> In any case.
---@field remote string
---@field id string A name for the log.
local Request = {}

---@param name string
---@return string?
function Request:header(name) end

---@param name string
---@return string?
function Request:cookie(name) end

---The body whole.
---@return string? body
---@return string? err
function Request:body() end

---@return any value
---@return string? err
function Request:json() end

---@return table<string, string|true|table>
function Request:form() end

---With `stream`: the next piece; nil at the end.
---@param seconds? number 60 unless given.
---@return string? piece
---@return string? err
function Request:read(seconds) end

---The same for a `for` loop.
---@return fun(): string?
function Request:pieces() end

---@class lf.Response
---@field status integer
---@field header table<string, any>
local Response = {}

---@param ... any
---@return lf.Response
function Response:print(...) end

---@param ... any
---@return lf.Response
function Response:say(...) end

---@param value any
---@param status? integer
---@return lf.Response
function Response:json(value, status) end

---Sends what there is, and waits until the client has room for more.
---@param seconds? number 60 unless given.
---@return boolean? ok
---@return string? err
function Response:flush(seconds) end

---Ends the handler.
---@param status? integer
function Response:exit(status) end

---@param location string
---@param status? integer 302 unless given.
function Response:redirect(location, status) end

---@class lf.WebSocket
---@field request lf.Request
local WebSocket = {}

---Waits for a message.
---@param seconds? number An hour unless given.
---@return string? message
---@return "text"|"binary"|string kind_or_err
function WebSocket:recv(seconds) end

---As `recv`.
---@param seconds? number
---@return string? message
---@return "text"|"binary"|string kind_or_err
function WebSocket:receive(seconds) end

---@param message any
---@return boolean? ok
---@return string? err
function WebSocket:send(message) end

---As `send`.
---@param message any
---@return boolean? ok
---@return string? err
function WebSocket:send_text(message) end

---@param message string
---@return boolean? ok
---@return string? err
function WebSocket:send_binary(message) end

---@param payload? string At most 125 bytes.
---@return boolean? ok
---@return string? err
function WebSocket:ping(payload) end

---@param code? integer 1000 unless given.
---@param reason? string
---@return boolean? ok
---@return string? err
function WebSocket:close(code, reason) end

---@class lf.TcpOptions
---@field listen string|string[]
---@field frame? "line"|"len32"|"raw"
---@field max? integer Bytes of a frame.
---@field handler fun(c: lf.Connection, frame: string)

---A TCP server.
---@param options lf.TcpOptions
function lf.tcp(options) end

---@class lf.Connection
---@field peer string
---@field id string
local Connection = {}

---Sends a frame; of `raw`, bytes.
---@param data any
---@return integer? bytes
---@return string? err
function Connection:send(data) end

---Waits for the next frame; of `raw`, as sockets do.
---@param pattern? "*l"|"*a"|integer
---@param prefix? string
---@return string? data
---@return string? err
---@return string? partial
function Connection:receive(pattern, prefix) end

---Puts bytes back in front of what `receive` reads.
---@param data string
function Connection:unread(data) end

---@param seconds number For `receive`.
function Connection:settimeout(seconds) end

---Calls `f` once the connection has ended.
---@param f fun(c: lf.Connection)
function Connection:on_close(f) end

---Closes it once all is out.
---@return boolean
function Connection:close() end

---@class lf.NsheadOptions
---@field listen string|string[]
---@field max? integer Bytes of a body.
---@field handler fun(req: lf.NsheadRequest): string?, lf.NsheadFields?

---@class lf.NsheadFields
---@field id? integer
---@field version? integer
---@field log_id? integer
---@field provider? string
---@field reserved? integer

---@class lf.NsheadRequest
---@field id integer
---@field version integer
---@field log_id integer
---@field provider string
---@field reserved integer
---@field body string
---@field remote string

---An nshead server.
---@param options lf.NsheadOptions
function lf.nshead(options) end
