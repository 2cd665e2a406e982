//! `require "cjson"` does as lua-cjson does; its results were read off version 2.1.0.

mod api_common;

use api_common::run;

#[test]
fn the_module_has_what_scripts_look_for() {
    run(r##"
        local cjson = require "cjson"
        same({ "cjson", "2.1.0" }, cjson._NAME, cjson._VERSION)
        assert(type(cjson.null) == "userdata" and cjson.null == require "cjson.safe".null and cjson.null == lf.json.null)
        for _, name in ipairs { "encode", "decode", "new", "encode_sparse_array", "encode_max_depth", "decode_max_depth",
            "encode_number_precision", "encode_keep_buffer", "encode_invalid_numbers", "decode_invalid_numbers",
            "encode_empty_table_as_object", "encode_escape_forward_slash", "decode_array_with_array_mt" } do
            assert(type(cjson[name]) == "function", name)
        end
    "##);
}

#[test]
fn values_become_the_text_that_lua_cjson_writes() {
    run(r##"
        local cjson = require "cjson"
        for wanted, value in pairs {
            ["null"] = cjson.null, ["true"] = true, ["10"] = 10, ["3.1415926535898"] = 3.14159265358979323846,
            ["0.1"] = 0.1, ["1e+20"] = 1e20, ["1.2345678901234e+14"] = 123456789012344.5, ["-0.5"] = -0.5,
            ['"\\/\\u007f\\u0000"'] = "/\127\0", ['{}'] = {}, ['[1,2]'] = { 1, 2 }, ['[null,null,3]'] = { [3] = 3 },
            ['{"1":1,"a":2}'] = { 1, a = 2 }, ['{"-1":2}'] = { [-1] = 2 }, ['{"1.5":1}'] = { [1.5] = 1 },
            ['"\195\169\255"'] = "\195\169\255",
        } do
            local text = cjson.encode(value)
            assert(text == wanted or text == '{"a":2,"1":1}', wanted .. " is not " .. text)
        end
    "##);
}

#[test]
fn numbers_keep_as_many_digits_as_asked_for() {
    run(r##"
        local cjson = require "cjson".new()
        same({ 14 }, cjson.encode_number_precision())
        same({ 3 }, cjson.encode_number_precision(3))
        same({ "3.14" }, cjson.encode(math.pi))
        same({ "1.23e+04" }, cjson.encode(12345.6))
        cjson.encode_number_precision(16)
        same({ "3.141592653589793" }, cjson.encode(math.pi))
        raises("bad argument #1 to 'encode_number_precision' (expected integer between 1 and 16)",
            cjson.encode_number_precision, 17)
    "##);
}

#[test]
fn sparse_arrays_are_refused_converted_or_filled_up() {
    run(r##"
        local cjson = require "cjson".new()
        same({ false, 2, 10 }, cjson.encode_sparse_array())
        same({ "[null,null,null,null,null,null,null,null,null,10]" }, cjson.encode { [10] = 10 })
        raises("Cannot serialise table: excessively sparse array", cjson.encode, { [11] = 11 })
        same({ true, 2, 3 }, cjson.encode_sparse_array(true, 2, 3))
        same({ '{"4":4}' }, cjson.encode { [4] = 4 })
        same({ "[null,null,3]" }, cjson.encode { [3] = 3 })
        same({ false, 0, 3 }, cjson.encode_sparse_array(false, 0))
        same({ "[null,null,null,4]" }, cjson.encode { [4] = 4 })
        raises("bad argument #4 to 'encode_sparse_array' (found too many arguments)", cjson.encode_sparse_array, 1, 2, 3, 4)
        raises("bad argument #1 to 'encode_sparse_array' (invalid option 'maybe')", cjson.encode_sparse_array, "maybe")
    "##);
}

#[test]
fn depth_is_limited_both_ways() {
    run(r##"
        local cjson = require "cjson".new()
        same({ 1000, 1000 }, cjson.encode_max_depth(), (cjson.decode_max_depth()))
        same({ 2 }, cjson.encode_max_depth(2))
        same({ "[[]]", n = 1 }, (cjson.encode { setmetatable({}, cjson.array_mt) }))
        raises("Cannot serialise, excessive nesting (3)", cjson.encode, { { {} } })
        cjson.decode_max_depth(2)
        same({ { { 1 } } }, cjson.decode "[[1]]")
        raises("Found too many nested data structures (3) at character 3", cjson.decode, "[[[1]]]")
        raises("expected integer between 1 and", cjson.encode_max_depth, 0)
    "##);
}

#[test]
fn invalid_numbers_are_refused_named_or_null() {
    run(r##"
        local cjson = require "cjson".new()
        same({ false }, cjson.encode_invalid_numbers())
        raises("Cannot serialise number: must not be NaN or Inf", cjson.encode, 0 / 0)
        same({ true }, cjson.encode_invalid_numbers(true))
        same({ "[NaN,Infinity,-Infinity]" }, cjson.encode { 0 / 0, 1 / 0, -1 / 0 })
        same({ "null" }, cjson.encode_invalid_numbers "null")
        same({ "[null]" }, cjson.encode { -1 / 0 })
        same({ { 31, 1 / 0, -1 / 0, 5, 1, 1.5 } }, cjson.decode "[0x1F,inf,-Infinity,+5,01,0x1.8]")
        local nan = cjson.decode "NaN"
        assert(nan ~= nan)
        same({ false }, cjson.decode_invalid_numbers(false))
        for _, text in ipairs { "0x1F", "01", "-inf" } do
            raises("Expected value but found invalid number at character 1", cjson.decode, text)
        end
        raises("Expected value but found invalid token at character 1", cjson.decode, "nan")
        same({ { 1, -0.5 } }, cjson.decode "[1.,-.5]")
    "##);
}

#[test]
fn errors_name_the_place_in_the_script() {
    run(r##"
        local cjson = require "cjson"
        local ok, message = pcall(function()
            local value = cjson.decode "[1,"
            return value
        end)
        same({ false, "script:4: Expected value but found T_END at character 4" }, ok, message)
        raises("bad argument #1 to 'encode' (expected 1 argument)", cjson.encode)
        raises("bad argument #1 to 'decode' (expected 1 argument)", cjson.decode, "1", 2)
        raises("JSON parser does not support UTF-16 or UTF-32", cjson.decode, "\0[")
    "##);
}

#[test]
fn the_safe_module_answers_errors() {
    run(r##"
        local safe = require "cjson.safe"
        same({ nil, "Expected value but found T_END at character 1", n = 2 }, safe.decode "")
        same({ nil, "Cannot serialise function: type not supported", n = 2 }, safe.encode(print))
        assert(select("#", safe.encode(1)) == 1 and select("#", require "cjson".encode(1)) == 1)
        same({ nil, "Expected value but found T_END at character 1", n = 2 }, safe.new().decode "")
        raises("expected 1 argument", safe.decode)
    "##);
}

#[test]
fn each_module_has_settings_of_its_own() {
    run(r##"
        local cjson = require "cjson"
        local other = cjson.new()
        other.encode_number_precision(2)
        other.encode_keep_buffer(false)
        same({ "3.1", "3.1415926535898" }, other.encode(math.pi), (cjson.encode(math.pi)))
        same({ false, true }, other.encode_keep_buffer(), (cjson.encode_keep_buffer()))
    "##);
}

#[test]
fn empty_arrays_are_told_from_empty_objects() {
    run(r##"
        local cjson = require "cjson".new()
        same({ "[]" }, cjson.encode(cjson.empty_array))
        same({ "[]" }, cjson.encode(setmetatable({}, cjson.empty_array_mt)))
        same({ '{"a":1}' }, cjson.encode(setmetatable({ a = 1 }, cjson.empty_array_mt)))
        same({ "[]" }, cjson.encode(setmetatable({}, cjson.array_mt)))
        same({ "{}" }, cjson.encode {})
        same({ "{}" }, cjson.encode(cjson.decode "[]"))
        same({ true }, cjson.decode_array_with_array_mt(true))
        same({ '[[],{}]' }, cjson.encode(cjson.decode "[[],{}]"))
        same({ false }, cjson.encode_empty_table_as_object(false))
        same({ "[]" }, cjson.encode {})
        same({ false }, cjson.encode_escape_forward_slash(false))
        same({ '"/"' }, cjson.encode "/")
    "##);
}

#[test]
fn a_document_of_megabytes_comes_back() {
    run(r##"
        local cjson = require "cjson"
        local rows = {}
        for index = 1, 20000 do
            rows[index] = { id = index, name = ("name %d \n"):rep(4):format(index, index, index, index), tags = { "a", index / 8 } }
        end
        local text = cjson.encode(rows)
        assert(#text > 1000000)
        local back = cjson.decode(text)
        same({ rows[1] }, back[1])
        same({ rows[20000] }, back[20000])
        assert(#back == 20000)
    "##);
}
