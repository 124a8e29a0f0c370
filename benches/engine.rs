//! How long the engine takes on GPT-2 small's shape (random weights from `scripts/make-random-model`).
//!
//! `cargo bench --bench engine`; a forward keeps patterns, z and residuals, and reads logits at the last position.
//! `HEADSCOPE_BENCH_MODEL` names another model folder.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use headscope::experiment::RunSpec;
use headscope::experiment::engine::{Engine, Unwatched};
use headscope::model::Model;
use headscope::model::load::{Unreported, open};
use headscope::pyramid::LayerOverview;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn model() -> Arc<Model> {
    let folder =
        std::env::var_os("HEADSCOPE_BENCH_MODEL").map_or_else(support::random_model, PathBuf::from);
    let model = open(&folder.to_string_lossy(), &mut Unreported);
    Arc::new(model.unwrap_or_else(|error| panic!("{error}")))
}

fn run(n_tokens: usize, edits: &[String]) -> RunSpec {
    RunSpec {
        ids: (0..n_tokens).map(|i| (i * 7919 % 50_257) as u32).collect(),
        n_prompt: n_tokens,
        reach: n_tokens,
        contrast: None,
        edits: edits.iter().filter_map(|edit| edit.parse().ok()).collect(),
        position: n_tokens - 1,
        last: n_tokens - 1,
        bos_count: 0,
        folder: None,
    }
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
    let mut group = c.benchmark_group("ablation of every head in turn");
    group.sample_size(10);
    group.bench_function("16 tokens", |b| {
        b.iter_batched(
            || Engine::new(Arc::clone(&model)),
            |mut engine| {
                (0..144).try_for_each(|i| {
                    let edit = format!("L{}H{}=zero", i / 12, i % 12);
                    engine.run(&run(16, &[edit]), &mut Unwatched).map(|_| ())
                })
            },
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
        b.iter(|| LayerOverview::new(0, 12, n, true, &maps));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = forward, live_edit, sweep, overviews
}
criterion_main!(benches);
