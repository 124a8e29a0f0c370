//! Models that read in both directions.

use super::{Program, fixture};

#[test]
fn an_encoder_is_read_at_its_last_mask() {
    let program = Program::new();
    let bert = fixture("tiny-bert");
    let masked = [
        "run",
        &bert,
        "--prompt",
        "the [MASK] sat on the [MASK].",
        "--answer",
        " Dog",
        "--answer",
        "cat",
    ];
    let plain = program.json(&masked);
    assert_eq!(plain["readout"], "masked_token");
    assert_eq!(plain["position"], 6);
    assert_eq!(plain["warnings"], serde_json::json!([]));
    let answers = &plain["before"]["answers"];
    assert_eq!([&answers[0]["id"], &answers[1]["id"]], [12, 7]);
    assert!(plain["before"]["logit_diff"].is_number());
    let edited = program.json(&[&masked[..], &["--edit", "L0H1=zero"]].concat());
    assert_eq!(edited["before"], plain["before"]);
    assert_ne!(edited["after"], plain["before"]);
    let text = program.done(&masked);
    assert!(text.contains("read at 6 `[MASK]`"), "{text}");

    // `last` is the last token that is not special, for reading and for edits.
    let unmasked = ["run", &bert, "--prompt", "the cat sat"];
    program.refused(1, &unmasked, &["put [MASK] into it", "--position"]);
    let at = |position: &str| {
        let edit = [
            "--position",
            position,
            "--edit",
            "L1=zero@last",
            "--edit",
            "L1=zero@3",
        ];
        program.json(&[&unmasked[..], &edit].concat())
    };
    let last = at("last");
    assert_eq!(last["position"], 3);
    assert_eq!(last["after"], at("3")["after"]);
    // Without a prompt, the sample has a mask of its own.
    let sample = program.json(&["run", &bert]);
    let position = sample["position"].as_u64().unwrap() as usize;
    assert_eq!(sample["tokens"][position]["text"], "[MASK]");
}

#[test]
fn an_encoders_special_tokens_are_its_tokenizers() {
    let program = Program::new();
    let bert = fixture("tiny-bert");
    for rule in ["--bos", "--no-bos"] {
        program.refused(2, &["run", &bert, rule], &["encoder", "tokenizer"]);
    }
    let session = format!(
        r#"{{"version":1,"model":{{"source":"{bert}"}},"prompt":{{"text":"the [MASK]"}},"bos":"always"}}"#
    );
    program.write("s.headscope.json", &session);
    program.refused(1, &["run", "s.headscope.json"], &["set it to auto"]);
    program.write("s.headscope.json", &session.replace("always", "auto"));
    let run = program.json(&["run", "s.headscope.json"]);
    assert_eq!(run["tokens"][0]["text"], "[CLS]");
    assert_eq!(run["position"], 2);
}

#[test]
fn a_session_keeps_whether_it_reads_at_the_mask_or_at_the_last_token() {
    let program = Program::new();
    let roberta = fixture("tiny-roberta");
    let masked = [
        "run",
        &roberta,
        "--prompt",
        "The <mask> sat.",
        "--save",
        "s.headscope.json",
    ];
    let position = |arguments: &[&str]| program.json(arguments)["position"].clone();
    assert_eq!(position(&masked), 2);
    assert_eq!(position(&["run", "s.headscope.json"]), 2);
    assert_eq!(
        position(&[&masked[..], &["--position", "last"]].concat()),
        4
    );
    let replayed = program.json(&["run", "s.headscope.json"]);
    assert_eq!(replayed["position"], 4);
    assert_eq!(replayed["replay"]["agrees"], true);
}

#[test]
fn without_a_head_there_is_no_readout_and_everything_else() {
    let program = Program::new();
    let trunk = fixture("tiny-bert-base");
    let asked = ["run", &trunk, "--prompt", "the cat sat", "--answer", "dog"];
    let run = program.json(&[&asked[..], &["--edit", "L0H0=zero"]].concat());
    assert_eq!(run["readout"], "none");
    assert_eq!(run["position"], 3);
    for side in ["before", "after"] {
        let nothing = serde_json::json!({ "top": [], "answers": [], "logit_diff": null });
        assert_eq!(run[side], nothing);
    }
    let warnings = run["warnings"].to_string();
    assert!(warnings.contains("no language-model head"), "{warnings}");
    let table = program.done(&asked);
    assert!(table.contains("no language-model head"), "{table}");
    let dump = ["dump", &trunk, "-o", "d.safetensors", "--sites"];
    program.done(&[&dump[..], &["*.hook_normalized_resid_post"]].concat());
    program.refused(1, &[&dump[..], &["logits"]].concat(), &["logits"]);
    let export = ["export", &trunk, "--view", "readout", "-o", "r.json"];
    program.refused(1, &export, &["no language-model head"]);
    program.done(&["export", &trunk, "--view", "heads", "-o", "h.svg"]);
}
