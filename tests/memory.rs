//! What is said to be taken, against what is taken: the program's own allocations, counted.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]
#![expect(
    clippy::print_stdout,
    reason = "the figures that were compared, and what was skipped"
)]
#![expect(unsafe_code, reason = "an allocator is unsafe to write")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use headscope::compute::Compute;
use headscope::experiment::engine::{Engine, RunError, Unwatched};
use headscope::model::hub::Hub;
use headscope::model::load::{Unreported, open_with};
use headscope::model::memory::{self, Need};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use support::run_spec;

/// The system's allocator with a count of what is taken, now and at most.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is done by the system's allocator; only numbers are noted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, and the most bytes that it held beyond what there was.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let result = work();
    (result, MOST.load(Ordering::Relaxed) - before)
}

/// The estimate is no less than what was taken, and no more than half again as much.
#[track_caller]
fn check(what: &str, need: &Need, taken: usize) {
    let share = need.bytes as f64 / taken as f64;
    let figures = format!("{what}: {} said, {taken} taken: {share:.2}", need.bytes);
    println!("{figures}");
    assert!((1.0..1.5).contains(&share), "{figures}");
}

const LAYERS: usize = 6;
const WIDTH: usize = 192;
const VOCAB: usize = 2_000;
const CONTEXT: usize = 2_400;

/// A GPT-2 of some size, whose weights are small and all alike.
fn write_model(folder: &Path, n_heads: usize) {
    let config = serde_json::json!({
        "model_type": "gpt2", "n_layer": LAYERS, "n_head": n_heads, "n_embd": WIDTH, "n_positions": CONTEXT,
        "vocab_size": VOCAB, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut shapes = BTreeMap::from([
        ("wte.weight".to_owned(), vec![VOCAB, WIDTH]),
        ("wpe.weight".to_owned(), vec![CONTEXT, WIDTH]),
        ("ln_f.weight".to_owned(), vec![WIDTH]),
        ("ln_f.bias".to_owned(), vec![WIDTH]),
    ]);
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("ln_1.weight", vec![WIDTH]),
            ("ln_1.bias", vec![WIDTH]),
            ("ln_2.weight", vec![WIDTH]),
            ("ln_2.bias", vec![WIDTH]),
            ("attn.c_attn.weight", vec![WIDTH, 3 * WIDTH]),
            ("attn.c_attn.bias", vec![3 * WIDTH]),
            ("attn.c_proj.weight", vec![WIDTH, WIDTH]),
            ("attn.c_proj.bias", vec![WIDTH]),
            ("mlp.c_fc.weight", vec![WIDTH, 4 * WIDTH]),
            ("mlp.c_fc.bias", vec![4 * WIDTH]),
            ("mlp.c_proj.weight", vec![4 * WIDTH, WIDTH]),
            ("mlp.c_proj.bias", vec![WIDTH]),
        ] {
            shapes.insert(format!("h.{layer}.{name}"), shape);
        }
    }
    let largest = shapes
        .values()
        .map(|shape| shape.iter().product::<usize>())
        .max()
        .unwrap();
    let values: Vec<u8> = (0..largest)
        .flat_map(|i| (((i % 17) as f32 - 8.0) * 0.004).to_le_bytes())
        .collect();
    let view = |shape: &Vec<usize>| {
        let bytes = 4 * shape.iter().product::<usize>();
        TensorView::new(Dtype::F32, shape.clone(), &values[..bytes]).unwrap()
    };
    let tensors = shapes.iter().map(|(name, shape)| (name, view(shape)));
    safetensors::serialize_to_file(tensors, None, &folder.join("model.safetensors")).unwrap();
}

/// One test: what runs beside it would be counted too.
#[test]
fn estimates_hold() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), 8);
    let hub = Hub::offline(folder.path());
    let path = folder.path().to_str().unwrap();
    let open = || Arc::new(open_with(&hub, path, Compute::default(), &mut Unreported).unwrap());
    let (model, taken) = measured(open);
    let shapes = [
        VOCAB * WIDTH,
        CONTEXT * WIDTH,
        model.weight_bytes / 4 - (VOCAB + CONTEXT) * WIDTH,
    ];
    // The last is many tensors; the largest single one is the positions'.
    let all =
        Need::weights([shapes[0], shapes[1]].map(|n| (n, 4 * n))).bytes + 4 * shapes[2] as u64;
    let weights = Need::stored(all);
    check("weights", &weights, taken);

    let ids = |n: usize| -> Vec<u32> { (0..n).map(|i| (i * 7 % VOCAB) as u32).collect() };
    let mut engine = Engine::new(Arc::clone(&model));
    for (n_tokens, edits) in [
        (700, &[][..]),
        // The same prompt with an edit of the first layer: one more run.
        (700, &["L0H1=zero"][..]),
        // Too long to keep the maps of all heads.
        (1_800, &[]),
    ] {
        if edits.is_empty() {
            // What an earlier prompt left would hide what is taken.
            engine = Engine::new(Arc::clone(&model));
        }
        let spec = run_spec(&ids(n_tokens), edits);
        let need = engine.need(&spec);
        let (_, taken) = measured(|| engine.run(&spec, &mut Unwatched).unwrap());
        check(&format!("{n_tokens} tokens {edits:?}"), &need, taken);
    }
    // A free machine that is not: what does not fit says so, with the figures.
    let need = engine.need(&run_spec(&ids(2_000), &["L0=zero"]));
    let error = RunError::from(memory::check(&need, Some(50 << 20)).unwrap_err());
    let text = error.to_string();
    assert!(
        text.starts_with("a run of 2000 tokens on this model takes 0."),
        "{text}"
    );
    assert!(
        text.ends_with("and 0.1 GB are free: close other programs, or shorten the prompt"),
        "{text}"
    );

    refuses_before_it_reads(folder.path());
}

/// A file of a size that no machine has memory for, most of it a hole.
fn refuses_before_it_reads(folder: &Path) {
    let folder = folder.join("huge");
    std::fs::create_dir(&folder).unwrap();
    let (vocab, width) = (1 << 24, 1 << 14);
    let config = serde_json::json!({
        "model_type": "gpt2", "n_layer": 1, "n_head": 1, "n_embd": width, "n_positions": 8, "vocab_size": vocab,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let bytes: u64 = 4 * vocab * width;
    let header = serde_json::json!({
        "wte.weight": { "dtype": "F32", "shape": [vocab, width], "data_offsets": [0, bytes] },
    });
    let header = header.to_string();
    let path = folder.join("model.safetensors");
    let start = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    std::fs::write(&path, &start).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    if let Err(error) = file.set_len(start.len() as u64 + bytes) {
        println!("skipped: no file of 1 TB can be made here: {error}");
        return;
    }
    let hub = Hub::offline(&folder);
    let open = || {
        open_with(
            &hub,
            folder.to_str().unwrap(),
            Compute::default(),
            &mut Unreported,
        )
    };
    let (refused, taken) = measured(open);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("take 2199.0 GB of memory, and"), "{text}");
    assert!(taken < 1 << 20, "{taken} bytes were taken all the same");
}
