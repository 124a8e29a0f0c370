//! From a list of edits to a [`Plan`]: every index checked, every value looked up, before anything runs.
//!
//! An edit is applied or refused with its name and the reason; none is dropped.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::{Means, RunSpec};
use crate::edit::align::Alignment;
use crate::edit::{Edit, Finite, Op, Positions, Target, VectorRef};
use crate::ids::HeadId;
use crate::model::checkpoint::Checkpoint;
use crate::model::plan::{Change, Edge, NewRow, PatternRow, Plan, RowEdit};
use crate::model::site::{Part, Site};
use crate::model::spec::ModelSpec;
use crate::model::transformer::{Kept, Transformer};

/// An edit that cannot be applied, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("edit `{edit}`: {reason}")]
pub struct EditError {
    /// In the canonical spelling.
    pub edit: String,
    pub reason: String,
}

/// The runs that edits take values from.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    pub(super) model: &'a Transformer,
    /// Prompt A's unedited run.
    pub(super) own: &'a Kept,
    /// Prompt B's unedited run.
    pub(super) contrast: Option<&'a Kept>,
    /// What `mean` fills in, where it is taken over a set and not over prompt A.
    pub(super) means: Option<&'a Means>,
    /// What was looked up already: the variants of a sweep ask for the same sites again and again.
    pub(super) known: RefCell<Known>,
    /// Files of vectors that were opened already: the edits of a learned intervention read the same one.
    pub(super) files: RefCell<HashMap<PathBuf, Rc<Checkpoint>>>,
}

/// Values of whole sites.
type Known = HashMap<(Prompt, Site), Rc<[f32]>>;

/// Whose unedited run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Prompt {
    A,
    B,
}

/// Compiles `run.edits` for a model, for passes over `n_positions`: the prompt's tokens, and those that are generated
/// after it. Edits may name positions that no pass has reached yet, up to `run.reach`: they act once one does.
pub(super) fn compile(
    spec: &ModelSpec,
    run: &RunSpec,
    sources: &Sources<'_>,
    n_positions: usize,
) -> Result<Plan, EditError> {
    let mut compiler = Compiler {
        spec,
        run,
        sources,
        n_positions,
        reach: run.reach.max(n_positions),
        alignment: run
            .contrast
            .as_deref()
            .map(|contrast| Alignment::new(&run.ids[..run.n_prompt], contrast)),
        plan: Plan::default(),
    };
    for edit in &run.edits {
        compiler.add(edit).map_err(|reason| refused(edit, reason))?;
    }
    compiler.settle_patterns()?;
    Ok(compiler.plan)
}

fn refused(edit: &Edit, reason: String) -> EditError {
    EditError {
        edit: edit.to_string(),
        reason,
    }
}

struct Compiler<'a> {
    spec: &'a ModelSpec,
    run: &'a RunSpec,
    sources: &'a Sources<'a>,
    n_positions: usize,
    reach: usize,
    alignment: Option<Alignment>,
    plan: Plan,
}

/// A part of an activation: which site, and which columns of its rows.
struct Place {
    site: Site,
    columns: std::ops::Range<usize>,
}

