//! Retrieval scores of many instances as the tables of Wu et al. 2024: means, bins, how often a head is active. Works on
//! scores of other programs too: `{"16-19": [0.9, 1.0, …], …}`, one number an instance, keyed layer-head.

use std::path::Path;

use serde_json::{Map, Value};

use crate::analysis::AnalysisError;
use crate::analysis::report::{Cell, HeadScores, Table};
use crate::ids::HeadId;

/// A mean score from which a head counts as a retrieval head, and as a strong one.
pub(super) const RETRIEVAL: f32 = 0.1;
pub(super) const STRONG: f32 = 0.5;

/// Heads that the table shows.
const SHOWN: usize = 20;

/// A head's scores over instances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadMean {
    pub head: HeadId,
    pub mean: f32,
    /// Share of instances with a score above 0.
    pub active: f32,
    pub instances: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ScoreTable {
    /// Falling by mean; equal ones in the order of the heads.
    pub heads: Vec<HeadMean>,
    /// Shares of heads with a mean of 0, in (0, 0.1), in [0.1, 0.5), and of 0.5 or more.
    pub bins: [f64; 4],
    /// Heads that are active in every instance.
    pub always_active: usize,
}

/// Sums up `raw`, one score an instance for each head. Heads without instances are left out.
pub fn score_table(raw: &[(HeadId, Vec<f32>)]) -> ScoreTable {
    let mut heads: Vec<HeadMean> = raw
        .iter()
        .filter(|(_, scores)| !scores.is_empty())
        .map(|(head, scores)| {
            let n = scores.len() as f64;
            let sum: f64 = scores.iter().map(|x| f64::from(*x)).sum();
            let active = scores.iter().filter(|x| **x > 0.0).count();
            HeadMean {
                head: *head,
                mean: (sum / n) as f32,
                active: (active as f64 / n) as f32,
                instances: scores.len(),
            }
        })
        .collect();
    heads.sort_by(|a, b| b.mean.total_cmp(&a.mean).then(a.head.cmp(&b.head)));
    let mut counts = [0usize; 4];
    for head in &heads {
        counts[bin(head.mean)] += 1;
    }
    let n = heads.len().max(1) as f64;
    ScoreTable {
        bins: counts.map(|count| count as f64 / n),
        always_active: heads.iter().filter(|head| head.active >= 1.0).count(),
        heads,
    }
}

fn bin(mean: f32) -> usize {
    match mean {
        _ if mean >= STRONG => 3,
        _ if mean >= RETRIEVAL => 2,
        _ if mean > 0.0 => 1,
        _ => 0,
    }
}

impl ScoreTable {
    /// The best heads, and how many there are of each kind.
    pub fn tables(&self) -> [Table; 2] {
        let best = self.heads.iter().take(SHOWN).filter(|head| head.mean > 0.0);
        let rows = best.map(|head| {
            vec![
                Cell::from(head.head.to_string()),
                Cell::from(head.mean),
                Cell::from(head.active),
                Cell::from(["", "", "retrieval", "strong retrieval"][bin(head.mean)]),
            ]
        });
        let heads = Table {
            name: "heads".into(),
            columns: ["head", "retrieval", "activation_frequency", "label"]
                .map(str::to_owned)
                .into(),
            rows: rows.collect(),
        };
        let mut rows: Vec<Vec<Cell>> = ["score 0", "below 0.1", "0.1 to 0.5", "0.5 or more"]
            .iter()
            .zip(self.bins)
            .map(|(name, share)| vec![Cell::from(*name), Cell::from(share)])
            .collect();
        let always = self.always_active as f64 / self.heads.len().max(1) as f64;
        rows.push(vec![
            Cell::from("active in every instance"),
            Cell::from(always),
        ]);
        let kinds = Table {
            name: "bins".into(),
            columns: ["heads with", "share of heads"].map(str::to_owned).into(),
            rows,
        };
        [heads, kinds]
    }
}

/// Reads scores as the authors' program writes them.
pub fn read_scores(json: &str) -> Result<Vec<(HeadId, Vec<f32>)>, AnalysisError> {
    let wanted = "scores are an object of lists keyed layer-head, such as {\"16-19\": [0.9, 1.0]}";
    let bad = |what: String| AnalysisError::needs(format!("{what}: {wanted}"));
    let map: Map<String, Value> =
        serde_json::from_str(json).map_err(|error| bad(error.to_string()))?;
    map.iter()
        .map(|(key, list)| {
            let head = key.split_once('-').and_then(|(layer, head)| {
                let number = |text: &str| text.trim().parse::<usize>().ok();
                Some(HeadId::new(number(layer)?, number(head)?))
            });
            let head = head.ok_or_else(|| bad(format!("`{key}` names no head")))?;
            let scores: Option<Vec<f32>> = list.as_array().and_then(|list| {
                let number = |value: &Value| value.as_f64().map(|x| x as f32);
                list.iter().map(number).collect()
            });
            let scores = scores.ok_or_else(|| bad(format!("`{key}` has no list of numbers")))?;
            Ok((head, scores))
        })
        .collect()
}

