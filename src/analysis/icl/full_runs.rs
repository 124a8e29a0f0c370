//! Complete training runs, compared with the published structure. Slow, so run
//! only on request and in release.

use super::{Init, Report, Settings, Trainer};

/// Trains at the paper's size and checks what every run must show.
fn full_run(n_heads: usize, init: Init, seed: u64, loss: (f64, f64)) -> Report {
    let mut trainer = Trainer::new(Settings {
        n_heads,
        seed,
        init,
        ..Settings::default()
    })
    .unwrap();
    trainer.advance(usize::MAX);
    let report = trainer.report();
    let got = report.test[1].loss;
    assert!(
        loss.0 < got && got < loss.1,
        "H={n_heads} seed {seed}: {got}"
    );
    for head in report.heads.iter().filter(|head| head.active) {
        assert!(head.homogeneity < 0.15, "H={n_heads} seed {seed}: {head:?}");
        assert!(
            head.omega * head.mu > 0.0,
            "H={n_heads} seed {seed}: {head:?}"
        );
    }
    report
}

#[test]
#[ignore = "trains for half a minute in release"]
fn one_head_stays_a_kernel_smoother() {
    for seed in [0, 1, 3] {
        let report = full_run(1, Init::Default, seed, (0.37, 0.41));
        assert!(report.heads[0].last_entry > 0.999);
        assert!((report.heads[0].omega.abs() - 0.516).abs() < 0.02);
    }
}

#[test]
#[ignore = "trains for a minute in release"]
fn four_heads_become_debiased_gradient_descent() {
    for seed in [0, 1, 3] {
        let report = full_run(4, Init::Default, seed, (0.23, 0.26));
        assert!(report.zero_sum < 0.05);
        assert!((report.eta - 0.87).abs() < 0.05);
        // Single heads keep covariate entries in OV, which cancel in the sum.
        for i in 0..5 {
            let sum: f32 = report.heads.iter().map(|head| head.ov[i]).sum();
            assert!(sum.abs() < 0.05, "seed {seed}: {sum}");
        }
    }
}

#[test]
#[ignore = "trains for half a minute in release"]
fn two_opposite_heads_pair_up() {
    for seed in [0, 1, 3] {
        let report = full_run(2, Init::Opposite, seed, (0.23, 0.26));
        assert!(report.zero_sum < 0.05);
        assert!((report.eta - 0.87).abs() < 0.05);
        let [a, b] = [&report.heads[0], &report.heads[1]];
        assert!(a.active && b.active && a.last_entry.min(b.last_entry) > 0.99);
        assert!((a.omega + b.omega).abs() < 0.05 * a.omega.abs());
    }
}
