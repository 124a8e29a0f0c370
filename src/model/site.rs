//! Every named activation of the forward pass: its TransformerLens name, its axes, its place in the order of execution.

use std::fmt;
use std::str::FromStr;

use super::spec::{Mlp, ModelSpec, Positions};

/// A named activation. Ordered as the pass computes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    Embed,
    PosEmbed,
    Block(usize, Part),
    FinalScale,
    FinalNormalized,
    Logits,
}

/// An activation within a block, in order of execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    ResidPre,
    Ln1Scale,
    Ln1Normalized,
    Q,
    K,
    V,
    /// q after rotary.
    RotQ,
    /// k after rotary.
    RotK,
    /// Scaled scores, masked ones −∞.
    Scores,
    Pattern,
    Z,
    /// z W_O of each head, without b_O.
    Result,
    AttnOut,
    ResidMid,
    Ln2Scale,
    Ln2Normalized,
    /// Before the activation function (of the gate, where there is one).
    MlpPre,
    /// What the gate multiplies.
    MlpPreLinear,
    MlpPost,
    MlpOut,
    /// In the last layer this is the final residual, and an edit of it shows here.
    ResidPost,
}

/// An axis of an activation. A leading batch axis of 1 is added where activations are written to files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    Pos,
    Query,
    Key,
    Head,
    KvHead,
    DHead,
    DModel,
    DMlp,
    Vocab,
    One,
}

const PARTS: [(Part, &str); 21] = [
    (Part::ResidPre, "hook_resid_pre"),
    (Part::Ln1Scale, "ln1.hook_scale"),
    (Part::Ln1Normalized, "ln1.hook_normalized"),
    (Part::Q, "attn.hook_q"),
    (Part::K, "attn.hook_k"),
    (Part::V, "attn.hook_v"),
    (Part::RotQ, "attn.hook_rot_q"),
    (Part::RotK, "attn.hook_rot_k"),
    (Part::Scores, "attn.hook_attn_scores"),
    (Part::Pattern, "attn.hook_pattern"),
    (Part::Z, "attn.hook_z"),
    (Part::Result, "attn.hook_result"),
    (Part::AttnOut, "hook_attn_out"),
    (Part::ResidMid, "hook_resid_mid"),
    (Part::Ln2Scale, "ln2.hook_scale"),
    (Part::Ln2Normalized, "ln2.hook_normalized"),
    (Part::MlpPre, "mlp.hook_pre"),
    (Part::MlpPreLinear, "mlp.hook_pre_linear"),
    (Part::MlpPost, "mlp.hook_post"),
    (Part::MlpOut, "hook_mlp_out"),
    (Part::ResidPost, "hook_resid_post"),
];

impl Part {
    fn name(self) -> &'static str {
        PARTS[self as usize].1
    }
}

