//! What a model is: its sizes and its architecture as axes. Plain data, free of tensors.
//!
//! The forward pass branches on these axes and never on a family's name; a family file turns its config into one.

/// Sizes and axes of a decoder-only transformer.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of an architecture"
)]
pub struct ModelSpec {
    /// The family that read the config: Hugging Face's `model_type`.
    pub family: &'static str,
    pub n_layers: usize,
    /// Query heads a layer.
    pub n_heads: usize,
    /// Key/value heads a layer; divides `n_heads`.
    pub n_kv_heads: usize,
    pub d_model: usize,
    /// Width of a head; not always `d_model / n_heads`.
    pub d_head: usize,
    pub d_mlp: usize,
    pub n_vocab: usize,
    /// The most tokens that a pass may have.
    pub n_ctx: usize,
    pub norm: Norm,
    pub norm_eps: f64,
    pub positions: Positions,
    pub mlp: Mlp,
    pub activation: Activation,
    /// Biases on q, k and v; on W_O; on the MLP's products.
    pub qkv_bias: bool,
    pub out_bias: bool,
    pub mlp_bias: bool,
    /// The unembedding is the embedding.
    pub tied: bool,
    /// Scores are q·k times this, usually 1/√d_head.
    pub score_scale: f64,
    /// Token ids that config.json names.
    pub bos_id: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// (x − mean) / √(variance + ε) · w + b
    Layer,
    /// x / √(mean square + ε) · w
    Rms,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// A learned vector a position, added to the embedding.
    Learned,
    /// q and k turned by angles that grow with the position; halves of a head are the pairs.
    Rotary(Rotary),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    pub base: f64,
    pub scaling: RotaryScaling,
}

/// How a context longer than the trained one is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum RotaryScaling {
    None,
    /// All frequencies divided by a factor.
    Linear {
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: f64,
    },
    /// Each frequency divided by a number of its own, `[d_head / 2]` (`rope_freqs` in a GGUF).
    Divisors(Vec<f64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mlp {
    /// act(x W_in + b_in) W_out + b_out
    Plain,
    /// (act(x W_gate) ⊙ (x W_in)) W_out
    Gated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The tanh form of GELU (`gelu_new`).
    GeluTanh,
    /// The exact form, by the error function.
    Gelu,
    Silu,
    Relu,
}

impl ModelSpec {
    /// The key/value head that a query head reads.
    pub const fn kv_head_of(&self, head: usize) -> usize {
        head * self.n_kv_heads / self.n_heads
    }

    /// Query heads that share one key/value head.
    pub const fn group_size(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// Inverse frequencies of the rotary pairs, `[d_head / 2]`; empty without rotary positions.
    pub fn rotary_frequencies(&self) -> Vec<f64> {
        let Positions::Rotary(Rotary { base, scaling }) = &self.positions else {
            return Vec::new();
        };
        let plain = (0..self.d_head / 2).map(|i| base.powf(-2.0 * i as f64 / self.d_head as f64));
        match scaling {
            RotaryScaling::None => plain.collect(),
            RotaryScaling::Divisors(divisors) => {
                plain.zip(divisors).map(|(f, by)| f / by).collect()
            }
            RotaryScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
            RotaryScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => plain
                .map(|frequency| {
                    let turns = original_context * frequency / std::f64::consts::TAU;
                    if turns < *low_freq_factor {
                        frequency / factor
                    } else if turns > *high_freq_factor {
                        frequency
                    } else {
                        let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        frequency * (kept + (1.0 - kept) / factor)
                    }
                })
                .collect(),
        }
    }
}
