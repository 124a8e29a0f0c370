//! What was measured, as a report; and what requests are answered before and after.

use std::sync::Arc;

use super::refusals::declines;
use super::{LISTED, Work};
use crate::analysis::metric::Metric;
use crate::analysis::{AnalysisError, Case, Cell, Grid, HeadScores, Report, Scale, Table};
use crate::edit::Edit;
use crate::experiment::engine::RunError;
use crate::experiment::{Generated, Reading, Readout, RunSpec, Side};
use crate::ids::HeadId;
use crate::model::Model;

impl Work<'_> {
    /// The report of the requests so far.
    pub(super) fn table(
        &self,
        cases: &[Case],
        kls: &[Vec<Option<f32>>],
        changes: &[Vec<Option<f32>>],
    ) -> Report {
        let spec = &self.engine.model().spec;
        let shape = (spec.n_layers, spec.n_heads);
        let settings = self.settings;
        let mut report = Report::new("ships")
            .with("ablation", settings.ablation.name())
            .with("epsilon", settings.epsilon)
            .with("form", settings.form.name())
            .with("template", settings.template.as_str())
            .with("rank", settings.rank)
            .with("steps", settings.steps)
            .with("openers", settings.openers.clone())
            .with("together", settings.together)
            .with("answer_tokens", settings.answer_tokens)
            .with("prompts", cases.len());
        let map = |name: &str, about: &str, scale, values: &[Vec<Option<f32>>]| {
            let mean = HeadScores::mean(values);
            HeadScores::of_heads(name, about, scale, shape, |head| {
                mean[head.layer * shape.1 + head.head]
            })
        };
        let about = "KL(intact ‖ head ablated) of the next token, mean over requests, in nats";
        report
            .scores
            .push(map("ships", about, Scale::Positive, kls));
        let refusals = map(
            "refusal_change",
            "change of the probability that a refusal opens the answer, mean over requests",
            Scale::Signed,
            changes,
        );
        if refusals.values.iter().any(Option::is_some) {
            report.scores.push(refusals);
        }
        report.grids.push(Grid {
            name: "ships by request".into(),
            about: "KL(intact ‖ head ablated) of the next token, in nats".into(),
            scale: Scale::Positive,
            row_axis: "request",
            rows: cases.iter().map(|case| case.label.clone()).collect(),
            column_axis: "head",
            columns: self.heads.iter().map(HeadId::to_string).collect(),
            values: kls.concat(),
            texts: vec![],
        });
        let mut rows = vec![];
        for (case, values) in cases.iter().zip(kls) {
            let of = |head: HeadId| values[head.layer * shape.1 + head.head];
            let own = HeadScores::of_heads("", "", Scale::Positive, shape, of);
            for (rank, (head, value)) in own.ranked().into_iter().take(LISTED).enumerate() {
                rows.push(vec![
                    Cell::from(case.label.as_str()),
                    Cell::from(rank + 1),
                    Cell::from(head.to_string()),
                    Cell::from(value),
                ]);
            }
        }
        report.tables.push(Table {
            name: "strongest heads of each request".into(),
            columns: ["request", "rank", "head", "ships"]
                .map(str::to_owned)
                .into(),
            rows,
        });
        report
    }

    /// What a request is answered, intact, without the heads with the largest Ships, and without the Sahara group.
    pub(super) fn answers(
        &mut self,
        group: &[HeadId],
        report: &mut Report,
    ) -> Result<(), AnalysisError> {
        let top = report
            .scores_of("ships")
            .map_or_else(Vec::new, |scores| scores.top(self.settings.together));
        let sets: Vec<(&str, &[HeadId])> = [("", &[][..]), ("ships", &top), ("sahara", group)]
            .into_iter()
            .filter(|(name, heads)| name.is_empty() || !heads.is_empty())
            .collect();
        let variants: Vec<Vec<Edit>> = sets.iter().map(|(_, h)| self.settings.edits(h)).collect();
        let model = Arc::clone(self.engine.model());
        let n_answer = self.settings.answer_tokens;
        let mut declined = vec![0u32; sets.len()];
        let mut refusing = vec![0.0; sets.len()];
        let mut rows = vec![];
        for case in self.cases {
            let logits =
                self.engine
                    .sweep(&case.spec, &variants, Reading::default(), &mut |_| true)?;
            for (i, ((_, heads), logits)) in sets.iter().zip(&logits).enumerate() {
                let top = Readout::new(logits).top(1);
                let refusal = Metric::Prob
                    .of(case, logits, &[])
                    .filter(|_| !case.answers.is_empty());
                refusing[i] += refusal.map_or(f64::NAN, f64::from);
                let heads: Vec<String> = heads.iter().map(HeadId::to_string).collect();
                let mut row = vec![
                    Cell::from(case.label.as_str()),
                    Cell::from(heads.join(" ")),
                    Cell::from(
                        top.first()
                            .map_or_else(String::new, |t| model.token_text(t.id)),
                    ),
                    Cell::from(top.first().map(|t| t.prob)),
                    Cell::from(refusal),
                ];
                if n_answer > 0 {
                    let answer = self.answer(&model, case, &variants[i])?;
                    let declines = declines(&answer);
                    declined[i] += u32::from(declines);
                    row.push(Cell::from(answer.replace('\n', "⏎")));
                    row.push(Cell::from(if declines { "yes" } else { "no" }));
                }
                rows.push(row);
            }
            self.done += 1;
            self.tell(report)?;
        }
        let n = self.cases.len() as f64;
        let names = || {
            sets.iter().map(|(name, heads)| {
                let heads: Vec<String> = heads.iter().map(HeadId::to_string).collect();
                match *name {
                    "" => "intact".to_owned(),
                    name => format!("without {} ({name})", heads.join(" ")),
                }
            })
        };
        if refusing.iter().all(|sum| sum.is_finite()) {
            report.bar_chart(
                "refusals",
                "probability that a refusal opens the answer, mean over requests",
                "probability",
                names().zip(refusing.iter().map(|sum| sum / n)),
            );
        }
        let mut columns = vec!["request", "without", "next", "prob", "prob_refusal"];
        if n_answer > 0 {
            columns.extend(["answer", "declines"]);
            let given = declined.iter().map(|count| 1.0 - f64::from(*count) / n);
            report.bar_chart(
                "answers given",
                "share of answers that do not decline: no phrase of refusal, and 32 letters or more",
                "share",
                names().zip(given),
            );
            for ((name, _), count) in sets.iter().zip(&declined) {
                let of = if name.is_empty() { "intact" } else { name };
                report.note(format!(
                    "{of}: {count} of {} answers decline (a phrase of refusal, or under 32 letters)",
                    self.cases.len()
                ));
            }
        }
        report.tables.push(Table {
            name: "answers".into(),
            columns: columns.into_iter().map(str::to_owned).collect(),
            rows,
        });
        Ok(())
    }

    fn answer(
        &mut self,
        model: &Model,
        case: &Case,
        edits: &[Edit],
    ) -> Result<String, AnalysisError> {
        let spec = RunSpec {
            edits: edits.to_vec(),
            ..case.spec.clone()
        };
        let room = model.spec.n_ctx.saturating_sub(spec.ids.len());
        let n_tokens = self.settings.answer_tokens.min(room);
        let (progress, fraction) = (&mut *self.progress, self.done as f32 / self.total as f32);
        let mut is_stopped = false;
        let each = &mut |_: &_| {
            is_stopped = !progress.at(fraction, None);
            !is_stopped
        };
        let ends = &model.spec.eos_ids;
        let Generated { tokens } =
            self.engine
                .generate(&spec, Side::After, n_tokens, ends, each)?;
        if is_stopped {
            return Err(RunError::Stopped.into());
        }
        let ids: Vec<u32> = tokens.iter().map(|token| token.chosen.id).collect();
        Ok(model.text_after(&case.spec.ids, &ids))
    }
}
