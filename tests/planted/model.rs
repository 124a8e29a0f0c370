//! Transformers whose weights are set by hand: a GPT-2 on disk, of which each head is either planted or noise.
//!
//! The stream is cut into spaces that do not overlap, so that what a head reads and writes can be said in words. Tokens and
//! positions are one-hot. Two coordinates of every row hold a large constant and its opposite, and some take away what a
//! write adds to the row's sum: so LayerNorm does next to nothing, and logits are what heads write to the output space. What
//! is read of a value is read against a coordinate that holds nothing, so that its centring is exact in the weights too.

use std::collections::BTreeMap;
use std::sync::Arc;

use headscope::ids::HeadId;
use headscope::model::Model;
use headscope::model::load::{Unreported, open};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::head::{Head, Space};

/// Size of the weights of heads that are not planted.
pub(crate) const NOISE: f32 = 0.01;

/// Coordinates of a head beyond those that a token and a position take.
const SPARE: usize = 8;

/// Coordinates that share what keeps a row's sum: a power of two, so that the shares are exact.
const REST: usize = 64;

/// A model to be written.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    words: Vec<&'static str>,
    n_ctx: usize,
    shape: (usize, usize),
    d_head: usize,
    /// Coordinates of the stream that have a use.
    used: usize,
    pub(crate) token: Space,
    pub(crate) position: Space,
    /// Read by the unembedding as tokens are written by the embedding.
    pub(crate) out: Space,
    /// 1 at the first position.
    pub(crate) first: Space,
    /// A constant, its opposite, and nothing.
    ballast: [Space; 3],
    /// What keeps the sum at 0.
    rest: Space,
    /// Further coordinates of tokens.
    marks: Vec<(u32, Space, f32)>,
    heads: BTreeMap<HeadId, Head>,
    /// Where the first layer's MLP writes what the token is.
    mlp: Option<Space>,
    removed: Vec<HeadId>,
}

impl Plan {
    /// A model of `(layers, heads)` that has a token for each word, and room for `n_ctx` of them. Other words are `[UNK]`,
    /// where that is one of them.
    pub(crate) fn new(words: Vec<&'static str>, n_ctx: usize, shape: (usize, usize)) -> Self {
        let n_token = words.len();
        let mut plan = Self {
            words,
            n_ctx,
            shape,
            d_head: n_token + n_ctx + SPARE,
            used: 0,
            token: Space::NOWHERE,
            position: Space::NOWHERE,
            out: Space::NOWHERE,
            first: Space::NOWHERE,
            ballast: [Space::NOWHERE; 3],
            rest: Space::NOWHERE,
            marks: vec![],
            heads: BTreeMap::new(),
            mlp: None,
            removed: vec![],
        };
        plan.token = plan.space(n_token);
        plan.position = plan.space(n_ctx);
        plan.out = plan.space(n_token);
        plan.first = plan.space(1);
        plan.ballast = [(); 3].map(|()| plan.space(1));
        plan.rest = plan.space(REST);
        plan
    }

    /// Room for something new.
    pub(crate) fn space(&mut self, len: usize) -> Space {
        let start = self.used;
        self.used += len;
        assert!(self.used <= self.d_model(), "the stream is full");
        Space { start, len }
    }

    /// Room for a token.
    pub(crate) fn token_space(&mut self) -> Space {
        self.space(self.token.len)
    }

    /// A coordinate that is 1 in the embedding of some words.
    pub(crate) fn mark(&mut self, words: &[&str]) -> Space {
        let mark = self.space(1);
        for word in words {
            self.marks.push((self.id(word), mark, 1.0));
        }
        mark
    }

    pub(crate) fn plant(&mut self, head: &str, what: Head) {
        assert!(what.n_scored <= self.d_head && what.n_moved <= self.d_head);
        let known = self.heads.insert(head.parse().unwrap(), what);
        assert!(known.is_none(), "{head} is planted twice");
    }

    /// The first layer's MLP writes the token once more.
    pub(crate) fn token_by_mlp(&mut self) -> Space {
        let space = self.token_space();
        self.mlp = Some(space);
        space
    }

    /// The same with all weights of some heads 0.
    pub(crate) fn without(&self, heads: &[&str]) -> Self {
        let mut plan = self.clone();
        for head in heads {
            let head: HeadId = head.parse().unwrap();
            assert!(plan.heads.remove(&head).is_some(), "{head} is not planted");
            plan.removed.push(head);
        }
        plan
    }

