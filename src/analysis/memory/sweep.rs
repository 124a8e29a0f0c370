//! Groups of heads times factors, on the prompts that choose: the sweep and the choice.

use crate::analysis::{Cell, Grid, Report, Scale, Table};
use crate::ids::HeadId;

use super::maps::Maps;
use super::rates::{Rates, rank_correlation};
use super::scaling::{By, Group};
use super::{Settings, table};

/// Heads that are scaled together where none are given.
const TOGETHER: usize = 2;

/// Which answer is to win.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    InContext,
    Memorised,
}

impl Wanted {
    pub(super) const ALL: [Self; 2] = [Self::InContext, Self::Memorised];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InContext => "in_context",
            Self::Memorised => "memorised",
        }
    }

    pub(super) fn rate(self, rates: &Rates) -> f64 {
        match self {
            Self::InContext => rates.in_context,
            Self::Memorised => rates.memorised,
        }
    }

    /// The mean logit difference, in its own direction.
    pub(super) fn difference(self, rates: &Rates) -> f64 {
        match self {
            Self::InContext => rates.difference(),
            Self::Memorised => -rates.difference(),
        }
    }
}

/// The rates of every group at every factor, on the prompts that choose.
pub(super) struct Swept {
    pub(super) candidates: Candidates,
    /// Rising.
    pub(super) factors: Vec<f64>,
    /// `[group, factor]`
    pub(super) rates: Vec<Rates>,
}

/// A group with its best factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Best {
    /// Its place among the groups.
    pub(super) group: usize,
    /// The factor's place among the factors.
    pub(super) at: usize,
    pub(super) factor: f64,
    pub(super) rates: Rates,
}

/// What is reported on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) wanted: Wanted,
    /// How the group was found.
    pub(super) by: &'static str,
    pub(super) best: Best,
}

/// What is swept: single heads in order, then, by attention, heads that are scaled together; and the places of those that are
/// reported on whatever their rates, with how they were found.
pub(super) struct Candidates {
    pub(super) groups: Vec<Group>,
    pub(super) named: Vec<(&'static str, usize)>,
}

pub(super) fn candidates(
    maps: &Maps,
    settings: &Settings,
    (_, n_heads): (usize, usize),
) -> Candidates {
    if !settings.heads.is_empty() && settings.by == By::Attention {
        return Candidates {
            groups: vec![Group::new(settings.heads.clone())],
            named: vec![("given heads together", 0)],
        };
    }
    let mut heads = settings.heads.clone();
    let mut together: Vec<(&'static str, Group)> = Vec::new();
    if heads.is_empty() {
        let id = |i: &usize| HeadId::new(i / n_heads, i % n_heads);
        let maps = [
            ("two most negative attributions", maps.attribution.clone()),
            ("two most negative effects", maps.reach()),
        ];
        for (by, map) in maps {
            let map = map.unwrap_or_default();
            let order = falling(&map);
            let ends = order
                .iter()
                .take(settings.candidates)
                .chain(order.iter().rev().take(settings.candidates));
            heads.extend(ends.map(id));
            let against = order.iter().rev().filter(|i| map[**i] < 0.0);
            let against = Group::new(against.take(TOGETHER).map(id).collect());
            let is_new = together.iter().all(|(_, known)| *known != against);
            if settings.by == By::Attention && against.heads().len() == TOGETHER && is_new {
                together.push((by, against));
            }
        }
    }
    heads.sort_unstable();
    heads.dedup();
    let mut named = Vec::new();
    if maps.attribution.is_some() {
        let attribution = |i: &usize| maps.attribution_of(heads[*i]).unwrap_or(0.0);
        let order = |a: &usize, b: &usize| attribution(a).total_cmp(&attribution(b));
        let ends = [
            ("most positive attribution", (0..heads.len()).max_by(order)),
            ("most negative attribution", (0..heads.len()).min_by(order)),
        ];
        named.extend(ends.into_iter().filter_map(|(by, i)| Some((by, i?))));
    }
    let mut groups: Vec<Group> = heads
        .into_iter()
        .map(|head| Group::new(vec![head]))
        .collect();
    for (by, group) in together {
        named.push((by, groups.len()));
        groups.push(group);
    }
    Candidates { groups, named }
}

/// Places of what is not 0, by falling value.
fn falling(map: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..map.len()).filter(|i| map[*i] != 0.0).collect();
    order.sort_by(|a, b| map[*b].total_cmp(&map[*a]));
    order
}

impl Swept {
    pub(super) fn of_group(&self, i: usize) -> &[Rates] {
        let n = self.factors.len();
        &self.rates[i * n..(i + 1) * n]
    }

