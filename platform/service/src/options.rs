//! Where options come from: defaults < TOML file < `RECOURSE_*` < command line.
//!
//! A service describes its options once, as a `clap::Args` struct; this module lets the file and
//! the environment speak in place of a default. So every flag `--max-body-bytes` is also
//! `RECOURSE_MAX_BODY_BYTES` and the key `max-body-bytes` of the file, with no second
//! description to keep in step. Of two options that exclude each other, the one that is said
//! nearer to the process counts alone. See `docs/decisions/0003-options.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::PathBuf,
};

use clap::{ArgAction, ArgMatches, Command, Parser, parser::ValueSource};

/// Why there are no options.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was given is wrong, or help was asked for: print it and exit with its code.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file cannot be read.
    #[error("the options file {} cannot be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the options file {} is not TOML", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The file holds something that is no option.
    #[error("the options file {} has `{key}`, which {problem}", path.display())]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Reads the options of this process. The file is named by `--config FILE` or
/// `RECOURSE_CONFIG`, which `P` must have as a global option `config`.
///
/// # Errors
/// [`Error`]; an unknown key of the file is one too, for a misspelt option must not be taken
/// for its default.
pub fn load<P: Parser>() -> Result<P, Error> {
    load_from(std::env::args_os(), |name| std::env::var_os(name))
}

/// The same from given arguments (the first being the program's name) and a given environment.
///
/// ```
/// use recourse_service::options;
///
/// #[derive(clap::Parser)]
/// struct Options {
///     /// A TOML file with options.
///     #[arg(long, global = true)]
///     config: Option<std::path::PathBuf>,
///     /// The address.
///     #[arg(long, default_value = "127.0.0.1:7171")]
///     listen: String,
/// }
///
/// let env = |name: &str| (name == "RECOURSE_LISTEN").then(|| "127.0.0.1:1".into());
/// let given = options::load_from::<Options>(["recourse".into()], env).unwrap();
/// assert_eq!(given.listen, "127.0.0.1:1");
/// ```
///
/// # Errors
/// As [`load`].
pub fn load_from<P: Parser>(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<P, Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = P::command();
    command.build();
    let mut defaults = match config_path(&args).or_else(|| env("RECOURSE_CONFIG")) {
        Some(path) => read_file(path.into(), &command)?,
        None => BTreeMap::new(),
    };
    let mut environment = BTreeMap::new();
    for name in option_names(&command) {
        if let Some(value) = env(&variable(&name)) {
            environment.insert(name, vec![value]);
        }
    }
    // A default conflicts with nothing, so clap would take both.
    let line = CommandLine::read(P::command(), &command, &args);
    for name in line.excluded_by(&line.given) {
        environment.remove(&name);
        defaults.remove(&name);
    }
    for name in line.excluded_by(&environment.keys().cloned().collect()) {
        defaults.remove(&name);
    }
    defaults.append(&mut environment);
    let command = with_defaults(P::command(), &defaults);
    let matches = command.try_get_matches_from(args)?;
    P::from_arg_matches(&matches).map_err(|error| Error::Usage(error.format(&mut P::command())))
}

/// The command line alone.
struct CommandLine<'a> {
    /// The command that is run, below those that lead to it.
    commands: Vec<&'a Command>,
    /// The options that are given, by their long names.
    given: BTreeSet<String>,
}

impl<'a> CommandLine<'a> {
    /// Reads as much as can be: what is wrong is said when it is read again with the defaults.
    /// `built` is `command` once it is built.
    fn read(command: Command, built: &'a Command, args: &[OsString]) -> Self {
        let mut line = Self {
            commands: vec![built],
            given: BTreeSet::new(),
        };
        if let Ok(matches) = command.ignore_errors(true).try_get_matches_from(args) {
            line.follow(built, &matches);
        }
        line
    }

    fn follow(&mut self, command: &'a Command, matches: &ArgMatches) {
        for arg in command.get_arguments() {
            let id = arg.get_id();
            let is_given = matches.ids().any(|found| found == id)
                && matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
            if let Some(name) = arg.get_long().filter(|_| is_given) {
                self.given.insert(name.to_owned());
            }
        }
        let below = matches.subcommand();
        if let Some((name, matches)) = below
            && let Some(below) = command.find_subcommand(name)
        {
            self.commands.push(below);
            self.follow(below, matches);
        }
    }

