//! `lf.upstream`: calls to other servers, for scripts.

use crate::engine::{Arg, Completion, Native, Reply, Runtime, Values, native};
use lf_core::codec::NsheadHeader;
use lf_core::upstream::{
    Answer, Balance, Call, HttpRequest, Limit, Probe, Protocol, RespValue, Servers, Upstream, UpstreamConfig,
};
use mlua::{Lua, LuaString, Table, Value};
use std::sync::Arc;
use std::time::Duration;

/// What an upstream of a script is asked with when it is defined.
type Options = Table;

fn wrong(name: &str, what: &str, expected: &str) -> mlua::Error {
    mlua::Error::runtime(format!("lf.upstream {name:?}: {what}: {expected}"))
}

fn seconds(options: &Options, upstream: &str, name: &str, otherwise: Duration) -> mlua::Result<Duration> {
    Ok(optional_seconds(options, upstream, name)?.unwrap_or(otherwise))
}

fn optional_seconds(options: &Options, upstream: &str, name: &str) -> mlua::Result<Option<Duration>> {
    let Some(seconds) = options.get::<Option<f64>>(name)? else { return Ok(None) };
    Duration::try_from_secs_f64(seconds)
        .map(Some)
        .map_err(|_| wrong(upstream, &format!("{name} = {seconds}"), "a number of seconds expected"))
}

fn count(options: &Options, upstream: &str, name: &str, otherwise: usize) -> mlua::Result<usize> {
    Ok(optional_count(options, upstream, name)?.unwrap_or(otherwise))
}

