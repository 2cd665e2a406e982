//! Dictionaries that many threads use at once, and beside a model.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod api_common;

use api_common::vm_with;
use lf_lua::api::shared::Dicts;
use mlua::{Function, MultiValue, Value};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const THREADS: usize = 4;

/// Runs a script in a VM on each of some threads; it finds its number in `thread`.
fn on_threads(dicts: &Dicts, script: &str) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let lua = vm_with(dicts);
                lua.globals().set("thread", thread).unwrap();
                lua.load(script).set_name("=script").exec().unwrap();
            });
        }
    });
}

#[test]
fn no_increment_is_lost() {
    let dicts = Dicts::default();
    on_threads(&dicts, "for i = 1, 20000 do lf.shared.cats:incr('n' .. i % 10, 1, 0) end");
    let lua = vm_with(&dicts);
    for key in 0..10 {
        let sum: usize = lua.load(format!("return (lf.shared.cats:get 'n{key}')")).eval().unwrap();
        assert_eq!(sum, THREADS * 2000);
    }
}

#[test]
fn what_is_pushed_by_all_is_popped_once() {
    let dicts = Dicts::default();
    on_threads(
        &dicts,
        r#"
        local cats = lf.shared.cats
        for i = 1, 5000 do
            cats:rpush("queue", thread * 5000 + i)
            if i % 2 == 0 then cats:incr("sum", (cats:lpop "queue"), 0) end
        end
        "#,
    );
    let lua = vm_with(&dicts);
    let sum: f64 = lua
        .load(
            r#"
            local cats = lf.shared.cats
            local sum = cats:get "sum"
            assert(cats:llen "queue" == 10000)
            for _ = 1, 10000 do sum = sum + cats:lpop "queue" end
            assert(cats:lpop "queue" == nil and cats:llen "queue" == 0)
            return sum
            "#,
        )
        .eval()
        .unwrap();
    assert!((sum - 20_000.0 * 20_001.0 / 2.0).abs() < f64::EPSILON, "{sum}");
}

#[test]
fn only_one_of_many_adds_wins() {
    let dicts = Dicts::default();
    on_threads(
        &dicts,
        "for i = 1, 2000 do if lf.shared.cats:add('k' .. i, thread) then lf.shared.cats:incr('won', 1, 0) end end",
    );
    let won: usize = vm_with(&dicts).load("return (lf.shared.cats:get 'won')").eval().unwrap();
    assert_eq!(won, 2000);
}

#[test]
fn the_cap_holds_under_all_of_them_and_no_byte_is_lost() {
    let dicts = Dicts::default();
    let dict = dicts.declare(b"cats", 4 << 20).unwrap();
    on_threads(
        &dicts,
        r#"
        local cats = lf.shared.cats
        for i = 1, 20000 do
            local key = "key" .. (i * 7919 + thread * 104729) % 30011
            cats:set(key, ("x"):rep(i % 1000), i % 3)
            if i % 5 == 0 then cats:delete("key" .. i) end
            if i % 7 == 0 then cats:rpush("list" .. i % 50, key) end
            if i % 11 == 0 then cats:lpop("list" .. i % 50) end
            local free = cats:free_space()
            assert(free >= 0 and free <= cats:capacity())
        end
        -- Larger than the share of one shard.
        assert(cats:set("large" .. thread, ("x"):rep(700000)))
        "#,
    );
    assert!(dict.free_space() < dict.capacity() / 2, "it was full");
    vm_with(&dicts).load("lf.shared.cats:flush_all() lf.shared.cats:flush_expired()").exec().unwrap();
    assert_eq!(dict.free_space(), dict.capacity());
}

