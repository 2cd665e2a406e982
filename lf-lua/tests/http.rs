//! `lf.http`: what a script sees of a request, and what becomes of its answer.

mod common;

use common::{Program, http, refuses_to_start};
use std::io::{BufRead, BufReader, Read, Write};

#[test]
fn a_script_sees_method_path_parameters_arguments_fields_and_peer() {
    let program = Program::run(
        r#"lf.http { listen = "127.0.0.1:0" }:any("/u/:id/*rest", function(req, res)
            res:say(req.method, " ", req.path, " ", req.params.id, " ", req.params.rest)
            res:say(req.args.a, " ", req.args.b, " ", tostring(req.args.c))
            res:say(req:header("X-Twice"), " ", req.headers["x_twice"], " ", tostring(req:header("None")))
            res:say(req:cookie("k"), " ", (req.remote:match("^127%.0%.0%.1:%d+$")) and "peer")
        end)"#,
    );
    let fields = [("X-Twice", "1"), ("x-twice", "2"), ("Cookie", "j=1; k=v")];
    let answer = http::request(program.at(), "PATCH", "/u/7/a/b?a=1&b=x%20y", &fields, b"");
    let expected = "PATCH /u/7/a/b 7 a/b\n1 x y nil\n1, 2 1, 2 nil\nv peer\n";
    assert_eq!(answer.text(), expected, "{}", program.process.errors());
}

#[test]
fn status_fields_and_type_are_those_that_the_script_says() {
    let program = Program::run(
        r#"lf.http { listen = "127.0.0.1:0" }
            :get("/plain", function(req, res) res:print("x") end)
            :get("/made", function(req, res)
                res.status = 201
                res.header["X-A"] = "1"
                res.header { ["Content-Type"] = "text/css", ["Set-Cookie"] = { "a=1", "b=2" } }
                res:print("body {}")
            end)
            :get("/exit", function(req, res) res:print("seen") res:exit(403) res:print("never") end)
            :get("/moved", function(req, res) res:redirect("/plain") end)
            :get("/empty", function() end)"#,
    );
    let plain = program.get("/plain");
    assert_eq!(plain.field("Content-Type"), Some("text/plain; charset=utf-8"));
    let made = program.get("/made");
    assert_eq!((made.status, made.field("X-A"), made.field("Content-Type")), (201, Some("1"), Some("text/css")));
    assert_eq!(made.head.0.matches("Content-Type").count(), 1);
    assert_eq!(made.head.0.matches("Set-Cookie: ").count(), 2);
    let exit = program.get("/exit");
    assert_eq!((exit.status, exit.text().as_str()), (403, "seen"));
    let moved = program.get("/moved");
    assert_eq!((moved.status, moved.field("Location")), (302, Some("/plain")));
    let empty = program.get("/empty");
    assert_eq!((empty.status, empty.body.len()), (200, 0));
}

