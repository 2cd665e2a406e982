-- HTTP in, nshead out: the same page once from here and once from a back end that echoes, over connections that have one call at
-- a time, or that calls share.
local server = os.getenv("LF_BACKEND") or "127.0.0.1:9876"
local options = { servers = { server }, proto = "nshead", keepalive = 128, connect_timeout = 1, timeout = 1 }
local backend = lf.upstream("backend", options)
options.pipeline = 32
local shared = lf.upstream("shared", options)

local function proxy(upstream)
  return function(req, res)
    local answer, err = upstream:call("hello\n")
    if answer then
      res:print(answer)
    else
      res.status = 502
      res:print(err, "\n")
    end
  end
end

lf.http { listen = os.getenv("LF_LISTEN") or "127.0.0.1:0" }
  :route("GET", "/hello", function(req, res) res:print("hello\n") end)
  :route("GET", "/call", proxy(backend))
  :route("GET", "/shared", proxy(shared))
