-- Raises what the functions in Rust answer as `nil, message`, with the place in the script that called them.
local select, error, pairs = select, error, pairs

return function(functions, options, new, safe)
    local module = { new = new }

    for name, call in pairs(functions) do
        module[name] = function(...)
            if select("#", ...) ~= 1 then
                error("bad argument #1 to '" .. name .. "' (expected 1 argument)", 2)
            end
            local value, message = call(...)
            if not message then
                return value
            elseif safe then
                return nil, message
            end
            error(message, 2)
        end
    end

    for name, configure in pairs(options) do
        local has_three = name == "encode_sparse_array"
        module[name] = function(...)
            local first, second, third = configure(...)
            if first == nil then
                error(second, 2)
            elseif has_three then
                return first, second, third
            end
            return first
        end
    end

    return module
end
