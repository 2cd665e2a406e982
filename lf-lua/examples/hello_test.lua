-- lf-lua test lf-lua/examples

describe("hello", function()
    it("greets whoever asks", function()
        local answer = test.get("/")
        assert.equal(200, answer.status)
        assert.match("^hello, 127%.0%.0%.1:%d+\n$", answer.body)
    end)

    it("knows users, slowly", function()
        local answer = test.get("/u/7")
        assert.equal("user 7\n", answer.body)
        assert(answer.took >= 0.01)
    end)

    it("echoes bodies, lines and requests", function()
        assert.equal("body", test.post("/echo", "body").body)
        assert.equal("a line", test.line("a line"))
        local body, header = test.nshead("x", { log_id = 7 })
        assert.equal("you said x", body)
        assert.equal(7, header.log_id)
    end)

    it("answers 404 for what is not there", function()
        assert.same({ 404, "404 Not Found\n" }, { test.get("/nope").status, test.get("/nope").body })
    end)
end)