impl Site {
    /// The axes, outermost first: the one place that defines shapes.
    pub const fn axes(self) -> &'static [Axis] {
        use Axis::{DHead, DMlp, DModel, Head, Key, KvHead, One, Pos, Query, Vocab};
        match self {
            Self::Embed | Self::PosEmbed | Self::FinalNormalized => &[Pos, DModel],
            Self::FinalScale => &[Pos, One],
            Self::Logits => &[Pos, Vocab],
            Self::Block(_, part) => match part {
                Part::ResidPre
                | Part::Ln1Normalized
                | Part::AttnOut
                | Part::ResidMid
                | Part::Ln2Normalized
                | Part::MlpOut
                | Part::ResidPost => &[Pos, DModel],
                Part::Ln1Scale | Part::Ln2Scale => &[Pos, One],
                Part::Q | Part::RotQ | Part::Z => &[Pos, Head, DHead],
                Part::K | Part::V | Part::RotK => &[Pos, KvHead, DHead],
                Part::Scores | Part::Pattern => &[Head, Query, Key],
                Part::Result => &[Pos, Head, DModel],
                Part::MlpPre | Part::MlpPreLinear | Part::MlpPost => &[Pos, DMlp],
            },
        }
    }

    /// The shape in a pass of `n_tokens`, without a batch axis.
    pub fn shape(self, spec: &ModelSpec, n_tokens: usize) -> Vec<usize> {
        self.axes()
            .iter()
            .map(|axis| match axis {
                Axis::Pos | Axis::Query | Axis::Key => n_tokens,
                Axis::Head => spec.n_heads,
                Axis::KvHead => spec.n_kv_heads,
                Axis::DHead => spec.d_head,
                Axis::DModel => spec.d_model,
                Axis::DMlp => spec.d_mlp,
                Axis::Vocab => spec.n_vocab,
                Axis::One => 1,
            })
            .collect()
    }

    /// All sites that a model has, in order of execution.
    pub fn all(spec: &ModelSpec) -> Vec<Self> {
        let rotary = matches!(spec.positions, Positions::Rotary(_));
        let mut sites = vec![Self::Embed];
        if spec.positions == Positions::Learned {
            sites.push(Self::PosEmbed);
        }
        for layer in 0..spec.n_layers {
            sites.extend(
                PARTS
                    .iter()
                    .map(|(part, _)| *part)
                    .filter(|part| match part {
                        Part::RotQ | Part::RotK => rotary,
                        Part::MlpPreLinear => spec.mlp == Mlp::Gated,
                        _ => true,
                    })
                    .map(|part| Self::Block(layer, part)),
            );
        }
        sites.extend([Self::FinalScale, Self::FinalNormalized, Self::Logits]);
        sites
    }

    /// The sites of a model whose names match any of `globs` (`*` and `?`); a glob that matches nothing is an error.
    pub fn matching(spec: &ModelSpec, globs: &[String]) -> Result<Vec<Self>, NoSuchSite> {
        let all = Self::all(spec);
        let mut chosen = std::collections::BTreeSet::new();
        for glob in globs {
            let pattern = wildmatch::WildMatch::new(glob.trim());
            let before = chosen.len();
            let mut known = false;
            for site in &all {
                if pattern.matches(&site.to_string()) {
                    known = true;
                    chosen.insert(*site);
                }
            }
            if !known && chosen.len() == before {
                return Err(NoSuchSite { name: glob.clone() });
            }
        }
        Ok(chosen.into_iter().collect())
    }
}

/// No activation of the model has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` names no activation of this model; names are TransformerLens's, such as blocks.0.attn.hook_pattern, \
     blocks.*.hook_resid_pre, ln_final.hook_scale, logits"
)]
pub struct NoSuchSite {
    pub name: String,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => f.write_str("hook_embed"),
            Self::PosEmbed => f.write_str("hook_pos_embed"),
            Self::Block(layer, part) => write!(f, "blocks.{layer}.{}", part.name()),
            Self::FinalScale => f.write_str("ln_final.hook_scale"),
            Self::FinalNormalized => f.write_str("ln_final.hook_normalized"),
            Self::Logits => f.write_str("logits"),
        }
    }
}

impl FromStr for Site {
    type Err = NoSuchSite;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let block = || {
            let (layer, part) = name.strip_prefix("blocks.")?.split_once('.')?;
            let layer = crate::ids::index(layer)?;
            let (part, _) = PARTS.iter().find(|(_, known)| *known == part)?;
            Some(Self::Block(layer, *part))
        };
        match name {
            "hook_embed" => Ok(Self::Embed),
            "hook_pos_embed" => Ok(Self::PosEmbed),
            "ln_final.hook_scale" => Ok(Self::FinalScale),
            "ln_final.hook_normalized" => Ok(Self::FinalNormalized),
            "logits" => Ok(Self::Logits),
            _ => block().ok_or_else(|| NoSuchSite {
                name: name.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_follow_the_order_of_execution() {
        for (i, (part, _)) in PARTS.iter().enumerate() {
            assert_eq!(*part as usize, i, "the table is in the enum's order");
            let site = Site::Block(3, *part);
            assert_eq!(site.to_string().parse(), Ok(site));
        }
        assert!(Site::Block(0, Part::ResidPost) < Site::Block(1, Part::ResidPre));
        assert!(Site::Block(9, Part::ResidPost) < Site::FinalScale);
        for name in [
            "blocks.1.attn.hook_zz",
            "blocks.x.hook_resid_pre",
            "blocks.+1.hook_resid_pre",
            "",
        ] {
            assert!(name.parse::<Site>().is_err(), "{name}");
        }
    }
}
