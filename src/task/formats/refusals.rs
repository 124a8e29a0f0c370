//! What is said of files that are wrong.

use std::fs;

use super::super::{Draw, TaskError, TaskSet};

/// The message of a text that is no set; it must hold all the words.
fn check_error(text: &str, words: &[&str]) {
    let message = TaskSet::parse(text, "sample", &Draw::default())
        .unwrap_err()
        .to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn messages_name_the_format_the_place_the_key_and_the_remedy() {
    check_error(
        "clean,corrupted,correct\na,b,1\n",
        &["EAP-IG CSV", "line 1", "`correct_idx`", "`correct`"],
    );
    check_error(
        "clean,corrupted,correct_idx,incorrect_idx\na,b,1,2\na,b,x,2\n",
        &["line 3", "`correct_idx`", "`x`", "[1, 2]"],
    );
    check_error(
        "clean,corrupted,correct_idx,incorrect_idx\na,b,-1,2\n",
        &["line 2", "`-1`", "token id"],
    );
    check_error(
        "clean,corrupted,label\na,b,99\n",
        &["greater-than", "line 2", "`label`", "`99`", "00 to 98"],
    );
    check_error(
        "prompt,answer\na,b,c\n",
        &["line 2", "3 columns where the header has 2"],
    );
    check_error(
        "prompt,answer\n,b\n",
        &["line 2", "`prompt`", "empty field"],
    );
    check_error("prompt,wrong\na,b\n", &["prompts with answers", "`answer`"]);
    check_error("prompt,answer\n", &["prompts with answers", "empty"]);
    check_error("", &["empty"]);
    check_error("[]", &["JSON list", "empty"]);
    check_error(
        "name,colour\na,b\n",
        &["not known", "`name`, `colour`", "prompt,answer"],
    );
    check_error("{\"a\": 1}", &["not known", "`a`", "`prompts`"]);
    check_error("[3]", &["not known", "a number", "`input`"]);
    check_error("[{\"x\": 3}]", &["not known", "`x`"]);
    check_error("{\"items\":\n [}", &["JSON", "line 2, column 3", "correct"]);
    check_error("{\"a\": [\"b\"]}", &["verbaliser alone"]);
    check_error(
        "{\"prompts\": [{\"clean\": [1], \"corrupt\": \"a\"}]}",
        &["auto-circuit", "entry 1", "`clean`", "token ids"],
    );
    check_error(
        "{\"prompts\": [{\"clean\": \"b\", \"corrupt\": \"a\", \"answers\": []}]}",
        &["`answers`", "empty list"],
    );
    check_error(
        "{\"prompts\": [{\"clean\": \"b\", \"corrupt\": \"a\", \"answers\": [4294967296]}]}",
        &["entry 1", "`answers`", "4294967296", "below 2^32"],
    );
    check_error(
        "{\"prompts\": 3}",
        &["top level", "`prompts`", "a number", "a list"],
    );
    check_error(
        "{\"Definition\": \"a\"}",
        &["Natural-Instructions", "`Instances`", "missing"],
    );
    check_error(
        "{\"Definition\": \"a\", \"Instances\": [{\"input\": \"b\", \"output\": [1]}]}",
        &["entry 1", "`output`"],
    );
    check_error(
        "[{\"input\": \"a\", \"output\": \"b\"}, {\"input\": \"a\"}]",
        &["entry 2", "`output`", "missing"],
    );
    check_error(
        "[[\"a\", \"b\"], [\"a\"]]",
        &["entry 2", "a list of 1", "two texts"],
    );
    check_error(
        "{\"schema_version\": 2, \"items\": []}",
        &["`schema_version`", "2", "newer"],
    );
    check_error(
        "{\"schema_version\": 1, \"name\": \"a\", \"items\": [{\"prompt\": \"é\", \"spans\": [{\"name\": \"a\", \"start\": 1, \"end\": 2}]}]}",
        &["Headscope", "entry 1", "`spans`", "1 to 2 of 2 bytes"],
    );
    check_error(
        "[{\"prompt\": \"a\", \"target_new\": \"b\", \"target_true\": \"b\"}]",
        &["counterfactual", "entry 1", "`target_new`", "another word"],
    );
}

#[test]
fn too_many_prompts_and_prompts_that_fill_the_memory_are_refused() {
    let rows = "a,b\n".repeat(super::MAX_ITEMS + 1);
    check_error(
        &format!("prompt,answer\n{rows}"),
        &["100001 prompts", "100000", "split"],
    );
    let instances = vec!["{\"input\": \"a\", \"output\": \"b\"}"; 2000].join(",");
    let definition = "x".repeat(200_000);
    check_error(
        &format!("{{\"Definition\": \"{definition}\", \"Instances\": [{instances}]}}"),
        &["bytes", "split"],
    );
    check_error(&"[".repeat(100_000), &["JSON", "recursion"]);
    check_error(
        &format!("[{}0]", "0,".repeat(super::MAX_VALUES)),
        &["values", "split"],
    );
}

#[test]
fn files_are_read_within_limits_and_named_last() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        TaskSet::open(path.to_str().unwrap(), &Draw::default())
    };
    assert_eq!(
        open("mine.csv", b"prompt,answer\na,b\n").unwrap().name,
        "mine"
    );
    let not_text = open("bytes.csv", b"prompt,answer\n\xff,b\n").unwrap_err();
    assert!(
        matches!(not_text, TaskError::NotUtf8 { offset: 14, .. }),
        "{not_text}"
    );
    let wrong = open("wrong.csv", b"a\n").unwrap_err().to_string();
    assert!(
        wrong.contains("not known") && wrong.ends_with("wrong.csv"),
        "{wrong}"
    );
    let folder_itself = TaskSet::open(folder.path().to_str().unwrap(), &Draw::default());
    assert!(matches!(folder_itself, Err(TaskError::Read { .. })));
    let large = folder.path().join("large.json");
    fs::File::create(&large)
        .unwrap()
        .set_len(super::MAX_FILE_BYTES + 1)
        .unwrap();
    assert!(matches!(
        TaskSet::load(&large, &Draw::default()),
        Err(TaskError::TooLarge { .. })
    ));
}
