-- A page, and scripts beside it that do harm until they are stopped: for --untrusted.
local app = lf.http { listen = "127.0.0.1:0" }
app:get("/hello", function(req, res) res:print("hello\n") end)
app:get("/spin", function() while true do end end)
app:get("/memory", function()
  local kept = {}
  while true do kept[#kept + 1] = ("x"):rep(1000) .. #kept end
end)
app:get("/threads", function()
  while true do lf.thread.spawn(function() end) end
end)
app:get("/pattern", function()
  local subject = ("a"):rep(1000000)
  while true do subject:find(("a*"):rep(20) .. "b") end
end)
