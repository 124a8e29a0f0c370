//! Promises of the figures of reports: matrix, bars, curves, table, and sheets of them.

use super::samples::*;
use super::*;

fn texts(scene: &scene::Scene) -> Vec<&scene::Text> {
    let shapes = scene.shapes.iter();
    shapes
        .filter_map(|shape| match shape {
            scene::Shape::Text(text) => Some(text),
            _ => None,
        })
        .collect()
}

/// Letters of neighbouring lines may touch, words may not.
fn no_text_covers_another(name: &str, scene: &scene::Scene) {
    let boxes: Vec<(&str, [f32; 4])> = texts(scene)
        .into_iter()
        .map(|text| (text.content.as_str(), box_of(text)))
        .collect();
    for (i, (a, a_box)) in boxes.iter().enumerate() {
        for (b, b_box) in &boxes[..i] {
            let overlap =
                |low: usize, high: usize| a_box[high].min(b_box[high]) - a_box[low].max(b_box[low]);
            assert!(
                overlap(0, 2) < 1.0 || overlap(1, 3) < 1.0,
                "{name} ({}×{}): “{a}” {a_box:?} and “{b}” {b_box:?}",
                scene.width,
                scene.height,
            );
        }
    }
}

#[test]
fn every_part_stays_on_its_page_and_no_text_covers_another() {
    let sizes = [
        None,
        Some((1280, 800)),
        Some((400, 900)),
        Some((1000, 250)),
        Some((90, 60)),
    ];
    for (name, figure) in every_part() {
        for theme in [Theme::Light, Theme::Dark] {
            for size in sizes {
                let style = Style {
                    theme,
                    size: size.map(|(width, height)| FigureSize { width, height }),
                    scale: 1.0,
                };
                let scene = figure.scene(&style);
                nothing_leaves_the_page(name, &scene);
                no_text_covers_another(name, &scene);
                assert!(!scene.title.is_empty());
                let svg = svg(&figure, &style);
                let tree = usvg::Tree::from_str(&svg, &usvg::Options::default()).expect(name);
                if let Some((width, height)) = size {
                    let size = (tree.size().width(), tree.size().height());
                    assert_eq!(size, (width as f32, height as f32));
                }
                assert!(!svg.contains("<script") && !svg.contains("NaN"), "{name}");
                if let (Some(folder), None) = (std::env::var_os("HEADSCOPE_FIGURES"), size) {
                    let style = Style {
                        scale: 1.5,
                        ..style
                    };
                    let bytes = figure
                        .render(Format::Png, &style, &provenance())
                        .expect("a PNG");
                    let path = Path::new(&folder).join(format!("{name}-{theme:?}.png"));
                    std::fs::write(path, bytes).expect("written");
                }
            }
        }
    }
}

#[test]
fn every_part_is_a_file_of_every_format() {
    for (name, figure) in every_part() {
        let style = Style {
            scale: 0.5,
            ..Style::default()
        };
        let picture = png(&figure, &style);
        assert!(picture.width > 30 && picture.height > 30, "{name}");
        for format in [Format::Csv, Format::Json] {
            let bytes = figure.render(format, &style, &provenance()).expect(name);
            match format {
                Format::Json => {
                    let json: serde_json::Value = serde_json::from_slice(&bytes).expect(name);
                    assert_eq!(json["view"], figure.view());
                    assert!(!json["data"]["title"].as_str().expect(name).is_empty());
                }
                _ => {
                    read_csv(&bytes);
                }
            }
        }
    }
}

