-- Ways to the machine: files, programs, the environment, code that is not checked.

--# io is gone
res:print(io == nil and "contained" or io.open("canary.txt"):read("*a"))
--# os.execute is gone
os.execute("touch pwned")
--# os.getenv is gone
res:print(os.getenv("CANARY"))
--# os.remove is gone
os.remove("canary.txt")
--# os.rename is gone
os.rename("canary.txt", "pwned")
--# os.tmpname is gone
os.tmpname()
--# os.exit is gone
os.exit(0)
--# os has nothing but the time
local found = {}
for name in pairs(os) do found[#found + 1] = name end
table.sort(found)
res:print(table.concat(found, " ") == "clock date difftime time" and "contained" or table.concat(found, " "))
--# debug is gone
res:print(debug.getregistry() and "escaped")
--# ffi by require
require("ffi").C.system("touch pwned")
--# io by require
res:print(require("io").open("canary.txt"):read("*a"))
--# debug by require
require("debug").getregistry()
--# jit by require
res:print(require("jit").os)
--# jit.util by require
res:print(require("jit.util").funcinfo)
--# a file by require
res:print(require("canary"))
--# a file by require with a path
res:print(require("./canary"))
--# package is gone
res:print(package == nil and "contained" or "package")
--# package by require
package = require("package") package.loadlib("libc.so.6", "system")
--# package.loaded through what require answers
res:print(require("_G").io and "escaped")
--# require with a name that is no string
require(setmetatable({}, { __tostring = function() return "io" end, __eq = function() return true end }))
--# require's own table of results
res:print(pcall(require, "__index") and "escaped" or "contained")
--# dofile is gone
res:print(dofile("canary.lua"))
--# loadfile is gone
res:print(loadfile("canary.lua")())
--# bytecode for load
local f, err = load("\27LJ\2\0\0\0\0")
res:print(f == nil and "contained" or "escaped")
--# bytecode for load with a mode that allows it
local f = load("\27LJ\2\10\0\0", "x", "b")
res:print(f == nil and "contained" or "escaped")
--# bytecode in pieces
local pieces, i = { "\27", "L", "J", "\2" }, 0
local f = load(function() i = i + 1 return pieces[i] end)
res:print(f == nil and "contained" or "escaped")
--# bytecode whose mode is an object
local f = load("\27LJ\2\0\0", "x", setmetatable({}, { __tostring = function() return "bt" end }))
res:print(f == nil and "contained" or "escaped")
--# bytecode for loadstring
local f = (loadstring or load)("\27Lua\0\0")
res:print(f == nil and "contained" or "escaped")
--# string.dump is gone
res:print(string.dump(function() end))
--# string.dump by a string's method
res:print(("").dump(function() end))
--# getfenv of the caller
res:print(getfenv(0).io and "escaped")
--# getfenv of a function of the prelude
res:print(getfenv(lf.sleep).rt and "escaped")
--# setfenv on a function of the prelude
setfenv(lf.http, { error = print })
--# newproxy is gone
newproxy(true)
--# module is gone
module("pwned", package and package.seeall)
--# the metatable of strings
res:print(type(getmetatable("")) ~= "table" and "contained" or "escaped")
--# string methods given to everybody
getmetatable("").__index = function() return "escaped" end
--# the traceback of a failure says nothing of the machine
local ok, trace = xpcall(function() error("x") end, function(e) return debug and debug.getinfo(1) or e end)
res:print(type(trace) == "string" and "contained" or "escaped")
--# globals that hold more than they should
local known = {}
for name in ([[_G _VERSION assert error getmetatable ipairs load loadstring next pairs pcall print rawequal rawget rawset
    rawlen select setmetatable tonumber tostring type unpack xpcall collectgarbage require string table math os
    coroutine bit utf8 lf warn]]):gmatch("%S+") do known[name] = true end
local more = {}
for name in pairs(_G) do if not known[name] then more[#more + 1] = tostring(name) end end
res:print(#more == 0 and "contained" or table.concat(more, " "))
--# a listing of everything that can be reached
local seen, bad = {}, nil
local function look(value, path)
    if type(value) == "table" and not seen[value] then
        seen[value] = true
        for key, inner in next, value do
            local name = path .. "." .. tostring(key)
            if key == "loadlib" or key == "getregistry" or key == "execute" or key == "popen" or key == "disarm" then bad = name end
            look(inner, name)
        end
        local meta = getmetatable(value)
        if type(meta) == "table" then look(meta, path .. "<meta>") end
    end
end
look(_G, "_G") look(req, "req") look(res, "res") look(lf.thread.spawn(function() end), "thread")
look(lf.timer.at(1, function() end), "timer") look(lf.socket.tcp(), "socket") look(lf.semaphore(1), "semaphore")
res:print(bad or "contained")
--# a file as a list of servers
lf.upstream("pwned", { file = "canary.txt" })
local up = lf.upstream("pwned")
res:print(table.concat(up:servers(), " "))
--# a socket file of another program
local socket, err = lf.socket.connect("unix:/run/pwned.sock")
res:print(tostring(err):find("untrusted", 1, true) and "contained" or tostring(err))
--# a socket file as an upstream
lf.upstream("pwned", { servers = { "unix:/run/pwned.sock" } })
res:print("escaped")
--# os.date with formats that crash
local ok = pcall(os.date, ("%Ec%Oy%"):rep(80))
for _, format in ipairs { "%", "%E", "%O", "!%", "*t", "!*t", "%5", "%\0", "%-", ("%c"):rep(100) } do pcall(os.date, format) end
res:print("contained")
--# os.date with times that there are not
for _, time in ipairs { 1e300, -1e300, 0 / 0, 1 / 0, 2 ^ 63, -2 ^ 63 } do
    pcall(os.date, "%c", time) pcall(os.date, "*t", time) pcall(os.time, { year = time, month = 1, day = 1 })
end
res:print("contained")
--# the log cannot be forged without bounds
for _ = 1, 3 do lf.log(lf.ERR, ("x"):rep(4000000)) end
res:print("contained")
