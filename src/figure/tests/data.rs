//! What an export carries besides the picture: where it comes from, and the numbers themselves.

use super::*;

#[test]
fn pictures_carry_their_provenance() {
    let figure = Figure::Readout(readout(true));
    let expected = serde_json::json!({
        "schema_version": 1,
        "provenance": {
            "version": "0.1.0",
            "model": "gpt2",
            "fingerprint": "h1:0123abcd",
            "prompt": "When Mary,\n\"and\" <John>",
            "edits": ["L9H6=scale(2.5)@last", "L1H5=zero"],
        },
        "view": "readout",
    });
    let picture = png(&figure, &Style::default());
    let (_, text) = picture
        .texts
        .iter()
        .find(|(keyword, _)| keyword == "Headscope")
        .expect("a text chunk");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(text).expect("JSON"),
        expected
    );
    let svg = svg(&figure, &Style::default());
    let document = roxmltree::Document::parse(&svg).expect("XML");
    let metadata = document
        .descendants()
        .find(|node| node.has_tag_name("metadata"))
        .and_then(|node| node.text())
        .expect("metadata");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(metadata).expect("JSON"),
        expected
    );
}

#[test]
fn hostile_tokens_break_no_format() {
    let hostile = [
        "<script>alert(1)</script>",
        " &amp;\"'",
        "\u{0}\u{1b}\u{7f}",
        "👩‍👩‍👧",
        "שלום\u{202e}",
        "\u{fffe}",
        "a,b\n\"c\"",
        "",
    ];
    let mut figure = attention(hostile.len(), 1);
    for (token, text) in figure.tokens.iter_mut().zip(hostile) {
        text.clone_into(&mut token.text);
    }
    figure.panels[0].title = "<&\u{0}".to_owned();
    let mut hostile_readout = readout(true);
    for (row, text) in hostile_readout.rows.iter_mut().zip(hostile) {
        text.clone_into(&mut row.token);
    }
    let hostile_arcs = ArcsFigure {
        panels: figure.panels.clone(),
        tokens: figure.tokens.clone(),
        ..arcs(hostile.len(), 1)
    };
    let figures = [
        Figure::Attention(figure),
        Figure::Arcs(hostile_arcs),
        Figure::Readout(hostile_readout),
    ];
    for figure in figures {
        let svg = svg(&figure, &Style::default());
        usvg::Tree::from_str(&svg, &usvg::Options::default()).expect("usvg reads it");
        assert!(!svg.contains("<script"));
        png(&figure, &Style::default());
        let csv = figure
            .render(Format::Csv, &Style::default(), &provenance())
            .expect("CSV");
        let (header, records) = read_csv(&csv);
        let column = header
            .iter()
            .position(|name| name == "query_token" || name == "token")
            .expect("tokens");
        assert_eq!(&records[0][column], hostile[0], "the text as it is");
        let json = figure
            .render(Format::Json, &Style::default(), &provenance())
            .expect("JSON");
        serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
    }
}

pub(super) fn read_csv(bytes: &[u8]) -> (csv::StringRecord, Vec<csv::StringRecord>) {
    let mut reader = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .from_reader(bytes);
    let header = reader.headers().expect("a header").clone();
    (
        header,
        reader
            .records()
            .map(|record| record.expect("a record"))
            .collect(),
    )
}

#[test]
fn csv_reads_back_to_the_same_numbers() {
    let mut figure = attention(14, 2);
    figure.panels[1].values[14] = f32::NAN;
    figure.panels[1].values[15] = 1e-30;
    let bytes = Figure::Attention(figure.clone())
        .render(Format::Csv, &Style::default(), &provenance())
        .expect("CSV");
    let text = std::str::from_utf8(&bytes).expect("UTF-8");
    assert!(text.contains("# edit: L1H5=zero\n"));
    assert!(
        text.contains("# prompt: \"When Mary,\\n\\\"and\\\" <John>\"\n"),
        "{}",
        &text[..300]
    );
    let (header, records) = read_csv(&bytes);
    assert_eq!(
        header,
        vec![
            "layer",
            "head",
            "panel",
            "query",
            "query_token",
            "key",
            "key_token",
            "value"
        ]
    );
    assert_eq!(records.len(), 2 * (14 * 15 / 2), "without the masked cells");
    for record in &records {
        let index = |column: usize| record[column].parse::<usize>().expect("an index");
        let panel = &figure.panels[index(1) - 6];
        let value = panel.values[index(3) * 14 + index(5)];
        if value.is_nan() {
            assert_eq!(&record[7], "");
        } else {
            assert_eq!(
                record[7].parse::<f32>().map(f32::to_bits),
                Ok(value.to_bits())
            );
        }
        assert_eq!(record[6], figure.tokens[index(5)].text);
    }
    let edited = Figure::Readout(readout(true));
    let (_, records) = read_csv(
        &edited
            .render(Format::Csv, &Style::default(), &provenance())
            .expect("CSV"),
    );
    assert_eq!(records.len(), 5 + 2 + 1);
    assert_eq!(
        records[0],
        vec![
            "top",
            "1",
            " Mary",
            "5099",
            "11.04",
            "8.31",
            &format!("{:?}", 8.31_f32 - 11.04),
            "0.681",
            "0.204",
            &format!("{:?}", 0.204_f32 - 0.681)
        ]
    );
}

#[test]
fn json_has_the_numbers_the_provenance_and_null_for_what_is_none() {
    let mut figure = attention(3, 1);
    figure.panels[0].values = vec![1.0, 9.0, 9.0, 0.25, f32::INFINITY, 9.0, 0.1, 0.2, 0.7];
    let read = |figure: &Figure| -> serde_json::Value {
        let bytes = figure
            .render(Format::Json, &Style::default(), &provenance())
            .expect("JSON");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let json = read(&Figure::Attention(figure));
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["view"], "attention");
    assert_eq!(json["provenance"]["edits"][1], "L1H5=zero");
    assert_eq!(json["data"]["tokens"][1]["text"], "When");
    assert_eq!(
        json["data"]["panels"][0]["values"],
        serde_json::json!([[1.0, null, null], [0.25, null, null], [0.1, 0.2, 0.7]])
    );
    let json = read(&Figure::Readout(readout(false)));
    assert_eq!(json["data"]["logit_diff"]["after"], serde_json::Value::Null);
    assert_eq!(json["data"]["readout"], "next_token");
    let masked = Figure::Readout(ReadoutFigure {
        masked_token: true,
        ..readout(false)
    });
    assert_eq!(read(&masked)["data"]["readout"], "masked_token");
    assert!(
        masked
            .scene(&Style::default())
            .title
            .contains("in the place of")
    );
    let json = read(&Figure::Heads(heads(4, 8, 2)));
    assert_eq!(json["data"]["heads"][5]["badge"], "×");
    assert_eq!(json["data"]["heads"][31]["layer"], 3);
}