/// Reads scores of a file: what this program printed as JSON, or what [`read_scores`] reads.
pub(super) fn read_file(path: &Path) -> Result<Vec<(HeadId, Vec<f32>)>, AnalysisError> {
    let failed = |error: &dyn std::fmt::Display| {
        AnalysisError::needs(format!(
            "no scores to compare with, {error}: {}",
            path.display()
        ))
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let printed = serde_json::from_str(&text)
        .ok()
        .and_then(|report| read_report(&report));
    match printed {
        Some(scores) => Ok(scores),
        None => read_scores(&text).map_err(|error| failed(&error)),
    }
}

/// The retrieval scores of a report as the command line prints it; `None` where it is another thing.
fn read_report(report: &Value) -> Option<Vec<(HeadId, Vec<f32>)>> {
    let scores = report["scores"]["retrieval"].as_array()?;
    let one = |entry: &Value| {
        let head = entry["head"].as_str()?.parse().ok()?;
        let score = entry["score"].as_f64()? as f32;
        Some((head, vec![score]))
    };
    scores.iter().map(one).collect()
}

/// Means of a map in the same form, one a head: `{"0-0": [0.12], …}`.
pub fn write_scores(scores: &HeadScores) -> Value {
    let known = scores.ranked().into_iter();
    let pairs = known.filter_map(|(head, value)| {
        Some((
            format!("{}-{}", head.layer, head.head),
            Value::from(vec![value?]),
        ))
    });
    Value::Object(pairs.collect())
}

/// How alike two models' scores are, head by head; `None` where their grids differ or one has no spread.
pub fn pearson(a: &HeadScores, b: &HeadScores) -> Option<f64> {
    if a.n_heads != b.n_heads || a.values.len() != b.values.len() {
        return None;
    }
    let pairs: Vec<(f64, f64)> = a
        .values
        .iter()
        .zip(&b.values)
        .filter_map(|(a, b)| Some((f64::from((*a)?), f64::from((*b)?))))
        .collect();
    let n = pairs.len() as f64;
    let mean_a = pairs.iter().map(|pair| pair.0).sum::<f64>() / n;
    let mean_b = pairs.iter().map(|pair| pair.1).sum::<f64>() / n;
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        let (a, b) = (a - mean_a, b - mean_b);
        both += a * b;
        of_a += a * a;
        of_b += b * b;
    }
    let r = both / (of_a * of_b).sqrt();
    r.is_finite().then_some(r)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Scale;

    #[test]
    fn scores_of_another_program_are_summed_up() {
        let json = r#"{"0-0": [0, 0, 0, 0], "0-1": [0.1, 0, 0, 0.1], "16-19": [1.0, 0.8, 0.9, 1.0],
            "3-2": [0.2, 0.1, 0.3, 0.2], "4-4": []}"#;
        let table = score_table(&read_scores(json).unwrap());
        let names: Vec<String> = table.heads.iter().map(|one| one.head.to_string()).collect();
        assert_eq!(names, ["L16H19", "L3H2", "L0H1", "L0H0"]);
        assert!((table.heads[0].mean - 0.925).abs() < 1e-6);
        assert!((table.heads[2].active - 0.5).abs() < 1e-6);
        assert!(table.bins.iter().all(|share| (share - 0.25).abs() < 1e-9));
        assert_eq!(table.always_active, 2);
        let [heads, bins] = table.tables();
        assert_eq!(
            heads.rows.len(),
            3,
            "a head that copies nothing is not shown"
        );
        assert_eq!(heads.rows[0][3], Cell::from("strong retrieval"));
        assert_eq!(heads.rows[1][3], Cell::from("retrieval"));
        assert_eq!(bins.rows[4][1], Cell::from(0.5));
        for bad in [
            "[1]",
            r#"{"L1": [1]}"#,
            r#"{"1-1": 3}"#,
            r#"{"1-1": ["a"]}"#,
        ] {
            let error = read_scores(bad).unwrap_err().to_string();
            assert!(error.contains("16-19"), "{error}");
        }
    }

    #[test]
    fn scores_of_a_printed_report_are_read() {
        let report = serde_json::json!({"scores": {"retrieval": [
            {"head": "L1H2", "score": 0.5}, {"head": "L0H0", "score": 0.0}]}});
        let expected = vec![
            (HeadId::new(1, 2), vec![0.5]),
            (HeadId::new(0, 0), vec![0.0]),
        ];
        assert_eq!(read_report(&report), Some(expected));
        assert_eq!(read_report(&serde_json::json!({"16-19": [0.5]})), None);
        let blank = serde_json::json!({"scores": {"retrieval": [{"head": "L1H2", "score": null}]}});
        assert_eq!(read_report(&blank), None);
    }

    #[test]
    fn scores_are_compared_and_written() {
        let of = |name: &str, shift: f32| {
            HeadScores::of_heads(name, "", Scale::Share, (2, 3), |head| {
                Some((head.layer * 3 + head.head) as f32 * shift)
            })
        };
        assert!((pearson(&of("a", 0.1), &of("b", 0.05)).unwrap() - 1.0).abs() < 1e-9);
        assert!((pearson(&of("a", 0.1), &of("b", -0.1)).unwrap() + 1.0).abs() < 1e-9);
        assert_eq!(pearson(&of("a", 0.1), &of("b", 0.0)), None);
        let other = HeadScores::of_heads("c", "", Scale::Share, (3, 2), |_| Some(0.0));
        assert_eq!(pearson(&of("a", 0.1), &other), None);
        let back = read_scores(&write_scores(&of("a", 0.125)).to_string()).unwrap();
        assert_eq!(back[0], (HeadId::new(1, 2), vec![0.625]));
        assert_eq!(back.len(), 6);
    }
}
