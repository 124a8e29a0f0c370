//! Reports as figures: synthetic ones, and real ones of the bundled model.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::analysis::cases::of_task;
use crate::analysis::{Bar, BarPart, Case, Input, Line, Method, Unheard};
use crate::experiment::engine::Engine;
use crate::experiment::resolve::resolve;
use crate::model::load::{Unreported, open};
use crate::session::{Experiment, Prompt};
use crate::task::{Draw, TaskSet};

use super::*;
use crate::figure::{FigureSize, Format, Style, Theme};

/// What a method finds of the bundled model's sample.
fn real(method: &str) -> (Report, Provenance) {
    let model = Arc::new(open("demo", &mut Unreported).unwrap());
    let mut experiment = Experiment::new(Prompt::sample());
    let mut prompt = String::new();
    if let Some((text, answers)) = model.sample() {
        if let Prompt::Text(text) = &text {
            prompt.clone_from(text);
        }
        experiment = Experiment::new(text);
        experiment.answers = answers;
    }
    let resolved = resolve(&experiment, &model, None).unwrap();
    let mut cases = vec![Case::of_experiment(&resolved)];
    if method == "memory" {
        // Which needs several prompts.
        let draw = Draw {
            n: Some(8),
            ..Draw::default()
        };
        let set = TaskSet::open("counterfactual_capitals", &draw).unwrap();
        cases = of_task(&set, &model, experiment.bos).unwrap().0;
    }
    let input = Input {
        cases,
        ..Input::default()
    };
    let of = Provenance {
        model: model.name.clone(),
        fingerprint: model.fingerprint.clone(),
        prompt,
        ..Provenance::default()
    };
    let method = Method::named(method).unwrap();
    let report = method
        .run(&mut Engine::new(model), &input, &mut Unheard)
        .unwrap();
    let of = provenance(&report, of);
    (report, of)
}

#[test]
#[ignore = "writes pictures, to be looked at: HEADSCOPE_FIGURES is the folder"]
fn pictures_of_real_reports() {
    let folder = std::env::var("HEADSCOPE_FIGURES").unwrap();
    let save = |name: &str, figure: &Figure, of: &Provenance, size: Option<(u32, u32)>| {
        for theme in [Theme::Light, Theme::Dark] {
            let size = size.map(|(width, height)| FigureSize { width, height });
            let style = Style {
                theme,
                size,
                scale: 1.5,
            };
            let path = format!("{folder}/{name}-{theme:?}.png");
            std::fs::write(path, figure.render(Format::Png, &style, of).unwrap()).unwrap();
        }
    };
    for method in std::env::var("HEADSCOPE_METHODS").unwrap().split(',') {
        let started = std::time::Instant::now();
        let (report, of) = real(method);
        println!(
            "{method}: {:?}, {:?}",
            started.elapsed(),
            part_names(&report)
        );
        let started = std::time::Instant::now();
        let sheet = figure(&report, None, &View::default(), &of).unwrap();
        save(method, &sheet, &of, None);
        println!("drawn in {:?}", started.elapsed());
        save(
            &format!("{method}-1280x800"),
            &sheet,
            &of,
            Some((1280, 800)),
        );
        for name in part_names(&report) {
            let Ok(part) = figure(&report, Some(&name), &View::default(), &of) else {
                println!("{name} is empty");
                continue;
            };
            save(
                &format!("{method}.{}", name.replace('/', "_")),
                &part,
                &of,
                None,
            );
        }
    }
}

fn synthetic() -> Report {
    let mut report = Report::new("attribute").with("metric", "logit_diff");
    let map = |name: &str, scale, value: f32| {
        HeadScores::of_heads(name, "about", scale, (3, 4), |head| {
            (head != HeadId::new(1, 1))
                .then_some(value * (head.layer as f32 - 1.5) * head.head as f32)
        })
    };
    report.scores.push(map("attribution", Scale::Signed, 0.5));
    report.scores.push(map("share", Scale::Share, 0.1));
    report.scores.push(map("size", Scale::Positive, 2.0));
    let part = |name: &str, label: &str, value| BarPart {
        name: name.into(),
        label: label.into(),
        value,
    };
    report.bars.push(Bars {
        name: "sum".into(),
        about: "parts of the logit difference".into(),
        axis: "logit difference",
        bars: vec![
            Bar {
                label: "embedding".into(),
                parts: vec![part("embedding", "", 0.5)],
            },
            Bar {
                label: "heads".into(),
                parts: vec![part("heads", "L0H1", 1.5), part("heads", "L2H3", -0.7)],
            },
        ],
    });
    report.plots.push(Plot {
        name: "share".into(),
        x_axis: "step",
        y_axis: "loss",
        lines: vec![Line {
            name: "loss".into(),
            points: vec![[0.0, 1.0], [1.0, 0.5]],
            ..Line::default()
        }],
        ..Plot::default()
    });
    report.plots.push(Plot::default());
    report.tables.push(Table {
        name: "parts".into(),
        columns: vec!["part".into(), "value".into()],
        rows: vec![vec![Cell::from("embedding"), Cell::from(0.5_f32)]],
    });
    report.note("a note");
    report
}

