//! What the losses of texts come to: scores, the selection, and the comparison with random heads.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::controls::{Comparison, median};
use crate::analysis::report::{Cell, Grid, Report, Scale, Table};
use crate::ids::HeadId;
use crate::model::Model;

use super::super::masking::{controls_table, mean, names, outlier_notes};
use super::texts::{Text, Windows};
use super::{Denominator, Settings};

/// Scores of texts with fewer tokens say nothing.
pub const FEWEST_TOKENS: usize = 16;

/// Letters of a text that tables show.
const SHOWN: usize = 60;

/// The losses of a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scored {
    pub n_tokens: usize,
    pub base: f64,
    pub masked: f64,
    pub influence: f64,
    pub random: Vec<f64>,
    /// Loss under the mask minus loss without, of each token that has one.
    pub changes: Vec<f32>,
}

impl Scored {
    /// `sides` are the losses `[none, chosen, draws…][token]`.
    pub(super) fn new(sides: &[Vec<f64>], n_tokens: usize, by: Denominator) -> Self {
        let means: Vec<f64> = sides.iter().map(|side| mean(side)).collect();
        let changes = sides[0].iter().zip(&sides[1]);
        Self {
            n_tokens,
            base: means[0],
            masked: means[1],
            influence: by.of(means[0], means[1]),
            random: means[2..]
                .iter()
                .map(|masked| by.of(means[0], *masked))
                .collect(),
            changes: changes
                .map(|(base, masked)| (masked - base) as f32)
                .collect(),
        }
    }

    /// Whether its score can be compared with others.
    pub(super) fn counts(&self) -> bool {
        self.n_tokens >= FEWEST_TOKENS
            && self.influence.is_finite()
            && self.random.iter().all(|x| x.is_finite())
    }
}

/// Which texts are selected: of each domain the share with the highest scores.
pub(super) fn selected(texts: &[Text], scored: &[Scored], share: f64) -> BTreeSet<usize> {
    let mut domains: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, (text, of)) in texts.iter().zip(scored).enumerate() {
        if of.counts() {
            domains.entry(&text.domain).or_default().push(i);
        }
    }
    let mut chosen = BTreeSet::new();
    for mut of in domains.into_values() {
        of.sort_by(|a, b| scored[*b].influence.total_cmp(&scored[*a].influence));
        let n = ((of.len() as f64 * share).round() as usize).max(1);
        chosen.extend(of.into_iter().take(n));
    }
    chosen
}

