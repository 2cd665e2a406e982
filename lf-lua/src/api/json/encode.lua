-- Lua values to JSON text. The walk is in Lua, where the engine compiles it and a table's items need no handles; what a
-- string or a number looks like is said in Rust.
local next, type, concat, floor, huge = next, type, table.concat, math.floor, math.huge
local getmetatable, rawget = getmetatable, rawget
local rawlen = rawlen or function(list)
    return #list
end
local is_integer = math.type and function(number)
    return math.type(number) == "integer"
end

-- Strings whose text is remembered, and the length of the longest of them.
local QUOTED_MAX, QUOTED_BYTES_MAX = 4096, 64
-- Pieces of text whose table is kept for the next call.
local PARTS_MAX = 4096

return function(native, null, empty_array, array_mt, empty_array_mt)
    local quote, number_text = native.quote, native.number

    -- An encoder with these settings, which may change between its calls: with them go the strings in `quoted`.
    local function encoder(settings)
        local parts, refusal = {}, nil

        local function refuse(value, why)
            refusal = "Cannot serialise " .. type(value) .. ": " .. why
            return nil
        end

        local function string_text(value)
            local text = quote(value, settings.escape_slash, settings.escape_delete)
            if #value <= QUOTED_BYTES_MAX then
                if settings.quoted_count >= QUOTED_MAX then
                    settings.quoted, settings.quoted_count = {}, 0
                end
                settings.quoted[value] = text
                settings.quoted_count = settings.quoted_count + 1
            end
            return text
        end

        -- What joins as the text of a number, or nothing.
        local function number(value)
            if value ~= value or value == huge or value == -huge then
                local invalid = settings.invalid
                if invalid == "null" then
                    return "null"
                elseif invalid == "name" then
                    return value ~= value and "NaN" or value > 0 and "Infinity" or "-Infinity"
                end
                return refuse(value, "must not be NaN or Inf")
            elseif is_integer then
                return is_integer(value) and value or number_text(value, settings.precision)
            elseif settings.joins or floor(value) == value and value < 1e14 and value > -1e14 then
                -- As the engine writes it: with fourteen digits.
                return value
            end
            return number_text(value, settings.precision)
        end

        local walk

        -- Puts a value at a place, and answers with the next place, or nothing if it was refused.
        local function put(at, value, depth)
            local kind = type(value)
            if kind == "string" then
                parts[at] = settings.quoted[value] or string_text(value)
            elseif kind == "number" then
                local text = number(value)
                if not text then
                    return nil
                end
                parts[at] = text
            elseif kind == "boolean" then
                parts[at] = value and "true" or "false"
            elseif kind == "table" then
                return walk(at, value, depth + 1)
            elseif kind == "nil" or value == null then
                parts[at] = "null"
            elseif value == empty_array then
                parts[at] = "[]"
            else
                return refuse(value, "type not supported")
            end
            return at + 1
        end

        -- The length of a table whose keys are positive integers; -1: of an object; nothing if it is refused.
        local function array_length(list)
            local last, items = 0, 0
            for key in next, list do
                if type(key) ~= "number" or key < 1 or floor(key) ~= key then
                    return -1
                end
                items = items + 1
                if key > last then
                    last = key
                end
            end
            local ratio = settings.sparse_ratio
            if ratio > 0 and last > items * ratio and last > settings.sparse_safe then
                return settings.sparse_convert and -1 or refuse(list, "excessively sparse array")
            end
            return last
        end

        local function array(at, list, length, is_raw, depth)
            parts[at] = "["
            at = at + 1
            for index = 1, length do
                if index > 1 then
                    parts[at] = ","
                    at = at + 1
                end
                local value
                if is_raw then
                    value = rawget(list, index)
                else
                    value = list[index]
                end
                at = put(at, value, depth)
                if not at then
                    return nil
                end
            end
            parts[at] = "]"
            return at + 1
        end

        local function object(at, map, depth)
            local before = "{"
            for key, value in next, map do
                parts[at] = before
                before = ","
                local kind = type(key)
                if kind == "string" then
                    parts[at + 1] = settings.quoted[key] or string_text(key)
                elseif kind == "number" then
                    local text = number(key)
                    if not text then
                        return nil
                    end
                    parts[at + 1] = '"' .. text .. '"'
                else
                    return refuse(key, "table key must be a number or string")
                end
                parts[at + 2] = ":"
                at = put(at + 3, value, depth)
                if not at then
                    return nil
                end
            end
            parts[at] = "}"
            return at + 1
        end

        function walk(at, value, depth)
            if depth > settings.depth_max then
                refusal = "Cannot serialise, excessive nesting (" .. depth .. ")"
                return nil
            end
            local mark = getmetatable(value)
            if mark == array_mt then
                return array(at, value, rawlen(value), true, depth)
            end
            local first = next(value)
            if first == nil then
                local is_object = settings.empty_as_object and mark ~= empty_array_mt
                parts[at] = is_object and "{}" or "[]"
                return at + 1
            end
            local length = type(first) == "number" and array_length(value) or -1
            if refusal then
                return nil
            elseif length > 0 then
                return array(at, value, length, mark ~= nil, depth)
            end
            return object(at, value, depth)
        end

        return function(value)
            refusal = nil
            local after = put(1, value, 0)
            if not after then
                return nil, refusal
            end
            local text = concat(parts, "", 1, after - 1)
            if after > PARTS_MAX then
                parts = {}
            end
            return text
        end
    end

    -- An encoder that takes options, which `settings_of` makes settings of.
    local function choosing(settings, settings_of)
        local encode = encoder(settings)
        return function(value, options)
            if options == nil then
                return encode(value)
            end
            local chosen, err = settings_of(options)
            if not chosen then
                return nil, err
            end
            return encoder(chosen)(value)
        end
    end

    return encoder, choosing
end
