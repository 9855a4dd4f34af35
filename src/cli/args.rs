//! The command line as clap parses it: commands, flags, their words in `--help`.
//!
//! Only shapes; nothing is resolved here. Flags that are settings become [`Override`]s, which
//! `config` applies last. Names are those of Nix's commands wherever Nix has one. Usage errors
//! exit with 2.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::config::Override;
use super::exit_code::EXIT_CODES;

/// Builds Nix derivations, each on a thread of its own.
#[derive(Debug, Parser)]
#[command(name = "drover", version, about, after_help = EXIT_CODES, propagate_version = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Set a setting for this call
    #[arg(long, global = true, num_args = 2, value_names = ["NAME", "VALUE"])]
    pub option: Vec<String>,
    /// Work on this store: `auto`, `local` or a folder
    #[arg(long, global = true, value_name = "STORE")]
    pub store: Option<String>,
    /// Say more; may be repeated
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what went wrong
    #[arg(long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// What drover can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build derivations and print their output paths
    #[command(after_help = EXIT_CODES)]
    Build(Box<BuildArgs>),
    /// Copy files and folders into the store
    Add(AddArgs),
    /// Show, add or make derivations
    #[command(subcommand)]
    Derivation(DerivationCommand),
    /// Ask the store about paths
    Query(QueryArgs),
    /// Print what the store knows of paths
    PathInfo(PathInfoArgs),
    /// Print the log of a build
    Log(LogArgs),
    /// Call paths valid that lie in the store, told by registration text on stdin
    Register(RegisterArgs),
    /// Print the registration text of paths
    DumpDb(DumpDbArgs),
    /// Write, read and list archives (NAR)
    #[command(subcommand)]
    Nar(NarCommand),
    /// Hash files and folders
    #[command(subcommand)]
    Hash(HashCommand),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
}

/// `drover build`.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// A derivation (`x.drv`, `x.drv^out,dev`, `x.drv^*`), a store path or a recipe
    /// (`jobs.toml`, `jobs.toml#table`)
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<OsString>,
    /// Builders at work at the same time, a number or `auto`
    #[arg(short = 'j', long, value_name = "N|auto")]
    pub max_jobs: Option<String>,
    /// NIX_BUILD_CORES of builders; 0: all processors
    #[arg(long, value_name = "N")]
    pub cores: Option<String>,
    /// Go on with what does not depend on a failure
    #[arg(short, long)]
    pub keep_going: bool,
    /// Keep the build folder of a failed build
    #[arg(short = 'K', long)]
    pub keep_failed: bool,
    /// Build what a source has but could not give
    #[arg(long)]
    pub fallback: bool,
    /// Only say what would be built or fetched
    #[arg(long)]
    pub dry_run: bool,
    /// Build again and compare
    #[arg(long, alias = "rebuild", conflicts_with = "dry_run")]
    pub check: bool,
    /// Seconds after which a builder is ended; 0: no limit
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<String>,
    /// Seconds without output after which a builder is ended; 0: no limit
    #[arg(long, value_name = "SECONDS")]
    pub max_silent_time: Option<String>,
    /// Bytes of log after which a builder is ended; 0: no limit
    #[arg(long, visible_alias = "max-build-log-size", value_name = "BYTES")]
    pub max_log_size: Option<String>,
    /// Name of the link to the result, a root of the garbage collector
    #[arg(short, long, value_name = "LINK", default_value = "result", conflicts_with = "no_link")]
    pub out_link: PathBuf,
    /// Make no link
    #[arg(long, alias = "no-out-link")]
    pub no_link: bool,
    /// Print a report as JSON instead of paths
    #[arg(long)]
    pub json: bool,
    /// Paths are always printed: the flag of `nix build` asks for nothing more.
    #[arg(long, hide = true)]
    pub print_out_paths: bool,
    /// Show build logs while they are written
    #[arg(short = 'L', long)]
    pub print_build_logs: bool,
}

/// `drover add`.
#[derive(Debug, Clone, Args)]
pub struct AddArgs {
    /// Name in the store instead of the file's own; for one PATH only
    #[arg(short, long)]
    pub name: Option<String>,
    /// What to copy
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
}

