-- Answers with a function that calls one of `string`, and shows what it answers or raises.
local name = ...
local unpack = unpack or table.unpack

local function show(...)
    local parts = {}
    for index = 1, select("#", ...) do
        local value = select(index, ...)
        parts[index] = type(value) .. ":" .. tostring(value)
    end
    return table.concat(parts, "|")
end

local function results(...)
    if name ~= "gmatch" then
        return show(string[name](...))
    end
    local all = {}
    for one, two, three in string.gmatch(...) do
        all[#all + 1] = show(one, two, three)
        if #all > 50 then
            break
        end
    end
    return table.concat(all, ";")
end

return function(...)
    local arguments, count = { ... }, select("#", ...)
    local ok, answer = pcall(function()
        local answer = results(unpack(arguments, 1, count))
        return answer
    end)
    -- Where it went wrong is another test's matter; and the engine guesses names of functions from the code around.
    return tostring(ok) .. " " .. tostring(answer):gsub("^[%w=]+:%d+: ", ""):gsub("to '[^']+'", "to it", 1)
end