    /// The same with all weights of all planted heads 0.
    pub(crate) fn without_any(&self) -> Self {
        let planted: Vec<String> = self.heads.keys().map(HeadId::to_string).collect();
        let planted: Vec<&str> = planted.iter().map(String::as_str).collect();
        self.without(&planted)
    }

    pub(crate) fn id(&self, word: &str) -> u32 {
        let at = self.words.iter().position(|known| *known == word);
        at.unwrap_or_else(|| panic!("no word {word}")) as u32
    }

    /// Words with spaces between them, as tokens.
    pub(crate) fn ids(&self, text: &str) -> Vec<u32> {
        text.split_whitespace().map(|word| self.id(word)).collect()
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = &'static str> {
        self.words.iter().copied()
    }

    fn d_model(&self) -> usize {
        self.shape.1 * self.d_head
    }

    /// Writes the files and opens them.
    pub(crate) fn open(&self) -> Arc<Model> {
        let (n_layers, n_heads) = self.shape;
        let d = self.d_model();
        let config = json!({
            "model_type": "gpt2",
            "n_layer": n_layers,
            "n_head": n_heads,
            "n_embd": d,
            "n_inner": self.n_inner(),
            "n_positions": self.n_ctx,
            "vocab_size": self.words.len(),
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": false,
            "bos_token_id": null,
        });
        let words = self.words.iter().enumerate();
        let vocab: BTreeMap<&str, usize> = words.map(|(i, word)| (*word, i)).collect();
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [],
            "normalizer": null,
            "pre_tokenizer": { "type": "Whitespace" },
            "post_processor": null,
            "decoder": null,
            "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]" },
        });
        let mut tensors: Vec<Tensor> = vec![
            (
                "wte.weight".into(),
                vec![self.words.len(), d],
                self.embedding(),
            ),
            ("wpe.weight".into(), vec![self.n_ctx, d], self.positions()),
            (
                "lm_head.weight".into(),
                vec![self.words.len(), d],
                self.unembedding(),
            ),
            ("ln_f.weight".into(), vec![d], vec![1.0; d]),
            ("ln_f.bias".into(), vec![d], vec![0.0; d]),
        ];
        for layer in 0..n_layers {
            let of_block = self.block(layer);
            tensors.extend(
                of_block
                    .into_iter()
                    .map(|(name, shape, values)| (format!("h.{layer}.{name}"), shape, values)),
            );
        }
        opened(&config, Some(&tokenizer), &tensors)
    }

    fn embedding(&self) -> Vec<f32> {
        let d = self.d_model();
        let mut rows = vec![0.0; self.words.len() * d];
        for (id, row) in rows.chunks_exact_mut(d).enumerate() {
            row[self.token.start + id] = 1.0;
            for (_, mark, value) in self.marks.iter().filter(|(of, ..)| *of as usize == id) {
                row[mark.start] = *value;
            }
            // The variance of the row is then 1, and what else is in it hardly matters.
            let size = (d as f32 / 2.0).sqrt();
            let [plus, minus, ..] = self.ballast;
            (row[plus.start], row[minus.start]) = (size, -size);
            self.balance(row);
        }
        rows
    }

    /// Takes away the sum of a row whose rest is still 0, so that centring finds nothing.
    fn balance(&self, row: &mut [f32]) {
        let share = -row.iter().sum::<f32>() / REST as f32;
        row[self.rest.start..][..REST].fill(share);
    }

    fn positions(&self) -> Vec<f32> {
        let d = self.d_model();
        let mut rows = vec![0.0; self.n_ctx * d];
        for (i, row) in rows.chunks_exact_mut(d).enumerate() {
            row[self.position.start + i] = 1.0;
            row[self.first.start] = if i == 0 { 1.0 } else { 0.0 };
            self.balance(row);
        }
        rows
    }

    fn unembedding(&self) -> Vec<f32> {
        let d = self.d_model();
        let mut rows = vec![0.0; self.words.len() * d];
        for (id, row) in rows.chunks_exact_mut(d).enumerate() {
            row[self.out.start + id] = 1.0;
        }
        rows
    }

    fn n_inner(&self) -> usize {
        if self.mlp.is_some() {
            self.token.len
        } else {
            1
        }
    }

    /// The tensors of a layer; products are stored `[in, out]`.
    fn block(&self, layer: usize) -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
        let (d, d_head) = (self.d_model(), self.d_head);
        let mut qkv = vec![0.0; d * 3 * d];
        let mut qkv_bias = vec![0.0; 3 * d];
        let mut out = vec![0.0; d * d];
        for head in 0..self.shape.1 {
            let id = HeadId::new(layer, head);
            let from = head * d_head;
            if let Some(planted) = self.heads.get(&id) {
                let scale = (d_head as f32).sqrt();
                for (part, entries, scale) in [
                    (0, &planted.q, scale),
                    (1, &planted.k, 1.0),
                    (2, &planted.v, 1.0),
                ] {
                    for (row, at, value) in entries {
                        qkv[at * 3 * d + part * d + from + row] = scale * value;
                    }
                }
                let [.., nothing] = self.ballast;
                for (row, _, value) in &planted.v {
                    qkv[nothing.start * 3 * d + 2 * d + from + row] = -value;
                }
                for (row, value) in &planted.q_bias {
                    qkv_bias[from + row] = scale * value;
                }
                for (row, at, value) in &planted.o {
                    out[(from + row) * d + at] = *value;
                }
                for row in out[from * d..(from + d_head) * d].chunks_exact_mut(d) {
                    self.balance(row);
                }
            } else if !self.removed.contains(&id) {
                let mut rng = ChaCha8Rng::seed_from_u64((layer * self.shape.1 + head) as u64);
                let mut noise = || rng.random_range(-NOISE..NOISE);
                for (at, row) in qkv.chunks_exact_mut(3 * d).enumerate() {
                    // The ballast is far larger than all that tells tokens apart.
                    if self.ballast.iter().all(|ballast| ballast.start != at) {
                        for part in 0..3 {
                            row[part * d + from..][..d_head].fill_with(&mut noise);
                        }
                    }
                }
                for (i, x) in out[from * d..(from + d_head) * d].iter_mut().enumerate() {
                    if i % d != self.ballast[2].start {
                        *x = noise();
                    }
                }
            }
        }
        let n_inner = self.n_inner();
        let (mut mlp_in, mut mlp_out) = (vec![0.0; d * n_inner], vec![0.0; n_inner * d]);
        if let (0, Some(to)) = (layer, self.mlp) {
            // GELU is 0 at 0, and the identity far above.
            const FAR: f32 = 8.0;
            for i in 0..n_inner {
                mlp_in[(self.token.start + i) * n_inner + i] = FAR;
                mlp_out[i * d + to.start + i] = 1.0 / FAR;
                self.balance(&mut mlp_out[i * d..(i + 1) * d]);
            }
        }
        vec![
            ("ln_1.weight", vec![d], vec![1.0; d]),
            ("ln_1.bias", vec![d], vec![0.0; d]),
            ("attn.c_attn.weight", vec![d, 3 * d], qkv),
            ("attn.c_attn.bias", vec![3 * d], qkv_bias),
            ("attn.c_proj.weight", vec![d, d], out),
            ("attn.c_proj.bias", vec![d], vec![0.0; d]),
            ("ln_2.weight", vec![d], vec![1.0; d]),
            ("ln_2.bias", vec![d], vec![0.0; d]),
            ("mlp.c_fc.weight", vec![d, n_inner], mlp_in),
            ("mlp.c_fc.bias", vec![n_inner], vec![0.0; n_inner]),
            ("mlp.c_proj.weight", vec![n_inner, d], mlp_out),
            ("mlp.c_proj.bias", vec![d], vec![0.0; d]),
        ]
    }
}

/// A name, a shape and values.
pub(crate) type Tensor = (String, Vec<usize>, Vec<f32>);

/// Writes a model's files into a folder of their own, and opens them.
pub(crate) fn opened(config: &Value, tokenizer: Option<&Value>, tensors: &[Tensor]) -> Arc<Model> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("config.json"), config.to_string()).unwrap();
    if let Some(tokenizer) = tokenizer {
        std::fs::write(file("tokenizer.json"), tokenizer.to_string()).unwrap();
    }
    let views = tensors.iter().map(|(name, shape, values)| {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    safetensors::serialize_to_file(views, None, &file("model.safetensors")).unwrap();
    let path = folder.path().to_str().unwrap();
    Arc::new(open(path, &mut Unreported).unwrap())
}