/// `drover derivation …`.
#[derive(Debug, Subcommand)]
pub enum DerivationCommand {
    /// Print derivations as JSON
    Show {
        /// With all derivations they are built from
        #[arg(short, long)]
        recursive: bool,
        /// A derivation or an output of one
        #[arg(required = true)]
        paths: Vec<OsString>,
    },
    /// Read a derivation as JSON from stdin, store it and print its path
    Add,
    /// Store the derivations of a recipe and print their paths
    Instantiate {
        /// A recipe (`jobs.toml`, `jobs.toml#table`)
        #[arg(required = true)]
        recipe: Vec<OsString>,
    },
}

/// `drover query`.
#[derive(Debug, Clone, Args)]
pub struct QueryArgs {
    /// What to ask.
    #[command(flatten)]
    pub question: Question,
    /// What to ask about
    #[arg(required = true)]
    pub paths: Vec<OsString>,
}

/// Exactly one question.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Question {
    /// What the paths refer to
    #[arg(long)]
    pub references: bool,
    /// What refers to the paths
    #[arg(long)]
    pub referrers: bool,
    /// All that the paths need
    #[arg(short = 'R', long)]
    pub requisites: bool,
    /// All that needs the paths
    #[arg(long)]
    pub referrers_closure: bool,
    /// The outputs of derivations
    #[arg(long)]
    pub outputs: bool,
    /// The derivations that made the paths
    #[arg(short = 'd', long)]
    pub deriver: bool,
    /// The derivations known to make the paths
    #[arg(long)]
    pub derivers: bool,
    /// References as a tree
    #[arg(long)]
    pub tree: bool,
    /// References as a graph in the language of Graphviz
    #[arg(long)]
    pub graph: bool,
    /// The hash of the contents
    #[arg(long)]
    pub hash: bool,
    /// The size of the contents
    #[arg(long)]
    pub size: bool,
    /// The derivations that make the paths and are valid
    #[arg(long)]
    pub valid_derivers: bool,
}

/// `drover path-info`.
#[derive(Debug, Clone, Args)]
pub struct PathInfoArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// With all that the paths need
    #[arg(short, long)]
    pub recursive: bool,
    /// With the size of all that each path needs
    #[arg(short = 'S', long)]
    pub closure_size: bool,
    /// What to ask about
    #[arg(required = true)]
    pub paths: Vec<OsString>,
}

/// `drover log`.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// A derivation or an output of one
    pub path: OsString,
}

/// `drover register`.
#[derive(Debug, Clone, Args)]
pub struct RegisterArgs {
    /// The text has hash and size of each path, as `dump-db` prints them
    #[arg(long)]
    pub hash_given: bool,
}

/// `drover dump-db`.
#[derive(Debug, Clone, Args)]
pub struct DumpDbArgs {
    /// Only these paths
    pub paths: Vec<OsString>,
}

/// `drover nar …`.
#[derive(Debug, Subcommand)]
pub enum NarCommand {
    /// Write the archive of a path to stdout
    Dump {
        /// A file or folder
        path: PathBuf,
    },
    /// Unpack an archive from stdin
    Restore {
        /// What to make; must not exist
        path: PathBuf,
    },
    /// List what is in an archive
    Ls(NarLsArgs),
}

/// `drover nar ls`.
#[derive(Debug, Clone, Args)]
pub struct NarLsArgs {
    /// With type, mode and size
    #[arg(short, long)]
    pub long: bool,
    /// With what is in folders
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// The archive
    pub nar: PathBuf,
    /// What to list in it
    #[arg(default_value = "/")]
    pub path: PathBuf,
}

/// `drover hash …`.
#[derive(Debug, Subcommand)]
pub enum HashCommand {
    /// Hash files and folders as archives (NAR)
    Path(HashArgs),
    /// Hash the contents of files
    File(HashArgs),
}

/// Flags of both.
#[derive(Debug, Clone, Args)]
pub struct HashArgs {
    /// The hash function
    #[arg(long, visible_alias = "type", value_enum, default_value_t = HashAlgorithm::Sha256)]
    pub algo: HashAlgorithm,
    /// How to print it
    #[arg(long, value_enum, default_value_t = HashFormat::Sri)]
    pub format: HashFormat,
    /// What to hash
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
}

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "names of hash functions")]
pub enum HashAlgorithm {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

/// How a hash is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HashFormat {
    /// Lower-case hexadecimal
    Base16,
    /// Nix's base 32
    #[value(alias = "base32")]
    Nix32,
    /// Base 64
    Base64,
    /// Base 64 with the function's name before it
    Sri,
}

