//! The circuits of a head in a basis: what the regression lab shows of its own heads (He et al. 2025, arXiv 2503.12734), for
//! the heads of any model.
//!
//! QK = W_Q W_Kᵀ / √d_head and OV = W_V W_O, with the norm's gain before them folded in. In a basis of tokens, rows and columns
//! are embeddings behind that norm, and OV is read by the unembedding behind the final norm's gain, its scale left out.
//! In a basis of singular directions each matrix is read in its own strongest left ones. A diagonal QK attends to what is
//! like the query, a diagonal OV writes what it reads. Rotary positions turn query and key alike where they stand at one
//! place, so QK is the score at distance 0; biases, and norms on q and k, are left out.

#[cfg(test)]
mod tests;

use nalgebra::DMatrix;

use crate::analysis::copying::spectra;
use crate::analysis::field::{Field, Value};
use crate::analysis::texts::prose;
use crate::analysis::{AnalysisError, Cell, Grid, Line, Plot, Report, Scale, Table, check_heads};
use crate::experiment::{Readout, TokenScore};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::circuit::{Gain, HeadWeights};

/// Tokens that are listed as copied.
const COPIED: usize = 8;

/// Tokens whose embeddings are held at a time.
const AT_A_TIME: u32 = 1024;

/// What the matrices are read in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Basis {
    /// The first words of a prose text, through the embedding and the unembedding.
    #[default]
    Tokens,
    /// The strongest left singular directions of each matrix.
    Singular,
}

crate::choose!(Basis);

impl Basis {
    pub const ALL: [Self; 2] = [Self::Tokens, Self::Singular];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Singular => "singular",
        }
    }
}

/// A square matrix of a head, and how near it is to a diagonal one.
#[derive(Clone, Debug, PartialEq)]
pub struct Square {
    pub n: usize,
    /// `[row, column]`: for QK query and key, for OV what is read and what is written.
    pub values: Vec<f32>,
}

impl Square {
    /// ‖diag(M)‖² / ‖M‖²: 1 for a diagonal matrix, about 1/n for a random one, 0 for the zero matrix.
    pub fn diagonal_share(&self) -> f64 {
        ratio(self.diagonal().map(|x| x * x).sum(), self.squared_norm())
    }

    /// tr(M) / (√n ‖M‖): ±1 exactly for a multiple of the identity, near 0 for a random matrix.
    pub fn trace_ratio(&self) -> f64 {
        let norm = (self.n as f64 * self.squared_norm()).sqrt();
        ratio(self.diagonal().sum(), norm)
    }

    fn diagonal(&self) -> impl Iterator<Item = f64> {
        self.values
            .iter()
            .step_by(self.n + 1)
            .map(|x| f64::from(*x))
    }

    fn squared_norm(&self) -> f64 {
        self.values.iter().map(|x| f64::from(*x).powi(2)).sum()
    }

    fn of(matrix: &DMatrix<f64>) -> Self {
        let rows = matrix.row_iter();
        Self {
            n: matrix.nrows(),
            values: rows
                .flat_map(|row| row.iter().map(|x| *x as f32).collect::<Vec<_>>())
                .collect(),
        }
    }
}

/// 0 rather than no number where the denominator vanishes.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// QK and OV of a head in a basis of tokens. Without a language-model head OV is read by the embedding.
pub fn in_tokens(model: &Model, head: HeadId, ids: &[u32]) -> Result<[Square; 2], AnalysisError> {
    let (read, written) = sides(model, head.layer, ids)?;
    let HeadMatrices { q, k, v, o } = matrices(model, head)?;
    let qk = (&read * q) * (&read * k).transpose() * model.spec.score_scale;
    let ov = (&read * v) * (written * o).transpose();
    Ok([Square::of(&qk), Square::of(&ov)])
}

