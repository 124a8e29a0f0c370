//! The methods as commands: `atlas`, `lens`, `sweep`, … Their options are the fields of their settings, so that the window
//! and the command line ask for the same things.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args as _, FromArgMatches as _};

use super::CliError;
use super::analysis_report::{Learned, Report, text};
use super::args::{Asked, ComputeArgs, FigureArgs, usage};
use super::opened::{Opened, prepare};
use super::progress::Progress;
use crate::analysis::field::{Field, Value};
use crate::analysis::method::{Input, Method, Takes};
use crate::analysis::{self, Case, cases};
use crate::atomic;
use crate::experiment::resolve::{Resolved, resolve};
use crate::export;
use crate::figure::{Format, Provenance};
use crate::session::View;
use crate::task::{Draw, TaskSet, Verbaliser};

/// The command of a method.
pub(super) fn command(method: &Method) -> clap::Command {
    let about = method.about();
    let command = clap::Command::new(about.name)
        .about(format!("{}: {}", about.title, about.question))
        .after_help(format!("Source: {}", about.source));
    let mut command = match about.takes {
        Takes::Nothing => ComputeArgs::augment_args(command),
        _ => Asked::augment_args(command),
    };
    if matches!(about.takes, Takes::Model | Takes::Prompt | Takes::Prompts) {
        command = command.args([
            Arg::new("task")
                .long("task")
                .value_name("NAME | FILE")
                .help("A set of prompts with answers: a built-in one, or a file (CSV, JSON)")
                .conflicts_with_all(["prompt", "ids", "contrast", "contrast_ids", "answers"]),
            Arg::new("items")
                .long("items")
                .value_name("N")
                .help("Prompts that are drawn of the set [default: 20 of a built-in one, all of a file]")
                .value_parser(clap::value_parser!(u32).range(1..))
                .requires("task"),
            Arg::new("draw")
                .long("draw")
                .value_name("SEED")
                .help("Seed of the draw [default: 0]")
                .value_parser(clap::value_parser!(u64))
                .requires("task"),
            Arg::new("verbaliser")
                .long("verbaliser")
                .value_name("FILE")
                .help("Classes that the set's answers stand for: words with weights (JSON, or SciPrompt's word lines)")
                .value_parser(clap::value_parser!(PathBuf))
                .requires("task"),
            Arg::new("verbaliser-scores")
                .long("verbaliser-scores")
                .value_name("FILE")
                .help("The weights of SciPrompt's word lines, line by line")
                .value_parser(clap::value_parser!(PathBuf))
                .requires("verbaliser"),
        ]);
    }
    if about.takes == Takes::Texts {
        command = command.arg(
            Arg::new("texts")
                .long("texts")
                .value_name("FILE")
                .help("Texts, one a line (.jsonl: its \"text\")")
                .value_parser(clap::value_parser!(PathBuf)),
        );
    }
    if method.learns() {
        command = command.arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FILE.safetensors")
                .help("Saves what was learned; the edits that apply it are printed")
                .value_parser(clap::value_parser!(PathBuf)),
        );
    }
    command = FigureArgs::augment_args(command).arg(
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("Prints JSON instead of tables"),
    );
    for field in method.clone().fields() {
        command = command.arg(option(&field));
    }
    command
}

fn option(field: &Field<'_>) -> Arg {
    let default = match field.text() {
        text if text.is_empty() => String::new(),
        text => format!(" [default: {text}]"),
    };
    let arg = Arg::new(field.name)
        .long(field.name)
        .help(format!("{}{default}", field.help))
        .help_heading("Method")
        .allow_hyphen_values(true);
    match &field.value {
        Value::Choice(choice) => arg
            .value_name("NAME")
            .value_parser(PossibleValuesParser::new(choice.options())),
        Value::Flag(_) => arg.value_name("true|false"),
        Value::Op(_) => arg.value_name("OP"),
        Value::Positions(_) => arg.value_name("POS"),
        Value::Heads(_) => arg.value_name("HEAD,…"),
        Value::Count(..) | Value::MaybeCount(..) | Value::Seed(_) => arg.value_name("N"),
        Value::Number(..) => arg.value_name("X"),
        Value::Text(_) => arg.value_name("TEXT"),
    }
}

