#![no_main]

#[path = "../../tests/support/parsers.rs"]
mod parsers;

// A panic that is caught is no finding.
libfuzzer_sys::fuzz_target!(init: headscope::panics::log_uncaught(), |bytes: &[u8]| {
    let _ = parsers::tokenizer_parts(bytes);
});
