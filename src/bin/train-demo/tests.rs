//! Tests of the corpus, the tokenizer, the gradients and resuming, all on tiny sizes.

use std::collections::BTreeSet;

use crate::corpus::{Mixture, Role, Task};
use crate::network::{Batch, Config, Network, Scale};
use crate::rng::Rng;
use crate::tokenizer::Codec;
use crate::train::{Run, lesson};
use crate::words::every_word;

fn tiny(codec: &Codec) -> Config {
    Config {
        layers: 2,
        heads: 2,
        width: 16,
        positions: 64,
        vocabulary: codec.vocabulary_size(),
    }
}

#[test]
fn every_word_is_one_token_with_and_without_a_space() {
    let codec = Codec::built().unwrap();
    for word in every_word() {
        assert!(codec.single(&word).is_ok(), "{word:?}");
        assert!(
            codec.single(&format!(" {word}")).is_ok(),
            "{word:?} with a space"
        );
    }
}

#[test]
fn template_words_and_punctuation_are_one_token_each() {
    let codec = Codec::built().unwrap();
    for text in [
        "When", " went", " to", " the", ",", ".", " A", ":", "Q", " +", " =", "On", " capital",
    ] {
        assert!(codec.single(text).is_ok(), "{text:?}");
    }
    let prompt = "When Mary and John went to the store, John gave a drink to";
    assert_eq!(codec.encode(prompt).unwrap().len(), 1 + 14);
    // A year is two tokens of two digits.
    assert_eq!(
        codec
            .encode("The war lasted from 1732 to 17")
            .unwrap()
            .len(),
        1 + 8
    );
}

#[test]
fn any_text_comes_back() {
    let codec = Codec::built().unwrap();
    for text in [
        "",
        " ",
        "Hello, world!\n\tTabs and  two spaces ",
        "naïve café — “quotes”",
        "日本語 и русский",
        "🦀👩‍👩‍👧 \u{0} \u{7f}",
        "12345 007 3.14",
        "don't I'll we've",
        "Monday Tuesdays",
    ] {
        let ids = codec.encode(text).unwrap();
        assert_eq!(ids[0], 0, "BOS stands first");
        assert!(!ids[1..].contains(&0));
        assert_eq!(codec.decode(&ids).unwrap(), text);
    }
    let mut rng = Rng::new(3, 3);
    for _ in 0..200 {
        let text: String = (0..20)
            .filter_map(|_| char::from_u32(rng.below(0x11_0000) as u32))
            .collect();
        assert_eq!(codec.decode(&codec.encode(&text).unwrap()).unwrap(), text);
    }
}

#[test]
fn held_out_questions_never_occur_in_training() {
    let mut held_out = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for (stream, task) in Task::ALL.into_iter().enumerate() {
        let mut rng = Rng::new(9, stream as u64);
        for _ in 0..300 {
            let sample = task.draw_side(&mut rng, true);
            asked.insert(sample.question().unwrap().prompt);
            held_out.insert(sample.key);
        }
    }
    for (stream, task) in Task::ALL.into_iter().enumerate() {
        let mut rng = Rng::new(10, stream as u64);
        for _ in 0..3000 {
            let sample = task.draw_side(&mut rng, false);
            assert!(!held_out.contains(&sample.key), "{}", sample.key);
            assert!(
                !asked.contains(&sample.question().unwrap().prompt),
                "{}",
                sample.text()
            );
        }
    }
}

#[test]
fn the_split_keeps_about_an_eighth_of_each_task() {
    for task in Task::ALL {
        let mut rng = Rng::new(11, 0);
        let held_out = (0..4000).filter(|_| task.draw(&mut rng).held_out()).count();
        // Capitals have only 150 keys, so their share varies most.
        assert!(
            (200..1000).contains(&held_out),
            "{}: {held_out} of 4000",
            task.name()
        );
    }
}

#[test]
fn documents_and_roles_line_up() {
    let codec = Codec::built().unwrap();
    let mut rng = Rng::new(12, 0);
    for _ in 0..300 {
        let pieces = Mixture::default().document(&mut rng);
        let (ids, roles) = codec.encode_document(&pieces).unwrap();
        assert_eq!(ids.len(), roles.len());
        let answers: String = pieces
            .iter()
            .filter(|p| p.role == Role::Answer)
            .map(|p| p.text.as_str())
            .collect();
        let marked: Vec<u32> = ids
            .iter()
            .zip(&roles)
            .filter(|(_, role)| **role == Role::Answer)
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(codec.decode(&marked).unwrap(), answers);
    }
}

