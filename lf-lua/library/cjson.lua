---@meta cjson

---JSON as lua-cjson has it. `require "cjson.safe"` answers `nil, err` where this one raises.
---@class cjson
---@field null lightuserdata Stands for JSON's `null`.
---@field empty_array lightuserdata An empty array.
---@field empty_array_mt table The metatable of tables that are arrays while they are empty.
---@field array_mt table The metatable of tables that are always arrays.
---@field _NAME string
---@field _VERSION string
local cjson = {}

---The JSON text of a value; raises an error if it has none.
---@param value any
---@return string
function cjson.encode(value) end

---The value of a JSON text; raises an error that names the place.
---@param text string
---@return any
function cjson.decode(text) end

---A module with settings of its own.
---@return cjson
function cjson.new() end

---When an array with holes is too sparse, and what becomes of it.
---@param convert? boolean An object; else an error.
---@param ratio? integer Too sparse if the length is above this many times the items; 0: never.
---@param safe? integer Never too sparse up to this length.
---@return boolean convert
---@return integer ratio
---@return integer safe
function cjson.encode_sparse_array(convert, ratio, safe) end

---Tables in tables that are written.
---@param depth? integer 1 to 1000
---@return integer
function cjson.encode_max_depth(depth) end

---Arrays and objects in each other that are read.
---@param depth? integer 1 to 1000
---@return integer
function cjson.decode_max_depth(depth) end

---Digits of numbers.
---@param digits? integer 1 to 16
---@return integer
function cjson.encode_number_precision(digits) end

---Accepted; there is no such buffer here.
---@param keep? boolean
---@return boolean
function cjson.encode_keep_buffer(keep) end

---Whether infinities and NaN are written: by name, as null, or not.
---@param setting? boolean|"null"
---@return boolean|"null"
function cjson.encode_invalid_numbers(setting) end

---Whether hexadecimal numbers, infinities and NaN are read.
---@param accept? boolean
---@return boolean
function cjson.decode_invalid_numbers(accept) end

---Whether an empty table is an object.
---@param object? boolean
---@return boolean
function cjson.encode_empty_table_as_object(object) end

---Whether `/` is written as `\/`.
---@param escape? boolean
---@return boolean
function cjson.encode_escape_forward_slash(escape) end

---Whether arrays that are read have the metatable `array_mt`.
---@param mark? boolean
---@return boolean
function cjson.decode_array_with_array_mt(mark) end

return cjson