/// `drover config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting and its value; with -v also where it came from
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Only this setting's value
        name: Option<String>,
    },
}

/// `drover completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell that will read the script
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

impl Cli {
    /// The settings that were given as flags: `--option` first, then flags with a name of their
    /// own, which win.
    #[must_use]
    pub fn overrides(&self) -> Vec<Override> {
        let given = |name: &str, value: &str, flag: &str| Override {
            name: name.into(),
            value: value.into(),
            flag: flag.into(),
        };
        let pairs = self.global.option.chunks_exact(2);
        let mut all: Vec<_> = pairs.map(|p| given(&p[0], &p[1], "--option")).collect();
        if let Command::Build(build) = &self.command {
            let values = [
                ("max-jobs", &build.max_jobs, "--max-jobs"),
                ("cores", &build.cores, "--cores"),
                ("timeout", &build.timeout, "--timeout"),
                ("max-silent-time", &build.max_silent_time, "--max-silent-time"),
                ("max-build-log-size", &build.max_log_size, "--max-log-size"),
            ];
            let set = values.iter().filter_map(|(n, v, f)| Some(given(n, v.as_ref()?, f)));
            all.extend(set);
            let switches = [
                ("keep-going", build.keep_going, "--keep-going"),
                ("keep-failed", build.keep_failed, "--keep-failed"),
                ("fallback", build.fallback, "--fallback"),
            ];
            all.extend(switches.iter().filter(|s| s.1).map(|(n, _, f)| given(n, "true", f)));
        }
        all.extend(self.global.store.iter().map(|store| given("store", store, "--store")));
        all
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_tree_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_work_on_every_command() {
        let commands = [
            "build x",
            "add x",
            "derivation show x",
            "derivation add",
            "derivation instantiate x",
            "query --tree x",
            "path-info x",
            "log x",
            "register",
            "dump-db",
            "nar dump x",
            "nar restore x",
            "nar ls x",
            "hash path x",
            "hash file x",
            "config show",
            "completions bash",
            "man",
        ];
        for command in commands {
            let flags = "--option cores 3 --store /s -v";
            for line in [format!("drover {flags} {command}"), format!("drover {command} {flags}")] {
                let cli = parse(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
                let names: Vec<_> = cli.overrides().into_iter().map(|o| o.name).collect();
                assert_eq!(names, ["cores", "store"], "{line}");
                assert_eq!(cli.global.verbose, 1, "{line}");
            }
            assert!(parse(&format!("drover {command} --quiet")).unwrap().global.quiet);
        }
    }

    #[test]
    fn flags_become_settings_and_win_over_options() {
        let line = "drover build -j auto --cores 2 -k -K --fallback --timeout 1 \
                    --max-silent-time 2 --max-log-size 3K --option timeout 9 x";
        let line = line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let got: Vec<_> = parse(&line).unwrap().overrides();
        let got: Vec<_> = got.iter().map(|o| (o.name.as_str(), o.value.as_str())).collect();
        let want = [
            ("timeout", "9"),
            ("max-jobs", "auto"),
            ("cores", "2"),
            ("timeout", "1"),
            ("max-silent-time", "2"),
            ("max-build-log-size", "3K"),
            ("keep-going", "true"),
            ("keep-failed", "true"),
            ("fallback", "true"),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn flags_of_nix_build_are_understood() {
        let line = "drover build --print-out-paths --no-out-link --rebuild --keep-failed x";
        let Command::Build(args) = parse(line).unwrap().command else { panic!("no build") };
        assert!(args.no_link && args.check && args.keep_failed);
        assert!(parse("drover build --rebuild --dry-run x").is_err());
    }

    #[test]
    fn usage_errors_exit_with_2() {
        let bad = [
            "drover",
            "drover build",
            "drover nonsense",
            "drover query x",
            "drover query --tree --graph x",
            "drover build -o r --no-link x",
            "drover build --option a",
        ];
        for line in bad {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(parse("drover --help").unwrap_err().exit_code(), 0);
        assert!(Cli::command().render_help().to_string().contains("130/143"));
    }
}
