//! What the command line accepts. Wrong usage ends here, with exit code 2, before anything is opened.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::compute::{Device, Dtype};
use crate::export::ExportView;
use crate::figure::{FigureSize, Format, Style, Theme};
use crate::session::file::SUFFIX;
use crate::session::{BosRule, Experiment, Prompt, ReadPosition};

/// See attention heads of transformer language models, and change them while you look.
#[derive(Debug, Parser)]
#[command(name = "headscope", version, args_conflicts_with_subcommands = true)]
pub(super) struct Cli {
    /// Opens the window with a session (NAME.headscope.json) or a model: `demo`, a folder, a .safetensors, a .gguf, or a
    /// hub id (owner/name, owner/name@revision)
    #[arg(value_name = "SESSION | MODEL")]
    pub(super) target: Option<String>,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Runs an experiment and prints what the model predicts, before and after the edits
    Run(RunArgs),
    /// Generates text after the prompt, before and after the edits, which act on the prompt and at every step
    Generate(GenerateArgs),
    /// Writes activations of the edited run to a .safetensors file
    Dump(DumpArgs),
    /// Writes a view as a figure (.png, .svg) or as data (.csv, .json)
    Export(ExportArgs),
    /// Lists the families of models that can be opened
    Models(ModelsArgs),
    /// Checks a model's numbers: what holds of any transformer, and a reference's values where there is one
    Verify(VerifyArgs),
    /// Checks this machine: processor, memory, graphics, folders, and that the bundled model runs
    Doctor,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Number of likeliest tokens shown
    #[arg(long, value_name = "K", default_value_t = 10)]
    pub(super) top_k: usize,
    /// Saves the experiment and its numbers as a session
    #[arg(long, value_name = "FILE.headscope.json", value_parser = session_path)]
    pub(super) save: Option<PathBuf>,
    /// Prints JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) asked: Asked,
}

#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// Number of tokens, at most: the model's end-of-text token ends the text
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) tokens: u32,
    /// Prints JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) asked: Asked,
}

#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// TransformerLens names, with * and ?, such as blocks.*.attn.hook_pattern
    #[arg(long, value_name = "GLOB,…", required = true, value_delimiter = ',')]
    pub(super) sites: Vec<String>,
    #[arg(short, long, value_name = "FILE.safetensors")]
    pub(super) output: PathBuf,
    #[command(flatten)]
    pub(super) asked: Asked,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[arg(long, value_enum)]
    pub(super) view: ViewArg,
    /// Head to show, such as L9H6; several make panels side by side
    #[arg(long = "head", value_name = "HEAD")]
    pub(super) heads: Vec<crate::ids::HeadId>,
    #[command(flatten)]
    pub(super) style: StyleArgs,
    /// The ending chooses the format
    #[arg(short, long, value_name = "FILE.png|.svg|.csv|.json")]
    pub(super) output: PathBuf,
    #[command(flatten)]
    pub(super) asked: Asked,
}

/// How a figure looks.
#[derive(Debug, Args)]
pub(super) struct StyleArgs {
    /// Width and height in points [default: what suits the view]
    #[arg(long, value_name = "WxH")]
    pub(super) size: Option<Size>,
    /// Pixels a point in .png files
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(super) scale: u32,
    #[arg(long, value_enum, default_value_t = ExportTheme::Light)]
    pub(super) theme: ExportTheme,
}

/// A method's report as a figure.
#[derive(Debug, Args)]
#[command(next_help_heading = "Figure")]
pub(super) struct FigureArgs {
    /// Draws the report; the ending chooses the format
    #[arg(long, value_name = "FILE.png|.svg|.csv|.json")]
    pub(super) figure: Option<PathBuf>,
    /// The part that is drawn, by its name in the report [default: all of it]
    #[arg(long, value_name = "NAME", requires = "figure")]
    pub(super) part: Option<String>,
    #[command(flatten)]
    pub(super) style: StyleArgs,
}

