-- What calls back into the script: there it may raise errors as they are, and yield.
local type, error, tostring = type, error, tostring
local concat, sub = table.concat, string.sub

return function(re, native)
    local step, replace = native.step, native.replace

    function re.gmatch(subject, regex, options)
        local position = 1
        local _, _, err = replace("", regex, "", options, 1)
        if err then
            return nil, err
        end
        return function()
            local from, to, captures = step(subject, regex, options, position)
            if not from then
                position = #subject + 2
                return nil
            end
            position = to < from and to + 2 or to + 1
            return captures
        end
    end

    local function call(subject, regex, replacement, options, max)
        local parts, length, count, position, done = {}, 0, 0, 1, 1
        while max == 0 or count < max do
            local from, to, captures = step(subject, regex, options, position)
            if not from then
                if captures then
                    return nil, nil, captures
                end
                break
            end
            local value = replacement(captures)
            if type(value) ~= "string" and type(value) ~= "number" then
                error("the replacement is to be a string or a number, not a " .. type(value), 3)
            end
            parts[length + 1], parts[length + 2] = sub(subject, done, from - 1), value
            length, count, done = length + 2, count + 1, to + 1
            position = to < from and to + 2 or to + 1
        end
        parts[length + 1] = sub(subject, done)
        return concat(parts), count
    end

    local function replacing(max)
        return function(subject, regex, replacement, options)
            if type(replacement) == "function" then
                return call(tostring(subject), regex, replacement, options, max)
            end
            local replaced, count, err = replace(subject, regex, replacement, options, max)
            if err then
                return nil, nil, err
            end
            return replaced, count
        end
    end

    re.sub = replacing(1)
    re.gsub = replacing(0)
end