#[test]
fn paths_and_methods_that_are_not_there_are_told_apart() {
    let program =
        Program::run(r#"lf.http { listen = "127.0.0.1:0" }:get("/a", function(req, res) res:print("a") end)"#);
    assert_eq!(program.get("/b").status, 404);
    let wrong = program.post("/a", b"");
    assert_eq!((wrong.status, wrong.field("Allow")), (405, Some("GET")));
    let options = http::request(program.at(), "OPTIONS", "/a", &[], b"");
    assert_eq!((options.status, options.field("Allow")), (204, Some("GET")));
    let mut wire = program.connect();
    wire.ask("HEAD", "/a", "1.1", "");
    let head = wire.head();
    assert_eq!((head.status(), head.field("Content-Length")), (200, Some("1")));
}

#[test]
fn requests_of_a_connection_are_answered_in_order_also_if_some_wait() {
    let program = Program::run(
        r#"lf.http { listen = "127.0.0.1:0" }
            :get("/slow", function(req, res) lf.sleep(0.05) res:print("slow") end)
            :get("/fast", function(req, res) res:print("fast") end)"#,
    );
    let mut wire = program.connect();
    for path in ["/slow", "/fast", "/slow", "/fast"] {
        wire.ask("GET", path, "1.1", "");
    }
    for expected in ["slow", "fast", "slow", "fast"] {
        assert_eq!(wire.answer().text(), expected);
    }
}

#[test]
fn a_body_comes_whole_unless_the_route_wants_it_in_pieces() {
    let program = Program::run(
        r#"lf.http { listen = "127.0.0.1:0", max_body = 100000 }
            :post("/whole", function(req, res) res:print(#req:body(), " ", req:body():sub(-3)) end)
            :post("/pieces", function(req, res)
                local n = 0
                for piece in req:pieces() do n = n + #piece end
                res:print(n)
            end, { stream = true, max_body = 10000000 })
            :post("/all", function(req, res) res:print(#req:body()) end, { stream = true })
            :post("/small", function(req, res) res:print("ok") end, { max_body = 10 })"#,
    );
    let body = [b'x'; 99_997].iter().chain(b"end").copied().collect::<Vec<_>>();
    assert_eq!(program.post("/whole", &body).text(), "100000 end");
    assert_eq!(program.post("/whole", &[b'x'; 100_001]).status, 413);
    assert_eq!(program.post("/pieces", &[b'x'; 5_000_000]).text(), "5000000");
    assert_eq!(program.post("/all", &[b'x'; 70_000]).text(), "70000");
    assert_eq!(program.post("/small", b"12345678901").status, 413);
    let mut wire = program.connect();
    wire.say("POST /whole HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(wire.answer().text(), "5 cde");
    wire.say("POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n");
    assert_eq!(wire.answer().status, 413);
}

#[test]
fn a_body_that_pauses_can_be_asked_for_again() {
    let program = Program::run(
        r#"lf.http { listen = "127.0.0.1:0" }:post("/", function(req, res)
            local first = req:read()
            local none, err = req:read(0.02)
            res:print(first, " ", tostring(none), " ", err, "\n")
            assert(res:flush())
            res:print(req:body(), " ", tostring(req:read()))
        end, { stream = true })"#,
    );
    let mut stream = std::net::TcpStream::connect(program.at()).unwrap();
    write!(stream, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhello").unwrap();
    let mut answer = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while !line.ends_with("hello nil timeout\n") {
        line.clear();
        assert!(answer.read_line(&mut line).unwrap() > 0, "{}", program.process.errors());
    }
    write!(stream, "world").unwrap();
    let mut rest = String::new();
    answer.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("world nil"), "{rest}");
}

#[test]
fn an_answer_in_pieces_goes_out_as_it_is_flushed_and_waits_for_a_slow_client() {
    let program = Program::run(
        r#"lf.http { listen = "127.0.0.1:0" }
            :get("/count", function(req, res)
                for i = 1, 3 do res:print(i) assert(res:flush()) lf.sleep(0.001) end
                res:print("end")
            end)
            :get("/much", function(req, res)
                local piece = ("x"):rep(100000)
                for i = 1, 300 do
                    res:print(piece)
                    local ok, err = res:flush()
                    if not ok then return lf.log(lf.WARN, "gave up: ", err) end
                end
            end)"#,
    );
    let counted = program.get("/count");
    assert!(counted.head.is_chunked());
    assert_eq!(counted.text(), "123end");
    assert_eq!(program.get("/much").body.len(), 30_000_000);
    let mut wire = program.connect();
    wire.get("/much");
    wire.head();
    wire.reset();
    program.awaits_log("gave up: closed");
}

#[test]
fn a_script_error_is_a_500_with_a_traceback_in_the_log_and_the_connection_goes_on() {
    let program = Program::run(
        r#"local function deep() error("it broke") end
        lf.http { listen = "127.0.0.1:0" }
            :get("/now", function() deep() end)
            :get("/later", function() lf.sleep(0.001) deep() end)
            :get("/table", function() error({ code = 1 }) end)
            :get("/half", function(req, res) res:print("part") res:flush() deep() end)
            :get("/ok", function(req, res) res:print("ok") end)"#,
    );
    let mut wire = program.connect();
    for path in ["/now", "/later", "/table"] {
        wire.ask("GET", path, "1.1", "");
        let answer = wire.answer();
        assert_eq!((answer.status, answer.text().as_str()), (500, "500 Internal Server Error\n"));
    }
    wire.ask("GET", "/ok", "1.1", "");
    assert_eq!(wire.answer().text(), "ok");
    program.awaits_log("script.lua:1: it broke");
    // "in function" or "in upvalue", as the engine has it.
    program.awaits_log(" 'deep'");
    // An answer that was begun cannot become another one: it is cut, so that nobody takes it for whole.
    wire.ask("GET", "/half", "1.1", "");
    assert_eq!(wire.head().status(), 200);
    assert!(!String::from_utf8_lossy(&wire.rest_or_reset()).contains("0\r\n\r\n"));
}

#[test]
fn a_header_that_cannot_be_written_is_a_500_and_not_a_second_header() {
    let program = Program::run(
        r#"lf.http { listen = "127.0.0.1:0" }:get("/", function(req, res)
            res.header["X-Bad"] = "a\r\nSet-Cookie: evil=1"
            res:print("x")
        end)"#,
    );
    let answer = program.get("/");
    assert_eq!(answer.status, 500);
    assert!(!answer.head.0.contains("evil"));
}

#[test]
fn what_is_wrong_with_a_script_is_said_with_its_place() {
    for (script, expected) in [
        ("lf.http {", "script.lua:1:"),
        ("\nerror('no')", "script.lua:2: no"),
        ("local x = 1", "defines no server"),
        ("lf.http { listen = 7 }", "listen is missing"),
        ("lf.tcp { listen = '127.0.0.1:0' }", "handler is a nil"),
        ("lf.tcp { listen = '127.0.0.1:0', frame = 'dots', handler = print }", "frame is 'dots'"),
        ("lf.http { listen = '127.0.0.1:0' }:get('x', function() end)", "begins with '/'"),
        ("lf.http { listen = 'nowhere' }:get('/', function() end)", "nowhere"),
        ("lf.sleep(1)", "can only be called in a handler"),
    ] {
        let said = refuses_to_start(script, &[]);
        assert!(said.contains(expected), "{script}: {said}");
    }
}