/// Tokens as a layer's heads read them, and as the unembedding reads what heads write: `[token, d_model]` both.
fn sides(
    model: &Model,
    layer: usize,
    ids: &[u32],
) -> Result<(DMatrix<f64>, DMatrix<f64>), AnalysisError> {
    let d = model.spec.d_model;
    let rows = |values: Vec<f32>| {
        DMatrix::from_row_iterator(ids.len(), d, values.into_iter().map(f64::from))
    };
    let mut read = rows(model.embedding(ids)?);
    if let Some(gain) = model.attention_gain(layer) {
        normalise(&mut read, &gain);
    }
    let mut written = rows(match model.unembedding(ids)? {
        none if none.is_empty() => model.embedding(ids)?,
        unembedding => unembedding,
    });
    if let Some(gain) = model.final_gain() {
        fold(&mut written, &gain);
    }
    Ok((read, written))
}

/// QK and OV of a head, each in its own `n` strongest left singular directions, or as many as it has.
pub fn in_singular(model: &Model, head: HeadId, n: usize) -> Result<[Square; 2], AnalysisError> {
    let HeadMatrices {
        mut q,
        mut k,
        mut v,
        o,
    } = matrices(model, head)?;
    if let Some(gain) = model.attention_gain(head.layer) {
        // As rows of stream directions: gain and centring stand between the stream and the weights.
        for matrix in [&mut q, &mut k, &mut v] {
            let mut rows = matrix.transpose();
            fold(&mut rows, &gain);
            *matrix = rows.transpose();
        }
    }
    let qk = singular(&q, &(k * model.spec.score_scale), n)?;
    Ok([qk, singular(&v, &o, n)?])
}

/// A Bᵀ in its left singular directions: rows s_i (v_i · u_j). `a` and `b` are `[d_model, d_head]`.
fn singular(a: &DMatrix<f64>, b: &DMatrix<f64>, n: usize) -> Result<Square, AnalysisError> {
    let (a, b) = (a.clone().qr(), b.clone().qr());
    let core = (a.r() * b.r().transpose()).svd(true, true);
    let (Some(u), Some(v)) = (core.u, core.v_t) else {
        return Err(AnalysisError::needs(
            "the singular directions of a head's weights could not be found: its numbers are not finite",
        ));
    };
    let values = core.singular_values;
    let n = n.min(values.len());
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|i, j| values[*j].total_cmp(&values[*i]));
    let left = a.q() * u.select_columns(&order[..n]);
    let mut right = (b.q() * v.transpose().select_columns(&order[..n])).transpose();
    for (mut row, i) in right.row_iter_mut().zip(&order) {
        row *= values[*i];
    }
    Ok(Square::of(&(right * left)))
}

/// Which heads are shown, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub heads: Vec<HeadId>,
    pub basis: Basis,
    /// Rows of a matrix; of singular directions at most `d_head`.
    pub size: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heads: vec![],
            basis: Basis::Tokens,
            size: 32,
        }
    }
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "heads",
                "Heads whose QK and OV are shown as matrices",
                Value::Heads(&mut self.heads),
            ),
            Field::new(
                "basis",
                "What the matrices are read in: words, or their own singular directions",
                Value::Choice(&mut self.basis),
            ),
            Field::new(
                "directions",
                "Rows of a matrix",
                Value::Count(&mut self.size, 2..=256),
            ),
        ]
    }
}

