//! What methods cost: the atlas of the bundled model, and a patching sweep beside the forwards that it is made of.
//!
//! `cargo bench --bench methods`; the sweep runs on GPT-2 small's shape with random weights (`scripts/make-random-model`).

mod support;

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use headscope::analysis::patching::patch;
use headscope::analysis::{Unheard, atlas};
use headscope::experiment::engine::{Engine, Unwatched};
use headscope::model::demo;
use headscope::model::load::{Unreported, open};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOKENS: usize = 16;
const PROMPTS: usize = 8;

fn the_atlas(c: &mut Criterion) {
    let model = open(demo::NAME, &mut Unreported).unwrap_or_else(|error| panic!("{error}"));
    let model = Arc::new(model);
    c.bench_function("atlas of the bundled model", |b| {
        b.iter(|| {
            let mut engine = Engine::new(Arc::clone(&model));
            atlas::atlas(&mut engine, &[], &atlas::Settings::default(), &mut Unheard)
        });
    });
}

fn patching(c: &mut Criterion) {
    let folder = support::random_model();
    let model = open(&folder.to_string_lossy(), &mut Unreported);
    let model = Arc::new(model.unwrap_or_else(|error| panic!("{error}")));
    let mut group = c.benchmark_group("z of 144 heads, 8 prompts of 16 tokens");
    group.sample_size(10);
    let (cases, settings) = (support::pairs(TOKENS, PROMPTS), support::noising());
    group.bench_function("patching", |b| {
        b.iter(|| {
            let mut engine = Engine::new(Arc::clone(&model));
            patch(&mut engine, &cases, &settings, &mut Unheard)
        });
    });
    // A run of variants begins at their layer, so that 144 x 8 of them are half as many whole forwards: 576.
    group.bench_function("one of 576 forwards, one by one", |b| {
        b.iter(|| Engine::new(Arc::clone(&model)).run(&cases[0].spec, &mut Unwatched));
    });
}

criterion_group!(benches, the_atlas, patching);
criterion_main!(benches);