#[test]
fn a_cell_has_the_colour_of_its_value_and_a_blank_the_grey_of_the_legend() {
    for theme in [Theme::Light, Theme::Dark] {
        let figure = matrix(3, 4, Colormap::RdBu);
        let style = Style {
            theme,
            ..Style::default()
        };
        let scene = Figure::Part(Part::Matrix(figure.clone())).scene(&style);
        let fills: Vec<_> = scene
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                scene::Shape::Fill { rect, color } => Some((rect, *color)),
                _ => None,
            })
            .collect();
        let blank = theme.palette().blank;
        for (value, (rect, color)) in figure.values.iter().zip(&fills) {
            let expected = if value.is_nan() {
                blank
            } else {
                figure.scale.rgb(*value)
            };
            assert_eq!(*color, expected);
            assert!(rect.width >= 30.0, "room for a number");
        }
        // Rows from the top down, columns from the left.
        assert!(fills[0].0.x < fills[3].0.x && fills[0].0.y < fills[4].0.y);
        assert_eq!(
            fills.last().map(|(_, color)| *color),
            Some(blank),
            "the legend's"
        );
        let written: Vec<_> = texts(&scene)
            .iter()
            .map(|text| text.content.as_str())
            .collect();
        for expected in ["layer", "head", "L2", "H3", "−1.00", "N/A"] {
            assert!(
                written.contains(&expected),
                "{expected} is not in {written:?}"
            );
        }
        let of_mark = format!("outlined: L2H2\u{a0}{:.4}", value(10)).replace('-', "−");
        assert!(
            written.contains(&of_mark.as_str()),
            "{of_mark} is not in {written:?}"
        );
    }
    // A blank is told from every value, with every map: the cell's stroke and the legend's.
    let scene = Figure::Part(Part::Matrix(matrix(3, 4, Colormap::PuOr))).scene(&Style::default());
    let is_stroke = |shape: &&scene::Shape| matches!(shape, scene::Shape::Line { from, to, .. } if from[0] < to[0] && from[1] > to[1]);
    assert_eq!(scene.shapes.iter().filter(is_stroke).count(), 2);
}

#[test]
fn bars_are_as_long_as_their_values() {
    let figure = attribution();
    let scene = Figure::Part(Part::Bars(figure.clone())).scene(&Style::default());
    let palette = Theme::Light.palette();
    let zero = scene
        .shapes
        .iter()
        .rev()
        .find_map(|shape| match shape {
            scene::Shape::Line { from, .. } => Some(from[0]),
            _ => None,
        })
        .expect("the line at 0 is drawn last");
    let of_kind = |kind: usize| -> Vec<scene::Rect> {
        let fills = scene.shapes.iter().filter_map(|shape| match shape {
            scene::Shape::Fill { rect, color } if *color == palette.heads[kind] => Some(*rect),
            _ => None,
        });
        // Without the legend's.
        fills.skip(1).collect()
    };
    let [embedding, heads, mlps] = [0, 1, 2].map(of_kind);
    let px = embedding[0].width / 0.12;
    assert_eq!([embedding.len(), heads.len(), mlps.len()], [1, 9, 3]);
    let values = figure.bars.iter().flat_map(|bar| &bar.parts);
    let of_heads = values.clone().filter(|piece| piece.name == "heads");
    for (piece, rect) in of_heads.zip(&heads) {
        let width = piece.value.abs() as f32 * px;
        assert!((rect.width - width).abs() < 0.05, "{piece:?} {rect:?}");
        assert_eq!(piece.value < 0.0, rect.right() <= zero + 0.01, "{piece:?}");
    }
    // End to end: layer 9.
    assert!((heads[2].x - zero).abs() < 0.01);
    assert!((heads[2].right() - heads[3].x).abs() < 0.01);
    assert!((heads[3].right() - heads[4].x).abs() < 0.01);
    assert!((heads[5].right() - zero).abs() < 0.01);
    let written: Vec<_> = texts(&scene)
        .iter()
        .map(|text| text.content.as_str())
        .collect();
    for expected in [
        "4.47",
        "−2.00",
        "0.60",
        "L9H9",
        "heads of layer 9",
        "logit difference",
    ] {
        assert!(
            written.contains(&expected),
            "{expected} is not in {written:?}"
        );
    }
    // A sum of what is not known is not written.
    let mut unknown = figure;
    unknown.bars[2].parts[1].value = f64::NAN;
    let scene = Figure::Part(Part::Bars(unknown)).scene(&Style::default());
    let written: Vec<_> = texts(&scene)
        .iter()
        .map(|text| text.content.as_str())
        .collect();
    assert!(
        written.contains(&"N/A") && !written.contains(&"2.55"),
        "{written:?}"
    );
}

