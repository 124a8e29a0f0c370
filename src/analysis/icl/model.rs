//! Parameters of the one-layer attention model and the circuits they multiply to.
//!
//! The output depends on a head only through `KQ = K^T Q / sqrt(width)` and
//! `OV = O V`, so batches are run on these two products and the chain rule back
//! to the four factors is applied once per step.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Init, Settings};

/// Diagonal of `K` and `+-Q` under [`Init::Opposite`].
const OPPOSITE_SCALE: f32 = 0.1;

/// `K, Q, V [width, width]` and `O [task, width]` of every head, in one flat vector.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) width: usize,
    pub(super) tasks: usize,
    pub(super) params: Vec<f32>,
}

/// The two products of every head, or the gradient with respect to them.
#[derive(Clone)]
pub(super) struct Circuits {
    pub(super) width: usize,
    pub(super) tasks: usize,
    /// `[head, key side, query side]`
    pub(super) kq: Vec<f32>,
    /// `[head, task, token entry]`
    pub(super) ov: Vec<f32>,
}

/// One head's factors.
struct Factors<'a> {
    k: &'a [f32],
    q: &'a [f32],
    v: &'a [f32],
    o: &'a [f32],
}

impl<'a> Factors<'a> {
    fn of(head: &'a [f32], width: usize) -> Self {
        let square = width * width;
        Self {
            k: &head[..square],
            q: &head[square..2 * square],
            v: &head[2 * square..3 * square],
            o: &head[3 * square..],
        }
    }
}

impl Model {
    pub(super) fn new(settings: &Settings, rng: &mut ChaCha8Rng) -> Self {
        let (width, tasks) = (settings.width(), settings.tasks);
        let square = width * width;
        let bound = (width as f32).sqrt().recip();
        let mut params: Vec<f32> = (0..settings.n_heads * head_size(width, tasks))
            .map(|_| rng.random_range(-bound..=bound))
            .collect();
        if settings.init == Init::Opposite {
            for (h, head) in params.chunks_exact_mut(head_size(width, tasks)).enumerate() {
                let sign = if h % 2 == 0 { 1.0 } else { -1.0 };
                let (k, rest) = head.split_at_mut(square);
                set_diagonal(k, width, OPPOSITE_SCALE);
                let (q, rest) = rest.split_at_mut(square);
                set_diagonal(q, width, sign * OPPOSITE_SCALE);
                // Keys and queries alone do not fix the sign of mu, and a head
                // that starts with the wrong one turns its omega round instead.
                let (v, o) = rest.split_at_mut(square);
                for (task, o) in o.chunks_exact_mut(width).enumerate() {
                    for (o, v) in o.iter_mut().zip(v.chunks_exact(width)) {
                        *o = sign * v[settings.d + task];
                    }
                }
            }
        }
        Self {
            width,
            tasks,
            params,
        }
    }

    pub(super) fn circuits(&self) -> Circuits {
        let (width, tasks) = (self.width, self.tasks);
        let scale = (width as f32).sqrt().recip();
        let size = head_size(width, tasks);
        let mut circuits = Circuits::zeros(width, tasks, self.params.len() / size);
        let heads = self.params.chunks_exact(size);
        for (head, (kq, ov)) in heads.zip(circuits.heads_mut()) {
            let Factors { k, q, v, o } = Factors::of(head, width);
            for (k, q) in k.chunks_exact(width).zip(q.chunks_exact(width)) {
                for (row, k) in kq.chunks_exact_mut(width).zip(k) {
                    for (entry, q) in row.iter_mut().zip(q) {
                        *entry += scale * k * q;
                    }
                }
            }
            for (ov, o) in ov.chunks_exact_mut(width).zip(o.chunks_exact(width)) {
                for (v, o) in v.chunks_exact(width).zip(o) {
                    for (entry, v) in ov.iter_mut().zip(v) {
                        *entry += o * v;
                    }
                }
            }
        }
        circuits
    }

