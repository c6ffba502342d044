//! The command line: one file for each command, and the only place that prints, reads the environment or
//! picks exit codes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub mod cause;
pub mod check;
pub mod doctor;
pub mod env;
pub mod estimate;
pub mod exit;
pub mod explain;
pub mod explain_code;
pub mod fmt;
pub mod forecast;
pub mod fulfil;
pub mod graph;
pub mod history;
pub mod init;
pub mod known;
pub mod load;
pub mod log;
pub mod lsp;
pub mod output;
pub mod pack;
pub mod panic;
pub mod parity_bisect;
pub mod plan;
pub mod progress;
pub mod rebuild;
pub mod recipes;
pub mod remember;
pub mod results;
pub mod run;
pub mod runs;
pub mod schema;
pub mod settled;
pub mod show;
pub mod signals;
pub mod simulate;
pub mod store;
pub mod trace;
pub mod trust;
pub mod wanted;
pub mod why;
pub mod why_past;
pub mod why_text;

/// Nix for benchmark matrices: content-hashed steps, honest measurements, one table.
#[derive(Debug, Parser)]
#[command(name = "pipe", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Folder of the store [default: pipe's folder in the user's cache folder; or $PIPE_STORE]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub store: Option<PathBuf>,
    /// Folder for reports and exports
    #[arg(long, global = true, value_name = "FOLDER", default_value = "out")]
    pub out: PathBuf,
    /// Colours and moving progress
    #[arg(long, global = true, value_enum, default_value_t = When::Auto)]
    pub color: When,
    /// How strictly steps are kept to what they declare [default: the strictest that works here]
    #[arg(long, global = true, value_enum)]
    pub sandbox: Option<Level>,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

/// `--sandbox`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    Strict,
    Fs,
    Off,
}

/// A pipeline and what is set in it.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// The pipeline: a KDL file
    pub file: PathBuf,
    /// Gives a parameter a value, for this run
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub sets: Vec<String>,
    /// Takes the parameters' values from a profile of the pipeline; --set beats it
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Reads a secret from a file instead of the environment variable of its name
    #[arg(long = "secret", value_name = "NAME=FILE")]
    pub secrets: Vec<String>,
    /// Takes only cells that match, like 'engine=onnx place=* !device=cpu'; several flags add up
    #[arg(long, value_name = "CELL-PATTERN")]
    pub only: Vec<String>,
    /// Measures again what has samples already
    #[arg(long)]
    pub remeasure: bool,
    /// Shows cells that this machine can't measure as another one did, labelled and in no ratio with ours; part of
    /// the machine's name or line, `*` for any
    #[arg(long = "accept-machine", value_name = "PATTERN")]
    pub accept_machines: Vec<String>,
}

impl Target {
    /// The flags as they were given, for a run to remember; of a secret no more than its name.
    pub fn flags(&self) -> Vec<String> {
        let sets = self.sets.iter().map(|set| format!("--set {set}"));
        let profile = self.profile.iter().map(|name| format!("--profile {name}"));
        let names = self.secrets.iter().map(|secret| secret.split('=').next().unwrap_or_default());
        let secrets = names.map(|name| format!("--secret {name}"));
        let only = self.only.iter().map(|pattern| format!("--only '{pattern}'"));
        let remeasure = self.remeasure.then(|| "--remeasure".to_owned());
        let accept = self.accept_machines.iter().map(|pattern| format!("--accept-machine '{pattern}'"));
        sets.chain(profile).chain(secrets).chain(only).chain(remeasure).chain(accept).collect()
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes a small pipeline that runs, for a model of yours
    Init(init::Arguments),
    /// Does what is missing, and prints the table
    Run(run::Arguments),
    /// Measures here the cells that another machine's run wanted, for a pack that brings them back
    Fulfil(fulfil::Arguments),
    /// Says what would run and why, and runs nothing
    Plan(plan::Arguments),
    /// Draws the steps: a tree, a page to explore, a picture, or text for other tools
    Graph(graph::Arguments),
    /// Explains why a step runs, or where its cached result came from
    Why(why::Arguments),
    /// Lists the runs that the store remembers
    Runs(runs::Arguments),
    /// Tells what a run did, or all that is known of a key or step
    Show(show::Arguments),
    /// Prints what a step printed when it ran
    Log(log::Arguments),
    /// Finds the node where an ONNX model departs from its reference, by halving
    ParityBisect(parity_bisect::Arguments),
    /// Reads pipelines and reports every mistake in them
    Check(check::Arguments),
    /// Says more about a mistake, with a wrong and a right example
    Explain(explain_code::Arguments),
    /// Lists recipes, or shows one with its parameters and an example
    Recipes(recipes::Arguments),
    /// Prints the whole language as JSON, for editors and other programs
    Schema(schema::Arguments),
    /// Brings KDL files into their one layout
    Fmt(fmt::Arguments),
    /// Tells what this machine has, what it lacks, and how to get it
    Doctor,
    /// Looks after the store
    Store(store::Arguments),
    /// Serves an editor: diagnostics, completion, hover, rename, over standard input and output
    Lsp(lsp::Arguments),
    /// Prints a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Starts a step's process (for `pipe` itself)
    #[command(name = "__sup", hide = true)]
    Supervise,
}

/// Runs `pipe` with these arguments.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // The supervisor must be small and quick: it never sees the parser.
    if args.get(1).is_some_and(|arg| arg == "__sup") {
        return crate::exec::supervisor::main(args.into_iter().skip(2));
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let to = if error.use_stderr() { output::To::Err } else { output::To::Out };
            let text = error.render();
            let coloured = output::colour(When::Auto, to);
            output::out(to, &if coloured { text.ansi().to_string() } else { text.to_string() });
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::DONE });
        }
    };
    if !matches!(cli.command, Command::Lsp(_)) {
        panic::install();
    }
    let code = match cli.command {
        Command::Init(arguments) => init::main(&cli.global, &arguments),
        Command::Run(arguments) => run::main(&cli.global, &arguments),
        Command::Fulfil(arguments) => fulfil::main(&cli.global, &arguments),
        Command::Plan(arguments) => plan::main(&cli.global, &arguments),
        Command::Graph(arguments) => graph::main(&cli.global, &arguments),
        Command::Why(arguments) => why::main(&cli.global, &arguments),
        Command::Runs(arguments) => runs::main(&cli.global, &arguments),
        Command::Show(arguments) => show::main(&cli.global, &arguments),
        Command::Log(arguments) => log::main(&cli.global, &arguments),
        Command::ParityBisect(arguments) => parity_bisect::main(&cli.global, &arguments),
        Command::Check(arguments) => check::main(&cli.global, &arguments),
        Command::Explain(arguments) => explain_code::main(&cli.global, &arguments),
        Command::Recipes(arguments) => recipes::main(&cli.global, &arguments),
        Command::Schema(arguments) => schema::main(&arguments),
        Command::Fmt(arguments) => fmt::main(&cli.global, &arguments),
        Command::Doctor => doctor::main(&cli.global),
        Command::Lsp(arguments) => lsp::main(&cli.global, &arguments),
        Command::Store(arguments) => store::main(&cli.global, &arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pipe", &mut script);
            output::print(&String::from_utf8_lossy(&script));
            exit::DONE
        }
        Command::Supervise => exit::USAGE,
    };
    ExitCode::from(code)
}
