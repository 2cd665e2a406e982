-- HTTP, lines and nshead from one script.

lf.http { listen = "127.0.0.1:8080" }
    :get("/", function(req, res)
        res:print("hello, ", req.remote, "\n")
    end)
    :get("/u/:id", function(req, res)
        res.header["X-Slept"] = "10 ms"
        lf.sleep(0.01) -- this waits; the thread does not
        res:say("user ", req.params.id)
    end)
    :post("/echo", function(req, res) res:print(req:body()) end)
    :websocket("/ws", function(ws)
        for message in function() return ws:recv() end do
            ws:send(message)
        end
    end)

lf.tcp {
    listen = "127.0.0.1:9876",
    frame = "line",
    handler = function(c, line) c:send(line) end,
}

lf.nshead {
    listen = "127.0.0.1:9000",
    handler = function(req) return "you said " .. req.body end,
}
