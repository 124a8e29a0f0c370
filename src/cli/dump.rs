//! `headscope dump`: activations of the edited run in a safetensors file, under TransformerLens's names.

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::CliError;
use super::args::DumpArgs;
use super::opened::Opened;
use crate::atomic;
use crate::experiment::engine::Dumped;

pub(super) fn run(args: &DumpArgs) -> Result<(), CliError> {
    let DumpArgs {
        asked,
        sites,
        output,
    } = args;
    let mut opened = Opened::new(asked)?;
    let activations = opened.dump(sites)?;
    let content = safetensors(&activations, metadata(&opened)?)?;
    atomic::write(output, &content)
        .with_context(|| format!("cannot write the activations: {}", output.display()))?;
    for warning in &opened.warnings {
        eprintln!("warning: {warning}");
    }
    println!("{} activations: {}", activations.len(), output.display());
    Ok(())
}

/// What the activations are of. `ids` and `edits` are JSON, as safetensors keeps texts only.
fn metadata(opened: &Opened) -> anyhow::Result<Map<String, Value>> {
    let spec = &opened.resolved.spec;
    let edits: Vec<String> = spec.edits.iter().map(ToString::to_string).collect();
    let model = opened.model_ref();
    let mut metadata = Map::new();
    let mut put = |key: &str, text: String| metadata.insert(key.to_owned(), text.into());
    put("headscope", env!("CARGO_PKG_VERSION").to_owned());
    put("model", model.name.clone());
    put("fingerprint", model.fingerprint.clone());
    put("ids", serde_json::to_string(&spec.ids[..])?);
    if let Some(contrast) = &spec.contrast {
        put("contrast_ids", serde_json::to_string(&contrast[..])?);
    }
    put("edits", serde_json::to_string(&edits)?);
    Ok(metadata)
}

/// Written here and not by the crate, whose metadata has another order in each file: equal runs give equal bytes.
fn safetensors(activations: &[Dumped], metadata: Map<String, Value>) -> anyhow::Result<Vec<u8>> {
    let mut header = Map::from_iter([("__metadata__".to_owned(), Value::Object(metadata))]);
    let mut end = 0;
    for activation in activations {
        let start = end;
        end += size_of_val(&activation.values[..]);
        let entry =
            json!({"dtype": "F32", "shape": activation.shape, "data_offsets": [start, end]});
        header.insert(activation.name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header)?;
    // Readers may map the values in place.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = Vec::with_capacity(8 + header.len() + end);
    file.extend((header.len() as u64).to_le_bytes());
    file.extend(header);
    for activation in activations {
        file.extend(
            activation
                .values
                .iter()
                .flat_map(|value| value.to_le_bytes()),
        );
    }
    Ok(file)
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
        let metadata = Map::from_iter([("ids".to_owned(), "[1,2]".into())]);
        let content = safetensors(&activations, metadata).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&content).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["ids"], "[1,2]");
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
