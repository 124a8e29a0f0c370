//! The number formats in which a file may store a tensor; `quant` turns them into f32.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoredType {
    F64,
    F32,
    F16,
    BF16,
    Q8_0,
    Q6K,
    Q5K,
    Q5_1,
    Q5_0,
    Q4K,
    Q4_1,
    Q4_0,
    Q3K,
    Q2K,
    Iq4Nl,
    Iq4Xs,
    /// A safetensors type of known width that is no weight format (masks, position ids): listed, but not read as f32.
    Other(&'static str),
}

impl StoredType {
    /// What can be read, as messages say it.
    pub(super) const READABLE: &str = "F64, F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, Q3_K, Q2_K, IQ4_NL, IQ4_XS";

    /// The name that the formats themselves use, as in `"stored":"Q4_1"`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q6K => "Q6_K",
            Self::Q5K => "Q5_K",
            Self::Q5_1 => "Q5_1",
            Self::Q5_0 => "Q5_0",
            Self::Q4K => "Q4_K",
            Self::Q4_1 => "Q4_1",
            Self::Q4_0 => "Q4_0",
            Self::Q3K => "Q3_K",
            Self::Q2K => "Q2_K",
            Self::Iq4Nl => "IQ4_NL",
            Self::Iq4Xs => "IQ4_XS",
            Self::Other(name) => name,
        }
    }

    /// `(elements, bytes)` of one block: rows are whole blocks. `None` for a type that is not read.
    pub(super) fn block(self) -> Option<(usize, usize)> {
        Some(match self {
            Self::F64 => (1, 8),
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q6K => (256, 210),
            Self::Q5K => (256, 176),
            Self::Q5_1 => (32, 24),
            Self::Q5_0 => (32, 22),
            Self::Q4K => (256, 144),
            Self::Q4_1 => (32, 20),
            Self::Q4_0 | Self::Iq4Nl => (32, 18),
            Self::Q3K => (256, 110),
            Self::Q2K => (256, 84),
            Self::Iq4Xs => (256, 136),
            Self::Other(_) => return None,
        })
    }

    /// Bytes of so many elements, which are whole blocks; `None` for a type that is not read.
    pub(in crate::model) fn row_bytes(self, n_elements: usize) -> Option<usize> {
        let (block_elements, block_bytes) = self.block()?;
        Some(n_elements / block_elements * block_bytes)
    }

    /// Whether several values share a scale.
    pub(in crate::model) fn is_quantized(self) -> bool {
        self.block().is_some_and(|(elements, _)| elements > 1)
    }

    /// The type with GGML's number `id`, or the name under which it is refused.
    pub(super) fn from_ggml(id: u32) -> Result<Self, String> {
        let refused = match id {
            0 => return Ok(Self::F32),
            1 => return Ok(Self::F16),
            2 => return Ok(Self::Q4_0),
            3 => return Ok(Self::Q4_1),
            6 => return Ok(Self::Q5_0),
            7 => return Ok(Self::Q5_1),
            8 => return Ok(Self::Q8_0),
            10 => return Ok(Self::Q2K),
            11 => return Ok(Self::Q3K),
            12 => return Ok(Self::Q4K),
            13 => return Ok(Self::Q5K),
            14 => return Ok(Self::Q6K),
            20 => return Ok(Self::Iq4Nl),
            23 => return Ok(Self::Iq4Xs),
            28 => return Ok(Self::F64),
            30 => return Ok(Self::BF16),
            9 => "Q8_1",
            15 => "Q8_K",
            16 => "IQ2_XXS",
            17 => "IQ2_XS",
            18 => "IQ3_XXS",
            19 => "IQ1_S",
            21 => "IQ3_S",
            22 => "IQ2_S",
            24 => "I8",
            25 => "I16",
            26 => "I32",
            27 => "I64",
            29 => "IQ1_M",
            34 => "TQ1_0",
            35 => "TQ2_0",
            39 => "MXFP4",
            _ => return Err(format!("GGML type {id}")),
        };
        Err(refused.to_owned())
    }

    /// The safetensors type of that name and its width in bits, or `None` for an unknown name.
    pub(super) fn from_safetensors(name: &str) -> Option<(Self, usize)> {
        Some(match name {
            "F64" => (Self::F64, 64),
            "F32" => (Self::F32, 32),
            "F16" => (Self::F16, 16),
            "BF16" => (Self::BF16, 16),
            "BOOL" => (Self::Other("BOOL"), 8),
            "U8" => (Self::Other("U8"), 8),
            "I8" => (Self::Other("I8"), 8),
            "F8_E4M3" => (Self::Other("F8_E4M3"), 8),
            "F8_E5M2" => (Self::Other("F8_E5M2"), 8),
            "F8_E8M0" => (Self::Other("F8_E8M0"), 8),
            "U16" => (Self::Other("U16"), 16),
            "I16" => (Self::Other("I16"), 16),
            "U32" => (Self::Other("U32"), 32),
            "I32" => (Self::Other("I32"), 32),
            "U64" => (Self::Other("U64"), 64),
            "I64" => (Self::Other("I64"), 64),
            "C64" => (Self::Other("C64"), 64),
            "F4" => (Self::Other("F4"), 4),
            "F6_E2M3" => (Self::Other("F6_E2M3"), 6),
            "F6_E3M2" => (Self::Other("F6_E3M2"), 6),
            _ => return None,
        })
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
