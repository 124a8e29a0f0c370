//! One model with a head for each detector of the atlas, and the circuit of indirect objects: who was given something is the
//! name that was said once (Wang et al. 2022). Three name movers read it, one writes against it, and one more reads it only
//! when the movers do not.

use headscope::analysis::Case;
use headscope::analysis::texts::PROSE;
use headscope::experiment::RunSpec;

use super::head::Head;
use super::model::Plan;
use super::support::run_spec;

/// A score that leaves nothing to other keys.
const HARD: f32 = 40.0;

/// Names that the prose does not have.
pub(crate) const NAMES: [&str; 6] = ["Mary", "John", "Paul", "Ruth", "Jack", "Rose"];

/// Longest context.
pub(crate) const N_CTX: usize = 40;

pub(crate) const PREVIOUS: &str = "L0H2";
pub(crate) const DUPLICATE: &str = "L0H4";
pub(crate) const CURRENT: &str = "L0H0";
pub(crate) const PUNCTUATION: &str = "L0H5";
pub(crate) const SINK: &str = "L1H3";
pub(crate) const INDUCTION: &str = "L1H1";
pub(crate) const INHIBITION: &str = "L1H4";
pub(crate) const MOVERS: [&str; 3] = ["L2H5", "L2H0", "L2H2"];
pub(crate) const NEGATIVE: &str = "L2H3";
pub(crate) const BACKUP: &str = "L3H1";

/// What the movers write, the negative one, and the backup when it is at work.
pub(crate) const GAINS: [f32; 3] = [3.0, 2.0, 1.5];
pub(crate) const AGAINST: f32 = -1.0;
pub(crate) const IN_THEIR_PLACE: f32 = 2.5;

pub(crate) fn plan() -> Plan {
    let mut words = vec!["[UNK]"];
    let spaced: &'static str = PROSE.replace(',', " ,").replace('.', " .").leak();
    let prose = spaced.split_whitespace().take(N_CTX);
    for word in prose.chain(NAMES).chain(["gave"]) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let mut plan = Plan::new(words, N_CTX, (4, 6));
    let (token, position, out, first) = (plan.token, plan.position, plan.out, plan.first);
    let name = plan.mark(&NAMES);
    let end = plan.mark(&["gave"]);
    let mark = plan.mark(&[",", "."]);
    let (before, inhibited) = (plan.token_space(), plan.token_space());
    let (is_repeated, done) = (plan.space(1), plan.space(1));
    let of_names: Vec<(usize, usize)> = NAMES
        .map(|name| plan.id(name) as usize)
        .map(|id| (id, id))
        .into();

    plan.plant(
        PREVIOUS,
        Head::default()
            .matching_back(position, position, 1, HARD)
            .moving(token, before, 1.0),
    );
    plan.plant(CURRENT, Head::default().matching(position, position, HARD));
    plan.plant(SINK, Head::default().seeking(first, HARD));
    plan.plant(PUNCTUATION, Head::default().seeking(mark, HARD));
    // The same token, at another place.
    plan.plant(
        DUPLICATE,
        Head::default()
            .matching(token, token, HARD)
            .matching(position, position, -HARD)
            .moving(name, is_repeated, 1.0),
    );
    plan.plant(
        INDUCTION,
        Head::default()
            .matching(token, before, HARD)
            .moving(token, out, 1.0),
    );
    // At the end: which name came again.
    plan.plant(
        INHIBITION,
        Head::default()
            .seeking_when(end, is_repeated, 2.0 * HARD)
            .moving_by(token, inhibited, &of_names, 1.0),
    );
    let mover = |gain| {
        Head::default()
            .seeking_when(end, name, HARD)
            .matching(inhibited, token, -HARD)
            .moving(token, out, gain)
    };
    for (head, gain) in MOVERS.into_iter().zip(GAINS) {
        plan.plant(head, mover(gain).moving(name, done, 1.0));
    }
    plan.plant(NEGATIVE, mover(AGAINST));
    // Looks away while two or three movers say that they are at work.
    plan.plant(
        BACKUP,
        mover(IN_THEIR_PLACE).seeking_when(done, first, 0.9 * HARD),
    );
    plan
}

/// Prompts such as "When Mary and John walked to the harbour, John gave": Mary, not John. In prompt B Mary gives.
pub(crate) fn cases(plan: &Plan) -> Vec<Case> {
    let mut cases = vec![];
    for (i, a) in NAMES.into_iter().enumerate() {
        let b = NAMES[(i + 1 + i % 3) % NAMES.len()];
        for (io, s, [of_io, of_s]) in [(a, b, [1, 3]), (b, a, [3, 1])] {
            let text =
                |giver: &str| format!("When {a} and {b} walked to the harbour , {giver} gave");
            let (ids, contrast) = (plan.ids(&text(s)), plan.ids(&text(io)));
            let giver = ids.len() - 2;
            cases.push(Case {
                label: text(s),
                spec: RunSpec {
                    contrast: Some(contrast.into()),
                    ..run_spec(&ids, &[])
                },
                answers: vec![plan.id(io)],
                wrong: vec![plan.id(s)],
                spans: vec![
                    ("IO".into(), vec![of_io]),
                    ("S1".into(), vec![of_s]),
                    ("S2".into(), vec![giver]),
                ],
                ..Case::default()
            });
        }
    }
    cases
}
