//! What a report says of a head.

use headscope::analysis::Report;

/// A head's score; `None` where it is blank.
pub(crate) fn score(report: &Report, name: &str, head: &str) -> Option<f32> {
    report.scores_of(name).unwrap().value(head.parse().unwrap())
}

/// The largest score besides those of some heads.
pub(crate) fn second(report: &Report, name: &str, besides: &[&str]) -> f32 {
    let ranked = report.scores_of(name).unwrap().ranked().into_iter();
    let mut others = ranked.filter(|(head, _)| !besides.contains(&head.to_string().as_str()));
    others.find_map(|(_, score)| score).unwrap()
}

/// The head with the smallest score.
pub(crate) fn lowest(report: &Report, name: &str) -> (String, f32) {
    let ranked = report.scores_of(name).unwrap().ranked();
    let (head, score) = ranked.last().unwrap();
    (head.to_string(), score.unwrap())
}
