-- The smallest page, and the same page from a handler that blocks its thread for 10 ms as a slow library would.
local ffi = require "ffi"
ffi.cdef "int usleep(unsigned int us);"

lf.http { listen = os.getenv("LF_LISTEN") or "127.0.0.1:0" }
  :route("GET", "/hello", function(req, res) res:print("hello\n") end)
  :route("GET", "/block", function(req, res)
    ffi.C.usleep(10000)
    res:print("hello\n")
  end)
