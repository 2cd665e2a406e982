---@meta

---Publishing through lf-comet.
lf.comet = {}

---Says where the control listener of lf-comet is.
---@param options { servers?: string[], token?: string, timeout?: number, connect_timeout?: number, retries?: integer, keepalive?: integer, limit?: integer|"adaptive" }
function lf.comet.connect(options) end

---Sends to all who listen to an id, or to one that is subscribed to it.
---@param id string|number
---@param data string
---@return integer? connections that it goes to
---@return string? error
function lf.comet.send(id, data) end

---Sends to all who listen to an id itself.
---@param id string|number
---@param data string
---@return integer? connections that it goes to
---@return string? error
function lf.comet.direct(id, data) end

---Subscribes an id to another one.
---@param subscriber string|number
---@param subscribee string|number
---@return boolean? done
---@return boolean|string|nil changed, or the error
function lf.comet.subscribe(subscriber, subscribee) end

---Takes a subscription back.
---@param subscriber string|number
---@param subscribee string|number
---@return boolean? done
---@return boolean|string|nil changed, or the error
function lf.comet.unsubscribe(subscriber, subscribee) end
