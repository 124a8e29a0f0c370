//! Ready sessions: one a method, each on a prompt or a task that shows what the method is for.

use crate::session::{Experiment, Lab, Prompt, Session};

/// An entry of the gallery.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    pub title: &'static str,
    /// What is to be seen, in a sentence or two.
    pub text: &'static str,
    /// MODEL as the command line takes it.
    pub model: &'static str,
    pub prompt: Option<&'static str>,
    pub contrast: Option<&'static str>,
    pub answers: &'static [&'static str],
    pub method: &'static str,
    pub settings: &'static [(&'static str, &'static str)],
    pub task: Option<&'static str>,
}

const ON_DEMO: Entry = Entry {
    title: "",
    text: "",
    model: "demo",
    prompt: None,
    contrast: None,
    answers: &[],
    method: "",
    settings: &[],
    task: None,
};

/// Opened from the hub, or from the cache that Python uses.
const SMOLLM2: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";

const NAMES: &str = "When Mary and John went to the store, John gave a book to";
const OTHER_NAMES: &str = "When Mary and John went to the store, Mary gave a book to";

/// All entries, in the order of the methods.
pub const ENTRIES: &[Entry] = &[
    Entry {
        title: "Heads and what they are",
        text: "Scores of all heads on random repeats and on prose: the heads of the bundled model that continue repeats \
               are found by name.",
        method: "atlas",
        ..ON_DEMO
    },
    Entry {
        title: "Movers of names",
        text: "The atlas with a task: which heads carry the right name to the end, and which stand in for them.",
        method: "atlas",
        task: Some("ioi"),
        ..ON_DEMO
    },
    Entry {
        title: "Layer by layer",
        text: "The logit lens: where in the stack the name that was mentioned once becomes the likeliest.",
        method: "lens",
        prompt: Some(NAMES),
        answers: &[" Mary", " John"],
        ..ON_DEMO
    },
    Entry {
        title: "Where an answer comes from",
        text: "Every head, MLP and bias with what it adds to the difference of two names; the parts sum to the whole.",
        method: "attribute",
        prompt: Some(NAMES),
        answers: &[" Mary", " John"],
        ..ON_DEMO
    },
    Entry {
        title: "One head less",
        text: "Each head zeroed in turn over twenty prompts of names: which ones the answer rests on.",
        method: "sweep",
        task: Some("ioi"),
        ..ON_DEMO
    },
    Entry {
        title: "What tells two prompts apart",
        text: "Each head's output taken from a prompt in which the other name is repeated: 1 is the whole difference.",
        method: "patch",
        prompt: Some(NAMES),
        contrast: Some(OTHER_NAMES),
        answers: &[" Mary", " John"],
        ..ON_DEMO
    },
    Entry {
        title: "Copied out of a long context",
        text: "Heads that find a value by its key among many and copy it; silencing them costs the answer, random heads do not.",
        method: "retrieval",
        model: SMOLLM2,
        settings: &[("data", "json")],
        ..ON_DEMO
    },
    Entry {
        title: "What repeats need",
        text: "Texts that say things again lose more than plain ones when the heads that continue repeats are silenced.",
        method: "influence",
        settings: &[("heads", "L1H7,L1H5,L1H1")],
        ..ON_DEMO
    },
    Entry {
        title: "Chunks that heads choose",
        text: "A pass key in a long text: which heads choose the chunk that holds it.",
        method: "longheads",
        model: SMOLLM2,
        settings: &[("chunk", "8"), ("window", "48")],
        prompt: Some(
            "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. The pass key is 31842. \
             Remember it. 31842 is the pass key. The grass is green. The sky is blue. The sun is yellow. Here we go. There and \
             back again. What is the pass key? The pass key is",
        ),
        ..ON_DEMO
    },
    Entry {
        title: "Heads that need the whole cache",
        text: "Heads whose reading differs most from the others' keep everything; of the others a few tokens stay.",
        method: "taskkv",
        prompt: Some(NAMES),
        settings: &[("sink", "2"), ("recent", "4")],
        ..ON_DEMO
    },
    Entry {
        title: "Learned or said",
        text: "The prompt contradicts what was learned: scaled by 0 one head gives the learned answer, by 3 the one that is said.",
        method: "memory",
        task: Some("counterfactual_capitals"),
        ..ON_DEMO
    },
    Entry {
        title: "From the country to its capital",
        text: "Which heads carry the subject to the end, and what the MLPs make of it.",
        method: "recall",
        task: Some("capitals"),
        ..ON_DEMO
    },
    Entry {
        title: "After Monday",
        text: "Which heads turn a member of a sequence into the next one, by their weights alone.",
        method: "successor",
        ..ON_DEMO
    },
    Entry {
        title: "Sums",
        text: "Which heads a sum rests on: each one's path to the answer, and what is left without the strongest.",
        method: "arithmetic",
        model: SMOLLM2,
        ..ON_DEMO
    },
    Entry {
        title: "Polite refusals",
        text: "Which heads declining a request rests on, on requests that any assistant declines.",
        method: "ships",
        model: SMOLLM2,
        ..ON_DEMO
    },
    Entry {
        title: "Moved towards the truth",
        text: "Probes find the heads that tell right answers from wrong ones; shifts along their directions are ordinary edits.",
        method: "iti",
        task: Some("ioi"),
        ..ON_DEMO
    },
    Entry {
        title: "Offsets that do a task",
        text: "A few heads are chosen and given an offset each, by gradients through the frozen model.",
        method: "lofit",
        task: Some("capitals"),
        ..ON_DEMO
    },
    Entry {
        title: "Examples put into the heads",
        text: "What heads give at the end of prompts with examples is mixed into prompts without, by learned shares.",
        method: "inject",
        task: Some("successors"),
        ..ON_DEMO
    },
    Entry {
        title: "Regression in context",
        text: "One layer of attention learns linear regression while you look: its heads pair up with opposite signs.",
        method: "icl",
        ..ON_DEMO
    },
];

impl Entry {
    /// The session that it opens.
    pub fn session(&self) -> Session {
        let text = |text: &str| Prompt::Text(text.to_owned());
        let mut experiment = Experiment::new(text(self.prompt.unwrap_or(NAMES)));
        experiment.contrast = self.contrast.map(text);
        experiment.answers = self
            .answers
            .iter()
            .map(|answer| (*answer).to_owned())
            .collect();
        let mut session = Session::new(self.model, experiment);
        session.notes = format!("{}. {}", self.title, self.text);
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        session.lab = Some(Lab {
            method: self.method.to_owned(),
            settings: self.settings.iter().map(own).collect(),
            task: self.task.map(str::to_owned),
            ..Lab::default()
        });
        session
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Method;
    use crate::ui::lab::{lab_of, method_of};

    #[test]
    fn every_method_has_an_entry_whose_settings_are_read() {
        for method in Method::all() {
            let name = method.about().name;
            assert!(ENTRIES.iter().any(|entry| entry.method == name), "{name}");
        }
        for entry in ENTRIES {
            let lab = entry.session().lab.unwrap();
            let method = method_of(&lab).unwrap();
            assert_eq!(lab_of(&lab, &method), lab, "{}", entry.title);
            if let Some(task) = entry.task {
                assert!(
                    crate::task::BUILT_IN.iter().any(|set| set.name == task),
                    "{task}"
                );
            }
        }
    }
}