    /// The options that exclude one of these, or are excluded by it.
    fn excluded_by(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let mut excluded = BTreeSet::new();
        for command in &self.commands {
            for arg in command.get_arguments() {
                for other in command.get_arg_conflicts_with(arg) {
                    let (Some(one), Some(other)) = (arg.get_long(), other.get_long()) else {
                        continue;
                    };
                    for (by, name) in [(one, other), (other, one)] {
                        if names.contains(by) {
                            excluded.insert(name.to_owned());
                        }
                    }
                }
            }
        }
        excluded
    }
}

/// The environment variable of an option.
fn variable(option: &str) -> String {
    format!("RECOURSE_{}", option.replace('-', "_").to_ascii_uppercase())
}

/// The file must be known before its content can take part in reading the arguments.
fn config_path(args: &[OsString]) -> Option<OsString> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--") => return None,
            Some("--config") => return args.next().cloned(),
            Some(arg) => {
                if let Some(path) = arg.strip_prefix("--config=") {
                    return Some(path.into());
                }
            }
            None => {}
        }
    }
    None
}

/// Every long option of a command and of those below it.
fn option_names(command: &Command) -> Vec<String> {
    let mut names: Vec<String> = command
        .get_arguments()
        .filter(|arg| is_option(arg))
        .filter_map(|arg| arg.get_long().map(ToOwned::to_owned))
        .chain(command.get_subcommands().flat_map(option_names))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn is_option(arg: &clap::Arg) -> bool {
    !matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    )
}

fn read_file(path: PathBuf, command: &Command) -> Result<BTreeMap<String, Vec<OsString>>, Error> {
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(Error::Unreadable { path, source }),
    };
    let table: toml::Table = match toml::from_str(&text) {
        Ok(table) => table,
        Err(source) => {
            let source = Box::new(source);
            return Err(Error::Malformed { path, source });
        }
    };
    let known = option_names(command);
    let mut defaults = BTreeMap::new();
    for (key, value) in table {
        let unknown = |problem| Error::Unknown {
            path: path.clone(),
            key: key.clone(),
            problem,
        };
        let name = key.replace('_', "-");
        if name == "config" || !known.contains(&name) {
            return Err(unknown("is not an option"));
        }
        let values = match &value {
            toml::Value::Array(values) => values.iter().map(scalar).collect(),
            value => scalar(value).map(|value| vec![value]),
        };
        let values = values.ok_or_else(|| unknown("is not a value or a list of values"))?;
        if defaults.insert(name, values).is_some() {
            return Err(unknown("is there twice"));
        }
    }
    Ok(defaults)
}

