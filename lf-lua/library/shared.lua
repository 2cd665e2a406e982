---@meta
-- Dictionaries of the whole process, for all VMs and threads.

---Dictionaries by name, made at their first use.
---@type table<string, lf.Dict>
lf.shared = {}

---Makes a dictionary with a size in bytes; 16 MiB have those that are only used.
---@param name string
---@param bytes integer
---@return lf.Dict
function lf.shared_dict(name, bytes) end

---@class lf.Dict
local Dict = {}

---@alias lf.Scalar string|number|boolean

---The value of a key.
---@param key string
---@return lf.Scalar? value
---@return integer|string|nil flags_or_err
function Dict:get(key) end

---The value of a key, also if it has expired and is still there.
---@param key string
---@return lf.Scalar? value
---@return integer|string|nil flags_or_err
---@return boolean? stale
function Dict:get_stale(key) end

---Stores a value, or removes it if it is nil. Evicts the least recently used entries if it has to: `forcible`.
---@param key string
---@param value lf.Scalar?
---@param ttl? number Seconds; 0: no end.
---@param flags? integer
---@return boolean ok
---@return string? err
---@return boolean forcible
function Dict:set(key, value, ttl, flags) end

---As `set`, but evicts nothing: "no memory".
---@param key string
---@param value lf.Scalar?
---@param ttl? number
---@param flags? integer
---@return boolean ok
---@return string? err
---@return boolean forcible
function Dict:safe_set(key, value, ttl, flags) end

---As `set`, unless there is a value: "exists".
---@param key string
---@param value lf.Scalar
---@param ttl? number
---@param flags? integer
---@return boolean ok
---@return string? err
---@return boolean forcible
function Dict:add(key, value, ttl, flags) end

---As `add`, but evicts nothing: "no memory".
---@param key string
---@param value lf.Scalar
---@param ttl? number
---@param flags? integer
---@return boolean ok
---@return string? err
---@return boolean forcible
function Dict:safe_add(key, value, ttl, flags) end

---As `set`, if there is a value: "not found".
---@param key string
---@param value lf.Scalar?
---@param ttl? number
---@param flags? integer
---@return boolean ok
---@return string? err
---@return boolean forcible
function Dict:replace(key, value, ttl, flags) end

---Removes a value.
---@param key string
---@return boolean ok
---@return string? err
function Dict:delete(key) end

---Adds to a number, or to `init` if there is none.
---@param key string
---@param by number
---@param init? number
---@param ttl? number Of an entry that `init` makes.
---@return number? sum
---@return string? err
---@return boolean? forcible
function Dict:incr(key, by, init, ttl) end

---Adds to the front of a list, which is made if there is none.
---@param key string
---@param item string|number
---@return integer? length
---@return string? err
function Dict:lpush(key, item) end

---Adds to the end of a list, which is made if there is none.
---@param key string
---@param item string|number
---@return integer? length
---@return string? err
function Dict:rpush(key, item) end

---Takes from the front of a list.
---@param key string
---@return string|number|nil item
---@return string? err
function Dict:lpop(key) end

---Takes from the end of a list.
---@param key string
---@return string|number|nil item
---@return string? err
function Dict:rpop(key) end

---Length of a list; 0 if there is none.
---@param key string
---@return integer? length
---@return string? err
function Dict:llen(key) end

---Seconds that an entry has left; 0: no end.
---@param key string
---@return number? seconds
---@return string? err
function Dict:ttl(key) end

---Sets the seconds that an entry has left; 0: no end.
---@param key string
---@param ttl number
---@return boolean? ok
---@return string? err
function Dict:expire(key, ttl) end

---Keys of what has not expired.
---@param max? integer 1024 unless given; 0: all.
---@return string[]
function Dict:keys(max) end

---As `keys`.
---@param max? integer
---@return string[]
function Dict:get_keys(max) end

---Lets everything expire.
function Dict:flush_all() end

---Removes what has expired.
---@param max? integer 0: all.
---@return integer count
function Dict:flush_expired(max) end

---Bytes that entries may take.
---@return integer
function Dict:capacity() end

---Bytes that are left.
---@return integer
function Dict:free_space() end
