//! Regular expressions with the results of openresty's.

mod api_common;

use api_common::run;

#[test]
fn a_match_answers_its_groups_by_number_and_name() {
    run(r##"
        same({ { [0] = "1234" } }, lf.re.match("hello, 1234", "[0-9]+"))
        same({ { [0] = "1234", "1", ["1"] = nil } }, lf.re.match("hello, 1234", "([0-9])[0-9]+"))
        same({ { [0] = "2026-11", "2026", "11", year = "2026" } }, lf.re.match("in 2026-11.", [[(?<year>\d+)-(\d+)]]))
        same({ { [0] = "b", false, "b", a = false } }, lf.re.match("b", "(?<a>a)|(b)"))
        same({ nil }, lf.re.match("hello", "x"))
        same({ { [0] = "\255" } }, lf.re.match("\255", "."))
        same({ { [0] = "l" } }, lf.re.match("hello", "l", "jo", 4))
        same({ nil }, lf.re.match("hello", "h", "", 2))
        same({ nil }, lf.re.match("hello", "$", "", 7))
        same({ { [0] = "o" } }, lf.re.match("hello", ".", "", -1))
    "##);
}

#[test]
fn a_place_moves_behind_what_was_found() {
    run(r##"
        local context = { pos = 2 }
        same({ { [0] = "b1" } }, lf.re.match("a1b1c1", [[\w\d]], "", { pos = 3 }))
        same({ { [0] = "b1" } }, lf.re.match("a1b1c1", [[[a-z]\d]], "", context))
        same({ 5 }, context.pos)
        same({ 5, 6 }, lf.re.find("a1b1c1", [[[a-z]\d]], "", context))
        same({ 7 }, context.pos)
        same({ nil }, lf.re.match("a1b1c1", [[[a-z]\d]], "", context))
    "##);
}

#[test]
fn options_change_what_matches() {
    run(r##"
        local match = lf.re.match
        assert(not match("A", "a") and match("A", "a", "i"))
        assert(not match("a\nb", "^b") and match("a\nb", "^b", "m"))
        assert(not match("\n", ".") and match("\n", ".", "s"))
        assert(match("ab", "a b # both", "x"))
        same({ { [0] = "\195" }, { [0] = "é" } }, match("é", "."), (match("é", ".", "u")))
        same({ nil, "no option 'q' of regular expressions; there are i, m, s, x, u, j and o", n = 2 }, match("a", "a", "q"))
    "##);
}

#[test]
fn find_answers_where_a_group_is() {
    run(r##"
        same({ 8, 11 }, lf.re.find("hello, 1234", "[0-9]+", "jo"))
        same({ 9, 10 }, lf.re.find("hello, 1234", "([0-9])([0-9]{2})", "", nil, 2))
        same({ 1, 0 }, lf.re.find("hello", ""))
        same({ nil }, lf.re.find("hello", "x"))
        same({ nil, nil, "group 1 of a regular expression that has 0", n = 3 }, lf.re.find("hello", "l", "", nil, 1))
    "##);
}

#[test]
fn all_matches_come_one_after_the_other() {
    run(r##"
        local found = {}
        for match in lf.re.gmatch("hello, world!", "([a-z]+)") do found[#found + 1] = match[1] end
        same({ { "hello", "world" } }, found)
        local count = 0
        for match in lf.re.gmatch("ab", "x*") do count = count + 1 end
        same({ 3 }, count)
        local iterator, message = lf.re.gmatch("a", "(")
        assert(iterator == nil and message:find "unclosed group", message)
    "##);
}

#[test]
fn matches_are_replaced_by_a_template_or_a_function() {
    run(r##"
        local re = lf.re
        same({ "hello, [12][1]34", 1 }, re.sub("hello, 1234", "([0-9])[0-9]", "[$0][$1]"))
        same({ "[h],[w]", 2 }, re.gsub("hello,world", "([a-z])[a-z]+", "[$1]"))
        same({ "11.2026", 1 }, re.sub("2026-11", [[(?<year>\d+)-(\d+)]], "${2}.${year}"))
        same({ "$a$", 1 }, re.sub("a", "a", "$$$0$$"))
        same({ "-a-b-", 3 }, re.gsub("ab", "", "-"))
        same({ "HELLO, World", 1 }, re.sub("hello, World", "[a-z]+", function(match) return match[0]:upper() end))
        same({ "<a>-<b>", 2 }, re.gsub("a-b", "([a-z])", function(match) return "<" .. match[1] .. ">" end, "i"))
        same({ ".a.b.", 3 }, re.gsub("ab", "", function() return "." end))
        same({ "ab", 0 }, re.gsub("ab", "x", "y"))
        same({ nil, nil, "no group 'x' for the '$' of a replacement; write '$$' for a dollar sign", n = 3 }, re.sub("a", "a", "${x}"))
        local replaced, count, message = re.gsub("a", "(", print)
        assert(replaced == nil and count == nil and message:find "unclosed group", message)
        raises("the replacement is to be a string or a number, not a table", re.gsub, "a", "a", function() return {} end)
        local ok, raised = pcall(re.gsub, "a", "a", function() error { code = 7 } end)
        assert(not ok and raised.code == 7)
    "##);
}

#[test]
fn a_subject_is_split() {
    run(r##"
        local split = lf.re.split
        same({ { "a", "b", "c" } }, split("a,b;c", "[,;]"))
        same({ { "a", ",", "b", ";", "c" } }, split("a,b;c", "([,;])"))
        same({ { "a", "b,c" } }, split("a,b,c", ",", "", nil, 2))
        same({ { "", "a", "" } }, split(",a,", ","))
        same({ { "a", "b", "c" } }, split("abc", ""))
        same({ { "b", "c" } }, split("a,b,c", ",", "", { pos = 3 }))
        same({ { "" } }, split("", ","))
        local parts, message = split("a", "(")
        assert(parts == nil and message:find "unclosed group", message)
    "##);
}

#[test]
fn what_takes_too_much_or_is_not_regular_is_refused() {
    run(r##"
        for regex, wanted in pairs {
            [ [[(a)\1]] ] = "backreferences are not supported", ["(?=a)"] = "look-around",
            [ [[\pL{300}{300}]] ] = "Unicode", ["a{1000}{1000}"] = "more than 1048576 bytes compiled", ["[\255]"] = "UTF-8",
        } do
            local value, message = lf.re.match("a", regex)
            assert(value == nil and message:find(wanted, 1, true), regex .. ": " .. tostring(message))
        end
        -- Years, for an engine that goes back.
        assert(not lf.re.match(("a"):rep(50000), "(a*)*b"))
    "##);
}
