//! Opening a model: finds its files, reads its shape, checks that every weight is there, and puts them in place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::binding::{BlockSlot, RowOrder, Slot, Source};
use super::chat::{ChatError, ChatTemplate};
use super::checkpoint::{Checkpoint, CheckpointError, StoredType};
use super::compare::{self, Disagreement};
use super::device::{self, Backend, DeviceError};
use super::families::{ConfigError, Family};
use super::hub::{Hub, HubError, HubId};
use super::memory::{self, MemoryError, Need};
use super::site::Site;
use super::spec::{Head, ModelSpec, Positions};
use super::stored::{NamedSources, Reread, Stored};
use super::tensors::from_vec;
use super::tokenizer::{Tokenizer, TokenizerError};
use super::transformer::{Block, Linear, MaskedHead, NormWeights, Transformer};
use super::weight::Weight;
use super::{Model, demo, ends, fingerprint};
use crate::compute::{Compute, Dtype};

/// Told how far loading is; may stop it.
pub trait LoadProgress {
    /// `fraction` is 0 to 1. False stops the loading.
    fn report(&mut self, fraction: f32, what: &str) -> bool;
}

/// A download is the larger part of opening a model that is not there yet.
const DOWNLOAD_SHARE: f32 = 0.9;

/// Tells of one part of the whole.
struct Span<'a> {
    whole: &'a mut dyn LoadProgress,
    from: f32,
    to: f32,
}

impl LoadProgress for Span<'_> {
    fn report(&mut self, fraction: f32, what: &str) -> bool {
        let fraction = self.from + (self.to - self.from) * fraction;
        self.whole.report(fraction, what)
    }
}

/// Hears nothing and never stops.
#[derive(Debug)]
pub struct Unreported;

impl LoadProgress for Unreported {
    fn report(&mut self, _fraction: f32, _what: &str) -> bool {
        true
    }
}

/// A model that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("loading was stopped")]
    Stopped,
    #[error(
        "`{name}` is no file or folder, not `demo` and no hub id; give a folder with config.json and \
         model.safetensors, a .safetensors, a .gguf, or a hub id such as owner/name or owner/name@revision"
    )]
    NotFound { name: String },
    #[error(transparent)]
    Hub(HubError),
    #[error("{reason}: {}", path.display())]
    Memory { reason: MemoryError, path: PathBuf },
    #[error("there is no config.json beside the weights, and they cannot be read without it: {}", path.display())]
    NoConfig { path: PathBuf },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{reason}: {}", path.display())]
    Config { reason: ConfigError, path: PathBuf },
    #[error("{reason}: {}", path.display())]
    Tokenizer {
        reason: TokenizerError,
        path: PathBuf,
    },
    #[error(
        "the tokenizer has {tokens} tokens and the embedding only {rows} rows: \
         they do not belong together: {}", path.display()
    )]
    TokenizerMismatch {
        tokens: usize,
        rows: usize,
        path: PathBuf,
    },
    #[error("the checkpoint lacks the tensor `{tensor}` (nor has it with the model's prefix): {}", path.display())]
    MissingTensor { tensor: String, path: PathBuf },
    #[error(
        "files of this form have no tensor for the weight {slot}, which a `{family}` of this config needs: {}",
        path.display()
    )]
    NoTensorFor {
        slot: String,
        family: &'static str,
        path: PathBuf,
    },
    #[error(
        "the tensor `{tensor}` has shape {found:?}, where the config asks for {expected} values ({slot}): {}",
        path.display()
    )]
    WrongShape {
        tensor: String,
        found: Vec<usize>,
        expected: usize,
        slot: String,
        path: PathBuf,
    },
    #[error(
        "the checkpoint holds tensors that the family does not use, so it may be another architecture: {tensors}: {}",
        path.display()
    )]
    UnknownTensors { tensors: String, path: PathBuf },
    #[error(
        "the rotary positions need {expected} finite frequencies, which the scaling of the config, or the tensor \
         `rope_freqs.weight`, does not give: {}",
        path.display()
    )]
    Frequencies { expected: usize, path: PathBuf },
    #[error("the tensor `{tensor}` holds values that are not finite: {}", path.display())]
    NotFinite { tensor: String, path: PathBuf },
    #[error(
        "the tensor `{tensor}` holds values beyond what {dtype} can hold; compute in bf16 or f32: {}",
        path.display()
    )]
    OutOfRange {
        tensor: String,
        dtype: Dtype,
        path: PathBuf,
    },
    #[error(
        "the file has no quantised weights to compute with (they are stored as {stored}); compute in f32, f16 or bf16: {}",
        path.display()
    )]
    NotQuantized { stored: String, path: PathBuf },
    #[error(
        "the tensor `{tensor}` is not stored row by row, so its own bytes cannot be computed with; compute in f32, f16 or \
         bf16: {}",
        path.display()
    )]
    NotByRows { tensor: String, path: PathBuf },
    #[error(
        "quantised weights are computed with on the cpu only, not on {device}; compute in f32, f16 or bf16"
    )]
    QuantizedElsewhere { device: &'static str },
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(
        "{device} does not compute what the cpu computes, and is not used: at {site} it is off by {difference:.3e}, where \
         the largest value is {size:.3e} (a part of {tolerance:.0e} is allowed); compute on the cpu"
    )]
    Disagrees {
        device: &'static str,
        site: Site,
        difference: f32,
        size: f32,
        tolerance: f32,
    },
    #[error("the weights could not be put in place: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl From<HubError> for LoadError {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Stopped => Self::Stopped,
            error => Self::Hub(error),
        }
    }
}