pub(super) fn run(mut method: Method, matches: &ArgMatches) -> Result<(), CliError> {
    for mut field in method.fields() {
        if let Some(text) = matches.get_one::<String>(field.name) {
            field
                .set(text)
                .map_err(|error| CliError::Usage(usage(&error)))?;
        }
    }
    let is_json = matches.get_flag("json");
    let figure = FigureArgs::from_arg_matches(matches)?;
    figure.check()?;
    let mut shown = Shown(Progress::default());
    if method.about().takes == Takes::Nothing {
        prepare(&ComputeArgs::from_arg_matches(matches)?)?;
        let started = Instant::now();
        let report = method.run_alone(&mut shown);
        let report = report
            .context("the method takes a model")?
            .map_err(anyhow::Error::from)?;
        drop(shown);
        let learned = Learned::default();
        print(&Report::new(None, &report, &learned, &[], started), is_json)?;
        return Ok(draw(&figure, &report, Provenance::default(), is_json)?);
    }
    let asked = Asked::from_arg_matches(matches)?;
    let mut opened = Opened::new(&asked)?;
    let input = input(&method, matches, &asked, &opened)?;
    let started = Instant::now();
    let report = method
        .run(&mut opened.engine, &input, &mut shown)
        .map_err(anyhow::Error::from)?;
    drop(shown);
    let mut warnings = opened.warnings.clone();
    let path = method
        .learns()
        .then(|| matches.get_one::<PathBuf>("output"))
        .flatten();
    if method.learns() && path.is_none() {
        warnings.push("nothing is saved: -o FILE.safetensors keeps what was learned".into());
    }
    let learned = Learned::new(&report, path).map_err(anyhow::Error::from)?;
    let saved = learned.save(&report);
    // What was found is told also where it could not be saved.
    print(
        &Report::new(Some(&opened), &report, &learned, &warnings, started),
        is_json,
    )?;
    let mut of = export::provenance(opened.model_ref(), &opened.session, &opened.resolved);
    let is_of_prompt = matches!(method.about().takes, Takes::Prompt | Takes::Prompts)
        && matches.get_one::<String>("task").is_none();
    if !is_of_prompt {
        // Of many prompts, or of none.
        of.prompt.clear();
    }
    draw(&figure, &report, of, is_json)?;
    Ok(saved.map_err(anyhow::Error::from)?)
}

/// The report as a figure, where one is asked for.
fn draw(
    args: &FigureArgs,
    report: &analysis::Report,
    of: Provenance,
    is_json: bool,
) -> anyhow::Result<()> {
    let Some(path) = &args.figure else {
        return Ok(());
    };
    let of = export::report::provenance(report, of);
    let figure = export::report::figure(report, args.part.as_deref(), &View::default(), &of)?;
    let content = figure.render(Format::from_path(path)?, &args.style.style(), &of)?;
    atomic::write(path, &content)
        .with_context(|| format!("cannot write the figure: {}", path.display()))?;
    if !is_json {
        println!("{}", path.display());
    }
    Ok(())
}

fn print(report: &Report<'_>, is_json: bool) -> Result<(), CliError> {
    if is_json {
        println!("{}", serde_json::to_string(report).context("as JSON")?);
    } else {
        print!("{}", text(report));
        for warning in report.warnings {
            eprintln!("warning: {warning}");
        }
    }
    Ok(())
}

/// What the method is run on.
fn input(
    method: &Method,
    matches: &ArgMatches,
    asked: &Asked,
    opened: &Opened,
) -> Result<Input, CliError> {
    let about = method.about();
    let mut input = Input::default();
    if about.takes == Takes::Texts {
        if let Some(path) = matches.get_one::<PathBuf>("texts") {
            input.texts = analysis::texts::read(path).map_err(anyhow::Error::from)?;
        }
        return Ok(input);
    }
    let edits = &opened.resolved.spec.edits;
    if !edits.is_empty() && about.takes != Takes::Prompt {
        return Err(CliError::Usage(usage(&format!(
            "{} makes edits of its own, on the unedited run: leave --edit away, or choose lens or attribute",
            about.name
        ))));
    }
    if let Some(task) = matches.get_one::<String>("task") {
        let draw = Draw {
            n: matches.get_one::<u32>("items").map(|n| *n as usize),
            seed: matches.get_one::<u64>("draw").copied().unwrap_or(0),
            ..Draw::default()
        };
        let mut set = TaskSet::open(task, &draw).map_err(anyhow::Error::from)?;
        if let Some(words) = matches.get_one::<PathBuf>("verbaliser") {
            let scores = matches.get_one::<PathBuf>("verbaliser-scores");
            let classes = Verbaliser::open(words, scores.map(PathBuf::as_path));
            set.verbaliser = Some(classes.map_err(anyhow::Error::from)?);
        }
        let bos = opened.session.experiment.bos;
        let (cases, notes) =
            cases::of_task(&set, opened.model_ref(), bos).map_err(anyhow::Error::from)?;
        (input.cases, input.notes) = (cases, notes);
    } else if about.takes != Takes::Model {
        let mut case = match sample(opened, asked) {
            Some(resolved) => Case::of_experiment(&resolved),
            None => Case::of_experiment(&opened.resolved),
        };
        case.spec.edits.clone_from(edits);
        input.cases.push(case);
    } else if let Some(option) = asked.experiment.first_given() {
        return Err(CliError::Usage(usage(&format!(
            "{} has texts of its own: {option} is not used; give prompts with --task",
            about.name
        ))));
    }
    Ok(input)
}

/// Where nothing else was asked, the model's sample prompt comes with its answers; `None` where something was.
fn sample(opened: &Opened, asked: &Asked) -> Option<Resolved> {
    let is_plain = asked.experiment.first_given().is_none() && opened.file.is_none();
    let (_, answers) = opened.model_ref().sample().filter(|_| is_plain)?;
    let mut experiment = opened.session.experiment.clone();
    experiment.answers = answers;
    resolve(&experiment, opened.model_ref(), None).ok()
}

/// The bar on stderr.
struct Shown(Progress);

impl analysis::Progress for Shown {
    fn at(&mut self, fraction: f32, _so_far: Option<&analysis::Report>) -> bool {
        self.0.show(fraction, "running");
        true
    }
}
