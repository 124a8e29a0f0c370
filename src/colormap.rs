//! Colour maps and scales: numbers to colours, the same for the window, figures and the GPU.

use std::sync::OnceLock;

use colorgrad::Gradient as _;

/// What may not be attended to.
pub const MASKED: [u8; 3] = [200, 200, 200];

/// A published colour map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Colormap {
    Viridis,
    Cividis,
    Blues,
    RdBu,
    PuOr,
}

impl Colormap {
    pub const ALL: [Self; 5] = [
        Self::Viridis,
        Self::Cividis,
        Self::Blues,
        Self::RdBu,
        Self::PuOr,
    ];

    pub fn is_diverging(self) -> bool {
        matches!(self, Self::RdBu | Self::PuOr)
    }

    /// 256 opaque colours from the lowest to the highest value.
    pub fn table(self) -> &'static [[u8; 4]; 256] {
        static TABLES: [OnceLock<[[u8; 4]; 256]>; 5] = [const { OnceLock::new() }; 5];
        TABLES[self as usize].get_or_init(|| {
            std::array::from_fn(|i| {
                let t = i as f32 / 255.0;
                match self {
                    Self::Viridis => colorgrad::preset::viridis().at(t).to_rgba8(),
                    Self::Cividis => colorgrad::preset::cividis().at(t).to_rgba8(),
                    Self::Blues => colorgrad::preset::blues().at(t).to_rgba8(),
                    Self::RdBu => colorgrad::preset::rd_bu().at(t).to_rgba8(),
                    Self::PuOr => colorgrad::preset::pu_or().at(t).to_rgba8(),
                }
            })
        })
    }
}

/// How values become places on a colour map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorScale {
    pub map: Colormap,
    pub log: bool,
    pub max: f32,
}

impl ColorScale {
    /// Place of `v` on the map, 0 to 1.
    pub fn t(&self, v: f32) -> f32 {
        let magnitude = v.abs() / self.max;
        let place = if self.log {
            ((magnitude.log10() + 4.0) / 4.0).clamp(0.0, 1.0)
        } else {
            magnitude.clamp(0.0, 1.0)
        };
        match (self.map.is_diverging(), v < 0.0) {
            (true, false) => 0.5 + 0.5 * place,
            (true, true) => 0.5 - 0.5 * place,
            (false, false) => place,
            (false, true) => 0.0,
        }
    }
}