/// Adds what is asked of heads to a report: a grid for each matrix, and a table of the ratios. Nothing without heads.
pub fn add(model: &Model, settings: &Settings, report: &mut Report) -> Result<(), AnalysisError> {
    let Settings {
        ref heads,
        basis,
        size: n,
    } = *settings;
    if heads.is_empty() {
        return Ok(());
    }
    check_heads(&model.spec, heads)?;
    let ids = match basis {
        Basis::Tokens => words(model, n)?,
        Basis::Singular => vec![],
    };
    let names: Vec<String> = match basis {
        Basis::Tokens => ids.iter().map(|id| model.token_text(*id)).collect(),
        Basis::Singular => (1..=n).map(|i| i.to_string()).collect(),
    };
    let mut rows = Vec::new();
    for head in heads {
        let squares = match basis {
            Basis::Tokens => in_tokens(model, *head, &ids)?,
            Basis::Singular => in_singular(model, *head, n)?,
        };
        let mut row = vec![Cell::from(head.to_string())];
        for (square, of) in squares.into_iter().zip([QK, OV]) {
            row.push(square.diagonal_share().into());
            row.push(square.trace_ratio().into());
            report.grids.push(Grid {
                name: format!("{} of {head}", of.name),
                about: of.about.into(),
                scale: Scale::Signed,
                row_axis: of.rows,
                rows: names[..square.n].to_vec(),
                column_axis: of.columns,
                columns: names[..square.n].to_vec(),
                values: square.values.into_iter().map(Some).collect(),
                texts: vec![],
            });
        }
        rows.push(row);
    }
    let columns = [
        "head",
        "QK diagonal share",
        "QK trace ratio",
        "OV diagonal share",
        "OV trace ratio",
    ];
    report.tables.push(Table {
        name: "circuits".into(),
        columns: columns.map(str::to_owned).into(),
        rows,
    });
    report.plots.extend(spectra_of(model, heads)?);
    report.tables.push(copied(model, heads)?);
    report.note(
        "circuits are of the weights alone, without positions, biases and norms on q and k; a random matrix of n rows has a \
         diagonal share of about 1/n and a trace ratio near 0, a multiple of the identity has 1 and ±1",
    );
    Ok(())
}

/// The eigenvalues of the circuits through the vocabulary: to the right of 0 a head copies, to the left it does the
/// opposite (the copying score is Σ Re λ / Σ |λ|).
fn spectra_of(model: &Model, heads: &[HeadId]) -> Result<Option<Plot>, AnalysisError> {
    let found = spectra(model, heads)?;
    let lines: Vec<Line> = heads
        .iter()
        .zip(found)
        .filter_map(|(head, points)| {
            Some(Line {
                name: head.to_string(),
                points: points?,
                ..Line::default()
            })
        })
        .collect();
    Ok((!lines.is_empty()).then(|| Plot {
        name: "eigenvalues of OV through the vocabulary".into(),
        x_axis: "real part",
        y_axis: "imaginary part",
        is_scatter: true,
        lines,
    }))
}

/// The tokens that each head's OV raises the most when it reads them, and those that it lowers the most.
fn copied(model: &Model, heads: &[HeadId]) -> Result<Table, AnalysisError> {
    let mut rows = Vec::new();
    for head in heads {
        let raised = own_scores(model, *head)?;
        let lowered: Vec<f32> = raised.iter().map(|x| -x).collect();
        let list = |of: &[f32], sign: f32| {
            let top = Readout::new(of).top(COPIED).into_iter();
            let text = |token: TokenScore| {
                format!(
                    "{:?} {:+.2}",
                    model.token_text(token.id),
                    sign * token.logit
                )
            };
            top.map(text).collect::<Vec<_>>().join("  ")
        };
        rows.push(vec![
            Cell::from(head.to_string()),
            Cell::from(list(&raised, 1.0)),
            Cell::from(list(&lowered, -1.0)),
        ]);
    }
    Ok(Table {
        name: "copied tokens".into(),
        columns: ["head", "raises when read", "lowers when read"]
            .map(str::to_owned)
            .into(),
        rows,
    })
}