pub(super) fn table(texts: &[Text], scored: &[Scored], settings: &Settings) -> Table {
    let chosen = selected(texts, scored, settings.select);
    let rows = texts.iter().zip(scored).enumerate().map(|(i, (text, of))| {
        let random = Comparison::new(of.influence, of.random.clone()).filter(|_| of.counts());
        let earlier = texts[..i].iter().position(|other| other.text == text.text);
        let remark = match earlier {
            _ if of.n_tokens < FEWEST_TOKENS => "too short".into(),
            Some(earlier) => format!("same as text {}", earlier + 1),
            None => String::new(),
        };
        vec![
            Cell::from(i + 1),
            Cell::from(text.domain.clone()),
            Cell::from(shortened(&text.text)),
            Cell::from(of.n_tokens),
            Cell::from(of.base),
            Cell::from(of.masked),
            Cell::from(of.influence),
            Cell::Number(random.as_ref().map(|found| found.median)),
            Cell::Number(random.as_ref().map(|found| found.sd)),
            Cell::Number(random.as_ref().map(|found| found.p)),
            Cell::from(if chosen.contains(&i) { "yes" } else { "" }),
            Cell::from(remark),
        ]
    });
    Table {
        name: "texts".into(),
        columns: [
            "",
            "domain",
            "text",
            "tokens",
            "L_base",
            "L_ref",
            "influence",
            "random median",
            "random sd",
            "p",
            "selected",
            "remark",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    }
}

fn shortened(text: &str) -> String {
    let flat = text.trim().replace('\n', "⏎");
    let mut short: String = flat.chars().take(SHOWN).collect();
    if short.len() < flat.len() {
        short.push('…');
    }
    short
}

/// Each domain's mean score beside those of the random draws.
pub(super) fn compare(
    texts: &[Text],
    scored: &[Scored],
    sets: &[Vec<HeadId>],
    report: &mut Report,
) {
    let domains: BTreeSet<&str> = texts.iter().map(|text| text.domain.as_str()).collect();
    let mut found = vec![];
    for domain in domains {
        let of: Vec<&Scored> = texts
            .iter()
            .zip(scored)
            .filter(|(text, of)| text.domain == domain && of.counts())
            .map(|(_, of)| of)
            .collect();
        let average = |value: &dyn Fn(&Scored) -> f64| {
            mean(&of.iter().map(|one| value(one)).collect::<Vec<f64>>())
        };
        if of.is_empty() {
            continue;
        }
        let draws: Vec<f64> = (0..sets.len())
            .map(|draw| average(&|one: &Scored| one.random[draw]))
            .collect();
        let name = if domain.is_empty() {
            "all texts"
        } else {
            domain
        };
        report.notes.extend(outlier_notes(
            &format!("mean influence, {name}"),
            &draws,
            sets,
        ));
        let compared = Comparison::new(average(&|one: &Scored| one.influence), draws);
        found.extend(compared.map(|compared| (name, compared)));
    }
    report.tables.push(controls_table(&found));
    let rows = sets.iter().enumerate().map(|(draw, set)| {
        let all: Vec<f64> = scored
            .iter()
            .filter(|of| of.counts())
            .map(|of| of.random[draw])
            .collect();
        vec![
            Cell::from(draw + 1),
            Cell::from(mean(&all)),
            Cell::from(median(&all).unwrap_or(f64::NAN)),
            Cell::from(names(set)),
        ]
    });
    report.tables.push(Table {
        name: "draws".into(),
        columns: ["draw", "mean influence", "median", "heads"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    });
}

/// The texts with the highest scores, token by token.
pub(super) fn strips(
    model: &Model,
    windows: &[Windows],
    scored: &[Scored],
    n: usize,
    report: &mut Report,
) {
    let mut order: Vec<usize> = (0..scored.len()).filter(|i| scored[*i].counts()).collect();
    order.sort_by(|a, b| scored[*b].influence.total_cmp(&scored[*a].influence));
    for i in order.into_iter().take(n) {
        let of = &windows[i];
        let ids = of
            .runs
            .iter()
            .flat_map(|ids| &ids[of.from.min(ids.len())..]);
        let columns: Vec<String> = ids.map(|id| model.token_text(*id)).collect();
        report.grids.push(Grid {
            name: format!("text {}", i + 1),
            about: "loss of each token under the mask minus without it, nats".into(),
            scale: Scale::Signed,
            row_axis: "",
            rows: vec!["L_ref − L_base".into()],
            column_axis: "token",
            columns,
            values: scored[i].changes.iter().map(|x| Some(*x)).collect(),
            texts: vec![],
        });
    }
}

pub(super) fn notes(
    model: &Model,
    texts: &[Text],
    windows: &[Windows],
    scored: &[Scored],
    report: &mut Report,
) {
    let short = scored
        .iter()
        .filter(|of| of.n_tokens < FEWEST_TOKENS)
        .count();
    if short > 0 {
        report.note(format!(
            "{short} texts have fewer than {FEWEST_TOKENS} tokens: their scores are unstable, and they are not selected"
        ));
    }
    let cut = windows.iter().filter(|of| of.runs.len() > 1).count();
    if cut > 0 {
        report.note(format!(
            "{cut} texts are longer than a window of {} tokens (the model's context is {}): scored window by window, averaged \
             by tokens",
            windows[0].length, model.spec.n_ctx
        ));
    }
    let different: BTreeSet<&str> = texts.iter().map(|text| text.text.as_str()).collect();
    if different.len() < texts.len() {
        report.note(
            "some texts are there more than once; what repeats inside a text raises its score",
        );
    }
    if windows
        .iter()
        .any(|of| of.runs.iter().any(|ids| ids.len() == of.from))
    {
        report.note("some windows have a single token, which has no loss");
    }
    if texts.iter().any(|text| text.domain != texts[0].domain) {
        report.note("scores of different domains are not to be compared");
    }
}