#[test]
fn points_lie_where_the_ticks_say() {
    let figure = scatter(9);
    let scene = Figure::Part(Part::Curves(figure.clone())).scene(&Style::default());
    // Two ticks of each axis, by their labels, make its scale.
    let ticks = |is_x: bool| -> Vec<(f64, f32)> {
        let anchor = if is_x {
            scene::Anchor::Middle
        } else {
            scene::Anchor::End
        };
        texts(&scene)
            .iter()
            .filter(|text| text.anchor == anchor && !text.upright)
            .filter_map(|text| {
                let value = text.content.replace('−', "-").parse().ok()?;
                Some((
                    value,
                    if is_x {
                        text.x
                    } else {
                        text.y - text.size * 0.35
                    },
                ))
            })
            .collect()
    };
    let place = |ticks: &[(f64, f32)], value: f64| {
        let [(a, at_a), (b, at_b)] = [ticks[0], *ticks.last().expect("ticks")];
        at_a + ((value - a) / (b - a)) as f32 * (at_b - at_a)
    };
    let (x, y) = (ticks(true), ticks(false));
    assert!(x.len() > 2 && y.len() > 2);
    let dots: Vec<[f32; 2]> = scene
        .shapes
        .iter()
        .filter_map(|shape| match shape {
            scene::Shape::Dot { at, .. } => Some(*at),
            _ => None,
        })
        .collect();
    let points = &figure.lines[0].points;
    // The legend has one more.
    assert_eq!(dots.len(), points.len() + 1);
    for (point, dot) in points.iter().zip(&dots) {
        assert!(
            (place(&x, point[0]) - dot[0]).abs() < 0.1,
            "{point:?} {dot:?}"
        );
        assert!(
            (place(&y, point[1]) - dot[1]).abs() < 0.1,
            "{point:?} {dot:?}"
        );
    }
    // What is no number interrupts a line.
    let scene = Figure::Part(Part::Curves(losses())).scene(&Style::default());
    let lengths: Vec<usize> = scene
        .shapes
        .iter()
        .filter_map(|shape| match shape {
            scene::Shape::Path { points, .. } => Some(points.len()),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [50, 145, 200, 200]);
}

#[test]
fn numbers_of_a_table_stand_to_the_right_with_digits_that_compare() {
    let scene = Figure::Part(Part::Table(table(100))).scene(&Style::default());
    let texts = texts(&scene);
    let column = |anchor: scene::Anchor, x: f32| -> Vec<&str> {
        let of = texts
            .iter()
            .filter(|text| text.anchor == anchor && (text.x - x).abs() < 0.01);
        of.map(|text| text.content.as_str()).collect()
    };
    let x_of = |header: &str| {
        let of = texts.iter().find(|text| text.content == header);
        of.map(|text| (text.anchor, text.x)).expect("a header")
    };
    let (anchor, x) = x_of("score");
    let scores = column(anchor, x);
    assert_eq!(anchor, scene::Anchor::End);
    assert_eq!(scores[..5], ["score", "−12.00", "−0.21", "–", "–"]);
    assert_eq!(scores.len(), 1 + table::MOST_ROWS);
    let (anchor, x) = x_of("p");
    assert_eq!(column(anchor, x)[..3], ["p", "0", "1e−7"]);
    assert_eq!(x_of("evidence").0, scene::Anchor::Start);
    let more = "and 60 rows more: CSV and JSON have all";
    assert!(texts.iter().any(|text| text.content == more));
}

#[test]
fn csv_and_json_have_every_number_of_a_part() {
    let of = Provenance {
        method: Some(MethodRun {
            name: "attribute".to_owned(),
            settings: vec![("metric".to_owned(), "logit_diff".into())],
        }),
        ..provenance()
    };
    let render = |figure: &Figure, format| {
        figure
            .render(format, &Style::default(), &of)
            .expect("written")
    };
    let mut figure = matrix(2, 4, Colormap::RdBu);
    figure.values[5] = 0.1;
    let figure = Figure::Part(Part::Matrix(figure));
    let bytes = render(&figure, Format::Csv);
    let text = String::from_utf8(bytes.clone()).expect("UTF-8");
    assert!(
        text.contains("# method: attribute\n# setting metric: logit_diff\n"),
        "{text}"
    );
    assert!(text.contains("# row_axis: layer\n"));
    let (header, records) = read_csv(&bytes);
    assert_eq!(
        header,
        vec!["row", "row_name", "column", "column_name", "value", "text"]
    );
    assert_eq!(records[5], vec!["1", "L1", "1", "H1", "0.1", ""]);
    assert_eq!(&records[3][4], "", "blank");
    let json: serde_json::Value =
        serde_json::from_slice(&render(&figure, Format::Json)).expect("JSON");
    assert_eq!(
        json["provenance"]["method"]["settings"]["metric"],
        "logit_diff"
    );
    assert_eq!(
        json["data"]["values"][1][1],
        serde_json::json!(0.1),
        "the same f32"
    );
    assert_eq!(json["data"]["values"][0][3], serde_json::Value::Null);
    assert_eq!(json["data"]["marked"], serde_json::json!(["L1H2"]));

    let (_, records) = read_csv(&render(
        &Figure::Part(Part::Bars(attribution())),
        Format::Csv,
    ));
    assert_eq!(
        records[3],
        vec!["2", "heads of layer 9", "heads", "L9H9", "2.41"]
    );
    let (_, records) = read_csv(&render(
        &Figure::Part(Part::Curves(scatter(9))),
        Format::Csv,
    ));
    let point = scatter(9).lines[0].points[8];
    let number = |field: &str| field.parse::<f64>().map(f64::to_bits);
    assert_eq!(&records[8][2], "L0H8");
    assert_eq!(
        [3, 4].map(|i| number(&records[8][i])),
        point.map(|x| Ok(x.to_bits()))
    );
    let (header, records) = read_csv(&render(&Figure::Part(Part::Table(table(100))), Format::Csv));
    assert_eq!(&header[2], "score");
    assert_eq!((records.len(), &records[2][2]), (100, ""));

    let whole = Figure::Sheet(sheet());
    let (header, records) = read_csv(&render(&whole, Format::Csv));
    assert_eq!(header.len(), 8);
    let of_kind = |kind: &str| records.iter().filter(|record| &record[1] == kind).count();
    assert_eq!(of_kind("matrix"), 4 * 144 + 12 * 15 + 48);
    assert_eq!(of_kind("bars"), 14);
    assert_eq!(of_kind("curves"), 600 + 144);
    assert_eq!(of_kind("table"), 30);
    let json: serde_json::Value =
        serde_json::from_slice(&render(&whole, Format::Json)).expect("JSON");
    assert_eq!(json["data"]["parts"][5]["view"], "matrix");
    assert_eq!(
        json["data"]["parts"][0]["data"]["bars"][2]["parts"][0]["value"],
        2.41
    );
    assert_eq!(
        json["data"]["parts"][9]["data"]["rows"][2][2],
        serde_json::Value::Null
    );
}

#[test]
fn parts_that_do_not_add_up_are_refused() {
    let error = |figure: Figure| {
        let result = figure.render(Format::Svg, &Style::default(), &provenance());
        result.expect_err("refused").to_string()
    };
    let mut short = matrix(3, 4, Colormap::RdBu);
    short.values.pop();
    let message = error(Figure::Part(Part::Matrix(short)));
    assert!(
        message.contains("induction") && message.contains("11"),
        "{message}"
    );
    let mut outside = matrix(3, 4, Colormap::RdBu);
    outside.marks[0].column = 4;
    error(Figure::Part(Part::Matrix(outside)));
    error(Figure::Part(Part::Bars(plain_bars(&[]))));
    error(Figure::Part(Part::Bars(plain_bars(&[0.0; 501]))));
    let mut nowhere = losses();
    nowhere.lines.truncate(1);
    nowhere.lines[0].points = vec![[0.0, f64::NAN]];
    error(Figure::Part(Part::Curves(nowhere)));
    let mut ragged = table(3);
    ragged.rows[1].pop();
    error(Figure::Part(Part::Table(ragged)));
    let mut empty = sheet();
    empty.parts.clear();
    assert!(error(Figure::Sheet(empty)).contains("parts"));
}
