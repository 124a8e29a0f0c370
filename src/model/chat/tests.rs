use std::fs;
use std::time::Duration;

use serde_json::json;

use super::templates::{BRACKETS, CHATML, HEADERS, MODERN, STRICT};
use super::*;
use crate::model::checkpoint::{GgufArray, GgufValue};
use crate::model::load::{Unreported, open};
use crate::prompt::BosRule;

fn of(role: Role, content: &str) -> Message {
    Message {
        role,
        content: content.into(),
    }
}

fn one() -> Vec<Message> {
    vec![Message::user(" Where is <Pell>?\n")]
}

fn pair() -> Vec<Message> {
    let answer = "<think>\nhm\n</think>\n\nIn the \"north\". ";
    [one(), vec![of(Role::Assistant, answer)]].concat()
}

fn talk() -> Vec<Message> {
    let system = vec![of(Role::System, " Be brief. ")];
    [system, pair(), vec![Message::user("Und Öl?")]].concat()
}

fn wrong() -> Vec<Message> {
    [one(), vec![Message::user("Und Öl?")]].concat()
}

fn specials() -> BTreeMap<String, String> {
    let of = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
    [("bos_token", "<s>"), ("eos_token", "</s>")].map(of).into()
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::of_text(source, specials(), "here").unwrap()
}

/// A template, messages, whether an answer is to begin, and the text, or what was raised.
type Rendered = (
    &'static str,
    Vec<Message>,
    bool,
    Result<&'static str, &'static str>,
);

