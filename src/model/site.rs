//! Every named activation of the forward pass: its TransformerLens name, its axes, its place in the order of execution.

use std::fmt;
use std::str::FromStr;

use super::spec::{BlockOrder, Head, Mlp, ModelSpec, Placement, Positions};

/// A named activation. Ordered as the pass computes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    Embed,
    PosEmbed,
    TypeEmbed,
    EmbedScale,
    EmbedNormalized,
    Block(usize, Part),
    FinalScale,
    FinalNormalized,
    /// Of a masked token's head: before and after its activation, then its norm.
    HeadPre,
    HeadPost,
    HeadScale,
    HeadNormalized,
    Logits,
}

/// Names of the sites outside the blocks.
const OUTSIDE: [(Site, &str); 12] = [
    (Site::Embed, "hook_embed"),
    (Site::PosEmbed, "hook_pos_embed"),
    (Site::TypeEmbed, "hook_token_type_embed"),
    (Site::EmbedScale, "embed.ln.hook_scale"),
    (Site::EmbedNormalized, "embed.ln.hook_normalized"),
    (Site::FinalScale, "ln_final.hook_scale"),
    (Site::FinalNormalized, "ln_final.hook_normalized"),
    (Site::HeadPre, "mlm_head.hook_pre"),
    (Site::HeadPost, "mlm_head.hook_post"),
    (Site::HeadScale, "mlm_head.ln.hook_scale"),
    (Site::HeadNormalized, "mlm_head.ln.hook_normalized"),
    (Site::Logits, "logits"),
];

/// An activation within a block, in order of execution (where norms stand on the stream, `Ln1` follows `ResidMid` and
/// `Ln2` follows `ResidPost`).
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
    /// Of a norm on attention's output.
    Ln1PostScale,
    Ln1PostNormalized,
    /// What is added to the stream.
    AttnOut,
    ResidMid,
    Ln2Scale,
    Ln2Normalized,
    /// Before the activation function (of the gate, where there is one).
    MlpPre,
    /// What the gate multiplies.
    MlpPreLinear,
    MlpPost,
    /// Of a norm on the MLP's output.
    Ln2PostScale,
    Ln2PostNormalized,
    /// What is added to the stream.
    MlpOut,
    /// In the last layer this is the final residual, and an edit of it shows here.
    ResidPost,
    /// Where norms stand on the stream: what the next layer reads. In the last layer this is the final residual.
    NormalizedResidPost,
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

const PARTS: [(Part, &str); 26] = [
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
    (Part::Ln1PostScale, "ln1_post.hook_scale"),
    (Part::Ln1PostNormalized, "ln1_post.hook_normalized"),
    (Part::AttnOut, "hook_attn_out"),
    (Part::ResidMid, "hook_resid_mid"),
    (Part::Ln2Scale, "ln2.hook_scale"),
    (Part::Ln2Normalized, "ln2.hook_normalized"),
    (Part::MlpPre, "mlp.hook_pre"),
    (Part::MlpPreLinear, "mlp.hook_pre_linear"),
    (Part::MlpPost, "mlp.hook_post"),
    (Part::Ln2PostScale, "ln2_post.hook_scale"),
    (Part::Ln2PostNormalized, "ln2_post.hook_normalized"),
    (Part::MlpOut, "hook_mlp_out"),
    (Part::ResidPost, "hook_resid_post"),
    (Part::NormalizedResidPost, "hook_normalized_resid_post"),
];

impl Part {
    /// Where q and k of a layer are as they are scored.
    pub fn scored(spec: &ModelSpec, layer: usize) -> [Self; 2] {
        match spec.rotary(layer) {
            Some(_) => [Self::RotQ, Self::RotK],
            None => [Self::Q, Self::K],
        }
    }

    fn name(self) -> &'static str {
        PARTS[self as usize].1
    }
}