/// The slope of the loss along one number of one variable, against a finite difference.
#[test]
fn every_gradient_agrees_with_a_finite_difference() {
    let codec = Codec::built().unwrap();
    let network = Network::new(tiny(&codec), 5).unwrap();
    let loss = || {
        let lesson = lesson(&codec, &Mixture::default(), 120, 64, 2, 7).unwrap();
        network
            .loss(&lesson.batch, lesson.targets, lesson.weights)
            .unwrap()
    };
    let grads = loss().backward().unwrap();
    let mut rng = Rng::new(6, 0);
    for (name, variable) in &network.variables {
        let values = variable.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let grad = grads
            .get(variable.as_tensor())
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        // A step along a random direction weighted to the gradient gives a difference well above rounding.
        let direction: Vec<f32> = grad
            .iter()
            .map(|g| g.signum() * (0.5 + rng.unit() as f32))
            .collect();
        let expected: f64 = direction
            .iter()
            .zip(&grad)
            .map(|(d, g)| f64::from(d * g))
            .sum();
        let length = 2e-3 / expected.abs().max(0.05);
        let at = |sign: f64| {
            let moved: Vec<f32> = values
                .iter()
                .zip(&direction)
                .map(|(v, d)| v + (sign * length) as f32 * d)
                .collect();
            variable
                .set(
                    &candle_core::Tensor::from_vec(moved, variable.shape(), variable.device())
                        .unwrap(),
                )
                .unwrap();
            f64::from(loss().to_scalar::<f32>().unwrap())
        };
        let slope = (at(1.0) - at(-1.0)) / (2.0 * length);
        at(0.0);
        assert!(
            (slope - expected).abs() < 0.02 * expected.abs() + 2e-3,
            "{name}: {slope} against {expected}"
        );
    }
}

#[test]
fn documents_of_a_batch_do_not_see_each_other() {
    let codec = Codec::built().unwrap();
    let network = Network::new(tiny(&codec), 5).unwrap();
    let (a, b) = (
        codec.encode("red blue green").unwrap(),
        codec.encode("Monday Tuesday").unwrap(),
    );
    let together = network.last_logits(&[a.clone(), b.clone()], &[]).unwrap();
    let alone = network.last_logits(std::slice::from_ref(&b), &[]).unwrap();
    // Products of other sizes may add up in another order.
    let difference = together[1]
        .iter()
        .zip(&alone[0])
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max);
    assert!(difference < 1e-4, "{difference}");
    // The pattern's rows sum to one, and a head scaled by zero changes the logits.
    let pattern = &network.attention(&a).unwrap()[0][0];
    assert!((pattern[a.len()..2 * a.len()].iter().sum::<f32>() - 1.0).abs() < 1e-5);
    let scaled = network
        .last_logits(
            &[b],
            &[Scale {
                layer: 0,
                head: 0,
                factor: 0.0,
            }],
        )
        .unwrap();
    assert_ne!(scaled[0], alone[0]);
    assert_eq!(Batch::new(&[a]).lengths.len(), 1);
}

#[test]
fn a_resumed_run_goes_on_as_if_never_stopped() {
    let codec = Codec::built().unwrap();
    let mixture = Mixture::default();
    let next = |run: &mut Run| {
        let lesson = lesson(&codec, &mixture, 200, 64, 1, run.step + 1).unwrap();
        run.advance(lesson, 1e-3).unwrap()
    };
    let mut run = Run::new(tiny(&codec), 1).unwrap();
    for _ in 0..3 {
        next(&mut run);
    }
    let folder = std::env::temp_dir().join(format!("train-demo-resume-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("config.json"),
        run.network.config.to_json().to_string(),
    )
    .unwrap();
    run.save(&folder).unwrap();
    let mut resumed = Run::load(&folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(resumed.step, run.step);
    for _ in 0..2 {
        assert_eq!(next(&mut run), next(&mut resumed));
    }
}

#[test]
fn the_phases_follow_each_other_and_name_real_tasks() {
    use crate::schedule::{LAST_STEP, PHASES, Phase, rate};
    assert!(PHASES.windows(2).all(|pair| pair[0].until < pair[1].until));
    for phase in &PHASES {
        phase.mixture().unwrap();
        assert_eq!(Phase::of(phase.until).until, phase.until);
    }
    assert!(rate(1) < rate(200) && rate(LAST_STEP) < rate(LAST_STEP - 500));
}