impl Compiler<'_> {
    fn add(&mut self, edit: &Edit) -> Result<(), String> {
        if !edit.target.allows(&edit.op) {
            return Err(format!("this cannot be done to {}", edit.target));
        }
        let positions = self.positions(&edit.at)?;
        let place = self.place(edit.target)?;
        match (edit.target, &edit.op) {
            (Target::Edge { head, query, key }, Op::Scale(factor)) => {
                let edge = self.edge(head, query, key)?;
                // What changes nothing changes no bit.
                if *factor != Finite::ONE {
                    let edges = self.plan.scaled.entry(head.layer).or_default();
                    *edges.entry(edge).or_insert(1.0) *= factor.get() as f32;
                }
                Ok(())
            }
            (Target::Edge { head, query, key }, _) => {
                let edge = self.edge(head, query, key)?;
                let edges = self.plan.knockouts.entry(head.layer).or_default();
                edges.insert(edge);
                Ok(())
            }
            (Target::Head(head), Op::Uniform) => {
                self.make_uniform(head, &positions);
                Ok(())
            }
            (Target::Attention(layer), Op::Uniform) => {
                for head in 0..self.spec.n_heads {
                    self.make_uniform(HeadId::new(layer, head), &positions);
                }
                Ok(())
            }
            (Target::Pattern(head), _) => self.resample_pattern(head, &positions),
            (_, op) => {
                let change = self.change(op, edit.target, &place, &positions)?;
                self.plan.rows.entry(place.site).or_default().push(RowEdit {
                    columns: place.columns,
                    positions,
                    change,
                });
                Ok(())
            }
        }
    }

    fn positions(&self, at: &Positions) -> Result<Vec<usize>, String> {
        match at {
            Positions::All => Ok((0..self.n_positions).collect()),
            Positions::Last => Ok(vec![self.run.last]),
            Positions::At(positions) => match positions.iter().find(|at| **at >= self.reach) {
                Some(position) => Err(format!("position {position} is outside {}", self.text())),
                None => Ok(positions.clone()),
            },
        }
    }

    /// What positions are named of.
    fn text(&self) -> String {
        let what = if self.reach > self.run.n_prompt {
            "the prompt with what is generated after it"
        } else {
            "the prompt"
        };
        format!(
            "{what}, whose {} tokens are 0 to {}",
            self.reach,
            self.reach - 1
        )
    }

    fn place(&self, target: Target) -> Result<Place, String> {
        let spec = self.spec;
        let layer = target.layer();
        let layers = spec.n_layers;
        match target {
            Target::Resid(_) if layer > layers => {
                return Err(format!(
                    "there is no R{layer}: R0 to R{} are the layers' resid_pre, R{layers} the final residual",
                    layers - 1
                ));
            }
            Target::Resid(_) => {}
            _ if layer >= layers => {
                return Err(format!("the model's layers are 0 to {}", layers - 1));
            }
            _ => {}
        }
        let head_columns = |head: usize, count: usize, kind: &str| {
            if head < count {
                Ok(head * spec.d_head..(head + 1) * spec.d_head)
            } else {
                Err(format!("a layer's {kind} are 0 to {}", count - 1))
            }
        };
        let stream = 0..spec.d_model;
        let (site, columns) = match target {
            Target::Head(head) | Target::Edge { head, .. } => (
                Site::Block(layer, Part::Z),
                head_columns(head.head, spec.n_heads, "heads")?,
            ),
            Target::Query(head) => (
                Site::Block(layer, Part::Q),
                head_columns(head.head, spec.n_heads, "heads")?,
            ),
            // Its rows are of keys, not of a head's width.
            Target::Pattern(head) => {
                head_columns(head.head, spec.n_heads, "heads")?;
                (Site::Block(layer, Part::Pattern), 0..0)
            }
            Target::KvHead(head) => (
                Site::Block(layer, Part::V),
                head_columns(head.kv_head, spec.n_kv_heads, "key/value heads")?,
            ),
            Target::Key(head) => (
                Site::Block(layer, Part::K),
                head_columns(head.kv_head, spec.n_kv_heads, "key/value heads")?,
            ),
            Target::Attention(_) => (Site::Block(layer, Part::AttnOut), stream),
            Target::Mlp(_) => (Site::Block(layer, Part::MlpOut), stream),
            Target::Resid(_) if layer == layers => (Site::final_resid(spec), stream),
            Target::Resid(_) => (Site::Block(layer, Part::ResidPre), stream),
        };
        Ok(Place { site, columns })
    }

    /// An edge that the mask has.
    fn edge(&self, head: HeadId, query: usize, key: usize) -> Result<Edge, String> {
        if let Some(position) = [query, key].into_iter().find(|at| *at >= self.reach) {
            return Err(format!("position {position} is outside {}", self.text()));
        }
        let mask = self.spec.masks[head.layer];
        if !mask.sees(query, key) {
            let keys = mask.keys(query, self.reach);
            return Err(format!(
                "query {query} does not see key {key}: this layer's mask shows it keys {} to {}",
                keys.start,
                keys.end - 1
            ));
        }
        Ok(Edge {
            head: head.head,
            query,
            key,
        })
    }

    fn make_uniform(&mut self, head: HeadId, positions: &[usize]) {
        let rows = Arc::make_mut(self.plan.patterns.entry(head.layer).or_default());
        rows.extend(positions.iter().map(|query| {
            let row = PatternRow {
                head: head.head,
                query: *query,
            };
            (row, NewRow::Uniform)
        }));
    }

    /// Rows of the pattern become those of prompt B's run: of each query and of every key that it sees, the partner's.
    fn resample_pattern(&mut self, head: HeadId, positions: &[usize]) -> Result<(), String> {
        let (alignment, kept) = self.contrast()?;
        let n_keys = alignment.len_b;
        let site = Site::Block(head.layer, Part::Pattern);
        let maps = self.sources.of(Prompt::B, kept, site)?;
        let map = &maps[head.head * n_keys * n_keys..][..n_keys * n_keys];
        let mask = self.spec.masks[head.layer];
        for query in positions {
            let partner = self.partner(alignment, *query)?;
            let keys = mask.keys(*query, alignment.len_a);
            let theirs = mask.keys(partner, n_keys);
            let mut weights = vec![0.0; keys.end];
            for key in keys.clone() {
                let of = self.partner(alignment, key)?;
                weights[key] = map[partner * n_keys + of];
            }
            if keys.len() != theirs.len() {
                return Err(format!(
                    "query {query} sees {} keys in prompt A, and its partner {} in prompt B: a row of the pattern needs \
                     a partner for each (prompt A has {} tokens, prompt B {n_keys})",
                    keys.len(),
                    theirs.len(),
                    alignment.len_a,
                ));
            }
            let row = PatternRow {
                head: head.head,
                query: *query,
            };
            let rows = Arc::make_mut(self.plan.patterns.entry(head.layer).or_default());
            rows.insert(row, NewRow::Given(weights.into()));
        }
        Ok(())
    }

    /// New rows override knock-outs; a row must keep a key.
    fn settle_patterns(&mut self) -> Result<(), EditError> {
        let Plan {
            knockouts,
            patterns,
            ..
        } = &mut self.plan;
        for (layer, edges) in knockouts.iter_mut() {
            if let Some(rows) = patterns.get(layer) {
                edges.retain(|edge| {
                    !rows.contains_key(&PatternRow {
                        head: edge.head,
                        query: edge.query,
                    })
                });
            }
            let count = |edges: &BTreeSet<Edge>, of: &Edge| {
                edges
                    .iter()
                    .filter(|edge| (edge.head, edge.query) == (of.head, of.query))
                    .count()
            };
            let n_keys = |edge: &Edge| self.spec.masks[*layer].keys(edge.query, self.reach).len();
            if let Some(edge) = edges.iter().find(|edge| count(edges, edge) >= n_keys(edge)) {
                let last = self.run.edits.iter().rev().find(|edit| {
                    matches!(edit.target, Target::Edge { head, query, .. }
                        if head == HeadId::new(*layer, edge.head) && query == edge.query)
                });
                let reason = format!(
                    "it takes away the last key that query {} of L{layer}H{} sees",
                    edge.query, edge.head
                );
                return Err(match last {
                    Some(edit) => refused(edit, reason),
                    None => EditError {
                        edit: format!("L{layer}H{}", edge.head),
                        reason,
                    },
                });
            }
        }
        knockouts.retain(|_, edges| !edges.is_empty());
        Ok(())
    }

    fn change(
        &self,
        op: &Op,
        target: Target,
        place: &Place,
        positions: &[usize],
    ) -> Result<Change, String> {
        let width = place.columns.len();
        Ok(match op {
            Op::Zero => Change::Fill(vec![0.0; width]),
            Op::ZeroKeepBias => {
                let Target::Head(HeadId { layer, head }) = target else {
                    return Err("only a head's z has a value bias to keep".into());
                };
                Change::Fill(
                    self.sources
                        .model
                        .value_bias(layer, self.spec.kv_head_of(head)),
                )
            }
            Op::Mean => self.mean(place, positions)?,
            Op::Resample => Change::Rows(self.resampled(place, positions)?),
            Op::Scale(factor) => Change::Scale(factor.get() as f32),
            Op::Add { vector, factor } => {
                let factor = factor.get() as f32;
                let values = self.vector(vector, width)?;
                Change::Add(values.into_iter().map(|v| v * factor).collect())
            }
            Op::Mix { vector, share } => {
                let share = share.get() as f32;
                let values = self.vector(vector, width)?;
                Change::Affine {
                    gain: vec![1.0 - share; width],
                    shift: values.into_iter().map(|v| v * share).collect(),
                }
            }
            Op::Affine { gain, shift } => Change::Affine {
                gain: self
                    .vector(gain, width)?
                    .into_iter()
                    .map(|v| 1.0 + v)
                    .collect(),
                shift: self.vector(shift, width)?,
            },
            Op::Uniform | Op::Knockout => return Err("this is no change of rows".into()),
        })
    }

    /// The mean over prompt A's positions in its unedited run, beginning-of-text left out; or over a set's prompts.
    fn mean(&self, place: &Place, positions: &[usize]) -> Result<Change, String> {
        if let Some(means) = self.sources.means {
            let mean = means.of(self.sources.model, place.site)?;
            if !means.is_per_position() {
                return Ok(Change::Fill(mean[place.columns.clone()].to_vec()));
            }
            let width = mean.len() / self.n_positions;
            let of = |at: &usize| mean[at * width..][place.columns.clone()].iter().copied();
            return Ok(Change::Rows(positions.iter().flat_map(of).collect()));
        }
        let own = self.sources.own;
        let values = self.sources.of(Prompt::A, own, place.site)?;
        let rows: Vec<&[f32]> = values
            .chunks_exact(values.len() / own.n_tokens())
            .take(self.run.n_prompt)
            .skip(self.run.bos_count)
            .map(|row| &row[place.columns.clone()])
            .collect();
        if rows.is_empty() {
            return Err(
                "the prompt has no token besides beginning-of-text to take a mean over".into(),
            );
        }
        let mean = (0..place.columns.len()).map(|i| {
            let sum: f64 = rows.iter().map(|row| f64::from(row[i])).sum();
            (sum / rows.len() as f64) as f32
        });
        Ok(Change::Fill(mean.collect()))
    }

    /// Prompt B's values at the partners of `positions`, row after row.
    fn resampled(&self, place: &Place, positions: &[usize]) -> Result<Vec<f32>, String> {
        let (alignment, kept) = self.contrast()?;
        let values = self.sources.of(Prompt::B, kept, place.site)?;
        let row_width = values.len() / kept.n_tokens();
        let mut rows = Vec::with_capacity(positions.len() * place.columns.len());
        for position in positions {
            let partner = self.partner(alignment, *position)?;
            let row = &values[partner * row_width..][..row_width];
            rows.extend_from_slice(&row[place.columns.clone()]);
        }
        Ok(rows)
    }

    fn contrast(&self) -> Result<(Alignment, &Kept), String> {
        self.alignment.zip(self.sources.contrast).ok_or_else(|| {
            format!(
                "resampling takes its values from prompt B, and there is none (prompt A has {} tokens)",
                self.run.n_prompt
            )
        })
    }

    /// The position in prompt B that stands for one in prompt A.
    fn partner(&self, alignment: Alignment, position: usize) -> Result<usize, String> {
        alignment.partner(position).ok_or_else(|| {
            if position >= self.run.n_prompt {
                return format!(
                    "position {position} has no partner in prompt B, for it is generated: name positions of the prompt"
                );
            }
            format!(
                "position {position} has no partner in prompt B: prompt A has {} tokens, prompt B {}, \
                 of which the first {} and the last {} pair",
                alignment.len_a, alignment.len_b, alignment.prefix, alignment.suffix
            )
        })
    }

    fn vector(&self, vector: &VectorRef, width: usize) -> Result<Vec<f32>, String> {
        let VectorRef { file, name } = vector;
        let folder = self.run.folder.as_deref();
        let path = folder.map_or_else(|| file.into(), |folder| folder.join(file));
        let checkpoint = self.sources.file(&path)?;
        read_vector(&checkpoint, name, &path, width)
    }
}

