//! The methods as a list: name, question, source, settings, what each needs, and how it is run. The window's Lab, the
//! command line and the gallery go through here.

use std::sync::Arc;

use super::field::Field;
use super::report::Report;
use super::{
    AnalysisError, Case, Progress, ablation, arithmetic, atlas, attribution, icl, influence,
    inject, iti, learned, lens, lofit, longheads, memory, patching, recall, retrieval, ships,
    successor, taskkv,
};
use crate::experiment::engine::Engine;
use crate::model::spec::ModelSpec;

/// A method with its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    Atlas(atlas::Settings),
    Lens(lens::Settings),
    Attribute(attribution::Settings),
    Sweep(ablation::Settings),
    Patch(patching::Settings),
    Retrieval(retrieval::Settings),
    Influence(influence::Settings),
    LongHeads(longheads::Settings),
    TaskKv(taskkv::Settings),
    Memory(memory::Settings),
    Recall(recall::Settings),
    Successor(successor::Settings),
    Arithmetic(arithmetic::Settings),
    Ships(ships::Settings),
    Iti(iti::Settings),
    Lofit(lofit::Settings),
    Inject(inject::Settings),
    Icl(icl::Settings),
}

/// What a method is, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// As the command line has it.
    pub name: &'static str,
    pub title: &'static str,
    pub question: &'static str,
    /// Where the definition is from.
    pub source: &'static str,
    pub takes: Takes,
}

/// What a method is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// The model alone; a task adds to it.
    Model,
    /// One prompt; of a task set the first.
    Prompt,
    /// One prompt or a task set.
    Prompts,
    /// A list of texts.
    Texts,
    /// Nothing, not even a model.
    Nothing,
}

/// What a method is run on.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub cases: Vec<Case>,
    pub texts: Vec<String>,
    /// What was left out of the cases.
    pub notes: Vec<String>,
}

impl Method {
    /// Every method with its default settings, in the order in which they are shown.
    pub fn all() -> Vec<Self> {
        vec![
            Self::Atlas(atlas::Settings::default()),
            Self::Lens(lens::Settings::default()),
            Self::Attribute(attribution::Settings::default()),
            Self::Sweep(ablation::Settings::default()),
            Self::Patch(patching::Settings::default()),
            Self::Retrieval(retrieval::Settings::default()),
            Self::Influence(influence::Settings::default()),
            Self::LongHeads(longheads::Settings::default()),
            Self::TaskKv(taskkv::Settings::default()),
            Self::Memory(memory::Settings::default()),
            Self::Recall(recall::Settings::default()),
            Self::Successor(successor::Settings::default()),
            Self::Arithmetic(arithmetic::Settings::default()),
            Self::Ships(ships::Settings::default()),
            Self::Iti(iti::Settings::default()),
            Self::Lofit(lofit::Settings::default()),
            Self::Inject(inject::Settings::default()),
            Self::Icl(icl::Settings::default()),
        ]
    }

    /// The method of a name, with its default settings.
    pub fn named(name: &str) -> Option<Self> {
        Self::all()
            .into_iter()
            .find(|method| method.about().name == name)
    }

