//! `headscope dump`: activations of the edited run in a safetensors file, under TransformerLens's names.

use std::collections::HashMap;

use anyhow::Context as _;
use safetensors::tensor::{Dtype, TensorView};

use super::CliError;
use super::args::DumpArgs;
use super::opened::Opened;
use crate::experiment::engine::Dumped;
use crate::session::write_atomically;

pub(super) fn run(args: &DumpArgs) -> Result<(), CliError> {
    let DumpArgs {
        asked,
        sites,
        output,
    } = args;
    let mut opened = Opened::new(asked)?;
    let activations = opened.dump(sites)?;
    let content = safetensors(&activations, metadata(&opened)?)?;
    write_atomically(output, &content)
        .with_context(|| format!("cannot write the activations: {}", output.display()))?;
    for warning in &opened.warnings {
        eprintln!("warning: {warning}");
    }
    println!("{} activations: {}", activations.len(), output.display());
    Ok(())
}

/// What the activations are of. `ids` and `edits` are JSON, as safetensors keeps texts only.
fn metadata(opened: &Opened) -> anyhow::Result<HashMap<String, String>> {
    let spec = &opened.resolved.spec;
    let edits: Vec<String> = spec.edits.iter().map(ToString::to_string).collect();
    let model = opened.model_ref();
    let mut metadata = HashMap::from([
        ("ids".to_owned(), serde_json::to_string(&spec.ids[..])?),
        ("edits".to_owned(), serde_json::to_string(&edits)?),
        ("model".to_owned(), model.name.clone()),
        ("fingerprint".to_owned(), model.fingerprint.clone()),
        ("headscope".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    if let Some(contrast) = &spec.contrast {
        metadata.insert(
            "contrast_ids".to_owned(),
            serde_json::to_string(&contrast[..])?,
        );
    }
    Ok(metadata)
}

fn safetensors(
    activations: &[Dumped],
    metadata: HashMap<String, String>,
) -> anyhow::Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = activations
        .iter()
        .map(|activation| {
            activation
                .values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect()
        })
        .collect();
    let views = activations
        .iter()
        .zip(&bytes)
        .map(|(activation, bytes)| {
            let view = TensorView::new(Dtype::F32, activation.shape.clone(), bytes)?;
            Ok((activation.name.as_str(), view))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(safetensors::serialize(views, Some(metadata))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_reads_back() {
        let activations = [
            (
                "logits",
                vec![1, 2, 2],
                vec![1.0, f32::NEG_INFINITY, -0.5, 3.0],
            ),
            ("hook_embed", vec![1, 2], vec![0.25, 0.5]),
        ]
        .map(|(name, shape, values)| Dumped {
            name: name.into(),
            shape,
            values,
        });
        let metadata = HashMap::from([("ids".to_owned(), "[1,2]".to_owned())]);
        let content = safetensors(&activations, metadata.clone()).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&content).unwrap();
        assert_eq!(header.metadata().as_ref(), Some(&metadata));
        let read = safetensors::SafeTensors::deserialize(&content).unwrap();
        for Dumped {
            name,
            shape,
            values,
        } in activations
        {
            let tensor = read.tensor(&name).unwrap();
            assert_eq!(tensor.shape(), shape);
            assert_eq!(
                bytemuck::pod_collect_to_vec::<u8, f32>(tensor.data()),
                values
            );
        }
    }
}
