-- What the scripts of the tests assert with.

local function show(value)
    if type(value) == "number" then
        return ("%.17g"):format(value)
    elseif type(value) ~= "table" then
        return type(value) == "string" and ("%q"):format(value) or tostring(value)
    end
    local keys, parts = {}, {}
    for key in pairs(value) do
        keys[#keys + 1] = key
    end
    table.sort(keys, function(one, other)
        if type(one) ~= type(other) then
            return type(one) < type(other)
        end
        return one < other
    end)
    for index, key in ipairs(keys) do
        parts[index] = "[" .. show(key) .. "]=" .. show(value[key])
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

-- The results of a call are these, in depth.
function same(wanted, ...)
    local found = { n = select("#", ...), ... }
    wanted.n = wanted.n or #wanted
    while found.n > wanted.n and found[found.n] == nil do
        found.n = found.n - 1
    end
    if show(wanted) ~= show(found) then
        error("wanted " .. show(wanted) .. "\nfound  " .. show(found), 2)
    end
end

-- A call raises an error that holds this text.
function raises(text, call, ...)
    local ok, message = pcall(call, ...)
    if ok then
        error("wanted an error that holds: " .. text, 2)
    elseif not tostring(message):find(text, 1, true) then
        error("wanted an error that holds: " .. text .. "\nfound " .. tostring(message), 2)
    end
end
