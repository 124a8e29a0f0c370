//! The method's attention: from the window on, every query of every head reads its selected chunks, which close up. They
//! get the positions from 0 on in their order, and the query (k − 1) · c + i mod c, as the released code counts them.
//! Before the window, and in layers whose mask has a window of its own, attention is the model's.

use rayon::prelude::*;

use super::Sizes;
use super::rows::Rows;
use super::select::{By, Choice, choose, chosen};
use crate::experiment::attend::{Attend, Read};
use crate::model::spec::ModelSpec;

/// Passes whose attention reads chunks.
pub(super) struct Chunked<'a> {
    spec: &'a ModelSpec,
    sizes: Sizes,
    by: By,
    /// The query whose choices are kept.
    query: usize,
    /// Its choices in the newest pass: `[layer · head][chunk]`, empty where the layer attends plainly.
    pub(super) choices: Vec<Vec<Choice>>,
    /// Hears the finished layers of all passes, and may stop them.
    go_on: &'a mut dyn FnMut(usize) -> bool,
    n_layers: usize,
}

impl<'a> Chunked<'a> {
    pub(super) fn new(
        spec: &'a ModelSpec,
        (sizes, by): (Sizes, By),
        query: usize,
        go_on: &'a mut dyn FnMut(usize) -> bool,
    ) -> Self {
        Self {
            spec,
            sizes,
            by,
            query,
            choices: vec![],
            go_on,
            n_layers: 0,
        }
    }
}

impl Attend for Chunked<'_> {
    fn z(&mut self, read: &Read) -> Option<Vec<f32>> {
        if !(self.go_on)(self.n_layers) {
            return None;
        }
        self.n_layers += 1;
        let Self {
            spec, sizes, by, ..
        } = *self;
        let Sizes { chunk, window } = sizes;
        let (n_heads, d_head) = (spec.n_heads, spec.d_head);
        let width = n_heads * d_head;
        let n = read.q.len() / width;
        let is_plain = spec.masks[read.layer].has_window();
        let plain_until = if is_plain { n } else { window.min(n) };
        let rows = Rows::new(
            spec,
            read.layer,
            sizes,
            (read.q.clone(), read.k.clone(), &read.v),
        );
        let with_scores = plain_until < n && by == By::Scores;
        let n_full = if with_scores { (n - 1) / chunk } else { 0 };
        let representations = rows.representations(n_full);
        let choices = |head: usize, query: usize| {
            let scores = match by {
                By::Scores => rows.scores(head, query, &representations[head]),
                By::Nearness => (0..query / chunk).map(|chunk| chunk as f32).collect(),
            };
            choose(&scores, sizes, query)
        };
        let mut z = vec![0.0; n * width];
        let of_chunk = |(i, z): (usize, &mut [f32])| {
            for head in 0..n_heads {
                for (j, z) in z.chunks_exact_mut(width).enumerate() {
                    let query = i * chunk + j;
                    let keys = if query < plain_until {
                        rows.plain(query)
                    } else {
                        rows.in_line(query, &chosen(&choices(head, query)))
                    };
                    rows.read(head, query, &keys, &mut z[head * d_head..][..d_head]);
                }
            }
        };
        z.par_chunks_mut(chunk * width)
            .enumerate()
            .for_each(of_chunk);
        if read.layer == 0 {
            self.choices.clear();
        }
        self.choices.extend((0..n_heads).map(|head| {
            if is_plain {
                vec![]
            } else {
                choices(head, self.query)
            }
        }));
        Some(z)
    }
}
