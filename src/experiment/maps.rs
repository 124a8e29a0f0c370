//! Attention maps of a layer as plain values: what the window draws and the exports write.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::mask::Mask;
use crate::model::scored::Scored;

/// Maps that were made because somebody looks at them stay, the newest ones within so many bytes a layer.
const STAY: usize = 512 << 20;

/// What one layer of a run leaves for looking at.
#[derive(Debug)]
pub struct LayerMaps {
    pub layer: usize,
    /// Which cells of the patterns a query sees.
    pub mask: Mask,
    pub patterns: Patterns,
    /// ‖v_j‖ as each query head reads it, `[head, key]`.
    pub value_norms: Arc<[f32]>,
}

/// Attention patterns of one layer, `[head, query, key]`: kept, or (where those of all layers would fill the memory)
/// made from q and k where they are looked at. The values are the run's own either way.
#[derive(Debug)]
pub struct Patterns {
    n_heads: usize,
    n_tokens: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Kept(Vec<f32>),
    OnDemand {
        from: Scored,
        /// Newest last.
        made: Mutex<Vec<(usize, Arc<[f32]>)>>,
    },
}

/// The map of one head, `[query, key]`.
#[derive(Clone, Debug)]
pub enum HeadMap<'a> {
    Kept(&'a [f32]),
    Made(Arc<[f32]>),
}

impl Deref for HeadMap<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Kept(values) => values,
            Self::Made(values) => values,
        }
    }
}

impl Patterns {
    /// `values` is `[head, query, key]`, row-major.
    pub fn kept(n_heads: usize, n_tokens: usize, values: Vec<f32>) -> Self {
        assert_eq!(
            values.len(),
            n_heads * n_tokens * n_tokens,
            "[head, query, key]"
        );
        Self {
            n_heads,
            n_tokens,
            values: Values::Kept(values),
        }
    }

    pub fn on_demand(from: Scored) -> Self {
        Self {
            n_heads: from.n_heads(),
            n_tokens: from.n_tokens(),
            values: Values::OnDemand {
                from,
                made: Mutex::default(),
            },
        }
    }

    pub fn n_heads(&self) -> usize {
        self.n_heads
    }

    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// What these patterns take in memory now.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::Kept(values) => size_of_val(values.as_slice()),
            Values::OnDemand { from, made } => {
                let made = made.lock().unwrap_or_else(PoisonError::into_inner);
                let maps: usize = made.iter().map(|(_, map)| size_of_val(&**map)).sum();
                from.bytes() + maps
            }
        }
    }

    /// A[query, key] of a head. For single cells: of many, take the head's [map](Self::head).
    pub fn value(&self, head: usize, query: usize, key: usize) -> f32 {
        match &self.values {
            Values::Kept(values) => values[(head * self.n_tokens + query) * self.n_tokens + key],
            Values::OnDemand { from, .. } => from.row(head, query)[key],
        }
    }

    /// The map of one head. Where it has to be made, it stays for those who look at it next.
    pub fn head(&self, head: usize) -> HeadMap<'_> {
        let size = self.n_tokens * self.n_tokens;
        match &self.values {
            Values::Kept(values) => HeadMap::Kept(&values[head * size..(head + 1) * size]),
            Values::OnDemand { from, made } => {
                let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
                let map = match made.iter().position(|(known, _)| *known == head) {
                    Some(known) => made.remove(known).1,
                    None => from.head(head).into(),
                };
                let room = (STAY / size_of_val(&*map).max(1)).saturating_sub(1);
                let too_many = made.len().saturating_sub(room);
                made.drain(..too_many);
                made.push((head, Arc::clone(&map)));
                HeadMap::Made(map)
            }
        }
    }

    /// The map of one head for a single look: it does not stay.
    pub fn glance(&self, head: usize) -> HeadMap<'_> {
        match &self.values {
            Values::Kept(_) => self.head(head),
            Values::OnDemand { from, .. } => HeadMap::Made(from.head(head).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_the_same_as_its_cells() {
        let values: Vec<f32> = (0..2 * 9).map(|i| i as f32 / 17.0).collect();
        let patterns = Patterns::kept(2, 3, values);
        for (i, cell) in patterns.head(1).iter().enumerate() {
            assert_eq!(cell.to_bits(), patterns.value(1, i / 3, i % 3).to_bits());
        }
        assert_eq!(patterns.bytes(), 2 * 9 * 4);
    }
}
