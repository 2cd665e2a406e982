//! Digests, encodings and random bytes, by the examples of their specifications.

mod api_common;

use api_common::{run, vm_with};
use lf_lua::api::shared::Dicts;
use mlua::{Function, LuaString};
use proptest::prelude::*;

#[test]
fn digests_are_those_of_the_specifications() {
    run(r##"
        same({ "d41d8cd98f00b204e9800998ecf8427e" }, lf.md5 "")
        same({ "900150983cd24fb0d6963f7d28e17f72" }, lf.md5 "abc")
        same({ "a9993e364706816aba3e25717850c26c9cd0d89d" }, lf.sha1 "abc")
        same({ "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }, lf.sha256 "abc")
        for _, name in ipairs { "md5", "sha1", "sha256" } do
            same({ lf[name] "x\0y" }, lf.hex(lf[name .. "_bin"] "x\0y"))
        end
        same({ 3421780262 }, lf.crc32 "123456789")
    "##);
}

#[test]
fn codes_under_a_key_are_those_of_rfc_2202_and_4231() {
    run(r##"
        same({ "750c783e6ab0b503eaa86e310a5db738" }, lf.hmac("md5", "Jefe", "what do ya want for nothing?"))
        same({ "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79" }, lf.hmac("sha1", "Jefe", "what do ya want for nothing?"))
        same({ "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
            lf.hmac("sha256", "Jefe", "what do ya want for nothing?"))
        same({ "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" },
            lf.hmac("sha256", ("\170"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First"))
        same({ lf.hmac("sha1", "k", "s") }, lf.hex(lf.hmac_bin("sha1", "k", "s")))
        same({ nil, "no algorithm 'md4'; there are md5, sha1 and sha256", n = 2 }, lf.hmac("md4", "k", "s"))
        same({ nil, "no algorithm 'md4'; there are md5, sha1 and sha256", n = 2 }, lf.hmac_bin("md4", "k", "s"))
    "##);
}

#[test]
fn base64_is_that_of_rfc_4648() {
    run(r##"
        for plain, text in pairs { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", ["\251\255"] = "+/8=" } do
            same({ text }, lf.base64.encode(plain))
            same({ plain }, lf.base64.decode(text))
        end
        same({ "-_8" }, lf.base64.encode_url "\251\255")
        same({ "\251\255" }, lf.base64.decode_url "-_8")
        same({ "\251\255" }, lf.base64.decode_url "-_8=")
        for _, text in ipairs { "Zg", "Z", "Zg=!", "-_8=" } do
            local value, message = lf.base64.decode(text)
            assert(value == nil and message:find "^not base64: ", text)
        end
    "##);
}

#[test]
fn hexadecimal_text_comes_back() {
    run(r##"
        same({ "00ff0a" }, lf.hex "\0\255\n")
        same({ "\0\255\n" }, lf.unhex "00fF0a")
        same({ nil, "not hexadecimal: 3 digits, an odd number", n = 2 }, lf.unhex "123")
        same({ nil, "not hexadecimal: byte 0x67 at character 4", n = 2 }, lf.unhex "123g")
    "##);
}

#[test]
fn random_bytes_differ_and_are_limited() {
    run(r##"
        assert(#lf.random_bytes(16) == 16 and lf.random_bytes(16) ~= lf.random_bytes(16))
        same({ "" }, lf.random_bytes(0))
        local bytes, message = lf.random_bytes(2 ^ 21)
        assert(bytes == nil and message == "2097152 random bytes at once; at most 1048576 are given")
        local uuid = lf.uuid()
        assert(uuid:find "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$", uuid)
        assert(uuid ~= lf.uuid())
    "##);
}

#[test]
fn uris_are_escaped_as_by_rfc_3986() {
    run(r##"
        same({ "a%20b%2Fc%3F%C3%A9-._~" }, lf.escape_uri "a b/c?é-._~")
        same({ "a b c/é%zz%" }, lf.unescape_uri "a+b%20c%2f%C3%A9%zz%")
    "##);
}

#[test]
fn arguments_become_a_query_and_come_back() {
    run(r##"
        same({ "a=1&b&c=x%20y&c=2&e%26=" }, lf.encode_args { a = 1, b = true, c = { "x y", 2 }, d = false, ["e&"] = "" })
        same({ { a = "1", b = true, c = { "x y", "2", true }, ["e&"] = "" } }, lf.decode_args "a=1&b&&c=x+y&c=2&c&e%26=&=x")
        same({ { a = "1" }, "truncated" }, lf.decode_args("a=1&b=2", 1))
        same({ { a = "1", b = "2=3" } }, lf.decode_args("a=1&b=2=3", 2))
        local many = {}
        for index = 1, 150 do many[index] = "k" .. index .. "=v" end
        local arguments, truncated = lf.decode_args(table.concat(many, "&"))
        assert(arguments.k100 and not arguments.k101 and truncated == "truncated")
        arguments, truncated = lf.decode_args(table.concat(many, "&"), 0)
        assert(arguments.k150 and truncated == nil)
        local values = {}
        for index = 1, 20000 do values[index] = "v" .. index end
        assert(#lf.decode_args(lf.encode_args { key = values }, 0).key == 20000)
        local text, message = lf.encode_args { a = print }
        assert(text == nil and message:find "argument 'a' of lf.encode_args is to be a string", message)
    "##);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_come_back_from_every_encoding(bytes: Vec<u8>) {
        let lua = vm_with(&Dicts::default());
        for there_and_back in [
            "lf.base64.decode(lf.base64.encode(bytes))",
            "lf.base64.decode_url(lf.base64.encode_url(bytes))",
            "lf.unhex(lf.hex(bytes))",
            "lf.unescape_uri(lf.escape_uri(bytes))",
            "lf.decode_args(lf.encode_args { key = bytes }).key",
        ] {
            let function: Function = lua.load(format!("return function(bytes) return {there_and_back} end")).eval()?;
            let back: LuaString = function.call(lua.create_string(&bytes)?)?;
            prop_assert_eq!(&*back.as_bytes(), &*bytes, "{}", there_and_back);
        }
    }
}