fn of(report: &Report) -> Provenance {
    let run = Provenance {
        model: "demo".into(),
        prompt: "When Mary".into(),
        ..Provenance::default()
    };
    provenance(report, run)
}

#[test]
fn the_page_has_every_part_that_has_something_to_draw() {
    let report = synthetic();
    let Ok(Figure::Sheet(sheet)) = figure(&report, None, &View::default(), &of(&report)) else {
        panic!()
    };
    let kinds: Vec<&str> = sheet.parts.iter().map(Part::view).collect();
    let expected = ["bars", "matrix", "matrix", "matrix", "curves", "table"];
    assert_eq!(kinds, expected, "without the empty plot");
    assert_eq!(sheet.title, "Logit attribution");
    assert_eq!(sheet.subject, ["demo", "“When Mary”"]);
    assert_eq!(sheet.notes, ["a note"]);
    assert_eq!(sheet.settings, [("metric".to_owned(), "logit_diff".into())]);
    let method = of(&report).method.unwrap();
    assert_eq!(
        (method.name.as_str(), method.settings.len()),
        ("attribute", 1)
    );
    assert_eq!(
        part_names(&report)[..4],
        ["sum", "attribution", "share", "size"]
    );
}

#[test]
fn maps_have_the_windows_colours_and_mark_the_heads_that_stand_out() {
    let report = synthetic();
    let view = View {
        colormap: crate::colormap::Colormap::Cividis,
        diverging: crate::colormap::Colormap::PuOr,
        ..View::default()
    };
    let map = |name: &str| {
        let sheet = figure(&report, Some(name), &view, &of(&report)).unwrap();
        match sheet {
            Figure::Part(Part::Matrix(map)) => map,
            Figure::Sheet(mut sheet) => match sheet.parts.remove(0) {
                Part::Matrix(map) => map,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let [signed, share, size] = ["attribution", "share", "size"].map(map);
    assert_eq!(signed.scale.map, view.diverging);
    assert_eq!([share.scale.map, size.scale.map], [view.colormap; 2]);
    let largest = [signed.scale.max, share.scale.max, size.scale.max];
    let expected = [2.25_f32, 1.0, 9.0];
    assert_eq!(largest.map(f32::to_bits), expected.map(f32::to_bits));
    let marked = |map: &MatrixFigure| -> Vec<String> {
        map.marks.iter().map(|mark| mark.label.clone()).collect()
    };
    // −2.25 and −1.5 by size, though 0.75 is the largest.
    assert_eq!(marked(&signed), ["L0H3", "L0H2"]);
    assert_eq!(marked(&size), ["L2H3", "L2H2"]);
    assert!(signed.values[5].is_nan(), "a blank stays one");
    assert_eq!(signed.rows, ["L0", "L1", "L2"]);
    assert_eq!(signed.columns[3], "H3");
}

#[test]
fn a_part_is_asked_by_name_and_what_is_not_there_is_said() {
    let report = synthetic();
    let find = |part| figure(&report, part, &View::default(), &of(&report));
    assert!(matches!(find(Some("sum")), Ok(Figure::Part(Part::Bars(_)))));
    assert!(matches!(
        find(Some("parts")),
        Ok(Figure::Part(Part::Table(_)))
    ));
    // A map and a plot have this name.
    let Ok(Figure::Sheet(both)) = find(Some("share")) else {
        panic!()
    };
    assert_eq!(both.parts.len(), 2);
    let message = find(Some("atribution")).unwrap_err().to_string();
    assert!(
        message.contains("atribution") && message.contains("sum, attribution, share"),
        "{message}"
    );
    let message = find(Some("")).unwrap_err().to_string();
    assert!(message.contains("no numbers"), "{message}");
    let mut empty = Report::new("lens");
    let none = |report: &Report| {
        figure(report, None, &View::default(), &Provenance::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        none(&empty),
        "the report of lens has nothing to draw: it is empty"
    );
    empty.note("no prompt was right");
    assert!(none(&empty).ends_with("no prompt was right"));
}

#[test]
fn reports_of_the_bundled_model_are_files_of_every_format() {
    for method in ["attribute", "lens"] {
        let (report, of) = real(method);
        let whole = figure(&report, None, &View::default(), &of).unwrap();
        for format in Format::ALL {
            for theme in [Theme::Light, Theme::Dark] {
                let style = Style {
                    theme,
                    size: None,
                    scale: 1.0,
                };
                let bytes = whole.render(format, &style, &of).unwrap();
                assert!(bytes.len() > 1000, "{method} {format:?}");
            }
        }
        let mut found = BTreeSet::new();
        for name in part_names(&report) {
            let part = figure(&report, Some(&name), &View::default(), &of).unwrap();
            let csv = part.render(Format::Csv, &Style::default(), &of).unwrap();
            let csv = String::from_utf8(csv).unwrap();
            assert!(csv.contains(&format!("# method: {method}\n")), "{csv}");
            found.insert(name);
        }
        assert!(found.len() > 1);
    }
}
