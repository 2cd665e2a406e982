-- An RPC front end: HTTP with JSON in, two nshead back ends behind it. What one back end does not answer in time the other
-- is asked, too; what cannot be connected to is tried elsewhere; no request takes longer than half a second.

local backends = os.getenv and os.getenv("FRONT_BACKENDS") or "127.0.0.1:9001,127.0.0.1:9002"
local servers = {}
for server in backends:gmatch("[^,]+") do servers[#servers + 1] = server end

local be = lf.upstream("be", {
    servers = servers,
    proto = "nshead",
    balance = "p2c",
    timeout = 0.5,
    connect_timeout = 0.1,
    retries = 1,
    backup_after = 0.05,
    max_fails = 3,
    fail_timeout = 10,
    limit = "adaptive",
})

-- The status of an answer that did not come.
local statuses = { timeout = 504, overloaded = 503, queue_full = 503, no_server = 503, stopping = 503 }

lf.http { listen = os.getenv and os.getenv("FRONT_LISTEN") or "127.0.0.1:8080" }
    :post("/rpc", function(req, res)
        local question, err = req:json()
        if not question then return res:json({ error = err }, 400) end
        local log_id = tonumber(req:header("X-Log-Id")) or tonumber(lf.hex(lf.random_bytes(4)), 16)
        local answer, about, kind = be:call(lf.json.encode(question), { log_id = log_id, idempotent = true })
        if not answer then
            lf.log(lf.WARN, "rpc ", log_id, ": ", about)
            return res:json({ error = about, log_id = log_id }, statuses[kind] or 502)
        end
        res.header["X-Log-Id"] = log_id
        res.header["X-Server"] = about.server
        res:json { answer = lf.json.decode(answer) or answer, log_id = log_id, tries = about.tries }
    end)
    :get("/healthz", function(_, res) res:print("ok\n") end)
