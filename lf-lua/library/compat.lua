---@meta

---What a script asks and answers that runs with `--compat`.
---@class lf.Compat
---@type lf.Compat
lua_ctx = {}

---The frame that this call is for.
---@return string
function lua_ctx:getRequest() end

---What is sent once the script is through. The last one counts; `nil` takes it back.
---@param response string|number?
function lua_ctx:setResponse(response) end

---A name for the connection. No other one has it, before or after.
---@return string
function lua_ctx:getSfd() end

---Sends a frame to the connection with this name.
---@param message string|number
---@param sfd string
---@return true?
---@return string? err Such as "closed".
function lua_ctx:publish(message, sfd) end
