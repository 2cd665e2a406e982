//! `lf.tcp` and `lf.nshead`.

mod common;

use common::Program;
use common::nshead::{Client, Frame};
use common::wire::Wire;

#[test]
fn frames_of_each_kind_are_handed_over_and_answered() {
    let program = Program::run(
        r#"local function echo(c, message) c:send("<" .. message .. ">") end
        lf.tcp { listen = "127.0.0.1:0", frame = "line", handler = echo }
        lf.tcp { listen = "127.0.0.1:0", frame = "len32", handler = echo }
        lf.tcp { listen = "127.0.0.1:0", frame = "raw", handler = echo }"#,
    );
    let mut line = Wire::connect(program.addresses[0]);
    line.say("a\nb\n");
    line.expect("<a>\n<b>\n");
    let mut len32 = Wire::connect(program.addresses[1]);
    len32.say(b"\0\0\0\x02hi");
    len32.expect(b"\0\0\0\x04<hi>");
    let mut raw = Wire::connect(program.addresses[2]);
    raw.say("abc");
    raw.expect("<abc>");
}

#[test]
fn a_connection_that_a_call_waits_on_gets_its_frames_in_order() {
    let program = Program::run(
        r#"lf.tcp { listen = "127.0.0.1:0", frame = "line", handler = function(c, line)
            if line == "slow" then lf.sleep(0.03) end
            if line == "name" then
                c:send("who?")
                c:send("hello " .. c:receive())
                return
            end
            c:send(line)
        end }"#,
    );
    let mut wire = program.connect();
    wire.say("slow\nfast\nslow\nfast\n");
    wire.expect("slow\nfast\nslow\nfast\n");
    wire.say("name\n");
    wire.expect("who?\n");
    wire.say("Ann\nnext\n");
    wire.expect("hello Ann\nnext\n");
}

#[test]
fn a_raw_connection_is_read_by_lines_counts_and_to_the_end() {
    let program = Program::run(
        r#"lf.tcp { listen = "127.0.0.1:0", frame = "raw", handler = function(c, first)
            c:unread(first)
            local line = c:receive("*l")
            local five = c:receive(5)
            local rest = c:receive("*a")
            c:send(("[%s][%s][%s]"):format(line, five, rest))
            c:close()
        end }"#,
    );
    let mut wire = program.connect();
    wire.say("one\r\n12");
    wire.say("345and ");
    wire.say("the rest");
    wire.finish();
    assert_eq!(String::from_utf8_lossy(&wire.rest()), "[one][12345][and the rest]");
}

#[test]
fn a_wait_for_a_frame_times_out_and_a_close_is_told() {
    let program = Program::run(
        r#"lf.tcp { listen = "127.0.0.1:0", frame = "line", handler = function(c, line)
            c:on_close(function() lf.log(lf.INFO, "gone ", c.id) end)
            c:settimeout(0.02)
            local got, err = c:receive()
            c:send(tostring(got) .. " " .. tostring(err))
            c:settimeout(20)
            got, err = c:receive()
            lf.log(lf.INFO, "then ", tostring(got), " ", tostring(err))
        end }"#,
    );
    let mut wire = program.connect();
    wire.say("x\n");
    wire.expect("nil timeout\n");
    wire.reset();
    program.awaits_log("then nil closed");
    program.awaits_log("gone ");
}

#[test]
fn frames_after_a_wait_that_timed_out_are_not_lost() {
    let program = Program::run(
        r#"lf.tcp { listen = "127.0.0.1:0", frame = "line", handler = function(c, line)
            c:settimeout(0.001)
            local got, timeouts = 0, 0
            while got < 200 do
                local number, err = c:receive()
                if number then
                    assert(tonumber(number) == got, "lost before " .. number)
                    got = got + 1
                else
                    assert(err == "timeout", err)
                    if timeouts == 0 then c:send("timed out") end
                    timeouts = timeouts + 1
                    lf.sleep(0.001)
                end
            end
            c:send("all there")
        end }"#,
    );
    let mut wire = program.connect();
    wire.say("begin\n");
    wire.expect("timed out\n");
    for number in 0..200 {
        wire.say(format!("{number}\n"));
        std::thread::sleep(std::time::Duration::from_micros(number % 5 * 500));
    }
    wire.expect("all there\n");
}

#[test]
fn a_script_error_closes_the_connection_after_what_was_sent() {
    let program = Program::run(
        r#"lf.tcp { listen = "127.0.0.1:0", frame = "line", handler = function(c, line)
            c:send("before")
            if line == "later" then lf.sleep(0.001) end
            error("broken " .. line)
        end }"#,
    );
    for word in ["now", "later"] {
        let mut wire = program.connect();
        wire.say(format!("{word}\n"));
        assert_eq!(wire.rest(), b"before\n");
        program.awaits_log(&format!("broken {word}"));
    }
}

#[test]
fn frames_over_the_limit_close_the_connection() {
    let program = Program::run(
        r#"lf.tcp { listen = "127.0.0.1:0", frame = "line", max = 10, handler = function(c, line) c:send(line) end }"#,
    );
    let mut wire = program.connect();
    wire.say("0123456789\n0123456789x\n");
    assert_eq!(wire.rest_or_reset(), b"0123456789\n");
}

#[test]
fn nshead_answers_copy_what_the_script_does_not_say() {
    let program = Program::run(
        r#"lf.nshead { listen = "127.0.0.1:0", handler = function(req)
            if req.body == "copy" then return "ok" end
            if req.body == "wait" then lf.sleep(0.01) return "waited", { id = 9 } end
            if req.body == "fail" then error("no") end
            if req.body == "fail later" then lf.sleep(0.001) error("no") end
            return table.concat({ req.id, req.version, req.log_id, req.provider, req.reserved }, " "),
                { id = 7, version = 8, log_id = 4294967295, provider = "me", reserved = 5 }
        end }"#,
    );
    let mut client = Client::connect(program.at());
    let copy = client.call(&Frame::new(42, b"copy"));
    assert_eq!((copy.id, copy.version, copy.log_id, copy.provider_text().as_str()), (1, 2, 42, "test"));
    assert_eq!(copy.body, b"ok");
    let mut full = Frame::new(4_000_000_000, b"all");
    full.reserved = 3;
    let all = client.call(&full);
    assert_eq!(all.body, b"1 2 4000000000 test 3");
    assert_eq!((all.id, all.version, all.log_id, all.provider_text().as_str()), (7, 8, u32::MAX, "me"));
    assert_eq!(all.reserved, 5);
    let waited = client.call(&Frame::new(43, b"wait"));
    assert_eq!((waited.id, waited.log_id, waited.body.as_slice()), (9, 43, &b"waited"[..]));
    for body in ["fail", "fail later"] {
        let failed = client.call(&Frame::new(44, body.as_bytes()));
        assert_eq!((failed.log_id, failed.provider_text().as_str(), failed.body.len()), (44, "lf-lua-error", 0));
    }
    program.awaits_log("script.lua:4: no");
}

#[test]
fn pipelined_nshead_requests_are_answered_in_order() {
    let program = Program::run(
        r#"lf.nshead { listen = "127.0.0.1:0", handler = function(req)
            if req.log_id % 2 == 0 then lf.sleep(0.01) end
            return req.body
        end }"#,
    );
    let mut client = Client::connect(program.at());
    for log_id in 0..20 {
        client.send(&Frame::new(log_id, format!("body {log_id}").as_bytes()));
    }
    for log_id in 0..20 {
        let answer = client.receive();
        assert_eq!((answer.log_id, answer.body), (log_id, format!("body {log_id}").into_bytes()));
    }
}