#[derive(Debug, Args)]
pub(super) struct ModelsArgs {
    /// Prints JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// `demo`, a folder, a .safetensors, a sharded index or a .gguf
    #[arg(value_name = "MODEL")]
    pub(super) model: String,
    /// Values to compare with [default: headscope-reference.json beside the model]
    #[arg(long, value_name = "FILE")]
    pub(super) reference: Option<PathBuf>,
    /// Prints JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) compute: ComputeArgs,
}

/// A model or session, and the experiment.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// `demo`, a folder, a .safetensors, a sharded index, a .gguf, a hub id (owner/name, owner/name@revision), or a session
    /// (NAME.headscope.json)
    #[arg(value_name = "MODEL | SESSION")]
    pub(super) target: String,
    #[command(flatten)]
    pub(super) experiment: ExperimentArgs,
    #[command(flatten)]
    pub(super) compute: ComputeArgs,
}

/// What a session has in itself: these options are for a MODEL.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Experiment (of a MODEL; a SESSION has its own)")]
pub(super) struct ExperimentArgs {
    /// Prompt A [default: the model's sample]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) prompt: Option<String>,
    /// Prompt A as token ids
    #[arg(long, value_name = "ID,…", conflicts_with = "prompt")]
    pub(super) ids: Option<Ids>,
    /// Prompt B, which resampling takes its values from
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) contrast: Option<String>,
    /// Prompt B as token ids
    #[arg(long, value_name = "ID,…", conflicts_with = "contrast")]
    pub(super) contrast_ids: Option<Ids>,
    /// Answer whose logit is shown, or `#ID`; the first two give the logit difference
    #[arg(long = "answer", value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) answers: Vec<String>,
    /// Edit, such as L9H6=scale(2.5)@last; in the order given
    #[arg(long = "edit", value_name = "EDIT", allow_hyphen_values = true)]
    pub(super) edits: Vec<String>,
    /// Position that logits are read at: `last` or an index, beginning-of-text counted [default: last; models for masked tokens: the last mask]
    #[arg(long, value_name = "P")]
    pub(super) position: Option<Position>,
    /// Exactly one beginning-of-text token at the front
    #[arg(long, conflicts_with = "no_bos")]
    pub(super) bos: bool,
    /// No special tokens
    #[arg(long)]
    pub(super) no_bos: bool,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Computing")]
pub(super) struct ComputeArgs {
    /// What the model's matrices are kept in; everything else is f32 [default: f32; of a SESSION, its own]
    #[arg(long, value_name = "f32|f16|bf16|quantized")]
    pub(super) dtype: Option<Dtype>,
    /// Where products are computed [default: cpu]
    #[arg(
        long,
        value_name = "cpu|cuda|metal",
        default_value_t,
        hide_default_value = true
    )]
    pub(super) device: Device,
    /// Number of processor threads [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ViewArg {
    Window,
    Heads,
    Attention,
    Arcs,
    Readout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportTheme {
    Light,
    Dark,
}

/// Token ids separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ids(pub(super) Vec<u32>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(pub(super) ReadPosition);

/// In points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl ExperimentArgs {
    /// The experiment that was asked for, without its edits: those are refused, not misused, if they are wrong.
    pub(super) fn experiment<E>(
        &self,
        sample: impl FnOnce() -> Result<Prompt, E>,
    ) -> Result<Experiment, E> {
        let Self {
            prompt,
            ids,
            contrast,
            contrast_ids,
            answers,
            edits: _,
            position,
            bos,
            no_bos,
        } = self;
        let prompt = given(prompt.as_ref(), ids.as_ref());
        let mut experiment = Experiment::new(prompt.map_or_else(sample, Ok)?);
        experiment.contrast = given(contrast.as_ref(), contrast_ids.as_ref());
        experiment.answers.clone_from(answers);
        experiment.position = position.map_or(ReadPosition::Usual, |position| position.0);
        experiment.bos = match (bos, no_bos) {
            (true, _) => BosRule::Always,
            (_, true) => BosRule::Never,
            _ => BosRule::Auto,
        };
        Ok(experiment)
    }

    /// The first option that was given, which a session has in itself.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let Self {
            prompt,
            ids,
            contrast,
            contrast_ids,
            answers,
            edits,
            position,
            bos,
            no_bos,
        } = self;
        [
            (prompt.is_some(), "--prompt"),
            (ids.is_some(), "--ids"),
            (contrast.is_some(), "--contrast"),
            (contrast_ids.is_some(), "--contrast-ids"),
            (!answers.is_empty(), "--answer"),
            (!edits.is_empty(), "--edit"),
            (position.is_some(), "--position"),
            (*bos, "--bos"),
            (*no_bos, "--no-bos"),
        ]
        .into_iter()
        .find_map(|(is_given, name)| is_given.then_some(name))
    }
}

