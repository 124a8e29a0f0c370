//! What a model is: its sizes and its architecture as axes. Plain data, free of tensors.
//!
//! The forward pass branches on these axes and never on a family's name; a family file turns its config into one.

use crate::mask::Mask;

/// Sizes and axes of a transformer, decoder or encoder.
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
    /// Norms add a bias after their weight.
    pub norm_bias: bool,
    pub norm_eps: f64,
    pub placement: Placement,
    pub order: BlockOrder,
    /// Layer 0's attention reads the stream as it is, without a norm.
    pub first_norm_absent: bool,
    /// A norm on the sum of the embeddings.
    pub embed_norm: bool,
    /// The embedding is multiplied by this.
    pub embed_scale: Option<f64>,
    /// One more learned vector, the same at all positions: the type of the text's first part.
    pub type_embed: bool,
    pub positions: Positions,
    /// Rotary positions of the layers with a window, where they have their own.
    pub local_rotary: Option<Rotary>,
    /// The mask of each layer.
    pub masks: Vec<Mask>,
    /// Norms on q and k of each head, before rotary; their kind is `Rms`.
    pub qk_norm: bool,
    /// Scores are q·k times this, usually 1/√d_head.
    pub score_scale: f64,
    /// Scores are capped softly: cap · tanh(score / cap).
    pub score_cap: Option<f64>,
    /// Logits are capped softly.
    pub logit_cap: Option<f64>,
    pub mlp: Mlp,
    pub activation: Activation,
    /// Biases on q, k and v; on W_O; on the MLP's products.
    pub qkv_bias: bool,
    pub out_bias: bool,
    pub mlp_bias: bool,
    pub head: Head,
    /// A bias on the logits.
    pub unembed_bias: bool,
    /// The unembedding is the embedding.
    pub tied: bool,
    /// Token ids that config.json names.
    pub bos_id: Option<u32>,
    /// Tokens after which a text is over.
    pub eos_ids: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// (x − mean) / √(variance + ε) · w + b
    Layer,
    /// x / √(mean square + ε) · w
    Rms,
}

/// Where a block has its norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Before attention and before the MLP; one more after the last layer.
    Pre,
    /// On the stream, after attention was added and after the MLP was added; none after the last layer.
    Post,
    /// As `Pre`, and on what attention and the MLP give, before it is added.
    Sandwich,
}

/// What the MLP of a block reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOrder {
    /// The stream with attention's output in it.
    Sequential,
    /// The stream that attention reads too; both outputs are added to it at once.
    Parallel {
        /// Attention and MLP read the same normalized stream.
        shared_norm: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// A learned vector a position, added to the embedding.
    Learned,
    /// q and k turned by angles that grow with the position; halves of the turned width are the pairs.
    Rotary(Rotary),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    pub base: f64,
    pub scaling: RotaryScaling,
    /// The first so many values of a head are turned; even, and at most `d_head`.
    pub width: usize,
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
    /// Each frequency divided by a number of its own, `[width / 2]` (`rope_freqs` in a GGUF).
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

/// What turns the final stream into logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Nothing: the model gives no logits.
    None,
    /// The unembedding, after the final norm: the next token.
    NextToken,
    /// act(x W + b), a norm, the unembedding: the token that a `[MASK]` stands for.
    MaskedToken {
        activation: Activation,
        dense_bias: bool,
    },
}

/// The sizes that every config names.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub n_layers: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub d_model: usize,
    pub d_head: usize,
    pub d_mlp: usize,
    pub n_vocab: usize,
    pub n_ctx: usize,
}

impl ModelSpec {
    /// A pre-norm decoder with LayerNorm, learned positions and a plain MLP: what families start from and differ in.
    pub fn plain(family: &'static str, sizes: Sizes) -> Self {
        let Sizes {
            n_layers,
            n_heads,
            n_kv_heads,
            d_model,
            d_head,
            d_mlp,
            n_vocab,
            n_ctx,
        } = sizes;
        Self {
            family,
            n_layers,
            n_heads,
            n_kv_heads,
            d_model,
            d_head,
            d_mlp,
            n_vocab,
            n_ctx,
            norm: Norm::Layer,
            norm_bias: true,
            norm_eps: 1e-5,
            placement: Placement::Pre,
            order: BlockOrder::Sequential,
            first_norm_absent: false,
            embed_norm: false,
            embed_scale: None,
            type_embed: false,
            positions: Positions::Learned,
            local_rotary: None,
            masks: vec![Mask::CAUSAL; n_layers],
            qk_norm: false,
            score_scale: 1.0 / (d_head as f64).sqrt(),
            score_cap: None,
            logit_cap: None,
            mlp: Mlp::Plain,
            activation: Activation::GeluTanh,
            qkv_bias: true,
            out_bias: true,
            mlp_bias: true,
            head: Head::NextToken,
            unembed_bias: false,
            tied: true,
            bos_id: None,
            eos_ids: vec![],
        }
    }

    /// The key/value head that a query head reads.
    pub const fn kv_head_of(&self, head: usize) -> usize {
        head * self.n_kv_heads / self.n_heads
    }

    /// Query heads that share one key/value head.
    pub const fn group_size(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// Whether every layer hides later keys: the model reads from left to right.
    pub fn is_causal(&self) -> bool {
        self.masks.iter().all(|mask| mask.is_causal())
    }

    /// Whether the logits at a position are about the token that stands there, and not the one after it.
    pub const fn predicts_in_place(&self) -> bool {
        matches!(self.head, Head::MaskedToken { .. })
    }

    /// Whether a norm follows the last layer.
    pub fn has_final_norm(&self) -> bool {
        self.placement != Placement::Post
    }

    /// Whether the MLP has a norm of its own.
    pub fn has_second_norm(&self) -> bool {
        self.order != BlockOrder::Parallel { shared_norm: true }
    }

    /// Whether a layer's attention has a norm before it (or, in post-norm models, after it).
    pub fn has_first_norm(&self, layer: usize) -> bool {
        layer > 0 || !self.first_norm_absent
    }

    /// Rotary positions of a layer; `None` where positions are learned.
    pub fn rotary(&self, layer: usize) -> Option<&Rotary> {
        match (&self.local_rotary, &self.positions) {
            (Some(local), _) if self.masks[layer].has_window() => Some(local),
            (_, Positions::Rotary(rotary)) => Some(rotary),
            (_, Positions::Learned) => None,
        }
    }
}

impl Rotary {
    /// Inverse frequencies of the pairs, `[width / 2]`.
    pub fn frequencies(&self) -> Vec<f64> {
        let Self {
            base,
            scaling,
            width,
        } = self;
        let plain = (0..width / 2).map(|i| base.powf(-2.0 * i as f64 / *width as f64));
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
