//! Parts of reports, for the promises about them: usual ones, the smallest and largest, and hostile ones.

use super::*;

pub(super) fn words(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn numbered(letter: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{letter}{i}")).collect()
}

/// From −1 to 1, with one blank.
pub(super) fn value(i: usize) -> f32 {
    if i == 3 {
        f32::NAN
    } else {
        ((i * 37 % 101) as f32 / 50.0 - 1.0).powi(3)
    }
}

pub(super) fn matrix(n_rows: usize, n_columns: usize, map: Colormap) -> MatrixFigure {
    let sign = |value: f32| {
        if map.is_diverging() {
            value
        } else {
            value.abs()
        }
    };
    MatrixFigure {
        title: "induction".to_owned(),
        about: "attention from a token to the one after its earlier occurrence, mean over repeated random tokens".to_owned(),
        row_axis: "layer".to_owned(),
        rows: numbered("L", n_rows),
        column_axis: "head".to_owned(),
        columns: numbered("H", n_columns),
        values: (0..n_rows * n_columns).map(|i| sign(value(i))).collect(),
        texts: vec![],
        scale: scale(map),
        marks: vec![Mark {
            row: n_rows - 1,
            column: n_columns / 2,
            label: format!("L{}H{}", n_rows - 1, n_columns / 2),
        }],
    }
}

/// Layer × position, columns named by their tokens.
pub(super) fn by_position(n_layers: usize, n_tokens: usize) -> MatrixFigure {
    MatrixFigure {
        columns: tokens(n_tokens)
            .iter()
            .map(|token| format!("{} {}", token.index, token.text))
            .collect(),
        column_axis: "position".to_owned(),
        marks: vec![],
        ..matrix(n_layers, n_tokens, Colormap::RdBu)
    }
}

pub(super) fn lens() -> MatrixFigure {
    let grid = by_position(6, 8);
    MatrixFigure {
        texts: tokens(48).into_iter().map(|token| token.text).collect(),
        ..grid
    }
}

pub(super) fn bar(label: &str, parts: &[(&str, &str, f64)]) -> BarRow {
    BarRow {
        label: label.to_owned(),
        parts: parts
            .iter()
            .map(|(name, label, value)| BarPiece {
                name: (*name).to_owned(),
                label: (*label).to_owned(),
                value: *value,
            })
            .collect(),
    }
}

/// Where an answer comes from: the parts of a direct logit attribution.
pub(super) fn attribution() -> BarsFigure {
    BarsFigure {
        title: "where the answer comes from".to_owned(),
        about: "what each part adds to the logit of “ Mary” minus that of “ John”".to_owned(),
        axis: "logit difference".to_owned(),
        bars: vec![
            bar("embedding", &[("embedding", "", 0.12)]),
            bar(
                "heads of layer 8",
                &[("heads", "L8H6", 0.4), ("heads", "L8H10", 0.31)],
            ),
            bar(
                "heads of layer 9",
                &[
                    ("heads", "L9H9", 2.41),
                    ("heads", "L9H6", 1.92),
                    ("heads", "L9H0", 0.22),
                    ("heads", "L9H1", -0.08),
                ],
            ),
            bar(
                "heads of layer 11",
                &[
                    ("heads", "L11H2", 0.3),
                    ("heads", "L11H10", -1.9),
                    ("heads", "L11H3", -0.4),
                ],
            ),
            bar(
                "MLPs",
                &[
                    ("MLPs", "M10", 0.8),
                    ("MLPs", "M11", -0.3),
                    ("MLPs", "M0", 0.1),
                ],
            ),
            bar("rest", &[("rest", "biases", -0.02)]),
        ],
    }
}

pub(super) fn plain_bars(values: &[f64]) -> BarsFigure {
    let of = |(i, value): (usize, &f64)| {
        let label = format!("L{i}");
        bar(&label, &[("", &label, *value)])
    };
    BarsFigure {
        title: "1 + c".to_owned(),
        about: String::new(),
        axis: "gain".to_owned(),
        bars: values.iter().enumerate().map(of).collect(),
    }
}

pub(super) fn losses() -> CurvesFigure {
    let line = |name: &str, of: &dyn Fn(f64) -> f64| Curve {
        name: name.to_owned(),
        points: (0..200)
            .map(|i| [f64::from(i) * 10.0, of(f64::from(i))])
            .collect(),
        labels: vec![],
    };
    CurvesFigure {
        title: "loss".to_owned(),
        x_axis: "step".to_owned(),
        y_axis: "mean squared error".to_owned(),
        is_scatter: false,
        lines: vec![
            line("trained", &|i| {
                if (50.0..55.0).contains(&i) {
                    f64::NAN
                } else {
                    3.0 * (-i / 40.0).exp() + 0.4
                }
            }),
            line("Bayes", &|_| 0.35),
            line("one gradient step", &|_| 1.1),
        ],
    }
}

pub(super) fn scatter(n: usize) -> CurvesFigure {
    let points = (0..n).map(|i| {
        let at = |seed: usize| f64::from(value(i * seed + 7)).abs();
        [at(5), at(11) - 0.2]
    });
    CurvesFigure {
        title: "copying and attention".to_owned(),
        x_axis: "attention to the name".to_owned(),
        y_axis: "projection on its unembedding".to_owned(),
        is_scatter: true,
        lines: vec![Curve {
            name: "heads".to_owned(),
            points: points.collect(),
            labels: (0..n)
                .map(|i| HeadId::new(i / 12, i % 12).to_string())
                .collect(),
        }],
    }
}

pub(super) fn table(n: usize) -> TableFigure {
    let row = |i: usize| {
        vec![
            TableCell::Text(format!("label {i}")),
            TableCell::Count(i * 7),
            TableCell::Number((i != 2).then(|| f64::from(value(i)) * 12.0)),
            TableCell::Number(Some(1e-7 * i as f64)),
            TableCell::Text("L9H6 0.83, L9H9 0.71, ".repeat(1 + i % 9)),
        ]
    };
    TableFigure {
        title: "tags".to_owned(),
        columns: words(&["label", "heads", "score", "p", "evidence"]),
        rows: (0..n).map(row).collect(),
    }
}

pub(super) fn sheet() -> SheetFigure {
    let mut parts = vec![Part::Bars(attribution())];
    for map in [
        Colormap::RdBu,
        Colormap::Viridis,
        Colormap::Viridis,
        Colormap::RdBu,
    ] {
        parts.push(Part::Matrix(matrix(12, 12, map)));
    }
    parts.extend([
        Part::Matrix(by_position(12, 15)),
        Part::Matrix(lens()),
        Part::Curves(losses()),
        Part::Curves(scatter(144)),
        Part::Table(table(6)),
    ]);
    SheetFigure {
        title: "Logit attribution".to_owned(),
        question: "Which parts add to the answer by themselves?".to_owned(),
        subject: words(&[
            "gpt2",
            "“When Mary and John went to the store, John gave a drink to”",
        ]),
        settings: vec![
            ("metric".to_owned(), "logit_diff".into()),
            ("heads".to_owned(), serde_json::json!(["L9H6", "L9H9"])),
            (
                "text".to_owned(),
                "a text that is much longer than there is room for in a line".into(),
            ),
            ("seed".to_owned(), 0.into()),
        ],
        parts,
        notes: words(&[
            "the sum of the parts is the logit difference to 1e-4",
            "biases are in the rest",
        ]),
    }
}

pub(super) fn every_part() -> Vec<(&'static str, Figure)> {
    let mut hostile = lens();
    hostile.title = "<script>&\u{0}\u{202e}".to_owned();
    hostile.rows[0] = "</text>\n".to_owned();
    hostile.columns[1] = String::new();
    hostile.texts[2] = "\u{fffe}👩‍👩‍👧 שלום".to_owned();
    let mut blank = matrix(2, 3, Colormap::RdBu);
    blank.values.fill(f32::NAN);
    let mut one_row = by_position(1, 300);
    one_row.row_axis.clear();
    one_row.rows = words(&["L_ref − L_base"]);
    let mut long = plain_bars(&[0.5, 0.25]);
    long.bars[1].label = "antidisestablishmentarianism ".repeat(4);
    let mut unknown = attribution();
    unknown.bars[2].parts[1].value = f64::NAN;
    let many_kinds: Vec<String> = numbered("kind ", 9);
    let kinds = BarsFigure {
        bars: vec![BarRow {
            label: "all".to_owned(),
            parts: many_kinds
                .iter()
                .enumerate()
                .map(|(i, name)| BarPiece {
                    name: name.clone(),
                    label: name.clone(),
                    value: if i % 3 == 2 { -1.0 } else { 2.0 },
                })
                .collect(),
        }],
        ..attribution()
    };
    let point = |x: f64, y: f64| CurvesFigure {
        lines: vec![Curve {
            name: "loss".to_owned(),
            points: vec![[x, y]],
            ..Curve::default()
        }],
        ..losses()
    };
    vec![
        (
            "matrix-12x12",
            Figure::Part(Part::Matrix(matrix(12, 12, Colormap::Viridis))),
        ),
        (
            "matrix-12x12-signed",
            Figure::Part(Part::Matrix(matrix(12, 12, Colormap::RdBu))),
        ),
        (
            "matrix-2x4",
            Figure::Part(Part::Matrix(matrix(2, 4, Colormap::RdBu))),
        ),
        (
            "matrix-1x1",
            Figure::Part(Part::Matrix(matrix(1, 1, Colormap::PuOr))),
        ),
        (
            "matrix-32x32",
            Figure::Part(Part::Matrix(matrix(32, 32, Colormap::Blues))),
        ),
        (
            "matrix-80x64",
            Figure::Part(Part::Matrix(matrix(80, 64, Colormap::RdBu))),
        ),
        (
            "matrix-300x2",
            Figure::Part(Part::Matrix(matrix(300, 2, Colormap::RdBu))),
        ),
        (
            "matrix-12x15",
            Figure::Part(Part::Matrix(by_position(12, 15))),
        ),
        ("matrix-1x300", Figure::Part(Part::Matrix(one_row))),
        (
            "matrix-20x1000",
            Figure::Part(Part::Matrix(by_position(20, 1000))),
        ),
        ("matrix-words", Figure::Part(Part::Matrix(lens()))),
        ("matrix-hostile", Figure::Part(Part::Matrix(hostile))),
        ("matrix-blank", Figure::Part(Part::Matrix(blank))),
        ("bars-attribution", Figure::Part(Part::Bars(attribution()))),
        (
            "bars-plain",
            Figure::Part(Part::Bars(plain_bars(&[1.3, 0.2, 0.0, 0.004, 2.75]))),
        ),
        (
            "bars-negative",
            Figure::Part(Part::Bars(plain_bars(&[-1.3, -0.2, -42.0]))),
        ),
        (
            "bars-zero",
            Figure::Part(Part::Bars(plain_bars(&[0.0, 0.0]))),
        ),
        ("bars-long", Figure::Part(Part::Bars(long))),
        ("bars-unknown", Figure::Part(Part::Bars(unknown))),
        ("bars-kinds", Figure::Part(Part::Bars(kinds))),
        (
            "bars-nan",
            Figure::Part(Part::Bars(plain_bars(&[f64::NAN, f64::INFINITY]))),
        ),
        ("curves-loss", Figure::Part(Part::Curves(losses()))),
        ("curves-point", Figure::Part(Part::Curves(point(3.0, 0.0)))),
        (
            "curves-far",
            Figure::Part(Part::Curves(point(-1e30, 1e-30))),
        ),
        ("curves-scatter", Figure::Part(Part::Curves(scatter(144)))),
        ("curves-scatter-9", Figure::Part(Part::Curves(scatter(9)))),
        ("table", Figure::Part(Part::Table(table(6)))),
        ("table-100", Figure::Part(Part::Table(table(100)))),
        ("table-0", Figure::Part(Part::Table(table(0)))),
        ("sheet", Figure::Sheet(sheet())),
    ]
}
