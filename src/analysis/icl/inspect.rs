//! Scalars that tell how close a matrix is to the predicted circuit, for the
//! lab's own heads and for any square matrix of a real model.

use super::{HeadReport, Report};

/// Active heads reach this share of the largest |omega mu|.
const ACTIVE_SHARE: f32 = 0.05;

/// `||diag(M)||^2 / ||M||^2` of an `n x n` row-major matrix: 1 for a diagonal
/// matrix, about `1/n` for a random one, 0 for the zero matrix.
pub fn diagonal_share(matrix: &[f32], n: usize) -> f32 {
    assert_eq!(matrix.len(), n * n, "matrix is not {n} x {n}");
    let diagonal: f32 = diagonal(matrix, n).map(|value| value * value).sum();
    ratio(diagonal, squared_norm(matrix))
}

/// `tr(M) / (sqrt(n) ||M||)` of an `n x n` row-major matrix: +-1 exactly for a
/// multiple of the identity, near 0 for a random matrix.
pub fn trace_ratio(matrix: &[f32], n: usize) -> f32 {
    assert_eq!(matrix.len(), n * n, "matrix is not {n} x {n}");
    let trace: f32 = diagonal(matrix, n).sum();
    ratio(trace, (n as f32 * squared_norm(matrix)).sqrt())
}

/// Head indices by falling omega, to compare runs whose seeds permute the heads.
pub fn by_omega(report: &Report) -> Vec<usize> {
    let mut order: Vec<usize> = (0..report.heads.len()).collect();
    order.sort_by(|&a, &b| report.heads[b].omega.total_cmp(&report.heads[a].omega));
    order
}

/// Summarises one head; `active` is left false until all heads are known.
pub(super) fn head_report(kq: &[f32], ov: &[f32]) -> HeadReport {
    let width = ov.len();
    let d = width - 1;
    let block = || {
        let rows = kq.chunks_exact(width).take(d).enumerate();
        rows.flat_map(move |(i, row)| row[..d].iter().enumerate().map(move |(j, &m)| (i == j, m)))
    };
    let on = || block().filter_map(|(on, m)| on.then_some(m));
    let off = block().filter_map(|(on, m)| (!on).then_some(m));

    let omega = on().sum::<f32>() / d as f32;
    let spread = rms(on().map(|m| m - omega));
    let mu = ov[d];
    HeadReport {
        omega,
        homogeneity: ratio(spread, omega.abs()),
        off_diagonal: ratio(rms(off), omega.abs()),
        last_row: ratio(rms(kq[d * width..][..d].iter().copied()), omega.abs()),
        last_entry: ratio(mu.abs(), squared_norm(ov).sqrt()),
        mu,
        active: false,
        kq: kq.to_vec(),
        ov: ov.to_vec(),
    }
}

pub(super) fn mark_active(heads: &mut [HeadReport]) {
    let strength = |head: &HeadReport| (head.omega * head.mu).abs();
    let largest = heads.iter().map(strength).fold(0.0, f32::max);
    for head in heads {
        head.active = largest > 0.0 && strength(head) >= ACTIVE_SHARE * largest;
    }
}

pub(super) fn zero_sum(heads: &[HeadReport]) -> f32 {
    let sum: f32 = heads.iter().map(|head| head.mu).sum();
    ratio(sum.abs(), heads.iter().map(|head| head.mu.abs()).sum())
}

pub(super) fn eta(heads: &[HeadReport]) -> f32 {
    heads.iter().map(|head| head.mu * head.omega).sum()
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

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn ratios_single_out_the_identity() {
        let identity = [-2.0, 0.0, 0.0, -2.0];
        assert!(close(diagonal_share(&identity, 2), 1.0));
        assert!(close(trace_ratio(&identity, 2), -1.0));
        let diagonal = [1.0, 0.0, 0.0, -1.0];
        assert!(close(diagonal_share(&diagonal, 2), 1.0));
        assert!(close(trace_ratio(&diagonal, 2), 0.0));
        assert!(close(diagonal_share(&[1.0; 9], 3), 1.0 / 3.0));
        assert!(close(trace_ratio(&[0.0; 4], 2), 0.0));
    }

    #[test]
    fn a_head_is_summarised_by_its_block_label_row_and_last_output() {
        // d = 2; the last column must not count.
        let kq = [0.4, 0.1, 9.0, -0.1, 0.2, 9.0, 0.3, 0.3, 9.0];
        let head = head_report(&kq, &[3.0, 0.0, -4.0]);
        assert!(close(head.omega, 0.3));
        assert!(close(head.homogeneity, 1.0 / 3.0));
        assert!(close(head.off_diagonal, 1.0 / 3.0));
        assert!(close(head.last_row, 1.0));
        assert!(close(head.mu, -4.0));
        assert!(close(head.last_entry, 0.8));
    }

    #[test]
    fn a_weak_head_is_a_dummy() {
        let head = |omega: f32, mu: f32| head_report(&[omega, 0.0, 0.0, 0.0], &[0.0, mu]);
        let mut heads = [head(0.2, 2.0), head(-0.2, -2.0), head(0.2, 0.05)];
        mark_active(&mut heads);
        assert_eq!(heads.clone().map(|head| head.active), [true, true, false]);
        assert!(close(eta(&heads), 0.81));
        assert!(close(zero_sum(&heads), 0.05 / 4.05));
    }
}
