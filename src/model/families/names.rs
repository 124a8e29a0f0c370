//! Which tensors make up a weight, from the names that a family gives to its modules.

use crate::model::binding::{BlockSlot, Slot, Source};

/// The modules of a decoder. Each has a tensor `weight`, and one `bias` where the model has it; several modules of one
/// product follow one another; a module that a family does not have is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) embed: &'static str,
    pub(super) pos_embed: &'static str,
    pub(super) final_norm: &'static str,
    pub(super) unembed: &'static str,
    /// What stands before the number of a layer.
    pub(super) layers: &'static str,
    pub(super) norm1: &'static str,
    pub(super) qkv: &'static [&'static str],
    pub(super) q_norm: &'static str,
    pub(super) k_norm: &'static str,
    pub(super) out: &'static str,
    pub(super) post_norm1: &'static str,
    pub(super) norm2: &'static str,
    /// The gate first, where there is one.
    pub(super) mlp_in: &'static [&'static str],
    pub(super) mlp_out: &'static str,
    pub(super) post_norm2: &'static str,
}

impl Names {
    /// To be filled in.
    pub(super) const NONE: Self = Self {
        embed: "",
        pos_embed: "",
        final_norm: "",
        unembed: "lm_head",
        layers: "layers",
        norm1: "",
        qkv: &[],
        q_norm: "",
        k_norm: "",
        out: "",
        post_norm1: "",
        norm2: "",
        mlp_in: &[],
        mlp_out: "",
        post_norm2: "",
    };

    /// The tensors of a weight as a list; none where the family does not have it.
    pub(super) fn sources(&self, slot: Slot) -> Vec<Source> {
        let Slot::Block(layer, slot) = slot else {
            return self.outside_blocks(slot);
        };
        let (modules, ending) = match slot {
            BlockSlot::Norm1Weight => (&[self.norm1][..], "weight"),
            BlockSlot::Norm1Bias => (&[self.norm1][..], "bias"),
            BlockSlot::Qkv => (self.qkv, "weight"),
            BlockSlot::QkvBias => (self.qkv, "bias"),
            BlockSlot::QNormWeight => (&[self.q_norm][..], "weight"),
            BlockSlot::KNormWeight => (&[self.k_norm][..], "weight"),
            BlockSlot::Out => (&[self.out][..], "weight"),
            BlockSlot::OutBias => (&[self.out][..], "bias"),
            BlockSlot::PostNorm1Weight => (&[self.post_norm1][..], "weight"),
            BlockSlot::Norm2Weight => (&[self.norm2][..], "weight"),
            BlockSlot::Norm2Bias => (&[self.norm2][..], "bias"),
            BlockSlot::MlpIn => (self.mlp_in, "weight"),
            BlockSlot::MlpInBias => (self.mlp_in, "bias"),
            BlockSlot::MlpOut => (&[self.mlp_out][..], "weight"),
            BlockSlot::MlpOutBias => (&[self.mlp_out][..], "bias"),
            BlockSlot::PostNorm2Weight => (&[self.post_norm2][..], "weight"),
        };
        let source =
            |module: &&str| Source::new(format!("{}.{layer}.{module}.{ending}", self.layers));
        let present = modules.iter().filter(|module| !module.is_empty());
        present.map(source).collect()
    }

    fn outside_blocks(&self, slot: Slot) -> Vec<Source> {
        let (module, ending) = match slot {
            Slot::Embed => (self.embed, "weight"),
            Slot::PosEmbed => (self.pos_embed, "weight"),
            Slot::FinalNormWeight => (self.final_norm, "weight"),
            Slot::FinalNormBias => (self.final_norm, "bias"),
            Slot::Unembed => (self.unembed, "weight"),
            Slot::UnembedBias => (self.unembed, "bias"),
            _ => ("", ""),
        };
        if module.is_empty() {
            return vec![];
        }
        vec![Source::new(format!("{module}.{ending}"))]
    }
}
