//! `dump` and `export`: the files that are written.

use super::{Program, fixture};
use serde_json::Value;

#[test]
fn dump_writes_what_the_globs_name_and_refuses_what_names_nothing() {
    let program = Program::new();
    program.done(&[
        "dump",
        "demo",
        "--ids",
        "1,2,3",
        "--sites",
        "blocks.*.attn.hook_pattern,logits",
        "--edit",
        "L0H0=uniform",
        "-o",
        "d.safetensors",
    ]);
    let bytes = std::fs::read(program.path("d.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(metadata["ids"], "[1,2,3]");
    assert_eq!(metadata["edits"], r#"["L0H0=uniform"]"#);
    let again = "dump demo --ids 1,2,3 --sites blocks.*.attn.hook_pattern,logits --edit L0H0=uniform -o e.safetensors";
    program.done(&again.split(' ').collect::<Vec<_>>());
    let repeated = std::fs::read(program.path("e.safetensors")).unwrap();
    assert!(repeated == bytes, "equal runs give equal files");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let pattern = tensors.tensor("blocks.0.attn.hook_pattern").unwrap();
    assert_eq!(pattern.shape()[0], 1);
    assert_eq!(pattern.shape()[2..], [3, 3]);
    let row: Vec<f32> = bytemuck::pod_collect_to_vec(&pattern.data()[4 * 6..4 * 9]);
    assert!(
        row.iter().all(|value| (value - 1.0 / 3.0).abs() < 1e-6),
        "{row:?}"
    );
    program.refused(
        1,
        &[
            "dump",
            "demo",
            "--sites",
            "logits,blocks.*.hook_nothing",
            "-o",
            "none.safetensors",
        ],
        &["blocks.*.hook_nothing"],
    );
    assert!(!program.path("none.safetensors").exists());
}

#[test]
fn export_writes_figures_and_data_without_a_display() {
    let program = Program::new();
    for (view, file, start) in [
        ("heads", "h.png", &b"\x89PNG"[..]),
        ("attention", "a.svg", b"<"),
        ("arcs", "c.svg", b"<"),
        ("readout", "r.json", b"{"),
    ] {
        program.done(&[
            "export", "demo", "--view", view, "--head", "L0H1", "-o", file,
        ]);
        let bytes = std::fs::read(program.path(file)).unwrap();
        assert!(bytes.starts_with(start), "{file}");
    }
    let attention = [
        "export",
        "demo",
        "--view",
        "attention",
        "--head",
        "L99H0",
        "-o",
        "x.svg",
    ];
    program.refused(1, &attention, &["L99H0"]);
}

#[test]
fn the_window_is_exported_as_a_picture_or_the_missing_driver_is_named() {
    let program = Program::new();
    let wrong = ["export", "demo", "--view", "window", "-o", "w.svg"];
    program.refused(2, &wrong, &[".png"]);
    let answer = program.run(&[
        "export",
        "demo",
        "--view",
        "window",
        "--size",
        "900x600",
        "--scale",
        "1",
        "--edit",
        "L0H1=zero",
        "-o",
        "w.png",
    ]);
    if answer.code == 1 {
        assert!(
            answer.stderr.contains("mesa-vulkan-drivers"),
            "{}",
            answer.stderr
        );
        return;
    }
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let decoder = png::Decoder::new(std::io::Cursor::new(
        std::fs::read(program.path("w.png")).unwrap(),
    ));
    let reader = decoder.read_info().unwrap();
    let info = reader.info();
    assert_eq!((info.width, info.height), (900, 600));
    let texts = &info.uncompressed_latin1_text;
    let utf8 = &info.utf8_text;
    assert!(
        format!("{texts:?}{utf8:?}").contains("L0H1=zero"),
        "{texts:?} {utf8:?}"
    );
}

#[test]
fn a_window_is_left_out_of_the_exported_numbers() {
    let program = Program::new();
    let model = fixture("tiny-modernbert");
    let export = |head: &str, file: &str| {
        program.done(&[
            "export",
            &model,
            "--prompt",
            "The cat sat [MASK] on the cat",
            "--view",
            "attention",
            "--head",
            head,
            "-o",
            file,
        ]);
        std::fs::read_to_string(program.path(file)).unwrap()
    };
    let rows = |csv: &str| csv.lines().filter(|line| !line.starts_with('#')).count() - 1;
    // Layer 0 sees everything, layer 1 two tokens to either side.
    let n = (rows(&export("L0H0", "all.csv")) as f64).sqrt() as usize;
    assert!(n > 8);
    assert_eq!(rows(&export("L1H0", "window.csv")), 5 * n - 6);
    let json: Value = serde_json::from_str(&export("L1H0", "window.json")).unwrap();
    let panel = &json["data"]["panels"][0];
    assert_eq!(
        panel["mask"],
        serde_json::json!({ "before": 2, "after": 2 })
    );
    assert_eq!(panel["values"][0][3], Value::Null);
    assert!(panel["values"][0][2].is_number());
}
