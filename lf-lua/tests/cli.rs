//! The commands beside serving: check, test, repl.

mod common;

use common::lf_lua;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

fn run(directory: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = lf_lua();
    command.current_dir(directory).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).expect("a file");
    }
    directory
}

#[test]
fn check_says_what_a_script_defines_or_what_is_wrong_with_it() {
    let files = directory(&[
        ("good.lua", "lf.http { listen = { ':8080', ':8081' } } lf.nshead { listen = ':9000', handler = print }"),
        ("bad.lua", "lf.http {"),
    ]);
    let good = run(files.path(), &["check", "good.lua"], "");
    assert_eq!(text(&good.stdout), "http :8080 :8081\nnshead :9000\ngood.lua: ok\n", "{}", text(&good.stderr));
    let bad = run(files.path(), &["check", "bad.lua"], "");
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("bad.lua:1:"), "{}", text(&bad.stderr));
}

#[test]
fn tests_of_a_directory_run_against_the_scripts_beside_them() {
    let files = directory(&[
        ("app.lua", "lf.http { listen = ':80' }:get('/n', function(req, res) lf.sleep(0.001) res:print(6 * 7) end)"),
        (
            "app_test.lua",
            "local seen = 0
            describe('app', function()
                before_each(function() seen = seen + 1 end)
                it('knows', function() assert.equal('42', test.get('/n').body) end)
                it('fails', function() assert.equal(1, 2, 'numbers') end)
                describe('deeper', function()
                    it('compares tables', function() assert.same({ a = { 1 } }, { a = { 1 } }) end)
                    it('expects errors', function() assert.error(function() error('x1') end, 'x%d') end)
                end)
            end)
            it('was set up each time', function() assert.equal(4, seen) end)",
        ),
        ("alone_test.lua", "it('needs no server', function() lf.sleep(0.001) assert.truthy(lf.json.encode({})) end)"),
        ("broken_test.lua", "it('x', function() end"),
    ]);
    let output = run(files.path(), &["test", "."], "");
    let said = text(&output.stdout);
    for line in ["ok     app: knows", "ok     app: deeper: compares tables", "ok     app: deeper: expects errors"] {
        assert!(said.contains(line), "{said} {}", text(&output.stderr));
    }
    assert!(said.contains("FAILED app: fails\n       ./app_test.lua:5: numbers: expected 1, got 2"), "{said}");
    assert!(said.contains("ok     was set up each time") && said.contains("ok     needs no server"), "{said}");
    assert!(said.contains("FAILED ./broken_test.lua"), "{said}");
    assert!(said.ends_with("5 passed, 2 failed\n"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_examples_pass_their_tests() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let output = run(&examples, &["test", "."], "");
    assert_eq!(output.status.code(), Some(0), "{} {}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("ok     hello: greets whoever asks"));
}

#[test]
fn a_directory_without_tests_is_an_error() {
    let files = directory(&[]);
    let output = run(files.path(), &["test"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("NAME_test.lua"), "{}", text(&output.stderr));
}

#[test]
fn what_is_typed_runs_and_may_wait() {
    let files = directory(&[("app.lua", "answer = 42 lf.http { listen = '127.0.0.1:0' }")]);
    let input = "1 + 1\nlf.sleep(0.001)\nx = { 1, b = 'two' }\nx\nfor i = 1, 2 do\nprint(i)\nend\nanswer\nerror('oops', 0)\n)\n";
    let output = run(files.path(), &["repl", "app.lua"], input);
    let said = text(&output.stdout);
    assert!(said.contains("listening 127.0.0.1:"), "{said} {}", text(&output.stderr));
    let results: Vec<_> = said.lines().filter(|line| !line.starts_with("listening ")).collect();
    assert_eq!(results, ["2", "{ [1] = 1, b = \"two\" }", "42"], "{}", text(&output.stderr));
    let errors = text(&output.stderr);
    assert!(errors.contains("oops") && errors.contains("unexpected symbol"), "{errors}");
    assert_eq!(output.status.code(), Some(0));
}
