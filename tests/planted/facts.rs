//! One model that knows facts: capitals by heart, and what a prompt says of them. One head looks capitals up, one copies the
//! city that the prompt names, one knows whether a statement is true, and one writes what comes next in a list.

use headscope::analysis::Case;
use headscope::experiment::RunSpec;

use super::head::Head;
use super::model::Plan;
use super::support::run_spec;

/// A score that leaves nothing to other keys.
const HARD: f32 = 40.0;

pub(crate) const COUNTRIES: [&str; 8] = [
    "Poland", "France", "Italy", "Spain", "Japan", "Egypt", "Peru", "Kenya",
];
pub(crate) const CITIES: [&str; 8] = [
    "Warsaw", "Paris", "Rome", "Madrid", "Tokyo", "Cairo", "Lima", "Nairobi",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const NUMBERS: [&str; 10] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
];
const WORDS: [&str; 13] = [
    "The", "capital", "of", "is", ".", "What", "the", "?", "A", "If", "today", ",", "tomorrow",
];

/// Knows the capital of the country that it stands on.
pub(crate) const LOOK_UP: &str = "L0H1";
/// Says whether a city is the capital of a country before it; writes nothing.
pub(crate) const TRUTH: &str = "L1H0";
/// From the end to the country: its capital.
pub(crate) const REMEMBERED: &str = "L1H3";
/// From the end to a city that was named.
pub(crate) const TOLD: &str = "L1H1";
pub(crate) const SUCCESSOR: &str = "L2H2";

pub(crate) const REMEMBERED_GAIN: f32 = 4.0;
pub(crate) const TOLD_GAIN: f32 = 2.0;

pub(crate) fn plan() -> Plan {
    let words = [&COUNTRIES[..], &CITIES, &DAYS, &NUMBERS, &WORDS].concat();
    let mut plan = Plan::new(words, 24, (3, 4));
    let (token, position, out) = (plan.token, plan.position, plan.out);
    let country = plan.mark(&COUNTRIES);
    let city = plan.mark(&CITIES);
    let end = plan.mark(&["A"]);
    let in_order = plan.mark(&[&DAYS[..], &NUMBERS].concat());
    let capital = plan.token_space();
    let once_more = plan.token_by_mlp();
    let pair = |plan: &Plan, (a, b): (&str, &str)| (plan.id(a) as usize, plan.id(b) as usize);
    let capitals: Vec<(usize, usize)> = COUNTRIES
        .into_iter()
        .zip(CITIES)
        .map(|of| pair(&plan, of))
        .collect();
    let round = DAYS.windows(2).map(|two| (two[0], two[1]));
    let round = round.chain([(DAYS[6], DAYS[0])]);
    let next: Vec<(usize, usize)> = round
        .chain(NUMBERS.windows(2).map(|two| (two[0], two[1])))
        .map(|of| pair(&plan, of))
        .collect();

    plan.plant(
        LOOK_UP,
        Head::default()
            .matching(position, position, HARD)
            .moving_by(token, capital, &capitals, 1.0),
    );
    plan.plant(
        TRUTH,
        Head::default()
            .matching(token, capital, HARD)
            .moving(country, country, 0.0),
    );
    plan.plant(
        REMEMBERED,
        Head::default().seeking_when(end, country, HARD).moving_by(
            token,
            out,
            &capitals,
            REMEMBERED_GAIN,
        ),
    );
    plan.plant(
        TOLD,
        Head::default()
            .seeking_when(end, city, HARD)
            .moving(token, out, TOLD_GAIN),
    );
    // Of the words of a list, the one it stands on before others.
    plan.plant(
        SUCCESSOR,
        Head::default()
            .seeking(in_order, HARD)
            .matching(position, position, HARD / 2.0)
            .moving_by(once_more, out, &next, 4.0),
    );
    plan
}

/// "The capital of Poland is London. What is the capital of Poland? A": London, where Warsaw is remembered.
pub(crate) fn conflicts(plan: &Plan) -> Vec<Case> {
    let mut cases = vec![];
    for (i, country) in COUNTRIES.into_iter().enumerate() {
        for step in [1, 3] {
            let stated = CITIES[(i + step) % CITIES.len()];
            let text = format!(
                "The capital of {country} is {stated} . What is the capital of {country} ? A"
            );
            cases.push(Case {
                spec: run_spec(&plan.ids(&text), &[]),
                answers: vec![plan.id(stated)],
                wrong: vec![plan.id(CITIES[i])],
                spans: vec![("object".into(), vec![5])],
                label: text,
                ..Case::default()
            });
        }
    }
    cases
}

/// "What is the capital of Poland? A", with another country in prompt B.
pub(crate) fn questions(plan: &Plan) -> Vec<Case> {
    let text = |i: usize| format!("What is the capital of {} ? A", COUNTRIES[i]);
    let case = |i: usize| {
        let other = (i + 3) % COUNTRIES.len();
        Case {
            label: text(i),
            spec: RunSpec {
                contrast: Some(plan.ids(&text(other)).into()),
                ..run_spec(&plan.ids(&text(i)), &[])
            },
            answers: vec![plan.id(CITIES[i])],
            wrong: vec![plan.id(CITIES[other])],
            ..Case::default()
        }
    };
    (0..COUNTRIES.len()).map(case).collect()
}

/// "three The capital of Poland is": Warsaw, and a city that is the right one as often as it is the wrong one.
pub(crate) fn statements(plan: &Plan) -> Vec<Case> {
    let mut cases = vec![];
    for (n, number) in NUMBERS.into_iter().enumerate() {
        for (i, country) in COUNTRIES.into_iter().enumerate() {
            let text = format!("{number} The capital of {country} is");
            let wrong = CITIES[(i + 1 + n % 7) % CITIES.len()];
            cases.push(Case {
                spec: run_spec(&plan.ids(&text), &[]),
                answers: vec![plan.id(CITIES[i])],
                wrong: vec![plan.id(wrong)],
                label: text,
                ..Case::default()
            });
        }
    }
    cases
}
