//! How long the engine takes on GPT-2 small's shape (random weights from `scripts/make-random-model`).
//!
//! `cargo bench --bench engine`; a forward keeps patterns, z and residuals, and reads logits at the last position.
//! `HEADSCOPE_BENCH_MODEL` names another model folder.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use headscope::edit::Edit;
use headscope::experiment::engine::{Engine, Unwatched};
use headscope::experiment::{Reading, Side};
use headscope::mask::Mask;
use headscope::model::Model;
use headscope::model::load::{Unreported, open};
use headscope::pyramid::LayerOverview;

use support::run;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn model() -> Arc<Model> {
    let folder =
        std::env::var_os("HEADSCOPE_BENCH_MODEL").map_or_else(support::random_model, PathBuf::from);
    let model = open(&folder.to_string_lossy(), &mut Unreported);
    Arc::new(model.unwrap_or_else(|error| panic!("{error}")))
}

fn forward(c: &mut Criterion) {
    let model = model();
    let mut group = c.benchmark_group("forward");
    for n_tokens in [16, 64, 256, 1024] {
        let spec = run(n_tokens, &[]);
        group.sample_size(if n_tokens < 1024 { 20 } else { 10 });
        group.bench_function(format!("{n_tokens} tokens"), |b| {
            b.iter_batched(
                || Engine::new(Arc::clone(&model)),
                |mut engine| engine.run(&spec, &mut Unwatched).map(|_| engine),
                BatchSize::PerIteration,
            );
        });
    }
}

fn live_edit(c: &mut Criterion) {
    let model = model();
    let mut engine = Engine::new(model);
    let mut group = c.benchmark_group("live edit of one head, 64 tokens");
    group.sample_size(20);
    for layer in 0..12 {
        // Another factor each time: the same edit again would have nothing to run.
        let mut factor = 1.5;
        group.bench_function(format!("layer {layer}"), |b| {
            b.iter(|| {
                factor += 0.001;
                engine.run(
                    &run(64, &[format!("L{layer}H3=scale({factor})")]),
                    &mut Unwatched,
                )
            });
        });
    }
}

fn sweep(c: &mut Criterion) {
    let model = model();
    let mut group = c.benchmark_group("ablation of every head in turn, 16 tokens");
    group.sample_size(10);
    for (name, at) in [("all positions", ""), ("the read position", "@last")] {
        let edit = |i| format!("L{}H{}=zero{at}", i / 12, i % 12).parse().ok();
        let variants: Vec<Vec<Edit>> = (0..144).map(|i| edit(i).into_iter().collect()).collect();
        group.bench_function(name, |b| {
            b.iter_batched(
                || Engine::new(Arc::clone(&model)),
                |mut engine| {
                    engine.sweep(
                        &run(16, &[]),
                        &variants,
                        Reading::of(&[11, 42]),
                        &mut |_| true,
                    )
                },
                BatchSize::PerIteration,
            );
        });
    }
}

fn generation(c: &mut Criterion) {
    let model = model();
    let mut group = c.benchmark_group("generation");
    group.sample_size(10);
    group.bench_function("16 tokens after 64", |b| {
        b.iter_batched(
            || Engine::new(Arc::clone(&model)),
            |mut engine| engine.generate(&run(64, &[]), Side::After, 16, &[], &mut |_| true),
            BatchSize::PerIteration,
        );
    });
}

fn overviews(c: &mut Criterion) {
    let n = 1024;
    let maps: Vec<f32> = (0..12 * n * n)
        .map(|i| ((i * 31) % 97) as f32 / 97.0)
        .collect();
    c.bench_function("pooled maps of a layer, 12 heads of 1,024 tokens", |b| {
        b.iter(|| LayerOverview::new(0, 12, n, Mask::CAUSAL, &maps));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = forward, live_edit, sweep, generation, overviews
}
criterion_main!(benches);