/// Opens `demo`, a path (a folder, a `.safetensors`, a sharded index or a `.gguf`) or an id of the hub that the
/// environment names, to compute in f32 on the CPU.
pub fn open(source: &str, progress: &mut dyn LoadProgress) -> Result<Model, LoadError> {
    open_for(source, Compute::default(), progress)
}

/// The same, to compute in other numbers or on another device; that is compared with f32, or with the CPU.
pub fn open_for(
    source: &str,
    compute: Compute,
    progress: &mut dyn LoadProgress,
) -> Result<Model, LoadError> {
    open_with(&Hub::from_env(), source, compute, progress)
}

/// The same with another hub.
pub fn open_with(
    hub: &Hub,
    source: &str,
    compute: Compute,
    progress: &mut dyn LoadProgress,
) -> Result<Model, LoadError> {
    let backend = device::backend(compute.device)?;
    open_on(hub, source, compute, backend.as_deref(), progress)
}

/// `backend` makes the products; `None` is the CPU.
pub(super) fn open_on(
    hub: &Hub,
    source: &str,
    compute: Compute,
    backend: Option<&dyn Backend>,
    progress: &mut dyn LoadProgress,
) -> Result<Model, LoadError> {
    let place = Place::of(source, hub, progress)?;
    let progress = &mut Span {
        whole: progress,
        from: if place.downloaded {
            DOWNLOAD_SHARE
        } else {
            0.0
        },
        to: 1.0,
    };
    let started = Instant::now();
    let revision = place.revision.clone();
    let files = if source == demo::NAME {
        demo::files()?
    } else {
        Files::at(place)?
    };
    let Files {
        name,
        path,
        checkpoint,
        family,
        spec,
        tokenizer,
        chat,
    } = files;
    let sizes = checkpoint
        .tensors()
        .filter(|tensor| !family.ignores(&tensor.name))
        .map(|tensor| {
            let n_values = tensor.n_elements();
            let kept = match compute.dtype {
                Dtype::F32 => 4 * n_values,
                Dtype::F16 | Dtype::Bf16 => 2 * n_values,
                Dtype::Quantized => checkpoint.stored_bytes(&tensor.name).map_or(0, <[u8]>::len),
            };
            (n_values, kept)
        });
    memory::check(&Need::weights(sizes), memory::available()).map_err(|reason| {
        LoadError::Memory {
            reason,
            path: path.clone(),
        }
    })?;
    let checkpoint = Arc::new(checkpoint);
    let reader = |dtype, place| Reader {
        checkpoint: &checkpoint,
        family,
        spec: &spec,
        path: &path,
        dtype,
        place,
    };
    let place = backend.map_or(At::Memory, At::Device);
    let transformer = reader(compute.dtype, place).read(progress)?;
    for rotary in (0..spec.n_layers).filter_map(|layer| spec.rotary(layer)) {
        let (frequencies, expected) = (rotary.frequencies(), rotary.width / 2);
        if frequencies.len() != expected || !frequencies.iter().all(|f| f.is_finite()) {
            return Err(LoadError::Frequencies { expected, path });
        }
    }
    if let Some(tokenizer) = &tokenizer
        && tokenizer.vocab_size() > spec.n_vocab
    {
        return Err(LoadError::TokenizerMismatch {
            tokens: tokenizer.vocab_size(),
            rows: spec.n_vocab,
            path,
        });
    }
    let mut model = Model {
        name,
        source: source.to_owned(),
        path: (source != demo::NAME).then(|| path.clone()),
        revision,
        tokenizer,
        chat,
        fingerprint: fingerprint::fingerprint(&checkpoint),
        stored: checkpoint
            .dominant_type()
            .map_or("none", |t| t.name())
            .to_owned(),
        compute,
        logit_difference: None,
        load_millis: 0.0,
        weight_bytes: transformer.bytes(),
        spec: spec.clone(),
        transformer,
    };
    let ids = model.sample_ids(compare::MOST_TOKENS);
    let transformer = &model.transformer;
    if let Some(backend) = backend {
        let on_cpu = reader(compute.dtype, At::File).read(&mut Unreported)?;
        let go_on = &mut || progress.report(1.0, "comparing with the CPU");
        let disagreement = compare::first_disagreement(transformer, &on_cpu, &ids, go_on)?;
        if let Some(disagreement) = disagreement.ok_or(LoadError::Stopped)? {
            return Err(disagrees(backend.name(), disagreement));
        }
    }
    if compute.dtype != Dtype::F32 {
        let in_f32 = reader(Dtype::F32, At::File).read(&mut Unreported)?;
        let go_on = &mut || progress.report(1.0, "comparing with f32");
        let difference = compare::logit_difference(transformer, &in_f32, &ids, go_on)?;
        model.logit_difference = difference.ok_or(LoadError::Stopped)?;
    }
    model.load_millis = started.elapsed().as_secs_f64() * 1e3;
    Ok(model)
}

