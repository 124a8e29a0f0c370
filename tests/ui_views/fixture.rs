//! Results as a run would give them, made up: no model, no worker.

use std::sync::Arc;

use headscope::experiment::resolve::{Answer, BosState, Resolved};
use headscope::experiment::{LayerMaps, Patterns, RunSpec};
use headscope::ids::HeadId;
use headscope::mask::Mask;
use headscope::model::Model;
use headscope::model::load::{Unreported, open};
use headscope::model::tokenizer::Piece;
use headscope::pyramid::LayerOverview;
use headscope::render::Backend;
use headscope::session::{Experiment, Prompt, Session};
use headscope::ui::action::{Action, ActionQueue};
use headscope::ui::context::ViewContext;
use headscope::ui::focus::Focus;
use headscope::ui::lab::LabResults;
use headscope::ui::theme::Theme;
use headscope::ui::views::States;
use headscope::worker::{Live, LiveLayer, LivePass, RunId};

/// A view with everything that it may look at.
pub(crate) struct Fixture {
    pub(crate) model: Arc<Model>,
    pub(crate) session: Session,
    pub(crate) resolved: Resolved,
    pub(crate) live: Live,
    pub(crate) lab: LabResults,
    pub(crate) focus: Focus,
    pub(crate) theme: Theme,
    pub(crate) states: States,
    pub(crate) view: fn(&ViewContext<'_>, &mut States, &mut egui::Ui),
    queue: ActionQueue,
    backend: Backend,
    /// All actions so far but hovering, which follows the pointer everywhere.
    pub(crate) actions: Vec<Action>,
}

/// Layers, query heads, key/value heads.
#[derive(Clone, Copy)]
pub(crate) struct Shape(pub(crate) usize, pub(crate) usize, pub(crate) usize);

const SENTENCE: [&str; 15] = [
    "<|endoftext|>",
    "When",
    " Mary",
    " and",
    " John",
    " went",
    " to",
    " the",
    " store",
    ",",
    " John",
    " gave",
    " a",
    " drink",
    " to",
];
const VOCAB: usize = 400;

impl Fixture {
    pub(crate) fn new(
        shape: Shape,
        n_tokens: usize,
        view: fn(&ViewContext<'_>, &mut States, &mut egui::Ui),
    ) -> Self {
        let tokens: Vec<Piece> = (0..n_tokens).map(piece).collect();
        let ids: Arc<[u32]> = tokens.iter().map(|piece| piece.id).collect();
        let spec = RunSpec {
            ids,
            n_prompt: n_tokens,
            reach: n_tokens,
            contrast: None,
            edits: Vec::new(),
            position: n_tokens - 1,
            last: n_tokens - 1,
            bos_count: 1,
            folder: None,
        };
        let mut session = Session::new(
            "demo",
            Experiment::new(Prompt::Text("When Mary and John…".into())),
        );
        session.experiment.answers = vec![" Mary".into(), " John".into()];
        let answer = |text: &str, id| Answer {
            text: text.into(),
            id,
            ids: vec![id],
        };
        let mut fixture = Self {
            model: Arc::new(model(shape)),
            session,
            resolved: Resolved {
                spec,
                tokens,
                contrast_tokens: None,
                alignment: None,
                answers: vec![answer(" Mary", 12), answer(" John", 14)],
                bos: BosState::Auto,
                warnings: Vec::new(),
            },
            live: Live::default(),
            lab: LabResults::default(),
            focus: Focus::default(),
            theme: headscope::ui::theme::DARK.clone(),
            states: States::default(),
            view,
            queue: ActionQueue::default(),
            backend: Backend::Cpu {
                reason: "test".into(),
            },
            actions: Vec::new(),
        };
        fixture.live.reset(shape.0);
        fixture.run(1);
        fixture
    }

    /// Results for the session's edits, as run number `run`.
    pub(crate) fn run(&mut self, run: u64) {
        let run = RunId(run);
        self.resolved.spec.edits = self.session.experiment.active_edits();
        let spec = Arc::new(self.resolved.spec.clone());
        self.live.submitted(run, Arc::clone(&spec));
        let edited = !spec.edits.is_empty();
        let shape = Shape(
            self.model.spec.n_layers,
            self.model.spec.n_heads,
            self.model.spec.n_kv_heads,
        );
        self.live.before = pass(shape, &spec, run, 0.0);
        if edited {
            self.live.after = pass(shape, &spec, run, 1.0 + run.0 as f32 * 0.1);
        }
        self.live.complete = true;
    }

    pub(crate) fn select(&mut self, heads: &[(usize, usize)]) {
        self.session.view.selection = heads
            .iter()
            .map(|(layer, head)| HeadId::new(*layer, *head))
            .collect();
    }

    pub(crate) fn edit(&mut self, edits: &[&str]) {
        self.session.experiment.edits = edits
            .iter()
            .map(|edit| headscope::session::EditRow {
                edit: edit.parse().unwrap(),
                enabled: true,
            })
            .collect();
    }

    /// One frame: the view draws, and hovering reaches the next frame, as in the window.
    pub(crate) fn show(&mut self, ui: &mut egui::Ui) {
        egui::Frame::NONE
            .fill(self.theme.panel_bg)
            .inner_margin(8)
            .show(ui, |ui| {
                ui.set_min_size(ui.available_size());
                let cx = ViewContext {
                    model: &self.model,
                    session: &self.session,
                    resolved: Some(&self.resolved),
                    live: &self.live,
                    lab: &self.lab,
                    focus: &self.focus,
                    theme: &self.theme,
                    backend: &self.backend,
                    actions: &self.queue,
                };
                (self.view)(&cx, &mut self.states, ui);
            });
        for action in self.queue.take() {
            match action {
                Action::Hover(item) => self.focus.set(item),
                action => self.actions.push(action),
            }
        }
        self.focus.end_frame();
    }
}

/// Styles and fonts as the window has them: arrows are in Hack only, so it backs the proportional font.
pub(crate) fn install(ctx: &egui::Context) {
    headscope::ui::theme::install(ctx);
    let mut fonts = egui::FontDefinitions::default();
    fonts
        .families
        .get_mut(&egui::FontFamily::Proportional)
        .unwrap()
        .push("Hack".into());
    ctx.set_fonts(fonts);
}

/// A tiny model that says it has another shape. The views ask it for nothing else.
fn model(Shape(n_layers, n_heads, n_kv_heads): Shape) -> Model {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/models/tiny-gpt2"
    );
    let mut model = open(path, &mut Unreported).unwrap();
    model.tokenizer = None;
    model.spec.n_layers = n_layers;
    model.spec.n_heads = n_heads;
    model.spec.n_kv_heads = n_kv_heads;
    model
}

fn piece(position: usize) -> Piece {
    let text = if position < SENTENCE.len() {
        SENTENCE[position].to_owned()
    } else {
        // The sentence again, so that there is something to induce.
        SENTENCE[1 + (position - 1) % (SENTENCE.len() - 1)].to_owned()
    };
    Piece {
        id: position as u32 % VOCAB as u32,
        bytes: text.clone().into_bytes(),
        special: text.starts_with("<|"),
        text,
    }
}

fn pass(shape: Shape, spec: &Arc<RunSpec>, run: RunId, shift: f32) -> LivePass {
    let n_tokens = spec.ids.len();
    let layers = (0..shape.0)
        .map(|layer| {
            let mut values = Vec::with_capacity(shape.1 * n_tokens * n_tokens);
            for head in 0..shape.1 {
                values.extend(pattern(layer * 7 + head * 3 + head / 4, n_tokens, shift));
            }
            let norms: Vec<f32> = (0..shape.1 * n_tokens)
                .map(|i| {
                    if i % n_tokens == 0 {
                        0.3
                    } else {
                        2.0 + noise(i)
                    }
                })
                .collect();
            Some(LiveLayer {
                run,
                spec: Arc::clone(spec),
                overview: Arc::new(LayerOverview::new(
                    layer,
                    shape.1,
                    n_tokens,
                    Mask::CAUSAL,
                    &values,
                )),
                maps: Arc::new(LayerMaps {
                    layer,
                    mask: Mask::CAUSAL,
                    patterns: Patterns::kept(shape.1, n_tokens, values),
                    value_norms: norms.into(),
                }),
            })
        })
        .collect();
    let logits: Vec<f32> = (0..VOCAB)
        .map(|id| match id {
            12 => 14.2 - 2.5 * shift,
            14 => 11.0 + shift,
            7 => 11.6,
            _ => 8.0 * noise(id * 31),
        })
        .collect();
    LivePass {
        layers,
        run,
        logits: Some(logits.into()),
        restarted_at: 0,
        millis: 8.1,
    }
}

/// Sure numbers between 0 and 1.
fn noise(i: usize) -> f32 {
    let mut x = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x2545_F491_4F6C_DD1D;
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 32;
    (x % 10_000) as f32 / 10_000.0
}

/// One of the usual patterns, `[query, key]`, rows summing to 1.
fn pattern(kind: usize, n: usize, shift: f32) -> Vec<f32> {
    let mut map = vec![0.0; n * n];
    for query in 0..n {
        let row = &mut map[query * n..=query * n + query];
        for (key, cell) in row.iter_mut().enumerate() {
            let distance = (query - key) as f32;
            let repeated = query >= 14 && (query - key + 1).is_multiple_of(14);
            let score = match kind % 7 {
                0 => {
                    if query == key + 1 {
                        6.0
                    } else {
                        0.0
                    }
                }
                1 => {
                    if key == 0 {
                        5.0
                    } else {
                        0.0
                    }
                }
                2 => {
                    if repeated {
                        6.0
                    } else if key == 0 {
                        3.0
                    } else {
                        0.0
                    }
                }
                3 => {
                    if distance == 0.0 {
                        4.0
                    } else {
                        0.0
                    }
                }
                4 => -0.3 * distance,
                5 => 4.0 * noise(kind * 1000 + key) + if key == 0 { 1.5 } else { 0.0 },
                _ => 5.0 * noise(kind * 7919 + query * 131 + key * 17),
            };
            *cell = (score + shift * noise(key * 13 + query * 7)).exp();
        }
        let sum: f32 = row.iter().sum();
        for cell in row {
            *cell /= sum;
        }
    }
    map
}
