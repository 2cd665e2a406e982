//! Where settings come from: the command line wins over the environment, that over the file, the file over the default.

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches, value_parser};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The option that names the file, and the one that is no key of it.
const CONFIG: &str = "config";

/// Why a file of settings could not be taken. It names the file, and the setting where it is about one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("cannot parse {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The program has no such option.
    #[error(
        "{}: there is no setting {key:?}; the settings are the options of --help, without the dashes", path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The setting.
        key: String,
    },
    /// An option has no such values.
    #[error("{}: {key}: a value is a string, a whole number, true or false, or a list of them", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The setting.
        key: String,
    },
}

/// Reads a program's options from the command line, the environment and the file that `--config` names; see [`command`].
/// Exits by itself for `--help`, `--version` and wrong usage, with the codes 0 and 2.
///
/// # Errors
/// If there is something wrong with the file. A bad value in it is wrong usage.
pub fn read<T: CommandFactory + FromArgMatches>(prefix: &str) -> Result<T, Error> {
    read_with(prefix, |command| command)
}

/// As [`read`], of options of which the program changes something, such as the default of one that all servers have.
///
/// # Errors
/// As [`read`].
pub fn read_with<T: CommandFactory + FromArgMatches>(
    prefix: &str,
    change: impl FnOnce(Command) -> Command,
) -> Result<T, Error> {
    let arguments: Vec<_> = std::env::args_os().collect();
    Ok(parse(change(command::<T>(prefix)), &arguments)?.unwrap_or_else(|usage| usage.exit()))
}

/// What [`read`] parses: the options of `T`, the option `--config FILE`, and a variable for each of them, named by
/// [`with_environment`]. `T` has no `config` itself.
#[must_use]
pub fn command<T: CommandFactory>(prefix: &str) -> Command {
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("TOML file with settings, named as the options are")
        .display_order(0);
    with_environment(T::command().arg(config), prefix)
}

fn parse<T: FromArgMatches>(mut command: Command, arguments: &[OsString]) -> Result<Result<T, clap::Error>, Error> {
    // What is missing here may be in the file, and what is wrong is found again below.
    let file = match command.clone().ignore_errors(true).try_get_matches_from(arguments) {
        Ok(matches) => matches.get_one::<PathBuf>(CONFIG).cloned(),
        Err(help) => return Ok(Err(help)),
    };
    if let Some(path) = file {
        command = with_file_defaults(command, &path)?;
    }
    let matches = command.try_get_matches_from_mut(arguments);
    Ok(matches.and_then(|matches| T::from_arg_matches(&matches).map_err(|error| error.format(&mut command))))
}

/// Lets every option of the command (not of its subcommands) be set by an environment variable: with the prefix
/// `LF_ECHO`, `--workers-max` by `LF_ECHO_WORKERS_MAX`. For flags, `0`, `no`, `off`, `false` and nothing are false, and
/// all else is true. Options that name a variable themselves keep it.
#[must_use]
pub fn with_environment(command: Command, prefix: &str) -> Command {
    command.mut_args(|argument| {
        let Some(name) = argument.get_long().filter(|_| argument.get_env().is_none()) else { return argument };
        let variable = format!("{prefix}_{}", name.replace('-', "_").to_uppercase());
        let is_flag = matches!(argument.get_action(), ArgAction::SetTrue);
        let argument = argument.env(variable);
        if is_flag { argument.value_parser(FalseyValueParser::new()) } else { argument }
    })
}

/// Makes what a TOML file says the defaults of the command's options (not of its subcommands'), so that environment and
/// command line win over it. Keys are the options' names, where `-` and `_` are the same.
///
/// # Errors
/// If the file cannot be read, is no TOML, or has a key or a kind of value that no option has. Whether the values
/// themselves are good shows when the command is parsed.
pub fn with_file_defaults(mut command: Command, path: &Path) -> Result<Command, Error> {
    let at = || path.to_path_buf();
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: at(), source })?;
    let table: toml::Table = text.parse().map_err(|error| Error::Parse { path: at(), source: Box::new(error) })?;
    for (key, value) in table {
        let name = key.replace('_', "-");
        let option = command.get_arguments().find(|option| option.get_long() == Some(&name) && name != CONFIG);
        let Some(id) = option.map(|option| option.get_id().clone()) else {
            return Err(Error::Unknown { path: at(), key });
        };
        let Some(values) = texts(value) else { return Err(Error::Value { path: at(), key }) };
        command = command.mut_arg(id, |option| option.default_values(values).required(false));
    }
    Ok(command)
}

