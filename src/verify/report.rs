//! What a check found, as plain data, and what that comes to.

use std::path::PathBuf;

use super::laws::Law;
use super::measure::Tally;
use super::reference::Reference;
use crate::model::Model;

#[derive(Clone, Debug)]
pub struct Report {
    /// The type that the model computed in.
    pub dtype: &'static str,
    /// The prompt that the laws were tried on.
    pub ids: Vec<u32>,
    pub invariants: Vec<Invariant>,
    /// `None` where there was no reference: only the laws were checked.
    pub reference: Option<ReferenceReport>,
    pub millis: f64,
}

/// A law, and whether it holds of the model.
#[derive(Clone, Debug)]
pub struct Invariant {
    pub law: Law,
    pub status: Status,
    pub tally: Tally,
    /// Why it was skipped, or what kept it from being checked.
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Passed,
    Failed,
    /// The law does not apply to the model.
    Skipped,
}

#[derive(Clone, Debug)]
pub struct ReferenceReport {
    pub path: Option<PathBuf>,
    pub source: String,
    pub cases: Vec<CaseReport>,
}

#[derive(Clone, Debug)]
pub struct CaseReport {
    /// In the canonical spelling.
    pub edits: Vec<String>,
    pub n_tokens: usize,
    pub tally: Tally,
    /// What kept the case from being run or compared.
    pub problem: Option<String>,
}

/// What a check comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All laws hold, and all values of a reference agree.
    Checked,
    /// All laws hold; there was no reference.
    InvariantsOnly,
    Failed,
}

impl Report {
    pub(super) fn new(model: &Model, ids: Vec<u32>, reference: Option<&Reference>) -> Self {
        Self {
            dtype: model.compute.dtype.name(),
            ids,
            invariants: Vec::new(),
            reference: reference.map(|reference| ReferenceReport {
                path: reference.path.clone(),
                source: reference.source.clone(),
                cases: Vec::new(),
            }),
            millis: 0.0,
        }
    }

    pub(super) fn add_case(&mut self, case: CaseReport) {
        if let Some(reference) = &mut self.reference {
            reference.cases.push(case);
        }
    }

    pub fn verdict(&self) -> Verdict {
        match (self.first_failure(), &self.reference) {
            (Some(_), _) => Verdict::Failed,
            (None, Some(_)) => Verdict::Checked,
            (None, None) => Verdict::InvariantsOnly,
        }
    }

    /// The first thing that is wrong, in words.
    pub fn first_failure(&self) -> Option<String> {
        let law = self.invariants.iter().find_map(Invariant::failure);
        law.or_else(|| {
            self.reference
                .as_ref()?
                .cases
                .iter()
                .find_map(CaseReport::failure)
        })
    }

    /// Where the first thing is wrong, in a word: the activation, or the law that could not be checked.
    pub fn wrong_place(&self) -> Option<String> {
        let law = self.invariants.iter().find(|i| i.status == Status::Failed);
        if let Some(Invariant { law, tally, .. }) = law {
            return Some(match &tally.first_wrong {
                Some(deviation) => deviation.site.clone(),
                None => law.name().to_owned(),
            });
        }
        let mut cases = self.reference.iter().flat_map(|r| &r.cases);
        let case = cases.find(|case| case.status() == Status::Failed)?;
        let wrong = case.tally.first_wrong.as_ref();
        Some(wrong.map_or_else(
            || "reference".to_owned(),
            |deviation| deviation.site.clone(),
        ))
    }

    /// What was checked, in a line.
    pub fn summary(&self) -> String {
        let count = |status| {
            let of_status = self.invariants.iter().filter(|i| i.status == status);
            of_status.count()
        };
        let mut parts = vec![format!("{} invariants hold", count(Status::Passed))];
        for (n, what) in [
            (count(Status::Failed), "fail"),
            (count(Status::Skipped), "do not apply"),
        ] {
            if n > 0 {
                parts.push(format!("{n} {what}"));
            }
        }
        match &self.reference {
            None => parts.push("no reference to compare with".to_owned()),
            Some(reference) => {
                let (compared, wrong) = reference.counts();
                parts.push(match wrong {
                    0 => format!("{compared} values of the reference agree"),
                    _ => format!("{wrong} of {compared} values of the reference differ"),
                });
            }
        }
        parts.join(", ")
    }
}

impl Invariant {
    pub(super) fn skipped(law: Law, reason: &str) -> Self {
        Self {
            law,
            status: Status::Skipped,
            tally: Tally::default(),
            note: Some(reason.to_owned()),
        }
    }

    pub(super) fn judged(law: Law, outcome: Result<Tally, String>) -> Self {
        let (status, tally, note) = match outcome {
            Ok(tally) if tally.wrong == 0 => (Status::Passed, tally, None),
            Ok(tally) => (Status::Failed, tally, None),
            Err(problem) => (Status::Failed, Tally::default(), Some(problem)),
        };
        Self {
            law,
            status,
            tally,
            note,
        }
    }

    /// What is wrong, in words; `None` if nothing is.
    pub fn failure(&self) -> Option<String> {
        if self.status != Status::Failed {
            return None;
        }
        let what = match (&self.tally.first_wrong, &self.note) {
            (Some(deviation), _) => deviation.to_string(),
            (None, note) => note.clone().unwrap_or_default(),
        };
        Some(format!("{}: {what}", self.law.statement()))
    }
}

impl ReferenceReport {
    /// Values compared, and those of them that differ.
    pub fn counts(&self) -> (usize, usize) {
        self.cases.iter().fold((0, 0), |(compared, wrong), case| {
            (compared + case.tally.compared, wrong + case.tally.wrong)
        })
    }
}

impl CaseReport {
    pub fn status(&self) -> Status {
        if self.tally.wrong == 0 && self.problem.is_none() {
            Status::Passed
        } else {
            Status::Failed
        }
    }

    /// What is wrong, in words; `None` if nothing is.
    pub fn failure(&self) -> Option<String> {
        let wrong = self.tally.first_wrong.as_ref().map(ToString::to_string);
        let what = wrong.or_else(|| self.problem.clone())?;
        let edits = if self.edits.is_empty() {
            String::new()
        } else {
            format!(" with {}", self.edits.join(", "))
        };
        Some(format!("the reference{edits}: {what}"))
    }
}