/// The texts were made by jinja2 3.1.6, with the filters, functions and extensions that `transformers` gives it.
#[test]
fn talks_are_rendered_as_python_renders_them() {
    let expected: [Rendered; 11] = [
        (
            CHATML,
            one(),
            true,
            Ok(
                "<|im_start|>system\nYou answer in short sentences.<|im_end|>\n<|im_start|>user\n Where is <Pell>?\n<|im_end|>\n<|im_start|>assistant\n",
            ),
        ),
        (
            CHATML,
            talk(),
            false,
            Ok(
                "<|im_start|>system\n Be brief. <|im_end|>\n<|im_start|>user\n Where is <Pell>?\n<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\nIn the \"north\". <|im_end|>\n<|im_start|>user\nUnd Öl?<|im_end|>\n",
            ),
        ),
        (
            HEADERS,
            one(),
            false,
            Ok(
                "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhere is <Pell>?<|eot_id|>",
            ),
        ),
        (
            HEADERS,
            talk(),
            true,
            Ok(
                "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhere is <Pell>?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<think>\nhm\n</think>\n\nIn the \"north\".<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nUnd Öl?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
        ),
        (STRICT, talk(), true, Err("System role not supported")),
        (
            STRICT,
            pair(),
            true,
            Ok(
                "<s><start_of_turn>user\nWhere is <Pell>?<end_of_turn>\n<start_of_turn>model\n<think>\nhm\n</think>\n\nIn the \"north\".<end_of_turn>\n<start_of_turn>model\n",
            ),
        ),
        (
            STRICT,
            wrong(),
            false,
            Err("Conversation roles must alternate user/assistant/user/assistant/..."),
        ),
        (
            BRACKETS,
            talk(),
            true,
            Ok(
                "<s>[INST]  Where is <Pell>?\n[/INST] <think>\nhm\n</think>\n\nIn the \"north\".</s>[INST]  Be brief. \n\nUnd Öl?[/INST]",
            ),
        ),
        (
            BRACKETS,
            wrong(),
            true,
            Err("After the optional system message, roles must alternate"),
        ),
        (
            MODERN,
            talk(),
            true,
            Ok(
                "<|USER|>\" Where is <Pell>?\\n\"<|end|>\n<|assistant|>In the \"north\".<|end|>\n{\n  \"roles\": [\n    \"system\",\n    \"user\",\n    \"assistant\",\n    \"user\"\n  ],\n  \"n\": 4,\n  \"odd\": \"<é>\"\n}\n4 turns, 2 of users\na=1 b=None Und Ö True",
            ),
        ),
        (
            MODERN,
            wrong(),
            false,
            Ok(
                "<|USER|>\" Where is <Pell>?\\n\"<|end|>\n(again)<|USER|>\"Und Öl?\"<|end|>\n{\n  \"roles\": [\n    \"user\",\n    \"user\"\n  ],\n  \"n\": 2,\n  \"odd\": \"<é>\"\n}\n2 turns, 2 of users\na=1 b=None Und Ö True",
            ),
        ),
    ];
    for (source, messages, add_generation_prompt, expected) in expected {
        let rendered = template(source).render(&messages, add_generation_prompt);
        match (rendered, expected) {
            (Err(ChatError::Refused { reason, .. }), Err(expected)) => assert_eq!(reason, expected),
            (rendered, expected) => assert_eq!(rendered.unwrap(), expected.unwrap(), "{source}"),
        }
    }
}

#[test]
fn json_is_pythons() {
    for (expression, expected) in [
        ("'a\"\\\\ é<>&'", r#""a\"\\ é<>&""#),
        ("[1, 2.5, true, none, []]", "[1, 2.5, true, null, []]"),
        ("{'b': {'c': {}}, 'a': ''}", r#"{"b": {"c": {}}, "a": ""}"#),
    ] {
        let of = |arguments| template(&format!("{{{{ {expression} | tojson{arguments} }}}}"));
        assert_eq!(of("").render(&[], false).unwrap(), expected);
        assert_eq!(
            of("(ensure_ascii=false)").render(&[], false).unwrap(),
            expected
        );
    }
    let indented = template("{{ {'a': [1, {'b': []}], 'c': {}} | tojson(indent=2) }}");
    assert_eq!(
        indented.render(&[], false).unwrap(),
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}"
    );
}

/// Each would run for ever, or take all memory or stack.
#[test]
fn templates_that_would_not_end_are_stopped() {
    let grow = |start: &str, step: &str, end: &str| {
        format!(
            "{{% set ns = namespace(x={start}) %}}{{% for i in range(100000) %}}{{% set ns.x = {step} %}}{{% endfor %}}\
             {{{{ {end} }}}}"
        )
    };
    let stopped = [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".to_owned(),
        "{{ 'a' * 100000000000 }}".into(),
        "{{ 'a' | indent(1000000000, true) }}".into(),
        "{{ '%1000000000d' | format(1) }}".into(),
        grow("'ab'", "ns.x ~ ns.x", "ns.x"),
        grow("'ab'", "ns.x.replace('a', 'aaaa')", "ns.x"),
        grow("'ab'", "ns.x.join([ns.x, ns.x, ns.x])", "ns.x"),
        grow("[1]", "[ns.x]", "ns.x"),
        grow("[1]", "{'a': ns.x}", "ns.x"),
        grow("'a'", "range(1000) | list | tojson(indent=16)", "ns.x"),
    ];
    let refused = [
        "{% for i in range(1000000000000) %}a{% endfor %}".to_owned(),
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}".into(),
        "{% for a in [[[1]]] recursive %}{{ loop([[1]]) }}{% endfor %}".into(),
        "{{ range(100000000000) | list }}".into(),
        "{{ 9 ** 9 ** 9 ** 9 }}".into(),
        "{{ [1] | tojson(indent=100000000) }}".into(),
        "{{ '{:1000000000}'.format(1) }}".into(),
        "{{ '{0}{0}'.format('a' * 1000000) }}".into(),
        format!("{{{{ {}1{} }}}}", "(".repeat(30_000), ")".repeat(30_000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(30_000), "]".repeat(30_000)),
        "{% if true %}".repeat(5_000),
    ];
    // Deep, and harmless on a stack that is deep enough.
    let deep = [
        format!("{{{{ 1 {} }}}}", "| abs ".repeat(10_000)),
        format!("{{{{ {} 1 }}}}", "not ".repeat(16_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(65_000)),
        format!("{{{{ {}1 }}}}", "1+".repeat(32_000)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5_000)),
    ];
    let check = |source: &str, is_expected: fn(&Result<String, ChatError>) -> bool| {
        let rendered = template(source).render(&talk(), true);
        let shown: String = source.chars().take(90).collect();
        assert!(is_expected(&rendered), "{shown}: {rendered:?}");
    };
    for source in &stopped {
        check(source, |found| {
            matches!(found, Err(ChatError::Endless { .. }))
        });
    }
    for source in &refused {
        check(source, |found| {
            matches!(
                found,
                Err(ChatError::Failed { .. } | ChatError::Syntax { .. })
            )
        });
    }
    for source in &deep {
        check(source, |found| {
            !matches!(found, Err(ChatError::Runaway { .. }))
        });
    }
    let long = Message::user("a".repeat(render::MAX_OUTPUT_BYTES));
    let error = template(CHATML).render(&[long], true).unwrap_err();
    assert!(matches!(error, ChatError::TooLong { .. }), "{error}");
    // What fits is not refused for its length.
    let long = Message::user("a ".repeat(render::MAX_OUTPUT_BYTES / 2 - 100));
    for source in [CHATML, HEADERS, BRACKETS] {
        template(source)
            .render(std::slice::from_ref(&long), true)
            .unwrap();
    }
}

/// 2²³ numbers in lists that share their parts: some seconds, which fuel does not see.
#[test]
fn nobody_waits_for_a_template_that_cannot_be_stopped() {
    let set = "{% set ns.x = [ns.x, ns.x] %}".repeat(22);
    let source =
        format!("{{% set ns = namespace(x=[1, 1]) %}}{set}{{{{ ns.x | string | length }}}}");
    let most = Duration::from_millis(20);
    let error = render::render_within(&template(&source), &[], true, most).unwrap_err();
    assert!(matches!(error, ChatError::Runaway { .. }), "{error}");
}

#[test]
fn errors_say_what_and_where() {
    for (source, parts) in [
        ("a\n{{ b", &["line 2", "here"][..]),
        (
            "a\n\n{{ messages[0].x.y }}",
            &["line 3", "undefined", "here"],
        ),
        ("{{ 'a'.swapcase() }}", &["line 1", "swapcase"]),
        (
            "{{ strftime_now('%d') }}",
            &["today's date", "strftime_now"],
        ),
        ("{% include 'x' %}", &["line 1", "include"]),
        (
            "{{ raise_exception('no ' ~ messages|length) }}",
            &["refuses", "no 1"],
        ),
    ] {
        let error = template(source)
            .render(&one(), true)
            .unwrap_err()
            .to_string();
        for part in parts {
            assert!(error.contains(part), "{source}: {error}");
        }
    }
    let long = ChatTemplate::of_text("a".repeat(MAX_BYTES + 1), specials(), "here");
    assert!(matches!(long, Err(ChatError::TooLarge { .. })));
}

#[test]
fn a_template_is_found_where_models_keep_it() {
    let text =
        |found: Result<ChatTemplate, ChatError>| found.unwrap().render(&one(), true).unwrap();
    let path = Path::new("model.gguf");
    let metadata: GgufMetadata = [
        (
            GGUF_KEY,
            GgufValue::Str("gguf {{ bos_token }}{{ eos_token }}{{ pad_token }}".into()),
        ),
        (
            "tokenizer.ggml.tokens",
            GgufValue::Array(GgufArray::Str(vec![
                "<unk>".into(),
                "<b>".into(),
                "<e>".into(),
            ])),
        ),
        ("tokenizer.ggml.bos_token_id", GgufValue::Unsigned(1)),
        ("tokenizer.ggml.eos_token_id", GgufValue::Unsigned(2)),
        // Beyond the vocabulary.
        ("tokenizer.ggml.padding_token_id", GgufValue::Unsigned(3)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect();
    assert_eq!(text(ChatTemplate::of_gguf(&metadata, path)), "gguf <b><e>");

    let config = json!({
        "chat_template": "config {{ bos_token }}{{ eos_token }}",
        "bos_token": {"content": "<B>", "special": true},
        "eos_token": null,
    });
    assert_eq!(
        text(ChatTemplate::of_tokenizer_config(&config, path)),
        "config <B>"
    );
    let of_list = |names: [&str; 2]| {
        let list = names.map(|name| json!({"name": name, "template": format!("the {name}")}));
        ChatTemplate::of_tokenizer_config(&json!({"chat_template": list}), path)
    };
    assert_eq!(text(of_list(["rag", "default"])), "the default");
    let error = of_list(["rag", "tool_use"]).unwrap_err().to_string();
    assert!(error.contains("rag, tool_use"), "{error}");
    let none = ChatTemplate::of_tokenizer_config(&json!({}), path);
    assert!(matches!(none, Err(ChatError::Missing)));

    // Beside the weights: each file goes before the one before it.
    let folder = tempfile::tempdir().unwrap();
    let of = |metadata: Option<&GgufMetadata>| {
        ChatTemplate::of_files(Some(folder.path()), metadata, path)
    };
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    assert!(matches!(of(None), Err(ChatError::Missing)));
    assert_eq!(text(of(Some(&metadata))), "gguf <b><e>");
    write(SPECIALS, r#"{"eos_token": "<E>"}"#);
    assert_eq!(text(of(Some(&metadata))), "gguf <b><E>");
    write(TOKENIZER_CONFIG, &config.to_string());
    assert_eq!(text(of(Some(&metadata))), "config <B><E>");
    assert_eq!(text(of(None)), "config <B><E>");
    write(FILE, "file {{ eos_token }}\n");
    assert_eq!(text(of(Some(&metadata))), "file <E>");
    // As the error of a list without a default advises.
    write(
        TOKENIZER_CONFIG,
        r#"{"chat_template": [{"name": "rag", "template": ""}]}"#,
    );
    assert_eq!(text(of(None)), "file <E>");
    write(TOKENIZER_CONFIG, "{");
    let error = of(None).unwrap_err().to_string();
    assert!(error.contains(TOKENIZER_CONFIG), "{error}");
    let none = ChatTemplate::of_files(None, None, path);
    assert!(none.unwrap_err().to_string().contains(FILE));
}

#[test]
fn smollm2_has_its_own_and_its_special_tokens_are_found_in_the_text() {
    let Some(folder) = std::env::var_os("HEADSCOPE_TEST_MODELS") else {
        return;
    };
    let path = Path::new(&folder).join("smollm2-135m-instruct-q4_1");
    let model = open(path.to_str().unwrap(), &mut Unreported).unwrap();
    let chat = model.chat.as_ref().unwrap();
    let text = chat.render(&[Message::user("Hi")], true).unwrap();
    let expected = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
                    <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text, expected);
    let tokenizer = model.tokenizer.as_ref().unwrap();
    let ids = tokenizer.encode(&text, BosRule::Never).unwrap();
    let specials: Vec<u32> = ids
        .iter()
        .copied()
        .filter(|id| tokenizer.is_special(*id))
        .collect();
    assert_eq!(
        specials,
        [1, 2, 1, 2, 1],
        "start and end of each turn, and nothing before"
    );
    assert_eq!(
        (ids[0], ids[1]),
        (1, tokenizer.encode("system", BosRule::Never).unwrap()[0])
    );
}