impl ViewArg {
    /// The figure that this is; the window is none.
    pub(super) const fn figure(self) -> Option<ExportView> {
        match self {
            Self::Window => None,
            Self::Heads => Some(ExportView::Heads),
            Self::Attention => Some(ExportView::Attention),
            Self::Arcs => Some(ExportView::Arcs),
            Self::Readout => Some(ExportView::Readout),
        }
    }
}

impl StyleArgs {
    pub(super) const fn theme(&self) -> Theme {
        match self.theme {
            ExportTheme::Light => Theme::Light,
            ExportTheme::Dark => Theme::Dark,
        }
    }

    pub(super) fn style(&self) -> Style {
        Style {
            theme: self.theme(),
            size: self
                .size
                .map(|Size { width, height }| FigureSize { width, height }),
            scale: self.scale as f32,
        }
    }
}

impl FigureArgs {
    /// Wrong usage before the method runs, where the file's ending is no format.
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        let format = self.figure.as_deref().map(Format::from_path).transpose();
        format
            .map(|_| ())
            .map_err(|error| usage(&error.to_string()))
    }
}

impl ExportArgs {
    pub(super) fn format(&self) -> Result<Format, clap::Error> {
        let format = Format::from_path(&self.output).map_err(|error| usage(&error.to_string()))?;
        if self.view == ViewArg::Window && format != Format::Png {
            return Err(usage(
                "the window is exported as .png; the other views as .svg, .csv and .json too",
            ));
        }
        Ok(format)
    }
}

/// Wrong usage that the arguments' types do not catch.
pub(super) fn usage(message: &str) -> clap::Error {
    Cli::command().error(clap::error::ErrorKind::ArgumentConflict, message)
}

fn given(text: Option<&String>, ids: Option<&Ids>) -> Option<Prompt> {
    match (text, ids) {
        (Some(text), _) => Some(Prompt::Text(text.clone())),
        (None, Some(Ids(ids))) => Some(Prompt::Ids(ids.clone())),
        (None, None) => None,
    }
}

fn session_path(text: &str) -> Result<PathBuf, String> {
    if text.ends_with(SUFFIX) {
        Ok(PathBuf::from(text))
    } else {
        Err(format!("a session's name ends with {SUFFIX}"))
    }
}