fn disagrees(device: &'static str, at: Disagreement) -> LoadError {
    let Disagreement {
        site,
        difference,
        size,
    } = at;
    LoadError::Disagrees {
        device,
        site,
        difference,
        size,
        tolerance: compare::TOLERANCE,
    }
}

/// A model's files, opened and understood, the weights not yet read.
pub(super) struct Files {
    pub(super) name: String,
    /// For messages.
    pub(super) path: PathBuf,
    pub(super) checkpoint: Checkpoint,
    pub(super) family: &'static Family,
    pub(super) spec: ModelSpec,
    pub(super) tokenizer: Option<Tokenizer>,
    pub(super) chat: Result<ChatTemplate, ChatError>,
}

/// Where a model's files are, before any is opened.
#[derive(Debug, Default)]
struct Place {
    path: PathBuf,
    name: String,
    revision: Option<String>,
    downloaded: bool,
}

impl Place {
    /// An existing path wins over a hub id.
    fn of(source: &str, hub: &Hub, progress: &mut dyn LoadProgress) -> Result<Self, LoadError> {
        let path = PathBuf::from(source);
        if source == demo::NAME {
            return Ok(Self::default());
        }
        if path.exists() {
            return Ok(Self {
                name: short_name(&path),
                path,
                ..Self::default()
            });
        }
        let id = HubId::parse(source).ok_or_else(|| LoadError::NotFound {
            name: source.to_owned(),
        })?;
        let progress = &mut Span {
            whole: progress,
            from: 0.0,
            to: DOWNLOAD_SHARE,
        };
        let located = hub.locate(&id, progress)?;
        Ok(Self {
            path: located.path,
            name: id.short_name().to_owned(),
            revision: located.commit,
            downloaded: located.downloaded,
        })
    }
}

impl Files {
    fn at(place: Place) -> Result<Self, LoadError> {
        let Place { path, name, .. } = place;
        let checkpoint = Checkpoint::open(&path)?;
        let (family, spec) = understand(&checkpoint, &path)?;
        let tokenizer = find_tokenizer(&checkpoint, &path)?;
        let chat = ChatTemplate::of_files(checkpoint.folder(), checkpoint.gguf_metadata(), &path);
        Ok(Self {
            name,
            path,
            checkpoint,
            family,
            spec,
            tokenizer,
            chat,
        })
    }
}

