//! How a figure looks and how large it is; and the few colours that views may use besides the colour map.

use super::FigureError;
use super::scene::Scene;

pub(super) type Rgb = [u8; 3];

/// Longest side of a picture, in px; its pixels then take 1 GiB at most.
const MAX_SIDE: u32 = 16_384;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    #[default]
    Light,
    Dark,
}

/// In CSS px.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FigureSize {
    pub width: u32,
    pub height: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    pub theme: Theme,
    /// `None`: the size that suits the content.
    pub size: Option<FigureSize>,
    /// Pixels of a PNG for each px of the size.
    pub scale: f32,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            theme: Theme::Light,
            size: None,
            scale: 2.0,
        }
    }
}

impl Style {
    /// Refuses an asked size that is empty, before anything is laid out.
    pub(super) fn check(&self) -> Result<(), FigureError> {
        match self.size {
            Some(FigureSize { width, height }) => {
                self.pixels(width as f32, height as f32).map(|_| ())
            }
            None => self.pixels(1.0, 1.0).map(|_| ()),
        }
    }

    /// In px: the asked size, or the layout's own.
    pub(super) fn size_of(&self, scene: &Scene) -> [f32; 2] {
        self.size.map_or([scene.width, scene.height], |size| {
            [size.width as f32, size.height as f32]
        })
    }

    /// Size in pixels of a picture of this size in px.
    pub(super) fn pixels(&self, width: f32, height: f32) -> Result<(u32, u32), FigureError> {
        let side = |length: f32| {
            let pixels = (length * self.scale).round();
            (length >= 1.0 && (1.0..=MAX_SIDE as f32).contains(&pixels)).then_some(pixels as u32)
        };
        side(width).zip(side(height)).ok_or(FigureError::Size {
            width,
            height,
            scale: self.scale,
            most: MAX_SIDE,
        })
    }
}

/// Colours by purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub(super) background: Rgb,
    pub(super) text: Rgb,
    pub(super) muted: Rgb,
    /// Frames and rules.
    pub(super) rule: Rgb,
    /// The ground of bars and of cells without data.
    pub(super) ground: Rgb,
    /// Cells without a value: away from both ends of every colour map, and from the middle of the diverging ones.
    pub(super) blank: Rgb,
    /// Lines behind data.
    pub(super) grid: Rgb,
    /// What an edit touched.
    pub(super) accent: Rgb,
    pub(super) on_accent: Rgb,
    pub(super) before: Rgb,
    pub(super) after: Rgb,
    pub(super) negative: Rgb,
    pub(super) positive: Rgb,
    /// One for each head of the arcs, after Okabe and Ito.
    pub(super) heads: [Rgb; 6],
}

impl Theme {
    pub(super) const fn palette(self) -> Palette {
        match self {
            Self::Light => Palette {
                background: [255, 255, 255],
                text: [28, 30, 34],
                muted: [98, 104, 112],
                rule: [186, 190, 196],
                ground: [241, 242, 244],
                blank: [200, 203, 208],
                grid: [226, 229, 233],
                accent: [200, 72, 0],
                on_accent: [255, 255, 255],
                before: [158, 168, 180],
                after: [0, 114, 178],
                negative: [213, 94, 0],
                positive: [0, 114, 178],
                heads: [
                    [0, 114, 178],
                    [213, 94, 0],
                    [0, 158, 115],
                    [204, 121, 167],
                    [230, 159, 0],
                    [86, 180, 233],
                ],
            },
            Self::Dark => Palette {
                background: [22, 24, 28],
                text: [232, 234, 238],
                muted: [156, 162, 172],
                rule: [74, 80, 90],
                ground: [36, 39, 45],
                blank: [58, 63, 72],
                grid: [46, 50, 58],
                accent: [255, 160, 92],
                on_accent: [22, 24, 28],
                before: [112, 122, 136],
                after: [86, 180, 233],
                negative: [240, 140, 60],
                positive: [86, 180, 233],
                heads: [
                    [86, 180, 233],
                    [240, 140, 60],
                    [40, 190, 145],
                    [224, 150, 192],
                    [240, 205, 80],
                    [150, 160, 245],
                ],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_sizes_are_refused_with_their_figures() {
        let style = |width, height, scale| Style {
            size: Some(FigureSize { width, height }),
            scale,
            theme: Theme::Light,
        };
        assert!(style(1280, 800, 2.0).check().is_ok());
        assert!(style(16_384, 16_384, 1.0).check().is_ok());
        for refused in [
            style(0, 800, 1.0),
            style(800, 0, 1.0),
            style(16_385, 10, 1.0),
            style(u32::MAX, 10, 1.0),
            style(9000, 10, 2.0),
            style(800, 800, 0.0),
            style(800, 800, -1.0),
            style(800, 800, f32::NAN),
            style(800, 800, f32::INFINITY),
        ] {
            let error = refused.check().expect_err("refused").to_string();
            assert!(error.contains("16384"), "{error}");
        }
    }
}