    pub const fn about(&self) -> About {
        let (name, title, question, source, takes) = match self {
            Self::Atlas(_) => (
                "atlas",
                "Head atlas",
                "What kind of head is each one?",
                "TransformerLens head_detector; Olsson et al. 2022; Elhage et al. 2021",
                Takes::Model,
            ),
            Self::Lens(_) => (
                "lens",
                "Logit lens",
                "What would the model say after each layer?",
                "nostalgebraist 2020",
                Takes::Prompt,
            ),
            Self::Attribute(_) => (
                "attribute",
                "Logit attribution",
                "Which parts add to the answer by themselves?",
                "Elhage et al. 2021; Wang et al. 2022, section 3",
                Takes::Prompt,
            ),
            Self::Sweep(_) => (
                "sweep",
                "Ablation sweep",
                "What does the prediction lose without each part?",
                "Wang et al. 2022; Michel et al. 2019",
                Takes::Prompts,
            ),
            Self::Patch(_) => (
                "patch",
                "Activation patching",
                "Which activation carries what tells A and B apart?",
                "Meng et al. 2022; Heimersheim & Nanda 2024",
                Takes::Prompts,
            ),
            Self::Retrieval(_) => (
                "retrieval",
                "Retrieval heads",
                "Which heads copy the answer out of a long context?",
                "Wu et al. 2024",
                Takes::Model,
            ),
            Self::Influence(_) => (
                "influence",
                "AttentionInfluence",
                "Which texts does the model lose when heads that look things up are silenced?",
                "Hua et al. 2025",
                Takes::Texts,
            ),
            Self::LongHeads(_) => (
                "longheads",
                "LongHeads",
                "Which chunks of a long text does each head choose to read?",
                "Lu et al. 2024",
                Takes::Prompt,
            ),
            Self::TaskKv(_) => (
                "taskkv",
                "Task-KV",
                "Which heads need the whole cache for this task?",
                "He et al. 2025",
                Takes::Prompt,
            ),
            Self::Memory(_) => (
                "memory",
                "Memorised or in context",
                "Which heads decide between what was learned and what is said?",
                "Yu, Merullo & Pavlick 2023; Ortu et al. 2024",
                Takes::Prompts,
            ),
            Self::Recall(_) => (
                "recall",
                "Recall trace",
                "How does a fact get from its subject to the answer?",
                "Lv et al. 2024",
                Takes::Prompts,
            ),
            Self::Successor(_) => (
                "successor",
                "Successor heads",
                "Which heads turn Monday into Tuesday?",
                "Gould et al. 2023",
                Takes::Model,
            ),
            Self::Arithmetic(_) => (
                "arithmetic",
                "Arithmetic heads",
                "Which heads does a sum rest on?",
                "Zhang et al. 2024",
                Takes::Model,
            ),
            Self::Ships(_) => (
                "ships",
                "Safety heads",
                "Which heads does declining a request rest on?",
                "Zhou et al. 2024",
                Takes::Texts,
            ),
            Self::Iti(_) => (
                "iti",
                "Inference-time intervention",
                "Which heads tell true from false, and what if they are moved that way?",
                "Li et al. 2023",
                Takes::Prompts,
            ),
            Self::Lofit(_) => (
                "lofit",
                "LoFiT",
                "Which heads learn a task, and which offsets do it?",
                "Yin, Ye & Durrett 2024",
                Takes::Prompts,
            ),
            Self::Inject(_) => (
                "inject",
                "Soft injection",
                "What of many examples can be put into the heads instead?",
                "Park & Rhee 2025; Todd et al. 2024; Hendel et al. 2023",
                Takes::Prompts,
            ),
            Self::Icl(_) => (
                "icl",
                "In-context regression",
                "How does attention learn linear regression in context?",
                "He, Pan, Chen & Yang 2025",
                Takes::Nothing,
            ),
        };
        About {
            name,
            title,
            question,
            source,
            takes,
        }
    }

    /// Whether its report has something to save and apply.
    pub const fn learns(&self) -> bool {
        matches!(self, Self::Iti(_) | Self::Lofit(_) | Self::Inject(_))
    }