/// The family and shape that a checkpoint's config names.
pub(super) fn understand(
    checkpoint: &Checkpoint,
    path: &Path,
) -> Result<(&'static Family, ModelSpec), LoadError> {
    let config_error = |reason| LoadError::Config {
        reason,
        path: path.to_owned(),
    };
    let (family, spec) = if let Some(metadata) = checkpoint.gguf_metadata() {
        let family = Family::of_gguf(metadata).map_err(config_error)?;
        (family, family.spec_from_gguf(metadata, checkpoint))
    } else {
        let config = checkpoint.config().ok_or_else(|| LoadError::NoConfig {
            path: path.to_owned(),
        })?;
        let family = Family::of_config(config).map_err(config_error)?;
        let has_tensor = |name: &str| checkpoint.info(name).is_some();
        (family, family.spec_from_config(config, &has_tensor))
    };
    let mut spec = spec.map_err(config_error)?;
    spec.eos_ids = ends::of(checkpoint)?;
    Ok((family, spec))
}

/// tokenizer.json beside the weights, else the GGUF's own or that of separate files, else none.
fn find_tokenizer(checkpoint: &Checkpoint, path: &Path) -> Result<Option<Tokenizer>, LoadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |reason| LoadError::Tokenizer { reason, path }
    };
    let beside = checkpoint
        .folder()
        .map(|folder| folder.join("tokenizer.json"));
    match (beside, checkpoint.gguf_metadata()) {
        (Some(file), _) if file.exists() => Tokenizer::from_file(&file, checkpoint.config())
            .map(Some)
            .map_err(failed(&file)),
        (_, Some(metadata)) if metadata.str("tokenizer.ggml.model").is_some() => {
            Tokenizer::from_gguf(metadata)
                .map(Some)
                .map_err(failed(path))
        }
        (_, None) => match checkpoint.folder() {
            Some(folder) => {
                Tokenizer::from_folder(folder, checkpoint.config()).map_err(failed(folder))
            }
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// The folder's name, or the file's without its ending.
fn short_name(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let generic = ["model.safetensors", "model.safetensors.index.json"];
    let file_name = full
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    match file_name {
        Some(name) if generic.contains(&name.as_str()) => full
            .parent()
            .and_then(Path::file_name)
            .map_or(name, |folder| folder.to_string_lossy().into_owned()),
        Some(name) => match name
            .strip_suffix(".gguf")
            .or(name.strip_suffix(".safetensors"))
        {
            Some(stem) => stem.to_owned(),
            None => name,
        },
        None => path.display().to_string(),
    }
}

/// Reads the weights of one checkpoint.
struct Reader<'a> {
    checkpoint: &'a Arc<Checkpoint>,
    family: &'static Family,
    spec: &'a ModelSpec,
    path: &'a Path,
    dtype: Dtype,
    place: At<'a>,
}

/// Where matrices are put, and their products made.
#[derive(Clone, Copy, Debug)]
enum At<'a> {
    Memory,
    Device(&'a dyn Backend),
    /// They stay in the file, and are read for each product.
    File,
}

impl Reader<'_> {
    fn read(&self, progress: &mut dyn LoadProgress) -> Result<Transformer, LoadError> {
        let spec = self.spec;
        let bindings = self.bindings()?;
        let count = bindings.len();
        if self.dtype == Dtype::Quantized {
            self.check_quantized(&bindings)?;
        }
        let (mut vectors, mut matrices) = (BTreeMap::new(), BTreeMap::new());
        for (i, (slot, sources)) in bindings.into_iter().enumerate() {
            let what = sources.first().map_or("", |(name, _)| name.as_str());
            if !progress.report(i as f32 / count as f32, what) {
                return Err(LoadError::Stopped);
            }
            let stored = self.stored(slot, sources)?;
            if slot.is_product() {
                matrices.insert(slot, self.matrix(slot, stored)?);
            } else {
                vectors.insert(slot, stored.values()?);
            }
        }
        // A device has the embedding only where it multiplies.
        if let (At::Device(backend), true, Some(embed)) =
            (self.place, spec.tied, matrices.get(&Slot::Embed))
            && spec.head != Head::None
        {
            matrices.insert(Slot::Unembed, backend.place(embed)?);
        }
        let transformer = Weights {
            spec,
            vectors,
            matrices,
        }
        .transformer()?;
        progress.report(1.0, "done");
        Ok(transformer)
    }

    /// Refuses what has no blocks of its own to compute with.
    fn check_quantized(&self, bindings: &[(Slot, NamedSources)]) -> Result<(), LoadError> {
        if let At::Device(backend) = self.place {
            return Err(LoadError::QuantizedElsewhere {
                device: backend.name(),
            });
        }
        let types = bindings
            .iter()
            .filter(|(slot, _)| slot.is_product())
            .flat_map(|(_, sources)| sources)
            .filter_map(|(name, _)| Some(self.checkpoint.info(name)?.dtype));
        if types.clone().any(StoredType::is_quantized) {
            return Ok(());
        }
        let stored: BTreeSet<&str> = types.map(StoredType::name).collect();
        Err(LoadError::NotQuantized {
            stored: stored.into_iter().collect::<Vec<_>>().join(", "),
            path: self.path.to_owned(),
        })
    }

    /// A matrix where it is to be.
    fn matrix(&self, slot: Slot, stored: Stored) -> Result<Weight, LoadError> {
        let dtype = self.dtype;
        match self.place {
            At::File => Ok(Weight::placed(Reread { stored, dtype })),
            At::Device(backend) if slot != Slot::Embed => Ok(backend.place(&stored.read(dtype)?)?),
            // Rows of the embedding are looked up here.
            At::Memory | At::Device(_) => stored.read(dtype),
        }
    }

    /// Every slot with the checkpoint's names of its tensors; refuses what is missing and what nobody reads.
    fn bindings(&self) -> Result<Vec<(Slot, NamedSources)>, LoadError> {
        let mut used = BTreeSet::new();
        let mut found = Vec::new();
        for slot in Slot::all(self.spec) {
            let sources = self
                .family
                .sources(slot, self.spec, self.checkpoint)
                .into_iter()
                .map(
                    |source| match self.family.find(self.checkpoint, &source.name) {
                        Some(name) => {
                            used.insert(name.clone());
                            Ok((name, source))
                        }
                        None => Err(LoadError::MissingTensor {
                            tensor: source.name,
                            path: self.path.to_owned(),
                        }),
                    },
                )
                .collect::<Result<Vec<_>, _>>()?;
            if sources.is_empty() {
                return Err(LoadError::NoTensorFor {
                    slot: format!("{slot:?}"),
                    family: self.spec.family,
                    path: self.path.to_owned(),
                });
            }
            found.push((slot, sources));
        }
        let unknown: Vec<&str> = self
            .checkpoint
            .names()
            .filter(|name| !used.contains(*name) && !self.family.ignores(name))
            .collect();
        if unknown.is_empty() {
            return Ok(found);
        }
        let mut tensors = unknown[..unknown.len().min(5)].join(", ");
        if unknown.len() > 5 {
            tensors = format!("{tensors} and {} more", unknown.len() - 5);
        }
        Err(LoadError::UnknownTensors {
            tensors,
            path: self.path.to_owned(),
        })
    }

    /// A weight's tensors, which fit it. Checked before anything is read: a lying header must not make us allocate.
    fn stored(&self, slot: Slot, sources: NamedSources) -> Result<Stored, LoadError> {
        let (n_out, n_in) = slot.shape(self.spec);
        // A product that no memory has an address for is no tensor's size.
        let expected = n_out.saturating_mul(n_in);
        let rows = |(name, source): &(String, Source)| self.rows_of(name, source, n_in);
        let counts: Vec<Option<usize>> = sources.iter().map(rows).collect();
        if counts.iter().copied().sum::<Option<usize>>() != Some(n_out) {
            let wrong = counts
                .iter()
                .position(Option::is_none)
                .unwrap_or(counts.len() - 1);
            let (tensor, _) = &sources[wrong];
            return Err(LoadError::WrongShape {
                tensor: tensor.clone(),
                found: self
                    .checkpoint
                    .info(tensor)
                    .map_or(vec![], |info| info.shape.clone()),
                expected,
                slot: format!("{slot:?}: {n_out} × {n_in}"),
                path: self.path.to_owned(),
            });
        }
        Ok(Stored {
            checkpoint: Arc::clone(self.checkpoint),
            path: self.path.to_owned(),
            sources,
            shape: (n_out, n_in),
        })
    }

    /// How many rows of the weight a tensor gives; `None` where its shape does not fit.
    fn rows_of(&self, name: &str, source: &Source, n_in: usize) -> Option<usize> {
        let n_rows = match self.checkpoint.info(name)?.shape.as_slice() {
            [rows] if n_in == 1 => *rows,
            [inner, rows] if source.order == RowOrder::Transposed && *inner == n_in => *rows,
            [rows, inner] if source.order != RowOrder::Transposed && *inner == n_in => *rows,
            _ => return None,
        };
        match &source.rows {
            None => Some(n_rows),
            Some(chosen) => (chosen.end <= n_rows).then_some(chosen.len()),
        }
    }
}

