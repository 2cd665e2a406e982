-- HTTP in, nshead out: the same page once from here and once from a back end that echoes.
local backend = lf.upstream("backend", {
  servers = { os.getenv("LF_BACKEND") or "127.0.0.1:9876" },
  proto = "nshead",
  keepalive = 128,
  connect_timeout = 1,
  timeout = 1,
})

lf.http { listen = os.getenv("LF_LISTEN") or "127.0.0.1:0" }
  :route("GET", "/hello", function(req, res) res:print("hello\n") end)
  :route("GET", "/call", function(req, res)
    local answer, err = backend:call("hello\n")
    if answer then
      res:print(answer)
    else
      res.status = 502
      res:print(err, "\n")
    end
  end)