#[derive(Clone, Debug)]
enum Step {
    Call(&'static str, u8, i64, Option<u8>),
    Wait(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let names = [
        "get",
        "set",
        "add",
        "replace",
        "delete",
        "incr",
        "incr_init",
        "rpush",
        "lpush",
        "lpop",
        "rpop",
        "llen",
        "ttl",
        "expire",
    ];
    let call = (prop::sample::select(names.to_vec()), 0..4_u8, -5..100_i64, prop::option::of(1..5_u8))
        .prop_map(|(name, key, value, ttl)| Step::Call(name, key, value, ttl));
    prop::collection::vec(prop_oneof![8 => call, 1 => (1..4_u8).prop_map(Step::Wait)], 1..60)
}

#[derive(Clone, Debug)]
enum Stored {
    Number(i64),
    List(Vec<i64>),
}

/// What a dictionary is to do: a map with deadlines.
#[derive(Default)]
struct Model {
    entries: HashMap<u8, (Stored, Option<u64>)>,
    now: u64,
}

impl Model {
    fn call(&mut self, name: &str, key: u8, value: i64, ttl: Option<u8>) -> String {
        let now = self.now;
        self.entries.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| deadline > now));
        let deadline = ttl.map(|ttl| now + u64::from(ttl));
        let present = self.entries.get_mut(&key);
        match (name, present) {
            ("get", Some((Stored::Number(number), _))) => number.to_string(),
            ("get", Some(_)) => "nil value is a list".to_owned(),
            ("add", Some(_)) => "false exists false".to_owned(),
            ("replace", None) => "false not found false".to_owned(),
            ("set" | "add" | "replace", _) => {
                self.entries.insert(key, (Stored::Number(value), deadline));
                "true nil false".to_owned()
            }
            ("delete", _) => {
                self.entries.remove(&key);
                "true nil false".to_owned()
            }
            ("incr" | "incr_init", Some((Stored::Number(number), _))) => {
                *number += value;
                format!("{number} nil false")
            }
            ("incr" | "incr_init", Some(_)) => "nil not a number".to_owned(),
            ("incr", None) | ("ttl" | "expire", None) => "nil not found".to_owned(),
            ("incr_init", None) => {
                self.entries.insert(key, (Stored::Number(100 + value), deadline));
                format!("{} nil false", 100 + value)
            }
            ("rpush" | "lpush", Some((Stored::List(items), _))) => {
                items.insert(if name == "rpush" { items.len() } else { 0 }, value);
                items.len().to_string()
            }
            ("rpush" | "lpush", None) => {
                self.entries.insert(key, (Stored::List(vec![value]), None));
                "1".to_owned()
            }
            ("rpop" | "lpop", Some((Stored::List(items), _))) => {
                let item = items.remove(if name == "rpop" { items.len() - 1 } else { 0 });
                if items.is_empty() {
                    self.entries.remove(&key);
                }
                item.to_string()
            }
            ("llen", Some((Stored::List(items), _))) => items.len().to_string(),
            ("rpush" | "lpush" | "rpop" | "lpop" | "llen", Some(_)) => "nil value not a list".to_owned(),
            ("llen", None) => "0".to_owned(),
            ("get" | "rpop" | "lpop", None) => "nil".to_owned(),
            ("ttl", Some((_, deadline))) => deadline.map_or(0, |deadline| deadline - now).to_string(),
            ("expire", Some((_, of))) => {
                *of = deadline;
                "true".to_owned()
            }
            _ => unreachable!("{name}"),
        }
    }
}

const CALL: &str = r#"
return function(name, key, value, ttl)
    local dict = lf.shared.cats
    if name == "incr" then return dict:incr(key, value)
    elseif name == "incr_init" then return dict:incr(key, value, 100, ttl)
    elseif name == "expire" then return dict:expire(key, ttl)
    elseif name == "rpush" or name == "lpush" then return dict[name](dict, key, value)
    else return dict[name](dict, key, value, ttl) end
end
"#;

fn shown(values: &MultiValue) -> String {
    let mut shown: Vec<String> = values.iter().map(|value| value.to_string().unwrap()).collect();
    while shown.len() > 1 && values.get(shown.len() - 1).is_some_and(Value::is_nil) {
        shown.pop();
    }
    shown.join(" ").replace(".0", "")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_dictionary_does_as_its_model(steps in steps()) {
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&seconds);
        let dicts = Dicts::with_clock(Arc::new(move || Duration::from_secs(clock.load(Ordering::Relaxed))));
        let lua = vm_with(&dicts);
        let call: Function = lua.load(CALL).eval().unwrap();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Wait(by) => {
                    model.now += u64::from(by);
                    seconds.store(model.now, Ordering::Relaxed);
                }
                Step::Call(name, key, value, ttl) => {
                    let wanted = model.call(name, key, value, ttl);
                    let found: MultiValue = call.call((name, key, value, ttl.unwrap_or(0))).unwrap();
                    prop_assert_eq!(shown(&found), wanted, "{}({}, {}, {:?})", name, key, value, ttl);
                }
            }
        }
    }
}