    pub fn fields(&mut self) -> Vec<Field<'_>> {
        match self {
            Self::Atlas(settings) => settings.fields(),
            Self::Lens(settings) => settings.fields(),
            Self::Attribute(settings) => settings.fields(),
            Self::Sweep(settings) => settings.fields(),
            Self::Patch(settings) => settings.fields(),
            Self::Retrieval(settings) => settings.fields(),
            Self::Influence(settings) => settings.fields(),
            Self::LongHeads(settings) => settings.fields(),
            Self::TaskKv(settings) => settings.fields(),
            Self::Memory(settings) => settings.fields(),
            Self::Recall(settings) => settings.fields(),
            Self::Successor(settings) => settings.fields(),
            Self::Arithmetic(settings) => settings.fields(),
            Self::Ships(settings) => settings.fields(),
            Self::Iti(settings) => settings.fields(),
            Self::Lofit(settings) => settings.fields(),
            Self::Inject(settings) => settings.fields(),
            Self::Icl(settings) => settings.fields(),
        }
    }

    /// About how many whole passes it runs over a prompt of `n_tokens`; `None` where that says nothing.
    pub fn passes(&self, spec: &ModelSpec, n_tokens: usize) -> Option<f32> {
        match self {
            Self::Sweep(settings) => Some(settings.passes(spec, n_tokens)),
            Self::Patch(settings) => Some(settings.passes(spec, n_tokens)),
            _ => None,
        }
    }

    /// Runs a method that takes no model.
    pub fn run_alone(&self, progress: &mut dyn Progress) -> Option<Result<Report, AnalysisError>> {
        match self {
            Self::Icl(settings) => Some(icl::run(settings, progress)),
            _ => None,
        }
    }

    pub fn run(
        &self,
        engine: &mut Engine,
        input: &Input,
        progress: &mut dyn Progress,
    ) -> Result<Report, AnalysisError> {
        if let Some(report) = self.run_alone(progress) {
            return report;
        }
        let first = || {
            let case = input.cases.first();
            case.ok_or_else(|| {
                AnalysisError::needs(format!("{} needs a prompt", self.about().name))
            })
        };
        let cases = &input.cases;
        let mut report = match self {
            Self::Atlas(settings) => atlas::atlas(engine, cases, settings, progress),
            Self::Lens(settings) => lens::lens_all(engine, cases, settings, progress),
            Self::Attribute(settings) => {
                attribution::attribute_all(engine, cases, settings, progress)
            }
            Self::Sweep(settings) => ablation::sweep(engine, cases, settings, progress),
            Self::Patch(settings) => patching::patch(engine, cases, settings, progress),
            Self::Retrieval(settings) => retrieval::retrieval(engine, settings, progress),
            Self::Influence(settings) => influence::influence(
                engine,
                &influence::of_texts(&input.texts),
                settings,
                progress,
            ),
            Self::LongHeads(settings) => longheads::longheads(engine, first()?, settings, progress),
            Self::TaskKv(settings) => taskkv::taskkv(engine, first()?, settings, progress),
            Self::Memory(settings) => memory::memory(engine, cases, settings, progress),
            Self::Recall(settings) => recall::recall(engine, cases, settings, progress),
            Self::Successor(settings) => successor::successor(engine, settings, progress),
            Self::Arithmetic(settings) => arithmetic::arithmetic(engine, settings, progress),
            Self::Ships(settings) => {
                ships::ships(engine, &ships::of_texts(&input.texts), settings, progress)
            }
            Self::Iti(settings) => iti::iti(engine, cases, settings, progress).map(with_learned),
            Self::Lofit(settings) => {
                lofit::lofit(engine, cases, settings, progress).map(with_learned)
            }
            Self::Inject(settings) => {
                inject::inject(engine, cases, settings, progress).map(with_learned)
            }
            Self::Icl(settings) => icl::run(settings, progress),
        }?;
        report.notes.extend(input.notes.iter().cloned());
        Ok(report)
    }
}

/// A report with what was learned.
fn with_learned((report, vectors): (Report, learned::Vectors)) -> Report {
    Report {
        learned: Some(Arc::new(vectors)),
        ..report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_own_name_and_fields_that_read_back() {
        let all = Method::all();
        for (i, method) in all.iter().enumerate() {
            let about = method.about();
            assert!(
                all[i + 1..]
                    .iter()
                    .all(|other| other.about().name != about.name)
            );
            assert_eq!(Method::named(about.name).as_ref(), Some(method));
            assert!(about.question.ends_with('?'));
            let mut copy = method.clone();
            let mut names = Vec::new();
            for mut field in copy.fields() {
                let text = field.text();
                field.set(&text).unwrap();
                assert!(
                    !field.help.is_empty() && !names.contains(&field.name),
                    "{}",
                    field.name
                );
                names.push(field.name);
            }
            assert_eq!(copy, *method);
        }
    }
}
