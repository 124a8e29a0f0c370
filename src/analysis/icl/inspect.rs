//! Scalars that tell how close the lab's heads are to the predicted circuits.

use std::ops::Range;

use super::{HeadReport, OfTask, Report};

/// Active heads reach this share of the largest |omega mu|.
const ACTIVE_SHARE: f32 = 0.05;

/// Head indices by task and falling omega, to compare runs whose seeds permute the heads.
pub fn by_omega(report: &Report) -> Vec<usize> {
    let mut order: Vec<usize> = (0..report.heads.len()).collect();
    order.sort_by(|&a, &b| {
        let [a, b] = [a, b].map(|head| &report.heads[head]);
        a.task.cmp(&b.task).then(b.omega.total_cmp(&a.omega))
    });
    order
}

/// Summarises one head; `active` is left false until all heads are known. `reads`:
/// the covariates of each task.
pub(super) fn head_report(kq: &[f32], ov: &[f32], reads: &[Range<usize>]) -> HeadReport {
    let tasks = reads.len();
    let width = ov.len() / tasks;
    let d = width - tasks;
    let diagonal: Vec<f32> = diagonal(kq, width).take(d).collect();
    let of_task: Vec<OfTask> = reads
        .iter()
        .enumerate()
        .map(|(task, reads)| OfTask {
            omega: diagonal[reads.clone()].iter().sum::<f32>() / reads.len() as f32,
            mu: ov[task * width + d + task],
            active: false,
        })
        .collect();
    let strongest = |best: usize, task: usize| {
        let [known, new] = [best, task].map(|task| strength(&of_task[task]));
        if new > known { task } else { best }
    };
    let task = (1..tasks).fold(0, strongest);
    let OfTask { omega, mu, .. } = of_task[task];

    let on = diagonal[reads[task].clone()].iter();
    let rows = kq.chunks_exact(width).enumerate().take(d);
    let off = rows.flat_map(|(i, row)| {
        let others = row[..d].iter().enumerate().filter(move |(j, _)| *j != i);
        others.map(|(_, m)| *m)
    });
    let labels = kq.chunks_exact(width).skip(d);
    let labels = labels.flat_map(|row| row[..d].iter().copied());
    HeadReport {
        omega,
        homogeneity: ratio(rms(on.map(|m| m - omega)), omega.abs()),
        off_diagonal: ratio(rms(off), omega.abs()),
        last_row: ratio(rms(labels), omega.abs()),
        last_entry: ratio(mu.abs(), squared_norm(&ov[task * width..][..width]).sqrt()),
        mu,
        active: false,
        task,
        of_task,
        kq: kq.to_vec(),
        ov: ov.to_vec(),
    }
}

fn strength(of: &OfTask) -> f32 {
    (of.omega * of.mu).abs()
}

pub(super) fn mark_active(heads: &mut [HeadReport]) {
    let all = heads.iter().flat_map(|head| &head.of_task);
    let largest = all.map(strength).fold(0.0, f32::max);
    for head in heads {
        for of in &mut head.of_task {
            of.active = largest > 0.0 && strength(of) >= ACTIVE_SHARE * largest;
        }
        head.active = head.of_task.iter().any(|of| of.active);
    }
}

pub(super) fn zero_sum(heads: &[HeadReport], task: usize) -> f32 {
    let mus = || heads.iter().map(|head| head.of_task[task].mu);
    ratio(mus().sum::<f32>().abs(), mus().map(f32::abs).sum())
}

pub(super) fn eta(heads: &[HeadReport], task: usize) -> f32 {
    let of_task = heads.iter().map(|head| &head.of_task[task]);
    of_task.map(|of| of.mu * of.omega).sum()
}

/// The matrix of the gradient step that the heads add up to while scores are small,
/// `sum_h mu_h KQ_h` over the covariates that the task reads, `[key side, query side]`.
pub(super) fn step_matrix(heads: &[HeadReport], task: usize, reads: &Range<usize>) -> Vec<f32> {
    let n = reads.len();
    let mut sum = vec![0.0; n * n];
    for head in heads {
        let (width, _) = head.shape();
        let rows = head.kq.chunks_exact(width).skip(reads.start);
        for (sums, row) in sum.chunks_exact_mut(n).zip(rows) {
            for (sum, m) in sums.iter_mut().zip(&row[reads.clone()]) {
                *sum += head.of_task[task].mu * m;
            }
        }
    }
    sum
}

