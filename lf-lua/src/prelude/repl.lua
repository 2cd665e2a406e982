-- What is typed, run in the script's own VM; it may wait.

local _, _, lf, address = ...

local function show(value, depth)
    if type(value) == "string" then return ("%q"):format(value) end
    if type(value) ~= "table" or depth > 2 then return tostring(value) end
    local parts = {}
    for key, each in pairs(value) do
        parts[#parts + 1] = (type(key) == "string" and key or "[" .. tostring(key) .. "]") .. " = " .. show(each, depth + 1)
    end
    table.sort(parts)
    return "{ " .. table.concat(parts, ", ") .. " }"
end

lf.tcp {
    listen = address,
    frame = "len32",
    max = 16 * 1024 * 1024,
    handler = function(c, code)
        local compile = loadstring or load
        local f, err = compile("return " .. code, "=stdin")
        if not f then f, err = compile(code, "=stdin") end
        -- The first byte says what it is: a result, an error, or that there is more to come.
        if not f then return c:send((err:find("<eof>", 1, true) and "+" or "!") .. err) end
        local results = { pcall(f) }
        local shown = {}
        for i = 2, table.maxn and table.maxn(results) or #results do shown[#shown + 1] = show(results[i], 0) end
        c:send((results[1] and "=" or "!") .. table.concat(shown, "\t"))
    end,
}
