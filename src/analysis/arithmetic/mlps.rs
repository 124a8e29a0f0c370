//! Which MLPs read a key head: path patching, head → each later MLP's input → logits (Zhang et al. 2024, arXiv 2409.01659,
//! section 3). The effect is that of the logits, as a share of the answer's.

use crate::analysis::{AnalysisError, Grid, Progress, Report, Scale};
use crate::experiment::engine::Engine;
use crate::ids::HeadId;

use super::prompts::Kept;

/// Adds a grid, heads by MLPs, mean over prompts.
pub(super) fn add(
    engine: &mut Engine,
    kept: &[Kept],
    heads: &[HeadId],
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let n_layers = engine.model().spec.n_layers;
    let mut sums = vec![0.0f64; heads.len() * n_layers];
    // Which MLPs read the head at all depends on the model alone.
    let mut reads = vec![false; sums.len()];
    let counted: Vec<&Kept> = kept
        .iter()
        .filter(|kept| kept.share(0.0).is_some())
        .collect();
    for (i, of_prompt) in counted.iter().enumerate() {
        let done = |part: f32| 0.5 + 0.1 * (i as f32 + part) / counted.len() as f32;
        let go_on = &mut |part: f32| progress.at(done(part), None);
        let tokens = [of_prompt.answer];
        let found = engine.through_mlps(&of_prompt.case.spec, heads, &tokens, go_on)?;
        for (at, logits) in found.iter().flatten().enumerate() {
            if let Some(share) = logits
                .as_ref()
                .and_then(|logits| of_prompt.share(logits[0]))
            {
                sums[at] += f64::from(share);
                reads[at] = true;
            }
        }
    }
    let mean = |(sum, reads): (&f64, &bool)| reads.then(|| (sum / counted.len() as f64) as f32);
    report.grids.push(Grid {
        name: "mlp_paths".into(),
        about: "change of the right answer's logit, as a share of it, when the MLP alone reads what the head says without an \
                operator (path patching); blank where the MLP comes before the head"
            .into(),
        scale: Scale::Signed,
        row_axis: "head",
        rows: heads.iter().map(HeadId::to_string).collect(),
        column_axis: "MLP",
        columns: (0..n_layers).map(|layer| layer.to_string()).collect(),
        values: sums.iter().zip(&reads).map(mean).collect(),
        texts: vec![String::new(); sums.len()],
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::asked;
    use super::*;
    use crate::analysis::Unheard;

    /// The mean of what the engine says of each prompt, and blank before the head.
    #[test]
    fn the_grid_is_the_mean_of_the_paths() {
        let (mut engine, _, kept) = asked(3);
        let mut report = Report::new("arithmetic");
        let heads = [HeadId::new(2, 6), HeadId::new(0, 1)];
        add(&mut engine, &kept, &heads, &mut report, &mut Unheard).unwrap();
        let grid = &report.grids[0];
        assert_eq!((grid.rows.len(), grid.columns.len()), (2, 4));
        let blank: Vec<bool> = grid.values.iter().map(Option::is_none).collect();
        assert_eq!(
            blank,
            [true, true, false, false, false, false, false, false]
        );
        for (row, head) in heads.into_iter().enumerate() {
            for layer in head.layer..4 {
                let shares = kept.iter().map(|kept| {
                    let tokens = [kept.answer];
                    let found = engine
                        .through_mlps(&kept.case.spec, &[head], &tokens, &mut |_| true)
                        .unwrap();
                    let logit = found[0][layer].as_ref().unwrap()[0];
                    (logit - kept.logit) / kept.logit.abs()
                });
                let right = shares.sum::<f32>() / 3.0;
                let found = grid.values[row * 4 + layer].unwrap();
                assert!(
                    (found - right).abs() < 1e-5,
                    "{head} {layer}: {found} {right}"
                );
            }
        }
        let largest = grid.values[4..]
            .iter()
            .flatten()
            .fold(0.0f32, |a, b| a.max(b.abs()));
        assert!(
            largest > 1e-4,
            "far more than what it may be off by: {largest}"
        );
    }
}