impl Site {
    /// The axes, outermost first: the one place that defines shapes.
    pub const fn axes(self) -> &'static [Axis] {
        use Axis::{DHead, DMlp, DModel, Head, Key, KvHead, One, Pos, Query, Vocab};
        match self {
            Self::Embed
            | Self::PosEmbed
            | Self::TypeEmbed
            | Self::EmbedNormalized
            | Self::FinalNormalized
            | Self::HeadPre
            | Self::HeadPost
            | Self::HeadNormalized => &[Pos, DModel],
            Self::EmbedScale | Self::FinalScale | Self::HeadScale => &[Pos, One],
            Self::Logits => &[Pos, Vocab],
            Self::Block(_, part) => match part {
                Part::ResidPre
                | Part::Ln1Normalized
                | Part::Ln1PostNormalized
                | Part::AttnOut
                | Part::ResidMid
                | Part::Ln2Normalized
                | Part::Ln2PostNormalized
                | Part::MlpOut
                | Part::ResidPost
                | Part::NormalizedResidPost => &[Pos, DModel],
                Part::Ln1Scale | Part::Ln2Scale | Part::Ln1PostScale | Part::Ln2PostScale => {
                    &[Pos, One]
                }
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
        let outside = OUTSIDE.iter().map(|(site, _)| *site);
        let blocks = (0..spec.n_layers)
            .flat_map(|layer| PARTS.iter().map(move |(part, _)| Self::Block(layer, *part)));
        let mut sites: Vec<Self> = outside
            .chain(blocks)
            .filter(|site| site.is_in(spec))
            .collect();
        sites.sort_unstable();
        sites
    }

    /// Whether a model has this activation.
    pub fn is_in(self, spec: &ModelSpec) -> bool {
        let masked = matches!(spec.head, Head::MaskedToken { .. });
        match self {
            Self::Embed => true,
            Self::PosEmbed => spec.positions == Positions::Learned,
            Self::TypeEmbed => spec.type_embed,
            Self::EmbedScale | Self::EmbedNormalized => spec.embed_norm,
            Self::FinalScale | Self::FinalNormalized => spec.has_final_norm(),
            Self::HeadPre | Self::HeadPost | Self::HeadScale | Self::HeadNormalized => masked,
            Self::Logits => spec.head != Head::None,
            Self::Block(layer, part) => {
                layer < spec.n_layers
                    && match part {
                        Part::RotQ | Part::RotK => spec.rotary(layer).is_some(),
                        Part::Ln1Scale | Part::Ln1Normalized => spec.has_first_norm(layer),
                        Part::Ln2Scale | Part::Ln2Normalized => spec.has_second_norm(),
                        Part::ResidMid => spec.order == BlockOrder::Sequential,
                        Part::MlpPreLinear => spec.mlp == Mlp::Gated,
                        Part::Ln1PostScale
                        | Part::Ln1PostNormalized
                        | Part::Ln2PostScale
                        | Part::Ln2PostNormalized => spec.placement == Placement::Sandwich,
                        Part::NormalizedResidPost => spec.placement == Placement::Post,
                        _ => true,
                    }
            }
        }
    }

    /// The final residual: what the logits are read from.
    pub fn final_resid(spec: &ModelSpec) -> Self {
        let part = match spec.placement {
            Placement::Post => Part::NormalizedResidPost,
            Placement::Pre | Placement::Sandwich => Part::ResidPost,
        };
        Self::Block(spec.n_layers - 1, part)
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
        if let Self::Block(layer, part) = self {
            return write!(f, "blocks.{layer}.{}", part.name());
        }
        let named = OUTSIDE.iter().find(|(site, _)| site == self);
        f.write_str(named.map_or("", |(_, name)| name))
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
        let outside = OUTSIDE.iter().find(|(_, known)| *known == name);
        outside
            .map(|(site, _)| *site)
            .or_else(block)
            .ok_or_else(|| NoSuchSite {
                name: name.to_owned(),
            })
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
        for (site, name) in OUTSIDE {
            assert_eq!(site.to_string(), name);
            assert_eq!(name.parse(), Ok(site));
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