    /// Chain rule from the products to the factors; overwrites `out`, which has
    /// the layout of the parameters.
    pub(super) fn pull_back(&self, grad: &Circuits, out: &mut [f32]) {
        let width = self.width;
        let square = width * width;
        let scale = (width as f32).sqrt().recip();
        out.fill(0.0);
        let size = head_size(width, self.tasks);
        let heads = self.params.chunks_exact(size);
        let outs = out.chunks_exact_mut(size);
        for ((head, out), (kq, ov)) in heads.zip(outs).zip(grad.heads()) {
            let Factors { k, q, v, o } = Factors::of(head, width);
            let (dk, rest) = out.split_at_mut(square);
            let (dq, rest) = rest.split_at_mut(square);
            let (dv, d_o) = rest.split_at_mut(square);
            for e in 0..width {
                let row = e * width..(e + 1) * width;
                let (k, q, v) = (&k[row.clone()], &q[row.clone()], &v[row.clone()]);
                let (dk, dq, dv) = (&mut dk[row.clone()], &mut dq[row.clone()], &mut dv[row]);
                for ((dk, k), grad) in dk.iter_mut().zip(k).zip(kq.chunks_exact(width)) {
                    for ((dq, q), grad) in dq.iter_mut().zip(q).zip(grad) {
                        *dk += scale * grad * q;
                        *dq += scale * grad * k;
                    }
                }
                for (task, ov) in ov.chunks_exact(width).enumerate() {
                    let at = task * width + e;
                    for ((dv, v), grad) in dv.iter_mut().zip(v).zip(ov) {
                        *dv += o[at] * grad;
                        d_o[at] += v * grad;
                    }
                }
            }
        }
    }
}

pub(super) fn head_size(width: usize, tasks: usize) -> usize {
    (3 * width + tasks) * width
}

fn set_diagonal(matrix: &mut [f32], width: usize, value: f32) {
    matrix.fill(0.0);
    for entry in matrix.iter_mut().step_by(width + 1) {
        *entry = value;
    }
}

impl Circuits {
    pub(super) fn zeros(width: usize, tasks: usize, n_heads: usize) -> Self {
        Self {
            width,
            tasks,
            kq: vec![0.0; n_heads * width * width],
            ov: vec![0.0; n_heads * tasks * width],
        }
    }

    pub(super) fn n_heads(&self) -> usize {
        self.ov.len() / (self.tasks * self.width)
    }

    /// `(KQ, OV)` of each head.
    pub(super) fn heads(&self) -> impl Iterator<Item = (&[f32], &[f32])> {
        let (width, tasks) = (self.width, self.tasks);
        self.kq
            .chunks_exact(width * width)
            .zip(self.ov.chunks_exact(tasks * width))
    }

    fn heads_mut(&mut self) -> impl Iterator<Item = (&mut [f32], &mut [f32])> {
        let (width, tasks) = (self.width, self.tasks);
        self.kq
            .chunks_exact_mut(width * width)
            .zip(self.ov.chunks_exact_mut(tasks * width))
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::{Stream, rng};
    use super::*;

    #[test]
    fn products_do_not_see_the_sign_of_key_and_query() {
        let settings = Settings::default();
        let mut model = Model::new(&settings, &mut rng(5, Stream::Init));
        let before = model.circuits();
        let square = model.width * model.width;
        let size = head_size(model.width, model.tasks);
        for head in model.params.chunks_exact_mut(size) {
            for value in &mut head[..2 * square] {
                *value = -*value;
            }
        }
        assert_eq!(before.kq, model.circuits().kq);
        assert_eq!(before.ov, model.circuits().ov);
    }

    #[test]
    fn opposite_heads_start_with_omega_and_mu_of_alternating_sign() {
        let settings = Settings {
            init: Init::Opposite,
            ..Settings::default()
        };
        let circuits = Model::new(&settings, &mut rng(5, Stream::Init)).circuits();
        for (h, (kq, ov)) in circuits.heads().enumerate() {
            let sign = if h % 2 == 0 { 1.0 } else { -1.0 };
            assert!(sign * kq[0] > 0.0 && sign * ov[settings.d] > 0.0);
            assert!(kq[1].abs() < 1e-9);
        }
    }
}
