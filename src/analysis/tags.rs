//! Names for heads, from their scores: a label needs a score above its threshold, and says both.

use super::report::{Cell, HeadScores, Report, Table};
use crate::ids::HeadId;

/// Which score earns which label from where on (the specification's section 13; copying is no rule, for it saturates on
/// models whose unembedding is the embedding).
pub const RULES: [Rule; 9] = [
    Rule::above("induction", "induction", 0.4),
    Rule::above("duplicate_token", "duplicate token", 0.3),
    Rule::above("previous_token", "previous token", 0.4),
    Rule::above("current_token", "current token", 0.5),
    Rule::above("name_mover", "name mover", 0.5),
    Rule::below("name_mover", "negative name mover", -0.5),
    Rule::above("backup", "backup name mover", 0.5),
    Rule::above("s_inhibition", "S-inhibition", 0.1),
    Rule::above("sink", "sink", 0.6),
];

/// A label, and the score that earns it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    pub score: &'static str,
    pub label: &'static str,
    pub threshold: f32,
    /// Whether a score has to lie below.
    pub is_below: bool,
}

/// A label that a head has earned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tag {
    pub rule: Rule,
    pub score: f32,
}

impl Rule {
    const fn above(score: &'static str, label: &'static str, threshold: f32) -> Self {
        Self {
            score,
            label,
            threshold,
            is_below: false,
        }
    }

    const fn below(score: &'static str, label: &'static str, threshold: f32) -> Self {
        Self {
            score,
            label,
            threshold,
            is_below: true,
        }
    }

    fn is_met(&self, score: f32) -> bool {
        if self.is_below {
            score < self.threshold
        } else {
            score > self.threshold
        }
    }

    /// The threshold as a condition.
    pub fn condition(&self) -> String {
        let sign = if self.is_below { '<' } else { '>' };
        format!("{} {sign} {}", self.score, self.threshold)
    }
}

/// The labels of a head, the one whose score is furthest beyond its threshold first.
pub fn of_head(scores: &[HeadScores], head: HeadId) -> Vec<Tag> {
    let mut tags: Vec<Tag> = RULES
        .iter()
        .filter_map(|rule| {
            let scores = scores.iter().find(|scores| scores.name == rule.score)?;
            let score = scores.value(head).filter(|score| rule.is_met(*score))?;
            Some(Tag { rule: *rule, score })
        })
        .collect();
    let beyond = |tag: &Tag| (tag.score / tag.rule.threshold).abs();
    tags.sort_by(|a, b| beyond(b).total_cmp(&beyond(a)));
    tags
}

/// A row a rule: the heads that it names with their scores, or that there is none.
pub fn table(report: &Report) -> Table {
    let rows = RULES.iter().filter_map(|rule| {
        let scores = report.scores_of(rule.score)?;
        let mut named: Vec<(HeadId, f32)> = scores
            .ranked()
            .into_iter()
            .filter_map(|(head, score)| Some((head, score?)))
            .filter(|(_, score)| rule.is_met(*score))
            .collect();
        if rule.is_below {
            named.reverse();
        }
        let text = if named.is_empty() {
            "none found".to_owned()
        } else {
            let of = |(head, score): &(HeadId, f32)| format!("{head} {score:.2}");
            named.iter().map(of).collect::<Vec<_>>().join(", ")
        };
        Some(vec![
            Cell::from(rule.label),
            Cell::from(rule.condition()),
            Cell::from(named.len()),
            Cell::from(text),
        ])
    });
    Table {
        name: "tags".into(),
        columns: ["label", "rule", "heads", "evidence"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Scale;

    fn scores(name: &str, values: [f32; 2]) -> HeadScores {
        HeadScores::of_heads(name, "", Scale::Share, (1, 2), |head| {
            Some(values[head.head])
        })
    }

    #[test]
    fn a_label_needs_its_threshold_and_shows_its_evidence() {
        let report = Report {
            scores: vec![
                scores("induction", [0.41, 0.4]),
                scores("sink", [0.7, 0.1]),
                scores("duplicate_token", [0.0, 0.1]),
            ],
            ..Report::new("atlas")
        };
        let tags = of_head(&report.scores, HeadId::new(0, 0));
        let labels: Vec<_> = tags.iter().map(|tag| tag.rule.label).collect();
        assert_eq!(labels, ["sink", "induction"]);
        assert!(of_head(&report.scores, HeadId::new(0, 1)).is_empty());
        let table = table(&report);
        let text = |label: &str| {
            let row = table
                .rows
                .iter()
                .find(|row| row[0] == Cell::from(label))
                .unwrap();
            row[3].clone()
        };
        assert_eq!(text("induction"), Cell::from("L0H0 0.41"));
        assert_eq!(text("duplicate token"), Cell::from("none found"));
    }
}