/// The cosine of two matrices, as vectors of their entries.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    ratio(dot, (squared_norm(a) * squared_norm(b)).sqrt())
}

fn diagonal(matrix: &[f32], n: usize) -> impl Iterator<Item = f32> {
    matrix.iter().step_by(n + 1).copied()
}

fn squared_norm(values: &[f32]) -> f32 {
    values.iter().map(|value| value * value).sum()
}

fn rms(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, n) = values.fold((0.0, 0_usize), |(sum, n), v| (sum + v * v, n + 1));
    if n == 0 { 0.0 } else { (sum / n as f32).sqrt() }
}

/// 0 rather than a non-number when the denominator vanishes: these go to files.
fn ratio(part: f32, whole: f32) -> f32 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks that read so many of the first covariates.
    fn reads(counts: &[usize]) -> Vec<Range<usize>> {
        counts.iter().map(|count| 0..*count).collect()
    }

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn a_head_is_summarised_by_its_block_label_row_and_last_output() {
        // d = 2; the last column must not count.
        let kq = [0.4, 0.1, 9.0, -0.1, 0.2, 9.0, 0.3, 0.3, 9.0];
        let head = head_report(&kq, &[3.0, 0.0, -4.0], &reads(&[2]));
        assert!(close(head.omega, 0.3));
        assert!(close(head.homogeneity, 1.0 / 3.0));
        assert!(close(head.off_diagonal, 1.0 / 3.0));
        assert!(close(head.last_row, 1.0));
        assert!(close(head.mu, -4.0));
        assert!(close(head.last_entry, 0.8));
    }

    #[test]
    fn a_weak_head_is_a_dummy() {
        let head =
            |omega: f32, mu: f32| head_report(&[omega, 0.0, 0.0, 0.0], &[0.0, mu], &reads(&[1]));
        let mut heads = [head(0.2, 2.0), head(-0.2, -2.0), head(0.2, 0.05)];
        mark_active(&mut heads);
        assert_eq!(heads.clone().map(|head| head.active), [true, true, false]);
        assert!(close(eta(&heads, 0), 0.81));
        assert!(close(zero_sum(&heads, 0), 0.05 / 4.05));
        assert_eq!(step_matrix(&heads, 0, &(0..1)), [eta(&heads, 0)]);
    }

    #[test]
    fn a_head_of_two_tasks_is_told_by_the_one_that_it_serves() {
        // d = 2, two labels; the first task reads x1, the second both.
        let mut kq = vec![0.0; 16];
        (kq[0], kq[5], kq[1], kq[8]) = (0.1, 0.5, 0.2, 0.7);
        let ov = [0.0, 0.0, 2.0, 9.0, 0.0, 0.0, 3.0, 4.0];
        let reads = reads(&[1, 2]);
        let mut heads = [head_report(&kq, &ov, &reads)];
        mark_active(&mut heads);
        let head = &heads[0];
        assert_eq!(head.task, 1);
        assert!(close(head.omega, 0.3) && close(head.mu, 4.0));
        assert!(close(head.of_task[0].omega, 0.1) && close(head.of_task[0].mu, 2.0));
        assert!(head.of_task.iter().all(|of| of.active));
        assert!(close(head.last_entry, 0.8));
        assert!(close(head.homogeneity, 0.2 / 0.3));
        assert!(close(head.off_diagonal, 0.2 / 2.0f32.sqrt() / 0.3));
        assert!(close(head.last_row, 0.7 / 2.0 / 0.3));
        assert!(close(eta(&heads, 0), 0.2) && close(eta(&heads, 1), 1.2));
        assert_eq!(head.block(), [0.1, 0.2, 0.0, 0.5]);
        let step = step_matrix(&heads, 1, &(0..2));
        for (found, right) in step.iter().zip([0.4, 0.8, 0.0, 2.0]) {
            assert!(close(*found, right));
        }
        assert!(close(
            cosine(&step, &[1.0, 0.0, 0.0, 1.0]),
            2.4 / (2.0 * 4.8f32).sqrt()
        ));
    }
}