/// What OV gives of each token of the vocabulary for that token itself: the diagonal of [`in_tokens`] for all.
fn own_scores(model: &Model, head: HeadId) -> Result<Vec<f32>, AnalysisError> {
    let n_vocab = model.spec.n_vocab as u32;
    let mut scores = Vec::with_capacity(n_vocab as usize);
    for first in (0..n_vocab).step_by(AT_A_TIME as usize) {
        let ids: Vec<u32> = (first..n_vocab.min(first + AT_A_TIME)).collect();
        let (read, written) = sides(model, head.layer, &ids)?;
        let HeadMatrices { v, o, .. } = matrices(model, head)?;
        let (read, written) = (read * v, written * o);
        let rows = read.row_iter().zip(written.row_iter());
        scores.extend(rows.map(|(read, written)| read.dot(&written) as f32));
    }
    Ok(scores)
}

/// What a grid of one of the two matrices says.
struct Of {
    name: &'static str,
    about: &'static str,
    rows: &'static str,
    columns: &'static str,
}

const QK: Of = Of {
    name: "QK",
    about: "W_Q W_K / √d_head: the score of a query for a key at the same place",
    rows: "query",
    columns: "key",
};
const OV: Of = Of {
    name: "OV",
    about: "W_V W_O: what is written of what is read",
    rows: "read",
    columns: "written",
};

/// The first `n` different tokens with a letter of the prose text.
fn words(model: &Model, n: usize) -> Result<Vec<u32>, AnalysisError> {
    let ids = prose(model).ok_or_else(|| {
        AnalysisError::needs(
            "a basis of tokens needs a tokenizer, and the model has none: take singular directions",
        )
    })?;
    let mut words: Vec<u32> = Vec::new();
    for id in ids {
        let is_word = || model.token_text(id).chars().any(char::is_alphabetic);
        let is_special = Some(id) == model.bos_id();
        if words.len() < n && !is_special && !words.contains(&id) && is_word() {
            words.push(id);
        }
    }
    Ok(words)
}

/// The matrices of a head, each `[d_model, d_head]`.
struct HeadMatrices {
    q: DMatrix<f64>,
    k: DMatrix<f64>,
    v: DMatrix<f64>,
    o: DMatrix<f64>,
}

fn matrices(model: &Model, head: HeadId) -> Result<HeadMatrices, AnalysisError> {
    let HeadWeights { q, k, v, o } = model.head_weights(head)?;
    let (d_model, d_head) = (model.spec.d_model, model.spec.d_head);
    // Stored [d_head, d_model], row by row: column by column it is the transpose.
    let read = |values: Vec<f32>| {
        DMatrix::from_iterator(d_model, d_head, values.into_iter().map(f64::from))
    };
    let mut o = DMatrix::from_row_iterator(d_model, d_head, o.into_iter().map(f64::from));
    if let [Some(post), _] = model.post_gains(head.layer) {
        for (mut row, gain) in o.row_iter_mut().zip(post.weight) {
            row *= f64::from(gain);
        }
    }
    Ok(HeadMatrices {
        q: read(q),
        k: read(k),
        v: read(v),
        o,
    })
}

/// Each row as the norm gives it.
fn normalise(rows: &mut DMatrix<f64>, gain: &Gain) {
    for mut row in rows.row_iter_mut() {
        if gain.centres {
            let mean = row.mean();
            row.add_scalar_mut(-mean);
        }
        let scale = (row.norm_squared() / row.len() as f64).sqrt();
        if scale > 0.0 {
            row /= scale;
        }
        for (x, weight) in row.iter_mut().zip(&gain.weight) {
            *x *= f64::from(*weight);
        }
        for (x, bias) in row.iter_mut().zip(gain.bias.iter().flatten()) {
            *x += f64::from(*bias);
        }
    }
}

/// Rows that read what a norm gives, as rows that read what it takes, its scale left out.
fn fold(rows: &mut DMatrix<f64>, gain: &Gain) {
    for (mut column, weight) in rows.column_iter_mut().zip(&gain.weight) {
        column *= f64::from(*weight);
    }
    if gain.centres {
        for mut row in rows.row_iter_mut() {
            let mean = row.mean();
            row.add_scalar_mut(-mean);
        }
    }
}
