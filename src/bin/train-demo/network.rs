//! The network being trained: GPT-2's form (pre-norm, GELU, learned positions, tied unembedding), with
//! GPT-2's tensor names, over documents laid end to end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use serde_json::{Value, json};

use crate::ops::{AddBias, Attention, CrossEntropy, GeluNew, LayerNorm, with_values};
use crate::rng::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) width: usize,
    pub(crate) positions: usize,
    pub(crate) vocabulary: usize,
}

impl Config {
    /// The `config.json` that programs reading GPT-2 models expect.
    pub(crate) fn to_json(self) -> Value {
        json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "n_layer": self.layers,
            "n_head": self.heads,
            "n_embd": self.width,
            "n_inner": 4 * self.width,
            "n_positions": self.positions,
            "n_ctx": self.positions,
            "layer_norm_epsilon": 1e-5,
            "vocab_size": self.vocabulary,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "tie_word_embeddings": true,
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "initializer_range": 0.02,
            "torch_dtype": "float32"
        })
    }

    pub(crate) fn from_json(value: &Value) -> Result<Self> {
        let number = |key: &str| -> Result<usize> {
            Ok(value[key]
                .as_u64()
                .with_context(|| format!("config.json has no number {key}"))?
                as usize)
        };
        Ok(Self {
            layers: number("n_layer")?,
            heads: number("n_head")?,
            width: number("n_embd")?,
            positions: number("n_positions")?,
            vocabulary: number("vocab_size")?,
        })
    }
}

/// Documents laid end to end.
pub(crate) struct Batch {
    pub(crate) ids: Vec<u32>,
    pub(crate) lengths: Arc<Vec<usize>>,
}

impl Batch {
    pub(crate) fn new(documents: &[Vec<u32>]) -> Self {
        Self {
            ids: documents.concat(),
            lengths: Arc::new(documents.iter().map(Vec::len).collect()),
        }
    }

    fn positions(&self) -> Vec<u32> {
        self.lengths
            .iter()
            .flat_map(|&length| 0..length as u32)
            .collect()
    }
}

/// Multiplies what one head writes (its `z`) by a factor: 0 takes the head out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    pub(crate) layer: usize,
    pub(crate) head: usize,
    pub(crate) factor: f32,
}

pub(crate) struct Network {
    pub(crate) config: Config,
    pub(crate) variables: BTreeMap<String, Var>,
}

impl Network {
    /// New weights: products keep the size of their input, what is added to the residual stream is
    /// scaled down by the depth, as in GPT-2.
    pub(crate) fn new(config: Config, seed: u64) -> Result<Self> {
        let mut rng = Rng::new(seed, u64::MAX);
        let width = config.width;
        let mut variables = BTreeMap::new();
        let mut add =
            |name: String, shape: &[usize], deviation: f32, constant: f32| -> Result<()> {
                let count = shape.iter().product();
                let values: Vec<f32> = (0..count)
                    .map(|_| constant + deviation * rng.normal())
                    .collect();
                variables.insert(name, Var::from_vec(values, shape, &Device::Cpu)?);
                Ok(())
            };
        add("wte.weight".into(), &[config.vocabulary, width], 0.05, 0.0)?;
        add("wpe.weight".into(), &[config.positions, width], 0.05, 0.0)?;
        let product = |input: usize| 0.7 / (input as f32).sqrt();
        let residual = 1.0 / (2.0 * config.layers as f32).sqrt();
        for layer in 0..config.layers {
            let name = |part: &str| format!("h.{layer}.{part}");
            for norm in ["ln_1", "ln_2"] {
                add(name(&format!("{norm}.weight")), &[width], 0.0, 1.0)?;
                add(name(&format!("{norm}.bias")), &[width], 0.0, 0.0)?;
            }
            for (part, input, output, scale) in [
                ("attn.c_attn", width, 3 * width, 1.0),
                ("attn.c_proj", width, width, residual),
                ("mlp.c_fc", width, 4 * width, 1.0),
                ("mlp.c_proj", 4 * width, width, residual),
            ] {
                add(
                    name(&format!("{part}.weight")),
                    &[input, output],
                    scale * product(input),
                    0.0,
                )?;
                add(name(&format!("{part}.bias")), &[output], 0.0, 0.0)?;
            }
        }
        add("ln_f.weight".into(), &[width], 0.0, 1.0)?;
        add("ln_f.bias".into(), &[width], 0.0, 0.0)?;
        Ok(Self { config, variables })
    }