impl FromStr for Ids {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .map(|id| id.trim().parse().ok())
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| "token ids are whole numbers separated by commas, such as 2,0,1".into())
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "last" {
            return Ok(Self(ReadPosition::Last));
        }
        crate::ids::index(text)
            .map(|index| Self(ReadPosition::At(index)))
            .ok_or_else(|| "a position is `last` or an index from 0".into())
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let side = |text: &str| {
            text.parse()
                .ok()
                .filter(|side| (16..=16_384).contains(side))
        };
        text.split_once('x')
            .and_then(|(width, height)| {
                Some(Self {
                    width: side(width)?,
                    height: side(height)?,
                })
            })
            .ok_or_else(|| "a size is WIDTHxHEIGHT, each from 16 to 16384, such as 1280x800".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["headscope"], arguments].concat())
    }

    fn run(arguments: &[&str]) -> RunArgs {
        match parse(&[&["run", "demo"], arguments].concat())
            .unwrap()
            .command
        {
            Some(Command::Run(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_may_begin_with_a_space_or_a_minus() {
        let args = run(&[
            "--answer", " Mary", "--answer", "-5", "--prompt", "- a", "--edit", "-x",
        ]);
        let ExperimentArgs {
            prompt,
            answers,
            edits,
            ..
        } = args.asked.experiment;
        assert_eq!(answers, [" Mary", "-5"]);
        assert_eq!(prompt.unwrap(), "- a");
        assert_eq!(edits, ["-x"]);
    }

    #[test]
    fn the_experiment_is_what_was_asked() {
        let args = run(&[
            "--ids",
            "2, 0,1",
            "--contrast",
            "B",
            "--position",
            "3",
            "--no-bos",
        ]);
        let none = || Err::<Prompt, _>("no prompt was given");
        let experiment = args.asked.experiment.experiment(none).unwrap();
        assert_eq!(experiment.prompt, Prompt::Ids(vec![2, 0, 1]));
        assert_eq!(experiment.contrast, Some(Prompt::Text("B".into())));
        assert_eq!(experiment.position, ReadPosition::At(3));
        assert_eq!(experiment.bos, BosRule::Never);
        let sample = || Ok::<_, ()>(Prompt::Text("S".into()));
        let sample = run(&[]).asked.experiment.experiment(sample).unwrap();
        assert_eq!(sample, Experiment::new(Prompt::Text("S".into())));
    }

    #[test]
    fn every_option_of_an_experiment_is_known_as_given() {
        assert_eq!(
            run(&["--top-k", "3", "--json"])
                .asked
                .experiment
                .first_given(),
            None
        );
        for arguments in [
            &["--prompt", ""][..],
            &["--ids", "1"],
            &["--contrast", "x"],
            &["--contrast-ids", "1"],
            &["--answer", "x"],
            &["--edit", "x"],
            &["--position", "last"],
            &["--bos"],
            &["--no-bos"],
        ] {
            let given = run(arguments).asked.experiment.first_given();
            assert_eq!(given, Some(arguments[0]));
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for arguments in [
            &["run"][..],
            &["run", "demo", "--prompt", "a", "--ids", "1"],
            &["run", "demo", "--contrast", "a", "--contrast-ids", "1"],
            &["run", "demo", "--bos", "--no-bos"],
            &["run", "demo", "--ids", "1,x"],
            &["run", "demo", "--ids", ""],
            &["run", "demo", "--ids", "-1"],
            &["run", "demo", "--position", "first"],
            &["run", "demo", "--position", "-1"],
            &["run", "demo", "--dtype", "f64"],
            &["run", "demo", "--device", "tpu"],
            &["run", "demo", "--threads", "0"],
            &["run", "demo", "--save", "x.json"],
            &["run", "demo", "--unknown"],
            &["run", "demo", "--answer"],
            &["generate"],
            &["generate", "demo", "--tokens", "0"],
            &["generate", "demo", "--tokens", "x"],
            &["dump", "demo", "-o", "x"],
            &["dump", "demo", "--sites", "logits"],
            &["export", "demo", "-o", "x.png"],
            &[
                "export", "demo", "--view", "heads", "-o", "x.png", "--head", "9",
            ],
            &[
                "export", "demo", "--view", "heads", "-o", "x.png", "--size", "10x10",
            ],
            &[
                "export", "demo", "--view", "heads", "-o", "x.png", "--scale", "0",
            ],
            &["doctor", "demo"],
            &["verify"],
            &["verify", "demo", "--prompt", "a"],
            &["verify", "demo", "--reference"],
            &["demo", "extra"],
        ] {
            let error = parse(arguments).expect_err(&arguments.join(" "));
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }

    #[test]
    fn an_exports_format_is_its_ending() {
        let format =
            |view: &str, file: &str| match parse(&["export", "demo", "--view", view, "-o", file])
                .unwrap()
                .command
            {
                Some(Command::Export(args)) => args.format().ok(),
                other => panic!("{other:?}"),
            };
        assert_eq!(format("heads", "a.SVG"), Some(Format::Svg));
        assert_eq!(format("window", "a.png"), Some(Format::Png));
        assert_eq!(format("window", "a.svg"), None);
        assert_eq!(format("heads", "a.jpg"), None);
        assert_eq!(format("heads", "png"), None);
    }

    #[test]
    fn a_lone_argument_opens_the_window() {
        let cli = parse(&["demo"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.target.as_deref(), Some("demo"));
        assert!(parse(&[]).unwrap().target.is_none());
    }
}
