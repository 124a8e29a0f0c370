//! TruthfulQA (Lin, Hilton, Evans 2022, arXiv 2109.07958): tables with the header `Type,Category,Question,Best Answer,
//! Correct Answers,Incorrect Answers,Source`, lists separated by semicolons. As its own program does, answers end with a
//! full stop.

use super::super::prompt::Prompt;
use super::super::{Answer, FormatError, Item, TaskSet};
use super::table::Table;

const TRUTHFULQA: &str = "TruthfulQA";

const QUESTION: &str = "Question";
const BEST: &str = "Best Answer";
const RIGHT: &str = "Correct Answers";
const WRONG: &str = "Incorrect Answers";

pub(super) fn is_header(table: &Table<'_>) -> bool {
    table.has(QUESTION) && (table.has(RIGHT) || table.has(WRONG))
}

/// Questions `Q: x\nA:` with all right and wrong answers; the best one is the first.
pub(super) fn decode(table: &Table<'_>, name: &str) -> Result<TaskSet, FormatError> {
    for column in [BEST, RIGHT, WRONG] {
        table.require(TRUTHFULQA, column)?;
    }
    let mut items = Vec::new();
    for row in table.rows(TRUTHFULQA) {
        let row = row?;
        let question = row.filled(QUESTION)?.trim();
        // Closed like the others, so that the best answer is found among them.
        let best = closed(row.filled(BEST)?);
        let others = listed(row.filled(RIGHT)?);
        let others = others.filter(|answer| *answer != best);
        let right: Vec<Answer> = std::iter::once(best.clone())
            .chain(others)
            .map(|answer| given(&answer))
            .collect();
        let wrong = listed(row.filled(WRONG)?).map(|answer| given(&answer));
        let prompt = Prompt::new().text("Q: ").word("question", question);
        items.push(Item {
            contrast: None,
            ..prompt
                .text("\nA:")
                .item(Prompt::new(), right, wrong.collect())
        });
        super::check_count(TRUTHFULQA, items.len())?;
    }
    super::check_count(TRUTHFULQA, items.len())?;
    Ok(super::set(name, items))
}

fn listed(answers: &str) -> impl Iterator<Item = String> {
    answers
        .split(';')
        .filter(|answer| !answer.trim().is_empty())
        .map(closed)
}

fn given(answer: &str) -> Answer {
    Answer::Text(super::after_space(answer))
}

/// An answer with a full stop at its end.
fn closed(answer: &str) -> String {
    let answer = answer.trim();
    if answer.ends_with('.') {
        answer.to_owned()
    } else {
        format!("{answer}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source
Adversarial,Proverbs,Can stones swim?,\"No, stones sink\",\"Stones do not swim; No, stones sink\",\"Yes, stones swim; Some do.\",made up
Non-Adversarial,Colour,Which colour is the moon?,Grey,Grey,Green;Blue; ,made up
";

    fn texts(answers: &[Answer]) -> Vec<&str> {
        answers
            .iter()
            .map(|answer| match answer {
                Answer::Text(text) => text.as_str(),
                Answer::Id(_) => "",
            })
            .collect()
    }

    #[test]
    fn questions_have_the_best_answer_first_and_each_once() {
        let table = Table::new(SAMPLE);
        assert!(is_header(&table));
        let set = decode(&table, "t").unwrap();
        assert_eq!(set.items.len(), 2);
        let first = &set.items[0];
        assert_eq!(first.prompt, "Q: Can stones swim?\nA:");
        assert_eq!(first.span("question"), Some("Can stones swim?"));
        assert_eq!(first.contrast, None);
        assert_eq!(
            texts(&first.answers),
            [" No, stones sink.", " Stones do not swim."]
        );
        assert_eq!(texts(&first.wrong), [" Yes, stones swim.", " Some do."]);
        assert_eq!(texts(&set.items[1].wrong), [" Green.", " Blue."]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |text: &str| {
            let table = Table::new(text);
            decode(&table, "t").unwrap_err().to_string()
        };
        let column = error(&SAMPLE.replace(",Best Answer,", ",Best,"));
        assert!(
            column.contains("TruthfulQA") && column.contains("Best Answer"),
            "{column}"
        );
        let field = error(&SAMPLE.replace("Can stones swim?", ""));
        assert!(
            field.contains("line 2") && field.contains("Question"),
            "{field}"
        );
        let header = SAMPLE.lines().next().unwrap();
        assert!(error(header).contains("empty"), "{}", error(header));
        assert!(!is_header(&Table::new("prompt,answer\na,b\n")));
    }
}
