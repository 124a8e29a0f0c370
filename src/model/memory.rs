//! What a model and a run will take, said before they take it, against what the machine has left.
//!
//! A program that is killed for memory takes the user's work with it, so what does not fit is refused with the figures.

use super::spec::{Mlp, ModelSpec, Placement};

/// Smaller needs are not worth asking the system about.
pub const SMALL: u64 = 64 << 20;

const F32: u64 = size_of::<f32>() as u64;

/// Bytes that something will take at its peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub bytes: u64,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Weights,
    Run { n_tokens: usize },
    Gradients { n_tokens: usize },
}

/// How a run keeps its attention maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// All of them.
    Maps,
    /// q and k, from which a map is made where it is looked at.
    OnDemand,
}

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{} {:.1} GB of memory, and {:.1} GB are free: {}", self.subject(), gb(*needed), gb(*free), self.advice())]
pub struct MemoryError {
    what: What,
    needed: u64,
    free: u64,
}

impl Need {
    /// Reading weights, each of so many values that are kept in so many bytes: all of them, and the largest as f32 while
    /// it is put in place.
    pub fn weights(weights: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let (mut all, mut largest) = (0, 0);
        for (n_values, kept) in weights {
            all += kept as u64;
            largest = largest.max(n_values as u64 * F32);
        }
        Self {
            bytes: all + largest,
            what: What::Weights,
        }
    }

    /// The least that weights of so many bytes on disk take: no stored type is wider than f32 (but for f64, which no
    /// model of the hub has).
    pub fn stored(bytes: u64) -> Self {
        Self {
            bytes,
            what: What::Weights,
        }
    }

    /// `n_runs` passes of `n_tokens` whose results are kept, and what the largest layer takes while it is computed.
    pub fn run(spec: &ModelSpec, n_tokens: usize, n_runs: usize, looks: Looks) -> Self {
        let n = n_tokens as u64;
        let size = |size: usize| size as u64;
        let (layers, d_model) = (size(spec.n_layers), size(spec.d_model));
        let (q, kv) = (
            size(spec.n_heads * spec.d_head),
            size(spec.n_kv_heads * spec.d_head),
        );
        let layer_maps = size(spec.n_heads) * n * n;

        // The residual before each layer and after the last, z, and what maps are looked at in.
        let looks = match looks {
            Looks::Maps => layer_maps,
            Looks::OnDemand => n * (q + kv),
        };
        let kept = n * ((layers + 1) * d_model + layers * q) + layers * looks;
        // A layer's maps (or q and k) are written, then taken out.
        let attention = looks + n * (d_model + 3 * (q + 2 * kv));
        let mlp = n * match spec.mlp {
            Mlp::Plain => 2 * d_model + size(spec.d_mlp),
            Mlp::Gated => 2 * d_model + 3 * size(spec.d_mlp),
        };
        let layer = n * 2 * d_model + attention.max(mlp) + 2 * size(spec.n_vocab);
        Self {
            bytes: F32 * (size(n_runs) * kept + layer),
            what: What::Run { n_tokens },
        }
    }

    /// A pass of `n_tokens` and its way back from logits at `n_read`: what it records of every layer, and what is kept of
    /// it besides.
    pub fn gradients(spec: &ModelSpec, n_tokens: usize, n_read: usize) -> Self {
        let n = n_tokens as u64;
        let size = |size: usize| size as u64;
        let (layers, d_model, d_mlp) = (size(spec.n_layers), size(spec.d_model), size(spec.d_mlp));
        let (q, kv) = (
            size(spec.n_heads * spec.d_head),
            size(spec.n_kv_heads * spec.d_head),
        );
        let norms = match spec.placement {
            Placement::Sandwich => 4,
            Placement::Pre | Placement::Post => 2,
        };
        let mlp = match spec.mlp {
            Mlp::Plain => d_mlp,
            Mlp::Gated => 2 * d_mlp,
        };
        // Norms of q and k read what stands before them too.
        let placed = if spec.qk_norm { 2 } else { 1 };
        let recorded = norms * d_model + placed * (q + 2 * kv) + mlp;
        // The residual and z, and the gradients by them.
        let kept = 3 * d_model + 4 * q;
        // Each head's part of the gradients by q, k and v, or the MLP's.
        let layer = (3 * q).max(3 * mlp) + 4 * d_model;
        let scratch = size(spec.n_heads) * 3 * n * 64.min(n);
        let logits = 3 * size(n_read) * size(spec.n_vocab);
        Self {
            bytes: F32 * (n * (layers * (recorded + kept) + layer) + scratch + logits),
            what: What::Gradients { n_tokens },
        }
    }
}

/// Refuses what is more than is free; where the system does not say what is free, nothing is refused.
pub fn check(need: &Need, free: Option<u64>) -> Result<(), MemoryError> {
    match free {
        Some(free) if need.bytes > free => Err(MemoryError {
            what: need.what,
            needed: need.bytes,
            free,
        }),
        _ => Ok(()),
    }
}

/// Bytes that can still be had without pushing other programs out: of the machine, and of the container.
pub fn available() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let free = Some(system.available_memory()).filter(|bytes| *bytes > 0);
    // Files that the container has cached give way, so only what its programs hold counts against its limit.
    let in_container = system
        .cgroup_limits()
        .map(|limits| limits.total_memory.saturating_sub(limits.rss));
    [free, in_container].into_iter().flatten().min()
}

/// Bytes of memory that the machine has, used or not.
pub fn total() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system.total_memory()).filter(|bytes| *bytes > 0)
}

/// A size for people: `63 MB`.
pub fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 1 && value < 9.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

impl MemoryError {
    fn subject(&self) -> String {
        match self.what {
            What::Weights => "its weights (f32, whatever the file stores) take".to_owned(),
            What::Run { n_tokens } => format!("a run of {n_tokens} tokens on this model takes"),
            What::Gradients { n_tokens } => {
                format!("gradients of {n_tokens} tokens on this model take")
            }
        }
    }

    const fn advice(&self) -> &'static str {
        match self.what {
            What::Weights => "close other programs, or open a smaller model",
            What::Run { .. } | What::Gradients { .. } => {
                "close other programs, or shorten the prompt"
            }
        }
    }
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_figures() {
        // GPT-2 XL: 1.56 billion weights, the largest 50,257 × 1,600.
        let need = Need::weights([50_257 * 1_600, 1_477_000_000].map(|n| (n, 4 * n)));
        assert_eq!(need.bytes, 4 * (50_257 * 1_600 + 2 * 1_477_000_000));
        assert_eq!(check(&need, Some(need.bytes)), Ok(()));
        assert_eq!(check(&need, None), Ok(()));
        let error = check(&need, Some(9_840_000_000)).unwrap_err().to_string();
        assert_eq!(
            error,
            "its weights (f32, whatever the file stores) take 12.1 GB of memory, and 9.8 GB are free: close other \
             programs, or open a smaller model"
        );
    }

    #[test]
    fn this_machine_says_what_it_has() {
        let (free, total) = (available().unwrap(), total().unwrap());
        assert!(free > 16 << 20, "{free}");
        assert!(free < total, "{free} of {total}");
    }

    #[test]
    fn sizes_are_short() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (63_400_000, "63 MB"),
            (1_234_000_000, "1.2 GB"),
            (999_600, "1.0 MB"),
        ] {
            assert_eq!(amount(count), text);
        }
    }
}