    /// The weights of a folder with `config.json` and `model.safetensors`.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let config = Config::from_json(&serde_json::from_str(&text)?)?;
        let network = Self::new(config, 0)?;
        let path = folder.join("model.safetensors");
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu)
            .with_context(|| format!("reading {}", path.display()))?;
        for (name, variable) in &network.variables {
            variable.set(
                tensors
                    .get(name)
                    .with_context(|| format!("{} has no {name}", path.display()))?,
            )?;
        }
        Ok(network)
    }

    fn variable(&self, name: &str) -> Result<&Tensor> {
        Ok(self
            .variables
            .get(name)
            .with_context(|| format!("no variable {name}"))?
            .as_tensor())
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let (gain, bias) = (
            self.variable(&format!("{name}.weight"))?,
            self.variable(&format!("{name}.bias"))?,
        );
        Ok(x.apply_op3(gain, bias, LayerNorm)?)
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let (weight, bias) = (
            self.variable(&format!("{name}.weight"))?,
            self.variable(&format!("{name}.bias"))?,
        );
        Ok(x.matmul(weight)?.apply_op2(bias, AddBias)?)
    }

    /// The residual stream after the last layer norm, `[tokens, width]`. `seen` is shown each layer's
    /// queries, keys and values.
    fn stream(
        &self,
        batch: &Batch,
        scales: &[Scale],
        mut seen: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let tokens = batch.ids.len();
        let (heads, width) = (self.config.heads, self.config.width);
        let ids = Tensor::from_slice(&batch.ids, tokens, &Device::Cpu)?;
        let positions = Tensor::from_vec(batch.positions(), tokens, &Device::Cpu)?;
        let mut x = (self.variable("wte.weight")?.index_select(&ids, 0)?
            + self.variable("wpe.weight")?.index_select(&positions, 0)?)?;
        for layer in 0..self.config.layers {
            let name = |part: &str| format!("h.{layer}.{part}");
            let qkv = self.linear(&self.norm(&x, &name("ln_1"))?, &name("attn.c_attn"))?;
            seen(layer, &qkv)?;
            let mut z = qkv.apply_op1(Attention {
                heads,
                lengths: batch.lengths.clone(),
            })?;
            for scale in scales.iter().filter(|scale| scale.layer == layer) {
                let mut factors = vec![1f32; width];
                let head_width = width / heads;
                factors[scale.head * head_width..][..head_width].fill(scale.factor);
                z = z.broadcast_mul(&Tensor::from_vec(factors, (1, width), &Device::Cpu)?)?;
            }
            x = (x + self.linear(&z, &name("attn.c_proj"))?)?;
            let inner = self
                .linear(&self.norm(&x, &name("ln_2"))?, &name("mlp.c_fc"))?
                .apply_op1(GeluNew)?;
            x = (x + self.linear(&inner, &name("mlp.c_proj"))?)?;
        }
        self.norm(&x, "ln_f")
    }

    /// The weighted mean loss of predicting `targets`.
    pub(crate) fn loss(
        &self,
        batch: &Batch,
        targets: Vec<u32>,
        weights: Vec<f32>,
    ) -> Result<Tensor> {
        let stream = self.stream(batch, &[], |_, _| Ok(()))?;
        let logits = stream.matmul(&self.variable("wte.weight")?.t()?)?;
        Ok(logits.apply_op1(CrossEntropy {
            targets: Arc::new(targets),
            weights: Arc::new(weights),
        })?)
    }

    /// The logits after the last token of each document, one row each.
    pub(crate) fn last_logits(
        &self,
        documents: &[Vec<u32>],
        scales: &[Scale],
    ) -> Result<Vec<Vec<f32>>> {
        let batch = Batch::new(documents);
        let stream = self.stream(&batch, scales, |_, _| Ok(()))?;
        let mut end = 0;
        let ends: Vec<u32> = batch
            .lengths
            .iter()
            .map(|length| {
                end += *length as u32;
                end - 1
            })
            .collect();
        let ends = Tensor::from_slice(&ends, ends.len(), &Device::Cpu)?;
        let logits = stream
            .index_select(&ends, 0)?
            .matmul(&self.variable("wte.weight")?.t()?)?;
        Ok(logits.to_vec2()?)
    }

    /// The attention patterns of one document: layer, head, then `[length * length]`.
    pub(crate) fn attention(&self, document: &[u32]) -> Result<Vec<Vec<Vec<f32>>>> {
        let batch = Batch::new(&[document.to_vec()]);
        let (heads, width, length) = (self.config.heads, self.config.width, document.len());
        let mut patterns = Vec::new();
        self.stream(&batch, &[], |_, qkv| {
            let layer = with_values(qkv, |qkv| {
                (0..heads)
                    .map(|head| Attention::pattern(qkv, width, heads, head, length))
                    .collect()
            })?;
            patterns.push(layer);
            Ok(())
        })?;
        Ok(patterns)
    }
}