    /// The best factor of a group.
    pub(super) fn best_of(&self, i: usize, wanted: Wanted) -> Option<Best> {
        let of = self.factors.iter().zip(self.of_group(i)).enumerate();
        let choices = of.map(|(at, (factor, rates))| Best {
            group: i,
            at,
            factor: *factor,
            rates: *rates,
        });
        let rate = |best: &Best| wanted.rate(&best.rates);
        let away = |best: &Best| (best.factor - 1.0).abs();
        choices.min_by(|a, b| {
            let by_rate = rate(b).total_cmp(&rate(a));
            by_rate.then(away(a).total_cmp(&away(b)))
        })
    }

    pub(super) fn best(&self, wanted: Wanted) -> Option<Best> {
        let groups = 0..self.groups().len();
        let choices = groups.filter_map(|i| self.best_of(i, wanted));
        let rate = |best: &Best| wanted.rate(&best.rates);
        let difference = |best: &Best| wanted.difference(&best.rates);
        choices.min_by(|a, b| {
            let by_rate = rate(b).total_cmp(&rate(a));
            by_rate.then(difference(b).total_cmp(&difference(a)))
        })
    }

    /// What is reported on. A group that was found twice is named once.
    pub(super) fn choices(&self) -> Vec<Choice> {
        let mut found: Vec<Choice> = Vec::new();
        for wanted in Wanted::ALL {
            let named = self.candidates.named.iter();
            let named = named.filter_map(|(by, i)| Some((*by, self.best_of(*i, wanted)?)));
            let best = self.best(wanted).map(|best| ("best rate", best));
            for (by, best) in named.chain(best) {
                let is_new =
                    |known: &Choice| known.wanted != wanted || known.best.group != best.group;
                if found.iter().all(is_new) {
                    found.push(Choice { wanted, by, best });
                }
            }
        }
        found
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.candidates.groups
    }
}

/// Group × factor, on the prompts that choose.
pub(super) fn grids(report: &mut Report, swept: &Swept, by: By) {
    for wanted in Wanted::ALL {
        let rates = swept.rates.iter();
        report.grids.push(Grid {
            name: format!("{}_rate", wanted.name()),
            about: format!(
                "share of the choosing prompts with this answer, by what {} is multiplied by",
                by.what()
            ),
            scale: Scale::Share,
            row_axis: "head",
            rows: swept.groups().iter().map(Group::to_string).collect(),
            column_axis: "factor",
            columns: swept.factors.iter().map(f64::to_string).collect(),
            values: rates.map(|r| Some(wanted.rate(r) as f32)).collect(),
            texts: vec![],
        });
    }
}

pub(super) fn heads_table(swept: &Swept, maps: &Maps) -> Table {
    let rows = swept.groups().iter().enumerate().map(|(i, group)| {
        let mut row = vec![Cell::from(group.to_string())];
        row.extend(maps.cells(group));
        for wanted in Wanted::ALL {
            let best = swept.best_of(i, wanted);
            row.push(Cell::Number(best.map(|best| wanted.rate(&best.rates))));
            row.push(Cell::Number(best.map(|best| best.factor)));
        }
        let of = swept.of_group(i).iter().map(|r| r.in_context);
        row.push(Cell::Number(rank_correlation(
            &swept.factors,
            &of.collect::<Vec<_>>(),
        )));
        row
    });
    let columns = [
        "head",
        "attribution",
        "effect of ×0",
        "effect of ×3",
        "in_context, best",
        "at factor",
        "memorised, best",
        "at factor",
        "trend of in_context",
    ];
    table("heads", &columns, rows.collect())
}
