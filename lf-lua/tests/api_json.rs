//! `lf.json`: strict in what it reads, exact in what it writes.
#![allow(clippy::unwrap_used, reason = "a test panics on what it does not expect")]

mod api_common;

use api_common::{run, vm_with};
use lf_lua::api::shared::Dicts;
use mlua::{Function, LuaString, Value};
use proptest::prelude::*;

#[test]
fn values_become_text() {
    run(r#"
        local json = lf.json
        for wanted, value in pairs {
            ['null'] = json.null, ['true'] = true, ['false'] = false, ['1'] = 1, ['-1.5'] = -1.5, ['"a"'] = "a",
            ['0.1'] = 0.1, ['0.3333333333333333'] = 1 / 3, ['1e+300'] = 1e300, ['9007199254740992'] = 2 ^ 53,
            ['[1,2,3]'] = { 1, 2, 3 }, ['{"a":{"b":[]}}'] = { a = { b = json.array() } }, ['{}'] = {},
            ['[]'] = json.empty_array, ['[1,null,3]'] = { 1, nil, 3 }, ['{"1.5":1}'] = { [1.5] = 1 },
            ['"\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f/\127"'] = "\"\\\b\f\n\r\t\0\31/\127",
        } do
            assert(json.encode(value) == wanted, wanted .. " is not " .. tostring(json.encode(value)))
        end
        same({ "null" }, json.encode(nil))
    "#);
}

#[test]
fn text_becomes_values() {
    run(r#"
        local json = lf.json
        same({ { a = { 1, 2.5, -3e2, true, false, "x" } } }, json.decode ' { "a" : [1, 2.5,-3e2, true,\tfalse\n,"x"]}\r ')
        same({ { 1, json.null, 3 } }, json.decode '[1,null,3]')
        same({ "é\0😀/\"" }, json.decode [["\u00e9\u0000\ud83d\ude00\/\""]])
        same({ { ["a\n"] = 2 } }, json.decode [[{"a\n":1,"a\n":2}]])
        same({ "\255" }, json.decode '"\255"')
        same({ { [""] = { {}, {} } } }, json.decode '{"":[{},[]]}')
    "#.replace("\\t", "\t").as_str());
}

#[test]
fn text_that_is_not_json_is_refused_with_the_place() {
    run(r#"
        for text, message in pairs {
            [''] = "Expected value but found T_END at character 1",
            ['[1,]'] = "Expected value but found T_ARR_END at character 4",
            ['{"a" 1}'] = "Expected colon but found T_NUMBER at character 6",
            ['{"a":1,}'] = "Expected object key string but found T_OBJ_END at character 8",
            ['{1:2}'] = "Expected object key string but found T_NUMBER at character 2",
            ['[1 2]'] = "Expected comma or array end but found T_NUMBER at character 4",
            ['{"a":1 "b"}'] = "Expected comma or object end but found T_STRING at character 8",
            ['1 2'] = "Expected the end but found T_NUMBER at character 3",
            ['nul'] = "Expected value but found invalid token at character 1",
            ['01'] = "Expected value but found invalid number at character 1",
            ['1.'] = "Expected value but found invalid number at character 1",
            ['-'] = "Expected value but found invalid number at character 1",
            ['-.5'] = "Expected value but found invalid number at character 1",
            ['1e'] = "Expected value but found invalid number at character 1",
            ['0x10'] = "Expected value but found invalid number at character 1",
            ['+1'] = "Expected value but found invalid token at character 1",
            ['NaN'] = "Expected value but found invalid token at character 1",
            ['"a'] = "Expected value but found unexpected end of string at character 3",
            ['"\\x"'] = "Expected value but found invalid escape code at character 2",
            ['"\\u12g4"'] = "Expected value but found invalid unicode escape code at character 2",
            ['"\\ud800"'] = "Expected value but found invalid unicode escape code at character 2",
            ['"\\ud800\\u0041"'] = "Expected value but found invalid unicode escape code at character 2",
            ['"\\udc00"'] = "Expected value but found invalid unicode escape code at character 2",
            ['"a\1"'] = "Expected value but found control character in a string at character 3",
            ['1\0'] = "JSON parser does not support UTF-16 or UTF-32",
            ['[1\0'] = "Expected comma or array end but found invalid token at character 3",
        } do
            same({ nil, message, n = 2 }, lf.json.decode(text))
        end
        same({ nil, "bad argument #1 to 'decode' (string expected, got table)", n = 2 }, lf.json.decode {})
    "#);
}

#[test]
fn values_that_json_does_not_have_are_refused() {
    run(r#"
        local encode = lf.json.encode
        same({ nil, "Cannot serialise function: type not supported", n = 2 }, encode(print))
        same({ nil, "Cannot serialise thread: type not supported", n = 2 }, encode { a = coroutine.create(print) })
        same({ nil, "Cannot serialise boolean: table key must be a number or string", n = 2 }, encode { [true] = 1 })
        same({ nil, "Cannot serialise number: must not be NaN or Inf", n = 2 }, encode { 1 / 0 })
        same({ nil, "Cannot serialise table: excessively sparse array", n = 2 }, encode { [1] = 1, [1000] = 2 })
        local loop = {}
        loop[1] = loop
        same({ nil, "Cannot serialise, excessive nesting (1001)", n = 2 }, encode(loop))
        local ring = {}
        ring.ring = ring
        same({ nil, "Cannot serialise, excessive nesting (1001)", n = 2 }, encode(ring))
        same({ "[1]" }, encode { 1 })
    "#);
}

#[test]
fn options_change_what_is_written() {
    run(r#"
        local encode = lf.json.encode
        same({ "0.33333" }, encode(1 / 3, { precision = 5 }))
        same({ "[]" }, encode({}, { empty_as_array = true }))
        same({ '"\\/"' }, encode("/", { escape_slash = true }))
        same({ "[null]" }, encode({ 0 / 0 }, { invalid_as_null = true }))
        same({ '{"1000":2}' }, encode({ [1000] = 2 }, { sparse_as_object = true }))
        same({ nil, "Cannot serialise, excessive nesting (2)", n = 2 }, encode({ {} }, { max_depth = 1 }))
        local wanted = "option precision of lf.json.encode is to be an integer from 1 to 17"
        same({ nil, wanted, n = 2 }, encode(1, { precision = 18 }))
    "#);
}

#[test]
fn arrays_stay_arrays_where_they_are_marked() {
    run(r#"
        local json = lf.json
        same({ "[]" }, json.encode(json.array {}))
        same({ "[1,2]" }, json.encode(json.array { 1, 2, x = 3 }))
        same({ '{"a":[]}' }, json.encode { a = setmetatable({}, json.array_mt) })
    "#);
}

#[test]
fn a_thousand_levels_come_back_and_one_more_is_refused() {
    run(r#"
        for _, pair in ipairs { { "[", "]", "1" }, { '{"a":', "}", "1" } } do
            local function nested(depth) return pair[1]:rep(depth) .. pair[3] .. pair[2]:rep(depth) end
            assert(lf.json.encode(lf.json.decode(nested(1000))) == nested(1000))
            local value, message = lf.json.decode(nested(1001))
            assert(value == nil and message:find("too many nested data structures (1001)", 1, true), message)
        end
    "#);
}

/// Whoever sends JSON decides how deep it goes, and a stack that overflows ends the process.
#[test]
fn a_thousand_levels_fit_on_a_small_stack() {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(|| {
        run(r#"
            for _, pair in ipairs { { "[", "]" }, { '{"a":', "}" }, { '[{"a":', "}]" } } do
                local levels = 1000 / (#pair[2])
                local text = pair[1]:rep(levels) .. "1" .. pair[2]:rep(levels)
                assert(lf.json.encode(lf.json.decode(text)) == text)
            end
        "#);
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn a_table_with_a_hundred_thousand_strings_comes_back() {
    run(r#"
        local list, map = {}, {}
        for index = 1, 100000 do
            list[index] = "item " .. index
            map["key " .. index] = "item " .. index
        end
        local back = lf.json.decode(lf.json.encode { list = list, map = map })
        for index = 1, 100000 do
            assert(back.list[index] == list[index] and back.map["key " .. index] == list[index])
        end
    "#);
}

/// Tables that wait for the one around them are handles, of which an engine has some thousands.
#[test]
fn documents_of_very_many_tables_come_back() {
    run(r#"
        for _, item in ipairs { "{}", '{"a":[1]}', [=[["\u0000"]]=], [=[{"\u0000":[[]]}]=] } do
            local wide = "[" .. (item .. ","):rep(100000) .. item .. "]"
            assert(#assert(lf.json.decode(wide)) == 100001)
            local level = '[' .. (item .. ","):rep(100)
            local deep = level:rep(900) .. "1" .. ("]"):rep(900)
            assert(#assert(lf.json.decode(deep)) == 101)
        end
    "#);
}

/// A quarter of what threads have by default.
const STACK_BYTES: usize = 512 << 10;

/// Values without tables that are empty, which do not say what they are.
fn values() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        (-(1_i64 << 53)..1_i64 << 53).prop_map(serde_json::Value::from),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..8).prop_map(serde_json::Value::from),
            prop::collection::hash_map(any::<String>(), inner, 1..8)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Whether two documents are the same, with numbers as the engine has them.
fn equal(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Object};
    match (one, other) {
        (Array(one), Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Object(one), Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| equal(one, other)))
        }
        _ => one == other || one.as_f64().is_some() && one.as_f64() == other.as_f64(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_document_comes_back(document in values()) {
        let lua = vm_with(&Dicts::default());
        let through: Function = lua.load("return function(text) return lf.json.encode((lf.json.decode(text))) end").eval().unwrap();
        let text: LuaString = through.call(document.to_string()).unwrap();
        let back: serde_json::Value = serde_json::from_slice(&text.as_bytes()).unwrap();
        prop_assert!(equal(&document, &back), "{document} came back as {back}");
    }

    #[test]
    fn text_is_accepted_just_where_serde_json_accepts_it(text in "[\\[\\]{}:,\"a1.eE0+\\- tru\\\\n]{0,12}") {
        let lua = vm_with(&Dicts::default());
        let decode: Function = lua.load("return function(text) return (lf.json.decode(text)) ~= nil end").eval().unwrap();
        let accepted: bool = decode.call(text.as_str()).unwrap();
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
        // It has no number for 1e999.
        let out_of_range = parsed.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
        prop_assert!(accepted == parsed.is_ok() || out_of_range, "{text}: {parsed:?}");
    }

    #[test]
    fn no_bytes_bring_the_reader_down(bytes: Vec<u8>) {
        let lua = vm_with(&Dicts::default());
        let decode: Function = lua.load("return lf.json.decode").eval().unwrap();
        let (value, message): (Value, Option<String>) = decode.call(lua.create_string(&bytes).unwrap()).unwrap();
        prop_assert!(value.is_nil() == message.is_some());
    }
}
