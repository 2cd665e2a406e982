-- `string.find` and its kin as scripts see them: errors name the place in the script, and what calls back into the
-- script may raise and yield there.
local error, type, select = error, type, select
local sub, concat = string.sub, table.concat

return function(string, native)
    local scan = native.scan
    local empty_moves_on = native.empty_moves_on

    local function checked(ok, ...)
        if not ok then
            error((...), 2)
        end
        return ...
    end

    for _, name in ipairs { "find", "match", "rep" } do
        local call = native[name]
        string[name] = function(...)
            return checked(call(...))
        end
    end

    local gmatch = native.gmatch
    local function iterate(ok, subject, pattern, at)
        if not ok then
            error(subject, 2)
        end
        local last_end

        local function advance(ok, start, stop, ...)
            if not ok then
                error(start, 2)
            end
            if start then
                at, last_end = stop, stop
                if empty_moves_on and start == stop then
                    at = stop + 1
                end
                return ...
            end
        end

        return function()
            return advance(scan(subject, pattern, at, last_end, false, false))
        end
    end

    function string.gmatch(...)
        return iterate(gmatch(...))
    end

    local function replacement(by, ok, start, stop, ...)
        if not ok then
            error(start, 3)
        elseif not start then
            return nil
        end
        local value
        if type(by) == "function" then
            value = by(...)
        else
            value = by[(...)]
        end
        if value and type(value) ~= "string" and type(value) ~= "number" then
            error("invalid replacement value (a " .. type(value) .. ")", 3)
        end
        return start, stop, value
    end

    local function substitute(subject, pattern, max, by)
        local parts, size, count, at, last_end = {}, 0, 0, 0, nil
        local anchored, is_table = sub(pattern, 1, 1) == "^", type(by) == "table"
        while count < max do
            local start, stop, value = replacement(by, scan(subject, pattern, at, last_end, true, is_table))
            if not start then
                break
            end
            count = count + 1
            parts[size + 1] = sub(subject, at + 1, start)
            parts[size + 2] = value or sub(subject, start + 1, stop)
            size = size + 2
            at, last_end = stop, stop
            if empty_moves_on and start == stop then
                if start >= #subject then
                    break
                end
                size, at = size + 1, start + 1
                parts[size] = sub(subject, at, at)
            end
            if anchored then
                break
            end
        end
        parts[size + 1] = sub(subject, at + 1)
        return concat(parts), count
    end

    local gsub = native.gsub
    local function replace(by, ok, replaced, ...)
        if not ok then
            error(replaced, 2)
        elseif replaced then
            return replaced, ...
        end
        local subject, pattern, max = ...
        return substitute(subject, pattern, max, by)
    end

    function string.gsub(...)
        return replace(select(3, ...), gsub(...))
    end
end