/// Weights that have been read, on their way into place. Every slot that the spec needs is there.
struct Weights<'a> {
    spec: &'a ModelSpec,
    vectors: BTreeMap<Slot, Vec<f32>>,
    matrices: BTreeMap<Slot, Weight>,
}

impl Weights<'_> {
    fn transformer(mut self) -> candle_core::Result<Transformer> {
        let spec = self.spec;
        let embed = self.matrix(Slot::Embed)?;
        let unembed = match (spec.head, self.matrices.remove(&Slot::Unembed)) {
            (Head::None, _) => None,
            (_, Some(unembed)) => Some(unembed),
            (_, None) => Some(embed.clone()),
        };
        Ok(Transformer {
            pos_embed: match spec.positions {
                Positions::Learned => {
                    let values = self.vector(Slot::PosEmbed).unwrap_or_default();
                    Some(from_vec(values, Slot::PosEmbed.shape(spec))?)
                }
                Positions::Rotary(_) => None,
            },
            type_embed: self.vector(Slot::TypeEmbed),
            embed_norm: self.norm(Slot::EmbedNormWeight, Slot::EmbedNormBias),
            blocks: (0..spec.n_layers)
                .map(|layer| self.block(layer))
                .collect::<Result<_, _>>()?,
            final_norm: self.norm(Slot::FinalNormWeight, Slot::FinalNormBias),
            masked_head: match spec.head {
                Head::MaskedToken { .. } => Some(MaskedHead {
                    dense: self.linear(Slot::HeadDense, Slot::HeadDenseBias)?,
                    norm: self
                        .norm(Slot::HeadNormWeight, Slot::HeadNormBias)
                        .unwrap_or_default(),
                }),
                _ => None,
            },
            unembed,
            unembed_bias: self.vector(Slot::UnembedBias),
            spec: spec.clone(),
            embed,
        })
    }

    fn vector(&mut self, slot: Slot) -> Option<Vec<f32>> {
        self.vectors.remove(&slot)
    }

    fn matrix(&mut self, slot: Slot) -> candle_core::Result<Weight> {
        match self.matrices.remove(&slot) {
            Some(matrix) => Ok(matrix),
            None => candle_core::bail!("the weight {slot:?} was not read"),
        }
    }

    fn norm(&mut self, weight: Slot, bias: impl Into<Option<Slot>>) -> Option<NormWeights> {
        Some(NormWeights {
            weight: self.vector(weight)?,
            bias: bias.into().and_then(|bias| self.vector(bias)),
        })
    }

    fn linear(&mut self, weight: Slot, bias: Slot) -> candle_core::Result<Linear> {
        Ok(Linear {
            weight: self.matrix(weight)?,
            bias: self.vector(bias),
        })
    }

    fn block(&mut self, layer: usize) -> candle_core::Result<Block> {
        let at = |slot| Slot::Block(layer, slot);
        Ok(Block {
            norm1: self.norm(at(BlockSlot::Norm1Weight), at(BlockSlot::Norm1Bias)),
            qkv: self.linear(at(BlockSlot::Qkv), at(BlockSlot::QkvBias))?,
            q_norm: self.vector(at(BlockSlot::QNormWeight)),
            k_norm: self.vector(at(BlockSlot::KNormWeight)),
            out: self.linear(at(BlockSlot::Out), at(BlockSlot::OutBias))?,
            post_norm1: self.norm(at(BlockSlot::PostNorm1Weight), None),
            norm2: self.norm(at(BlockSlot::Norm2Weight), at(BlockSlot::Norm2Bias)),
            mlp_in: self.linear(at(BlockSlot::MlpIn), at(BlockSlot::MlpInBias))?,
            mlp_out: self.linear(at(BlockSlot::MlpOut), at(BlockSlot::MlpOutBias))?,
            post_norm2: self.norm(at(BlockSlot::PostNorm2Weight), None),
        })
    }
}