fn scalar(value: &toml::Value) -> Option<OsString> {
    match value {
        toml::Value::String(text) => Some(text.into()),
        toml::Value::Integer(number) => Some(number.to_string().into()),
        toml::Value::Float(number) => Some(number.to_string().into()),
        toml::Value::Boolean(yes) => Some(yes.to_string().into()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

fn with_defaults(command: Command, defaults: &BTreeMap<String, Vec<OsString>>) -> Command {
    let command = command.mut_args(|arg| {
        let values = arg.get_long().and_then(|long| defaults.get(long));
        match values {
            Some(values) if is_option(&arg) => {
                let values: Vec<clap::builder::OsStr> =
                    values.iter().map(|value| value.clone().into()).collect();
                arg.required(false).default_values(values)
            }
            _ => arg,
        }
    });
    command.mut_subcommands(|below| with_defaults(below, defaults))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::{Args, Subcommand};

    use super::*;

    #[derive(Debug, Parser)]
    struct Top {
        #[arg(long, global = true)]
        config: Option<PathBuf>,
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(Debug, Subcommand)]
    enum Sub {
        Up(Up),
        Look(Look),
    }

    #[derive(Debug, Args)]
    struct Up {
        #[arg(long, default_value_t = 1)]
        max_body_bytes: u64,
        #[arg(long)]
        insecure_listen: bool,
        #[arg(long)]
        allowed_host: Vec<String>,
        #[arg(long)]
        data: PathBuf,
    }

    /// From where to read: one excludes the other, for this command and those below it.
    #[derive(Debug, Args)]
    struct Look {
        #[arg(long, global = true)]
        server: Option<String>,
        #[arg(long, global = true, conflicts_with = "server")]
        folder: Option<String>,
        #[command(subcommand)]
        what: What,
    }

    #[derive(Debug, Subcommand)]
    enum What {
        All,
    }

    fn up(args: &[&str], env: &[(&str, &str)], file: Option<&str>) -> Result<Up, Error> {
        let mut held = tempfile::NamedTempFile::new().unwrap();
        let mut all = vec![OsString::from("recourse"), "up".into()];
        if let Some(text) = file {
            held.write_all(text.as_bytes()).unwrap();
            all.push("--config".into());
            all.push(held.path().into());
        }
        all.extend(args.iter().map(Into::into));
        let env: BTreeMap<_, _> = env.iter().copied().collect();
        let top: Top = load_from(all, |name| env.get(name).map(Into::into))?;
        match top.command {
            Sub::Up(up) => Ok(up),
            Sub::Look(_) => panic!("not asked for"),
        }
    }

    /// The server and the folder that are looked at.
    fn look(args: &[&str], env: &[(&str, &str)], file: &str) -> [Option<String>; 2] {
        let mut held = tempfile::NamedTempFile::new().unwrap();
        held.write_all(file.as_bytes()).unwrap();
        let mut all: Vec<OsString> = vec!["recourse".into(), "--config".into()];
        all.push(held.path().into());
        all.extend(args.iter().map(Into::into));
        let env: BTreeMap<_, _> = env.iter().copied().collect();
        let top: Top = load_from(all, |name| env.get(name).map(Into::into)).unwrap();
        match top.command {
            Sub::Look(Look {
                server,
                folder,
                what: What::All,
            }) => [server, folder],
            Sub::Up(_) => panic!("not asked for"),
        }
    }

    #[test]
    fn of_two_that_exclude_each_other_the_one_that_is_said_nearer_counts_alone() {
        let [server, folder] = [Some("s".to_owned()), Some("f".to_owned())];
        let folder_of_env = [("RECOURSE_FOLDER", "f")];
        let server_of_env = [("RECOURSE_SERVER", "s")];
        // Before and behind what stands below.
        for args in [
            ["look", "--server", "s", "all"],
            ["look", "all", "--server", "s"],
        ] {
            assert_eq!(look(&args, &folder_of_env, ""), [server.clone(), None]);
            assert_eq!(look(&args, &[], "folder = \"f\""), [server.clone(), None]);
        }
        let args = ["look", "all", "--folder", "f"];
        assert_eq!(look(&args, &server_of_env, ""), [None, folder.clone()]);
        assert_eq!(look(&args, &[], "server = \"s\""), [None, folder.clone()]);
        // The environment is nearer than the file.
        let all = ["look", "all"];
        let of_env = look(&all, &folder_of_env, "server = \"s\"");
        assert_eq!(of_env, [None, folder]);
        let of_env = look(&all, &server_of_env, "folder = \"f\"");
        assert_eq!(of_env, [server, None]);
    }

    #[test]
    fn the_command_line_wins_over_the_environment_over_the_file_over_the_default() {
        let file = Some("max-body-bytes = 2\ndata = \"d\"");
        let env = [("RECOURSE_MAX_BODY_BYTES", "3")];
        let of = |args: &[&str], env: &[_], file| up(args, env, file).unwrap().max_body_bytes;
        assert_eq!(of(&["--data", "d"], &[], None), 1);
        assert_eq!(of(&[], &[], file), 2);
        assert_eq!(of(&[], &env, file), 3);
        assert_eq!(of(&["--max-body-bytes", "4"], &env, file), 4);
    }

    #[test]
    fn flags_and_lists_may_stand_in_the_file() {
        let given = up(
            &[],
            &[],
            Some("insecure_listen = true\nallowed-host = [\"a\", \"b\"]\ndata = \"d\""),
        )
        .unwrap();
        assert!(given.insecure_listen);
        assert_eq!(given.allowed_host, ["a", "b"]);
        assert_eq!(given.data, PathBuf::from("d"));
    }

    #[test]
    fn a_misspelt_key_and_a_wrong_value_are_refused() {
        let unknown = up(&[], &[], Some("max-body = 2"));
        assert!(matches!(unknown, Err(Error::Unknown { key, .. }) if key == "max-body"));
        let table = up(&[], &[], Some("[data]\nx = 1"));
        assert!(matches!(table, Err(Error::Unknown { .. })));
        assert!(matches!(
            up(&[], &[], Some("=")),
            Err(Error::Malformed { .. })
        ));
        let wrong = up(&["--data", "d"], &[("RECOURSE_MAX_BODY_BYTES", "x")], None);
        assert!(matches!(wrong, Err(Error::Usage(_))));
        assert!(
            matches!(up(&[], &[], None), Err(Error::Usage(_))),
            "data is required"
        );
    }
}