fn optional_count(options: &Options, upstream: &str, name: &str) -> mlua::Result<Option<usize>> {
    let Some(count) = options.get::<Option<f64>>(name)? else { return Ok(None) };
    if !(0.0..=1e15).contains(&count) || count.fract() != 0.0 {
        return Err(wrong(upstream, &format!("{name} = {count}"), "a whole number from 0 expected"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    Ok(Some(count as usize))
}

fn one_of<T>(options: &Options, upstream: &str, name: &str, values: &[(&str, T)]) -> mlua::Result<T>
where
    T: Copy,
{
    let Some(given) = options.get::<Option<String>>(name)? else { return Ok(values[0].1) };
    values.iter().find(|(value, _)| *value == given).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = values.iter().map(|(name, _)| *name).collect();
        wrong(upstream, &format!("{name} = {given:?}"), &format!("one of {} expected", names.join(", ")))
    })
}

const KNOWN: [&str; 26] = [
    "servers",
    "file",
    "proto",
    "balance",
    "keepalive",
    "idle_timeout",
    "max_connections",
    "pipeline",
    "queue",
    "connect_timeout",
    "timeout",
    "retries",
    "retry_sent",
    "backup_after",
    "max_fails",
    "fail_timeout",
    "limit",
    "limit_min",
    "limit_max",
    "probe_interval",
    "probe_timeout",
    "probe_path",
    "answer_max",
    "dns_refresh",
    "host",
    "name",
];

fn config_of(name: &str, options: &Options) -> mlua::Result<UpstreamConfig> {
    for pair in options.pairs::<Value, Value>() {
        let (key, _) = pair?;
        let key = key.to_string()?;
        if !KNOWN.contains(&key.as_str()) {
            return Err(wrong(name, &format!("{key} is no option"), &format!("known are {}", KNOWN.join(", "))));
        }
    }
    let base = UpstreamConfig::default();
    let servers = match (options.get::<Option<Vec<String>>>("servers")?, options.get::<Option<String>>("file")?) {
        (Some(list), None) => Servers::List(list),
        (None, Some(path)) => Servers::File(path.into()),
        _ => return Err(wrong(name, "servers", "either a list in servers or a path in file expected")),
    };
    let protocols = [
        ("nshead", Protocol::Nshead),
        ("http", Protocol::Http),
        ("len32", Protocol::Len32),
        ("line", Protocol::Line),
        ("redis", Protocol::Redis),
    ];
    let balances = [("rr", Balance::RoundRobin), ("p2c", Balance::PowerOfTwo), ("hash", Balance::Hash)];
    let limit = options.get::<Value>("limit")?;
    let limit = if limit.is_nil() {
        Limit::None
    } else if limit.as_string().is_some_and(|word| *word == "adaptive") {
        let (min, max) = (count(options, name, "limit_min", 8)?, count(options, name, "limit_max", 1024)?);
        Limit::Adaptive { min, max }
    } else {
        Limit::Constant(count(options, name, "limit", 0)?)
    };
    let probe = optional_seconds(options, name, "probe_interval")?.map(|interval| {
        let timeout = seconds(options, name, "probe_timeout", Duration::from_secs(1))?;
        Ok::<_, mlua::Error>(Probe { interval, timeout, path: options.get("probe_path")? })
    });
    Ok(UpstreamConfig {
        servers,
        protocol: one_of(options, name, "proto", &protocols)?,
        balance: one_of(options, name, "balance", &balances)?,
        keepalive: count(options, name, "keepalive", base.keepalive)?,
        idle_timeout: seconds(options, name, "idle_timeout", base.idle_timeout)?,
        max_connections: count(options, name, "max_connections", base.max_connections)?,
        pipeline: optional_count(options, name, "pipeline")?,
        queue: count(options, name, "queue", base.queue)?,
        connect_timeout: seconds(options, name, "connect_timeout", base.connect_timeout)?,
        timeout: seconds(options, name, "timeout", base.timeout)?,
        retries: u32::try_from(count(options, name, "retries", base.retries as usize)?).unwrap_or(u32::MAX),
        retry_sent: options.get::<Option<bool>>("retry_sent")?.unwrap_or(base.retry_sent),
        backup_after: optional_seconds(options, name, "backup_after")?,
        max_fails: u32::try_from(count(options, name, "max_fails", base.max_fails as usize)?).unwrap_or(u32::MAX),
        fail_timeout: seconds(options, name, "fail_timeout", base.fail_timeout)?,
        limit,
        probe: probe.transpose()?,
        answer_max: count(options, name, "answer_max", base.answer_max)?,
        dns_refresh: optional_seconds(options, name, "dns_refresh")?.or(base.dns_refresh),
        host: options.get("host")?,
    })
}

/// What a script asks: a body, or the arguments of a redis command, and what else it says.
fn call_of(what: &Value, options: Option<&Table>) -> mlua::Result<Call> {
    let mut call = if let Some(arguments) = what.as_table() {
        let arguments = arguments.sequence_values::<LuaString>().collect::<mlua::Result<Vec<_>>>()?;
        Call::redis(arguments.iter().map(|argument| argument.as_bytes().to_vec()))
    } else if let Some(body) = what.as_string() {
        Call::new(body.as_bytes().to_vec())
    } else if what.is_nil() {
        Call::default()
    } else {
        Call::new(what.to_string()?.into_bytes())
    };
    let Some(options) = options else { return Ok(call) };
    call.key = options.get::<Option<LuaString>>("key")?.map(|key| key.as_bytes().to_vec());
    call.timeout = optional_seconds(options, "call", "timeout")?;
    call.idempotent = options.get::<Option<bool>>("idempotent")?.unwrap_or(false);
    let number = |name| options.get::<Option<f64>>(name);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo the width of the field")]
    let wide = |value: f64| value as i64 as u32;
    call.log_id = number("log_id")?.map(wide);
    let (id, version) = (number("id")?, number("version")?);
    let (provider, reserved) = (options.get::<Option<LuaString>>("provider")?, number("reserved")?);
    if id.is_some() || version.is_some() || provider.is_some() || reserved.is_some() {
        let numbers = (id, version, call.log_id.map(f64::from), reserved);
        call.nshead = Some(crate::engine::header_of(numbers, provider.as_ref().map(LuaString::as_bytes).as_deref()));
    }
    let (method, path) = (options.get::<Option<String>>("method")?, options.get::<Option<String>>("path")?);
    let headers = options.get::<Option<Table>>("headers")?;
    if method.is_some() || path.is_some() || headers.is_some() {
        let headers = headers.map(|headers| headers.pairs::<String, String>().collect::<mlua::Result<Vec<_>>>());
        call.http = Some(HttpRequest {
            method: method.unwrap_or_default(),
            path: path.unwrap_or_default(),
            headers: headers.transpose()?.unwrap_or_default(),
        });
    }
    Ok(call)
}

/// A value that redis answered, as scripts get it: errors are tables with `err`, as in redis' own scripts.
pub(crate) fn value_of(lua: &Lua, value: &RespValue) -> mlua::Result<Value> {
    Ok(match value {
        RespValue::Simple(text) => Value::String(lua.create_string(text)?),
        RespValue::Bulk(bytes) => Value::String(lua.create_string(bytes)?),
        RespValue::Integer(number) => Value::Integer(*number),
        RespValue::Nil => Value::Boolean(false),
        RespValue::Error(text) => Value::Table(lua.create_table_from([("err", lua.create_string(text)?)])?),
        RespValue::Array(values) => {
            let table = lua.create_table_with_capacity(values.len(), 0)?;
            for value in values {
                table.raw_push(value_of(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}

/// What is known of an answer beside its body, in the order in which `upstream.lua` takes it: server, tries, time, whether the
/// backup has answered; status; id, version, log_id, reserved and provider of nshead; names and values of fields.
pub(crate) fn about<'a>(answer: &'a Answer, mut push: impl FnMut(Arg<'a>)) {
    push((&*answer.server).into());
    push(answer.tries.into());
    push(Arg::Number(answer.took.as_secs_f64()));
    push(Arg::Bool(answer.by_backup));
    push(if answer.status == 0 { Arg::Nil } else { u32::from(answer.status).into() });
    if let Some(header) = &answer.nshead {
        let NsheadHeader { id, version, log_id, reserved, .. } = header;
        push(u32::from(*id).into());
        push(u32::from(*version).into());
        push((*log_id).into());
        push((*reserved).into());
        push(Arg::Bytes(header.provider_name()));
    } else if !answer.headers.is_empty() {
        (0..5).for_each(|_| push(Arg::Nil));
    }
    for (name, value) in &answer.headers {
        push(name.as_str().into());
        push(Arg::Bytes(value));
    }
}

fn reaches_no_file(name: &str, config: &UpstreamConfig) -> mlua::Result<()> {
    let is_file = match &config.servers {
        Servers::List(list) => list.iter().any(|server| server.trim_start().starts_with("unix:")),
        Servers::File(_) => true,
    };
    if is_file { Err(wrong(name, "servers", "no files, for a script that runs with --untrusted")) } else { Ok(()) }
}

/// Begins a call; false if there is no such upstream in a server that runs.
fn ask(runtime: &Runtime, ticket: f64, name: &str, call: Call) -> bool {
    let (Some(vm), Some(remote)) = (runtime.vm(), runtime.host.remote()) else { return false };
    let Some(upstream) = runtime.host.upstream(name) else { return false };
    let group = vm.group;
    upstream.call(remote, group, call, move |outcome| {
        vm.complete(ticket, Completion::Answered(Box::new(outcome)));
    });
    true
}

/// `ask(ticket, name, body, seconds)`: a call of which nothing but its body is said, and a deadline for it.
struct Ask;

impl Native for Ask {
    type Context = Runtime;

    fn run(runtime: &Runtime, args: &Values) -> Reply {
        let (Some(ticket), Some(name), Some(body)) = (args.number(0), args.bytes(1), args.bytes(2)) else {
            return Reply::Bool(false);
        };
        runtime.deadline(ticket, args.number(3).unwrap_or(0.0));
        Reply::Bool(std::str::from_utf8(name).is_ok_and(|name| ask(runtime, ticket, name, Call::new(body))))
    }
}

/// Puts what the prelude needs for `lf.upstream` into `rt`.
pub(crate) fn install(lua: &Lua, rt: &Table, runtime: &Arc<Runtime>, untrusted: bool) -> mlua::Result<()> {
    let by_define = Arc::clone(runtime);
    rt.set(
        "upstream",
        lua.create_function(move |_, (name, options): (String, Table)| {
            let config = config_of(&name, &options)?;
            if untrusted {
                reaches_no_file(&name, &config)?;
            }
            let Some(upstreams) = by_define.host.upstreams.get() else { return Ok(()) };
            upstreams.add(&name, config).map(drop).map_err(mlua::Error::external)
        })?,
    )?;
    rt.set("ask", native::<Ask>(lua, runtime)?)?;
    let by_call = Arc::clone(runtime);
    rt.set(
        "call",
        lua.create_function(move |_, (ticket, name, what, options): (f64, LuaString, Value, Option<Table>)| {
            let call = call_of(&what, options.as_ref())?;
            Ok(ask(&by_call, ticket, &name.to_string_lossy(), call))
        })?,
    )?;
    let by_look = Arc::clone(runtime);
    rt.set(
        "upstream_servers",
        lua.create_function(move |lua, name: String| {
            let upstream: Option<Upstream> = by_look.host.upstream(&name);
            upstream
                .map(|upstream| lua.create_sequence_from(upstream.servers().iter().map(ToString::to_string)))
                .transpose()
        })?,
    )
}
