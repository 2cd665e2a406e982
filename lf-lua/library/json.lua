---@meta
-- JSON: `lf.json`, and the modules `cjson` and `cjson.safe`.

---@class lf
lf = {}

---@class lf.json
lf.json = {}

---Stands for JSON's `null`, which `nil` cannot in a table.
---@type lightuserdata
lf.json.null = nil

---An empty array, where an empty table would be an object.
---@type lightuserdata
lf.json.empty_array = nil

---The metatable of tables that are always arrays.
---@type table
lf.json.array_mt = nil

---@class lf.json.Options
---@field precision? integer Digits of numbers, 1 to 17; as many as bring them back unchanged if there is none.
---@field max_depth? integer Tables in tables, 1 to 1000.
---@field empty_as_array? boolean Writes an empty table as `[]`.
---@field escape_slash? boolean Writes `/` as `\/`.
---@field invalid_as_null? boolean Writes infinities and NaN as `null`; else they are an error.
---@field sparse_as_object? boolean Writes an array that is mostly holes as an object; else it is an error.

---The JSON text of a value.
---@param value any
---@param options? lf.json.Options
---@return string? text
---@return string? err
function lf.json.encode(value, options) end

---The value of a JSON text.
---@param text string
---@return any value
---@return string? err
function lf.json.decode(text) end

---Marks a table, or a new one, as an array, also while it is empty.
---@param table? table
---@return table
function lf.json.array(table) end
