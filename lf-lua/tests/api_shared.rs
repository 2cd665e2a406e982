//! Dictionaries of the whole process: results and errors as openresty's.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod api_common;

use api_common::{run, run_in, vm_with};
use lf_lua::api::shared::Dicts;
use mlua::Lua;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Dictionaries, and the clock by which their entries expire, which a script sets with `at`.
fn with_clock() -> Lua {
    let now = Arc::new(Mutex::new(Duration::ZERO));
    let clock = Arc::clone(&now);
    let lua = vm_with(&Dicts::with_clock(Arc::new(move || *clock.lock())));
    let at = lua.create_function(move |_, seconds: f64| {
        *now.lock() = Duration::from_secs_f64(seconds);
        Ok(())
    });
    lua.globals().set("at", at.unwrap()).unwrap();
    lua
}

#[test]
fn values_come_back_as_they_were() {
    run(r##"
        local dict = lf.shared.cats
        for _, value in ipairs { "text", "\0\255", "", 1, -1.5, 2 ^ 53, true, false } do
            same({ true, nil, false, n = 3 }, dict:set("key", value))
            local back = dict:get "key"
            assert(back == value and type(back) == type(value))
        end
        same({ nil }, dict:get "none")
        same({ true, nil, false, n = 3 }, dict:set(7, "number as key"))
        same({ "number as key" }, dict:get "7")
        dict:set("flagged", "value", 0, 42)
        same({ "value", 42 }, dict:get "flagged")
        same({ true, nil, false, n = 3 }, dict:set("key", nil))
        same({ nil }, dict:get "key")
        same({ true, nil, false, n = 3 }, dict:delete "key")
    "##);
}

#[test]
fn add_and_replace_look_whether_there_is_one() {
    run(r##"
        local dict = lf.shared.cats
        same({ false, "not found", false }, dict:replace("a", 1))
        same({ true, nil, false, n = 3 }, dict:add("a", 1))
        same({ false, "exists", false }, dict:add("a", 2))
        same({ false, "exists", false }, dict:safe_add("a", 2))
        same({ true, nil, false, n = 3 }, dict:replace("a", 3))
        same({ 3 }, dict:get "a")
        same({ false, "attempt to add or safe_add nil values", false }, dict:add("b", nil))
    "##);
}

#[test]
fn wrong_arguments_are_answered() {
    run(r##"
        local dict = lf.shared.cats
        same({ nil, "nil key", n = 2 }, dict:get(nil))
        same({ nil, "empty key", n = 2 }, dict:get "")
        same({ nil, "key too long", n = 2 }, dict:get(("x"):rep(65536)))
        same({ false, "nil key", false }, dict:set(nil, 1))
        same({ false, "bad value type", false }, dict:set("a", {}))
        same({ false, 'bad "exptime" argument', false }, dict:set("a", 1, -1))
        same({ true, nil, false, n = 3 }, dict:set(("x"):rep(65535), 1))
        same({ nil, "bad value type", n = 2 }, dict:lpush("list", true))
        same({ nil, "not a number", n = 2 }, dict:incr("a", "x"))
    "##);
}

#[test]
fn numbers_count() {
    run(r##"
        local dict = lf.shared.cats
        same({ nil, "not found", n = 2 }, dict:incr("n", 1))
        same({ 11, nil, false, n = 3 }, dict:incr("n", 1, 10))
        same({ 9.5, nil, false, n = 3 }, dict:incr("n", -1.5))
        dict:set("text", "1")
        same({ nil, "not a number", n = 2 }, dict:incr("text", 1))
        dict:lpush("list", 1)
        same({ nil, "not a number", n = 2 }, dict:incr("list", 1))
    "##);
}

#[test]
fn lists_are_pushed_and_popped_at_both_ends() {
    run(r##"
        local dict = lf.shared.cats
        same({ 1 }, dict:lpush("list", "b"))
        same({ 2 }, dict:lpush("list", "a"))
        same({ 3 }, dict:rpush("list", 3))
        same({ 3 }, dict:llen "list")
        same({ nil, "value is a list", n = 2 }, dict:get "list")
        same({ "a" }, dict:lpop "list")
        same({ 3 }, dict:rpop "list")
        same({ "b" }, dict:rpop "list")
        same({ nil }, dict:lpop "list")
        same({ 0 }, dict:llen "list")
        dict:set("scalar", 1)
        for _, name in ipairs { "lpop", "rpop", "llen" } do
            same({ nil, "value not a list", n = 2 }, dict[name](dict, "scalar"))
        end
        same({ nil, "value not a list", n = 2 }, dict:rpush("scalar", 1))
        same({ true, nil, false, n = 3 }, dict:set("list", "scalar again"))
    "##);
}

#[test]
fn entries_expire_by_the_clock() {
    run_in(
        &with_clock(),
        r##"
        local dict = lf.shared.cats
        dict:set("a", 1, 10)
        dict:set("b", 2)
        same({ 10, 0 }, dict:ttl "a", (dict:ttl "b"))
        at(9.999)
        same({ 1 }, dict:get "a")
        same({ 0.001 }, dict:ttl "a")
        at(10)
        same({ nil }, dict:get "a")
        same({ 1, nil, true, n = 3 }, dict:get_stale "a")
        same({ 2, nil, false, n = 3 }, dict:get_stale "b")
        same({ nil, "not found", n = 2 }, dict:ttl "a")
        same({ nil, "not found", n = 2 }, dict:expire("a", 1))
        same({ false, "not found", false }, dict:replace("a", 1))
        same({ 101, nil, false, n = 3 }, dict:incr("a", 1, 100, 5))
        same({ 5 }, dict:ttl "a")
        same({ true }, dict:expire("a", 0.0001))
        same({ 0.001 }, dict:ttl "a")
        same({ true }, dict:expire("a", 0))
        at(1e6)
        same({ 101 }, dict:get "a")
        dict:rpush("list", 1)
        dict:expire("list", 1)
        at(1e6 + 2)
        same({ 0, nil }, (dict:llen "list"), (dict:lpop "list"))
        same({ 1 }, dict:rpush("list", 2))
        same({ 0 }, dict:ttl "list")
        "##,
    );
}

#[test]
fn everything_is_flushed_and_the_memory_comes_back() {
    run_in(
        &with_clock(),
        r##"
        local dict = lf.shared_dict("cats", 65536)
        same({ 65536, 65536 }, dict:capacity(), (dict:free_space()))
        for index = 1, 20 do dict:set("key" .. index, "value", index > 10 and 5 or 0) end
        dict:rpush("list", "item")
        assert(dict:free_space() < 65536)
        same({ 21, 3 }, #dict:keys(), #dict:keys(3))
        at(5)
        same({ 11 }, #dict:get_keys(0))
        same({ 4, 6, 0 }, dict:flush_expired(4), (dict:flush_expired()), (dict:flush_expired()))
        dict:flush_all()
        same({ 0, nil }, #dict:keys(), (dict:get "key1"))
        same({ "value", nil, true, n = 3 }, dict:get_stale "key1")
        same({ 11 }, dict:flush_expired())
        same({ 65536 }, dict:free_space())
        "##,
    );
}

#[test]
fn the_least_recently_used_are_evicted() {
    run(r##"
        local dict = lf.shared_dict("cats", 8192)
        local count = 0
        repeat
            count = count + 1
            local ok, err, forcible = dict:set("key" .. count, count)
        until forcible
        same({ nil, 2 }, (dict:get "key1"), (dict:get "key2"))
        dict:set("key3", "written")
        same({ true, nil, true, n = 3 }, dict:set("more", 1))
        same({ true, nil, true, n = 3 }, dict:set("and more", 1))
        same({ 2, "written", nil, nil }, (dict:get "key2"), (dict:get "key3"), (dict:get "key4"), (dict:get "key5"))
        same({ false, "no memory", false }, dict:safe_set("yet more", 1))
        same({ false, "no memory", false }, dict:safe_add("yet more", 1))
        same({ nil, "no memory", n = 2 }, dict:rpush("list", 1))
        same({ true, nil, false, n = 3 }, dict:safe_set("key3", "replaced"))
        same({ false, "no memory", false }, dict:set("huge", ("x"):rep(8192)))
        same({ "replaced" }, dict:get "key3")
        same({ true, nil, true, n = 3 }, dict:set("large", ("x"):rep(7000)))
        assert(#dict:keys() < count / 2, #dict:keys())
    "##);
}

#[test]
fn expired_entries_make_room_before_others_are_evicted() {
    run_in(
        &with_clock(),
        r##"
        local dict = lf.shared_dict("cats", 8192)
        local count = 0
        while dict:safe_set("key" .. count, count, count < 3 and 1 or 0) do count = count + 1 end
        at(2)
        same({ true, nil, false, n = 3 }, dict:safe_set("more", 1))
        same({ 3 }, dict:get "key3")
        "##,
    );
}

#[test]
fn all_vms_see_the_same_dictionaries() {
    let dicts = Dicts::default();
    run_in(&vm_with(&dicts), "lf.shared.cats:set('key', 'value') lf.shared.dogs:set('key', 1)");
    run_in(&vm_with(&dicts), "same({ 'value', 1 }, (lf.shared.cats:get 'key'), (lf.shared.dogs:get 'key'))");
    assert!(dicts.dict(b"cats").unwrap().free_space() < dicts.dict(b"cats").unwrap().capacity());
}

#[test]
fn a_size_is_set_once() {
    run(r##"
        same({ 16 * 1024 * 1024 }, lf.shared.cats:capacity())
        local dogs = lf.shared_dict("dogs", 65536)
        assert(dogs == lf.shared.dogs and lf.shared_dict("dogs", 65536) == dogs)
        raises("shared dictionary 'dogs' has 65536 bytes already; 131072 were asked for", lf.shared_dict, "dogs", 131072)
        raises("shared dictionary 'tiny': 100 bytes; at least 4096 are needed", lf.shared_dict, "tiny", 100)
        raises("a name has 1 to 128 bytes, this one 200", function() return lf.shared[("x"):rep(200)] end)
        for index = 1, 254 do local _ = lf.shared["dict" .. index] end
        raises("shared dictionary 'one more': there are 256 already", function() return lf.shared["one more"] end)
        assert(lf.shared.dict254)
    "##);
}