fn texts(value: toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(list) => {
            let lists = list.into_iter().map(texts).collect::<Option<Vec<_>>>()?;
            Some(lists.into_iter().flatten().collect())
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ServerArgs;
    use clap::Parser;
    use std::error::Error as _;
    use std::time::Duration;

    /// A program as they are: options of its own, those of a server, and something else that it can do.
    #[derive(Debug, Parser)]
    struct Options {
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:1", value_delimiter = ',')]
        listen: Vec<String>,
        /// Where it keeps things
        #[arg(long)]
        store: String,
        /// Goes by a name that is known elsewhere
        #[arg(long, env = "HOME")]
        home: Option<String>,
        /// A script
        script: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
        #[command(subcommand)]
        other: Option<Other>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Other {
        /// Loads a file
        Load {
            /// At a time
            #[arg(long, default_value_t = 7)]
            rows: u32,
        },
    }

    const PREFIX: &str = "LF_TEST_OF_SETTINGS";

    fn parse(file: &str, arguments: &[&str]) -> Result<Result<Options, clap::Error>, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        std::fs::write(&path, file).unwrap();
        let arguments = [&["lf-test", "--config", path.to_str().unwrap()], arguments].concat();
        let arguments: Vec<_> = arguments.into_iter().map(OsString::from).collect();
        super::parse(command::<Options>(PREFIX), &arguments)
    }

    fn good(file: &str, arguments: &[&str]) -> Options {
        parse(file, arguments).unwrap().unwrap()
    }

    #[test]
    fn the_definition_is_sound() {
        command::<Options>(PREFIX).debug_assert();
    }

    #[test]
    fn the_file_sets_defaults_and_the_command_line_wins() {
        let file = "store = \"s\"\ngroups = 3\nlisten = [\"127.0.0.1:1\", \"unix:/x\"]\npin = true\nidle = \"5s\"\n\
                    workers-max = 9\nmax_connections = 8";
        let options = good(file, &["--groups", "2"]);
        let server = options.server;
        assert_eq!((server.groups, server.workers_max, server.max_connections), (Some(2), 9, Some(8)));
        assert_eq!((server.pin, server.reuse_port), (true, false));
        assert_eq!(options.listen, ["127.0.0.1:1", "unix:/x"]);
        assert_eq!(server.idle, Duration::from_secs(5));
    }

    #[test]
    fn what_a_program_requires_may_come_from_the_file() {
        assert_eq!(good("store = \"file\"", &[]).store, "file");
        assert_eq!(good("store = \"file\"", &["--store", "line"]).store, "line");
        let usage = parse("groups = 1", &[]).unwrap().unwrap_err();
        assert_eq!((usage.exit_code(), usage.to_string().contains("--store")), (2, true), "{usage}");
    }

    #[test]
    fn every_option_has_a_variable_that_help_shows_and_nothing_else_has() {
        let mut command = command::<Options>(PREFIX);
        let help = command.render_long_help().to_string();
        for name in ["CONFIG", "LISTEN", "STORE", "WORKERS_MAX", "PIN", "USER_TIMEOUT"] {
            assert!(help.contains(&format!("[env: {PREFIX}_{name}=]")), "{name} is not in {help}");
        }
        let variable = |id: &str| {
            let argument = command.get_arguments().find(|argument| argument.get_id() == id);
            argument.and_then(Arg::get_env).map(std::ffi::OsStr::to_os_string)
        };
        assert_eq!(variable("home"), Some("HOME".into()));
        assert_eq!(variable("script"), None);
        let load = command.find_subcommand("load").unwrap();
        assert!(load.get_arguments().all(|argument| argument.get_env().is_none()));
    }

    #[test]
    fn settings_are_those_of_the_main_command() {
        let options = good("store = \"s\"\ngroups = 3", &["load", "--rows", "8"]);
        assert_eq!(options.server.groups, Some(3));
        assert!(matches!(options.other, Some(Other::Load { rows: 8 })));
        for key in ["rows", "script", "config", "help"] {
            assert!(matches!(parse(&format!("{key} = 1"), &[]), Err(Error::Unknown { key: k, .. }) if k == key));
        }
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let error = parse("gruops = 3", &[]).unwrap_err().to_string();
        assert!(error.contains("gruops") && error.contains("settings.toml") && error.contains("--help"), "{error}");
    }

    #[test]
    fn a_bad_value_in_the_file_is_refused() {
        let usage = parse("store = \"s\"\ngroups = \"many\"", &[]).unwrap().unwrap_err();
        assert_eq!((usage.exit_code(), usage.to_string().contains("many")), (2, true), "{usage}");
        for value in ["1.5", "1979-05-27", "{ a = 1 }", "[1, [2.5]]"] {
            let error = parse(&format!("groups = {value}"), &[]).unwrap_err().to_string();
            assert!(error.contains("groups") && error.contains("a whole number"), "{value}: {error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_or_parsed_is_named_with_the_reason() {
        let error = parse("groups = {", &[]).unwrap_err();
        assert!(error.to_string().contains("settings.toml") && error.source().is_some(), "{error}");
        let arguments = ["lf-test", "--config", "/no/such/file"].map(OsString::from);
        let error = super::parse::<Options>(command::<Options>(PREFIX), &arguments).unwrap_err();
        assert!(matches!(&error, Error::Read { .. }) && error.to_string().contains("/no/such/file"), "{error}");
    }

    #[test]
    fn help_and_version_need_no_file() {
        let help = parse("groups = {", &["--help"]).unwrap().unwrap_err();
        assert_eq!((help.exit_code(), help.to_string().contains("--store")), (0, true));
    }
}