impl Sources<'_> {
    /// An unedited run's values at a site, position after position (of the pattern: head after head).
    fn of(&self, prompt: Prompt, kept: &Kept, site: Site) -> Result<Rc<[f32]>, String> {
        if let Some(values) = self.known.borrow().get(&(prompt, site)) {
            return Ok(Rc::clone(values));
        }
        let values: Rc<[f32]> = self
            .model
            .values_at(kept, site)
            .map_err(|error| format!("the values at {site} could not be computed: {error}"))?
            .into();
        let mut known = self.known.borrow_mut();
        known.insert((prompt, site), Rc::clone(&values));
        Ok(values)
    }

    fn file(&self, path: &Path) -> Result<Rc<Checkpoint>, String> {
        if let Some(known) = self.files.borrow().get(path) {
            return Ok(Rc::clone(known));
        }
        let opened = Checkpoint::open(path).map_err(|error| error.to_string())?;
        let opened = Rc::new(opened);
        let mut files = self.files.borrow_mut();
        files.insert(path.to_owned(), Rc::clone(&opened));
        Ok(opened)
    }
}

/// A vector of a given length from a safetensors file.
fn read_vector(
    checkpoint: &Checkpoint,
    name: &str,
    path: &Path,
    width: usize,
) -> Result<Vec<f32>, String> {
    let Some(info) = checkpoint.info(name) else {
        let names: Vec<&str> = checkpoint.names().take(8).collect();
        return Err(format!(
            "there is no tensor `{name}` in {}, which has {}",
            path.display(),
            names.join(", ")
        ));
    };
    let count: usize = info.shape.iter().product();
    if count != width {
        return Err(format!(
            "`{name}` has {count} values, where the target has {width} a position ({})",
            path.display()
        ));
    }
    let values = checkpoint
        .read_f32(name)
        .map_err(|error| error.to_string())?;
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(format!(
            "value {i} of `{name}` is not finite ({})",
            path.display()
        )),
        None => Ok(values),
    }
}
