//! The written form of edits: `TARGET=OP[@POS]`.

use std::fmt;
use std::str::FromStr;

use super::{Edit, Finite, Op, Positions, Target, VectorRef};
use crate::ids::{HeadId, KvHeadId, index};

/// The text is no edit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("edit `{text}`: {reason}")]
pub struct ParseEditError {
    pub text: String,
    pub reason: String,
}

impl FromStr for Edit {
    type Err = ParseEditError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).map_err(|reason| ParseEditError {
            text: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Edit, String> {
    let (target, rest) = text
        .split_once('=')
        .ok_or("an edit is TARGET=OP[@POS], such as L9H6=zero or L9H6=scale(2)@last")?;
    // A file name may hold an `@`: positions start after the closing bracket.
    let op_end = rest.rfind(')').map_or(0, |i| i + 1);
    let (op, at) = match rest[op_end..].find('@') {
        Some(i) => (&rest[..op_end + i], Some(&rest[op_end + i + 1..])),
        None => (rest, None),
    };
    let edit = Edit {
        target: parse_target(target.trim())?,
        op: parse_op(op.trim())?,
        at: at.map_or(Ok(Positions::All), |at| parse_positions(at.trim()))?,
    };
    if matches!(edit.target, Target::Edge { .. }) && edit.at != Positions::All {
        return Err("an edge names its query itself; leave the @ away".into());
    }
    if !edit.target.allows(&edit.op) {
        return Err(format!(
            "`{}` cannot be done to {}; {} takes {}",
            op_name(&edit.op),
            edit.target,
            edit.target,
            allowed(edit.target)
        ));
    }
    Ok(edit)
}

fn parse_target(text: &str) -> Result<Target, String> {
    let number = |digits: &str| index(digits).ok_or_else(|| unknown_target(text));
    if let Some(layer) = text.strip_prefix(['M', 'm']) {
        return Ok(Target::Mlp(number(layer)?));
    }
    if let Some(layer) = text.strip_prefix(['R', 'r']) {
        return Ok(Target::Resid(number(layer)?));
    }
    if let Some((head, edge)) = text.split_once('[') {
        let (query, key) = edge
            .strip_suffix(']')
            .and_then(|edge| edge.split_once("->"))
            .ok_or("an edge is written L9H6[12->3]: query, then key")?;
        return Ok(Target::Edge {
            head: head.parse().map_err(|_err| unknown_target(text))?,
            query: number(query)?,
            key: number(key)?,
        });
    }
    if let Some((whole, part)) = text.rsplit_once('.')
        && let Some(target) = parse_target(whole)
            .ok()
            .and_then(|whole| part_of(whole, part))
    {
        return Ok(target);
    }
    if let Some(rest) = text.strip_prefix(['L', 'l']) {
        if let Some(layer) = index(rest) {
            return Ok(Target::Attention(layer));
        }
        if let Some((layer, kv_head)) = rest.split_once("KV").or_else(|| rest.split_once("kv")) {
            return Ok(Target::KvHead(KvHeadId {
                layer: number(layer)?,
                kv_head: number(kv_head)?,
            }));
        }
    }
    text.parse::<HeadId>()
        .map(Target::Head)
        .map_err(|_err| unknown_target(text))
}

/// `q` or `pattern` of a head, `k` of a key/value head.
fn part_of(whole: Target, part: &str) -> Option<Target> {
    match (whole, part) {
        (Target::Head(head), "q") => Some(Target::Query(head)),
        (Target::Head(head), "pattern") => Some(Target::Pattern(head)),
        (Target::KvHead(head), "k") => Some(Target::Key(head)),
        _ => None,
    }
}

fn unknown_target(text: &str) -> String {
    format!(
        "`{text}` is no target; targets are L9H6 (a head), L9H6.q, L9H6.pattern, L9KV1 (a key/value head), \
         L9KV1.k, L9H6[12->3] (an edge), L9 (a layer's attention), M5 (an MLP), R7 (resid_pre of a layer)"
    )
}

fn parse_op(text: &str) -> Result<Op, String> {
    let (name, arguments) = match text.split_once('(') {
        Some((name, rest)) => {
            let inner = rest
                .strip_suffix(')')
                .ok_or_else(|| format!("`{text}` lacks its closing bracket"))?;
            (name.trim(), Some(inner))
        }
        None => (text, None),
    };
    let op = match (name, arguments) {
        ("zero", None) => Op::Zero,
        ("zero_keep_bias", None) => Op::ZeroKeepBias,
        ("mean", None) => Op::Mean,
        ("resample", None) => Op::Resample,
        ("uniform", None) => Op::Uniform,
        ("knockout", None) => Op::Knockout,
        ("scale", Some(factor)) => Op::Scale(parse_finite(factor)?),
        ("add", Some(arguments)) => {
            let (vector, factor) = parse_vector_and_number("add", "x", arguments)?;
            Op::Add { vector, factor }
        }
        ("mix", Some(arguments)) => {
            let (vector, share) = parse_vector_and_number("mix", "a", arguments)?;
            Op::Mix { vector, share }
        }
        ("affine", Some(arguments)) => parse_affine(arguments)?,
        _ => {
            return Err(format!(
                "`{text}` is no operation; operations are zero, zero_keep_bias, mean, resample, scale(x), \
                 add(FILE.safetensors:NAME, x), mix(FILE.safetensors:NAME, a), \
                 affine(FILE.safetensors:A, FILE.safetensors:v), uniform, knockout"
            ));
        }
    };
    Ok(op)
}

/// The arguments of `add` and `mix`.
fn parse_vector_and_number(
    name: &str,
    number: &str,
    arguments: &str,
) -> Result<(VectorRef, Finite), String> {
    let usage = || format!("`{name}({arguments})`: write {name}(FILE.safetensors:NAME, {number})");
    // The last comma: a path may hold one.
    let (vector, factor) = arguments.rsplit_once(',').ok_or_else(usage)?;
    let vector = parse_vector(vector).ok_or_else(usage)?;
    Ok((vector, parse_finite(factor)?))
}

fn parse_affine(arguments: &str) -> Result<Op, String> {
    let vectors = arguments.rsplit_once(',');
    vectors
        .and_then(|(gain, shift)| {
            let (gain, shift) = (parse_vector(gain)?, parse_vector(shift)?);
            Some(Op::Affine { gain, shift })
        })
        .ok_or_else(|| {
            format!("`affine({arguments})`: write affine(FILE.safetensors:A, FILE.safetensors:v)")
        })
}

/// `FILE:NAME`.
fn parse_vector(text: &str) -> Option<VectorRef> {
    // The last colon: a path may hold one.
    let (file, name) = text.trim().rsplit_once(':')?;
    let is_whole = !file.is_empty() && !name.is_empty();
    is_whole.then(|| VectorRef {
        file: file.to_owned(),
        name: name.to_owned(),
    })
}

fn parse_finite(text: &str) -> Result<Finite, String> {
    text.trim()
        .parse()
        .ok()
        .and_then(Finite::new)
        .ok_or_else(|| format!("`{}` is not a finite number", text.trim()))
}

fn parse_positions(text: &str) -> Result<Positions, String> {
    if text == "last" {
        return Ok(Positions::Last);
    }
    let mut positions = text
        .split(',')
        .map(index)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            format!("`@{text}`: positions are `last` or token indices separated by commas")
        })?;
    positions.sort_unstable();
    positions.dedup();
    Ok(Positions::At(positions))
}

fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Zero => "zero",
        Op::ZeroKeepBias => "zero_keep_bias",
        Op::Mean => "mean",
        Op::Resample => "resample",
        Op::Scale(_) => "scale",
        Op::Add { .. } => "add",
        Op::Mix { .. } => "mix",
        Op::Affine { .. } => "affine",
        Op::Uniform => "uniform",
        Op::Knockout => "knockout",
    }
}

fn allowed(target: Target) -> &'static str {
    match target {
        Target::Head(_) => "zero, zero_keep_bias, mean, resample, scale, add, mix, affine, uniform",
        Target::Query(_) | Target::Pattern(_) | Target::Key(_) => "resample",
        Target::KvHead(_) => "zero, mean, resample, scale",
        Target::Edge { .. } => "knockout, scale",
        Target::Attention(_) => "zero, mean, resample, scale, add, uniform",
        Target::Mlp(_) | Target::Resid(_) => "zero, mean, resample, scale, add",
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, op, at } = self;
        write!(f, "{target}={op}{at}")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(head) => write!(f, "{head}"),
            Self::Query(head) => write!(f, "{head}.q"),
            Self::Pattern(head) => write!(f, "{head}.pattern"),
            Self::KvHead(head) => write!(f, "{head}"),
            Self::Key(head) => write!(f, "{head}.k"),
            Self::Edge { head, query, key } => write!(f, "{head}[{query}->{key}]"),
            Self::Attention(layer) => write!(f, "L{layer}"),
            Self::Mlp(layer) => write!(f, "M{layer}"),
            Self::Resid(layer) => write!(f, "R{layer}"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(op_name(self))?;
        match self {
            Self::Scale(factor) => write!(f, "({})", factor.get()),
            Self::Add { vector, factor }
            | Self::Mix {
                vector,
                share: factor,
            } => write!(f, "({vector}, {})", factor.get()),
            Self::Affine { gain, shift } => write!(f, "({gain}, {shift})"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for VectorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.name)
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Last => f.write_str("@last"),
            Self::At(positions) => {
                for (i, position) in positions.iter().enumerate() {
                    write!(f, "{}{position}", if i == 0 { '@' } else { ',' })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_spellings_read_back_as_they_were_printed() {
        for text in [
            "L9H6=zero",
            "L9H6=zero_keep_bias",
            "L9H6=mean@last",
            "L9H6=resample@0,3",
            "L9H6=scale(2.5)@last",
            "L9H6=scale(-0.1)",
            "L9H6=add(a,b@c:d.safetensors:dir, -2)@1",
            "L9H6=uniform",
            "L9H6=mix(a,b.safetensors:t, 0.5)@last",
            "L9H6=affine(a,b:c.safetensors:A, d.safetensors:v)",
            "L9H6.q=resample@3",
            "L9H6.pattern=resample",
            "L9KV1.k=resample",
            "L9KV1=scale(2)",
            "L9H6[12->3]=knockout",
            "L9H6[12->3]=scale(5)",
            "L9=uniform",
            "M5=mean",
            "R7=add(v.safetensors:x, 1)@last",
        ] {
            assert_eq!(text.parse::<Edit>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn loose_spellings_become_canonical() {
        for (loose, canonical) in [
            (" 9.6 = scale( 2.50 ) @ 3,1,3", "L9H6=scale(2.5)@1,3"),
            ("(9, 6)=zero", "L9H6=zero"),
            ("l9kv1=zero", "L9KV1=zero"),
            ("L9H6=scale(-0)", "L9H6=scale(0)"),
            ("L9H6=scale(1e3)", "L9H6=scale(1000)"),
        ] {
            assert_eq!(loose.parse::<Edit>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn what_the_table_lacks_is_refused_with_a_reason() {
        for (text, part) in [
            ("L9H6", "TARGET=OP"),
            ("X9=zero", "no target"),
            ("L9H6=explode", "no operation"),
            ("L9H6=scale", "no operation"),
            ("L9H6=scale(inf)", "finite"),
            ("L9H6=scale(nan)", "finite"),
            ("L9H6=scale(2", "closing bracket"),
            ("L9H6=knockout", "cannot be done"),
            ("L9H6[1->0]=zero", "cannot be done"),
            ("L9H6[1->0]=knockout@last", "leave the @"),
            ("L9KV0=uniform", "cannot be done"),
            ("L9KV0=mix(f:x, 1)", "cannot be done"),
            ("L9=affine(f:x, f:y)", "cannot be done"),
            ("L9H6=affine(f:x, y)", "affine(FILE"),
            ("L9H6=mix(f:x)", "mix(FILE"),
            ("L9H6.q=zero", "cannot be done"),
            ("L9H6.k=resample", "no target"),
            ("L9KV1.q=resample", "no target"),
            ("L9.q=resample", "no target"),
            ("L9KV0=add(f:x, 1)", "cannot be done"),
            ("M3=uniform", "cannot be done"),
            ("R3=zero_keep_bias", "cannot be done"),
            ("L9H6=zero@", "positions"),
            ("L9H6=zero@-1", "positions"),
            ("L9H6=add(x, 1)", "FILE"),
            ("L9H6=zero@99999999999999999999999", "positions"),
        ] {
            let error = text.parse::<Edit>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
