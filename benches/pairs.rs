//! One measurement for each line of standard input, its milliseconds on standard output: our side of
//! `benches/side_by_side.py`, which measures another program in turn with this one.
//!
//! `forward N` · `edit LAYER` (of 64 tokens) · `sweep all` · `sweep read` (144 ablations, 16 tokens) · `patch` (z of 144
//! heads, 8 pairs of prompts of 16 tokens) · `rate` (GFLOP/s). `patch` and `rate` in turn say how much of a sweep is more
//! than its products: `for i in 1 2 3; do echo rate; echo patch; done | cargo bench --bench pairs`.

mod support;

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor};
use headscope::analysis::Unheard;
use headscope::analysis::patching::patch;
use headscope::edit::Edit;
use headscope::experiment::Reading;
use headscope::experiment::engine::{Engine, Unwatched};
use headscope::model::load::{Unreported, open};

use support::run;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = support::random_model();
    let model = Arc::new(open(&folder.to_string_lossy(), &mut Unreported)?);
    let mut live = Engine::new(Arc::clone(&model));
    let mut factor = 1.0;
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let fresh = || Engine::new(Arc::clone(&model));
        let started;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["forward", n] => {
                let (mut engine, spec) = (fresh(), run(n.parse()?, &[]));
                started = Instant::now();
                engine.run(&spec, &mut Unwatched)?;
            }
            ["edit", layer] => {
                // Another factor each time: the same edit again would have nothing to run.
                factor += 0.001;
                let spec = run(64, &[format!("L{layer}H3=scale({factor})")]);
                started = Instant::now();
                live.run(&spec, &mut Unwatched)?;
            }
            ["sweep", which] => {
                let at = if which == "read" { "@last" } else { "" };
                let variants: Vec<Vec<Edit>> = (0..144)
                    .map(|i| {
                        format!("L{}H{}=zero{at}", i / 12, i % 12)
                            .parse()
                            .map(|e| vec![e])
                    })
                    .collect::<Result<_, _>>()?;
                let (mut engine, spec) = (fresh(), run(16, &[]));
                started = Instant::now();
                engine.sweep(&spec, &variants, Reading::of(&[11, 42]), &mut |_| true)?;
            }
            ["patch"] => {
                let cases = support::pairs(16, 8);
                let mut engine = fresh();
                started = Instant::now();
                patch(&mut engine, &cases, &support::noising(), &mut Unheard)?;
            }
            ["rate"] => {
                let square = Tensor::randn(0.0_f32, 1.0, (2048, 2048), &Device::Cpu)?;
                started = Instant::now();
                square.matmul(&square)?;
                let rate = 2.0 * 2048_f64.powi(3) / started.elapsed().as_secs_f64() / 1e9;
                writeln!(out, "{rate:.1}")?;
                out.flush()?;
                continue;
            }
            _ => return Err(format!("not a measurement: {line}").into()),
        }
        writeln!(out, "{:.2}", started.elapsed().as_secs_f64() * 1e3)?;
        out.flush()?;
    }
    Ok(())
}
