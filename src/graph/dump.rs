//! The graph as text, JSON, DOT (Graphviz) and Mermaid.
//!
//! All forms draw the same picture: steps, edges to the step they build on, edges to what they read (other steps and
//! build contexts), and the targets. Labels come from a file that may be anybody's, so each form escapes them.

use super::{CopySource, Graph, Op, RunMount, Step};
use std::fmt::Write;

/// A form of dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One JSON document.
    Json,
    /// Graphviz.
    Dot,
    /// Mermaid flowchart.
    Mermaid,
}

/// Renders the graph; ends with a newline.
pub fn render(graph: &Graph, format: Format) -> String {
    match format {
        Format::Text => text(graph),
        Format::Json => json(graph),
        Format::Dot => dot(graph),
        Format::Mermaid => mermaid(graph),
    }
}

/// Longer labels are cut, so that the edges stand in a column that fits a terminal.
const LABEL_WIDTH: usize = 72;

/// `3  [2/2] COPY --from=build /x /x   on 2, reads 1`.
fn text(graph: &Graph) -> String {
    let number = graph.steps.len().saturating_sub(1).to_string().len();
    let labels: Vec<String> = graph.steps.iter().map(|step| cut(printable(&step.label))).collect();
    let column = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (step, label) in graph.steps.iter().zip(&labels) {
        let id = step.id.index();
        let mut edges: Vec<String> = step.base().map(|base| format!("on {}", base.index())).into_iter().collect();
        let reads: Vec<String> = reads(graph, step).iter().map(Read::words).collect();
        if !reads.is_empty() {
            edges.push(format!("reads {}", reads.join(", ")));
        }
        if graph.targets.contains(&step.id) {
            edges.push("target".into());
        }
        let line = format!("{id:>number$}  {label:<column$}  {}", edges.join("; "));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn cut(label: String) -> String {
    if label.chars().count() <= LABEL_WIDTH {
        return label;
    }
    label.chars().take(LABEL_WIDTH - 1).chain(['…']).collect()
}

fn json(graph: &Graph) -> String {
    // The types hold strings, numbers and lists only, which always serialise.
    let mut out = serde_json::to_string_pretty(graph).unwrap_or_default();
    out.push('\n');
    out
}

fn dot(graph: &Graph) -> String {
    let quote = |text: &str| format!("\"{}\"", printable(text).replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = String::from("digraph build {\n  rankdir=BT;\n  node [shape=box, fontname=\"monospace\"];\n");
    for name in contexts(graph) {
        let _ =
            writeln!(out, "  {} [label={}, shape=folder];", quote(&context_id(&name)), quote(&context_title(&name)));
    }
    for step in &graph.steps {
        let style = match (&step.op, graph.targets.contains(&step.id)) {
            (_, true) => ", peripheries=2",
            (Op::Scratch | Op::Image(_) | Op::Fetch(_), _) => ", shape=cylinder",
            _ => "",
        };
        let _ = writeln!(out, "  s{} [label={}{style}];", step.id.index(), quote(&step.label));
        if let Some(base) = step.base() {
            let _ = writeln!(out, "  s{} -> s{};", step.id.index(), base.index());
        }
        for read in reads(graph, step) {
            let _ = writeln!(out, "  s{} -> {} [style=dashed];", step.id.index(), quote(&read.id()));
        }
    }
    out + "}\n"
}

fn mermaid(graph: &Graph) -> String {
    let quote = |text: &str| {
        let mut out = String::from('"');
        for c in printable(text).chars() {
            match c {
                // Mermaid's entity form of everything that its labels give a meaning to.
                '"' | '#' | '<' | '>' | '&' | '`' | ';' | '\\' => {
                    let _ = write!(out, "#{};", u32::from(c));
                }
                c => out.push(c),
            }
        }
        out + "\""
    };
    let mut out = String::from("flowchart BT\n");
    let contexts: Vec<Option<String>> = contexts(graph);
    for (nth, name) in contexts.iter().enumerate() {
        let _ = writeln!(out, "  c{nth}[/{}/]", quote(&context_title(name)));
    }
    for step in &graph.steps {
        let id = step.id.index();
        let label = quote(&step.label);
        let _ = match (&step.op, graph.targets.contains(&step.id)) {
            (_, true) => writeln!(out, "  s{id}[[{label}]]"),
            (Op::Scratch | Op::Image(_) | Op::Fetch(_), _) => writeln!(out, "  s{id}[({label})]"),
            _ => writeln!(out, "  s{id}[{label}]"),
        };
        if let Some(base) = step.base() {
            let _ = writeln!(out, "  s{id} --> s{}", base.index());
        }
        for read in reads(graph, step) {
            let to = match &read {
                Read::Step(step) => format!("s{step}"),
                Read::Context(name) => format!("c{}", contexts.iter().position(|c| c == name).unwrap_or_default()),
            };
            let _ = writeln!(out, "  s{id} -.-> {to}");
        }
    }
    out
}

/// What a step reads beside the root filesystem it builds on.
#[derive(PartialEq)]
enum Read {
    Step(usize),
    /// `None`: the main context.
    Context(Option<String>),
}

impl Read {
    fn words(&self) -> String {
        match self {
            Read::Step(step) => step.to_string(),
            Read::Context(None) => "context".into(),
            Read::Context(Some(name)) => format!("context '{}'", printable(name)),
        }
    }

    fn id(&self) -> String {
        match self {
            Read::Step(step) => format!("s{step}"),
            Read::Context(name) => context_id(name),
        }
    }
}

/// Each thing read, once, in the order of the instruction. Reading from the own base is not told again.
fn reads(graph: &Graph, step: &Step) -> Vec<Read> {
    let sources: Vec<&CopySource> = match &step.op {
        Op::Copy(op) => op.sources.iter().collect(),
        Op::Run(op) => op
            .mounts
            .iter()
            .filter_map(|mount| match mount {
                RunMount::Bind { source, .. } => Some(source),
                RunMount::Cache { from, .. } => from.as_ref(),
                _ => None,
            })
            .collect(),
        Op::Scratch | Op::Image(_) | Op::Fetch(_) | Op::Mkdir(_) => Vec::new(),
    };
    let mut reads = Vec::new();
    for source in sources {
        let read = match source {
            CopySource::Step { step: other, .. } if Some(*other) == step.base() => continue,
            CopySource::Step { step: other, .. } | CopySource::Remote { step: other, .. } => Read::Step(other.index()),
            CopySource::Context { context, .. } => {
                Read::Context(context.and_then(|id| graph.contexts.get(id.index())?.clone()))
            }
            CopySource::Inline { .. } => continue,
        };
        if !reads.contains(&read) {
            reads.push(read);
        }
    }
    reads
}

/// The build contexts that any step reads, in order of first use.
fn contexts(graph: &Graph) -> Vec<Option<String>> {
    let mut names = Vec::new();
    for read in graph.steps.iter().flat_map(|step| reads(graph, step)) {
        if let Read::Context(name) = read
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

/// A node name that no step has.
fn context_id(name: &Option<String>) -> String {
    format!("context {}", name.as_deref().unwrap_or_default())
}

fn context_title(name: &Option<String>) -> String {
    name.as_ref().map_or("build context".into(), |name| format!("build context {name}"))
}

/// Control characters would move a terminal's cursor or end a label.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Span;
    use crate::graph::{ContextId, CopyOp, StepId};

    /// `FROM scratch` and a COPY from context and step, with a label that wants escaping.
    fn sample() -> Graph {
        let step = |id, op, label: &str| Step {
            id: StepId(id),
            op,
            label: label.into(),
            stage: "stage-0".into(),
            span: Some(Span::new(0..1)),
        };
        let copy = |base, sources| Op::Copy(CopyOp::new(StepId(base), sources, "/"));
        let context = |id| CopySource::Context { context: Some(ContextId(id)), pattern: "a".into() };
        let steps = vec![
            step(0, Op::Scratch, "[a 1/2] FROM scratch"),
            step(1, copy(0, vec![context(0), context(1)]), "[a 2/2] COPY \"q\\\" /\u{1b}[0m"),
            step(
                2,
                copy(0, vec![CopySource::Step { step: StepId(1), pattern: "a".into() }, context(0)]),
                "[1/1] COPY <x> #;",
            ),
        ];
        Graph { steps, contexts: vec![None, Some("host".into())], targets: vec![StepId(2)] }
    }

    #[test]
    fn text_tells_what_each_step_builds_on_and_reads() {
        let want = "\
0  [a 1/2] FROM scratch
1  [a 2/2] COPY \"q\\\" /\\u{1b}[0m  on 0; reads context, context 'host'
2  [1/1] COPY <x> #;             on 0; reads 1, context; target
";
        assert_eq!(render(&sample(), Format::Text), want);
        assert_eq!(render(&Graph::default(), Format::Text), "");
    }

    #[test]
    fn dot_quotes_labels() {
        let dot = render(&sample(), Format::Dot);
        assert!(dot.contains(r#"s1 [label="[a 2/2] COPY \"q\\\" /\\u{1b}[0m"];"#), "{dot}");
        assert!(dot.contains("\"context host\" [label=\"build context host\", shape=folder];"), "{dot}");
        assert!(
            dot.contains("s2 -> s0;\n  s2 -> \"s1\" [style=dashed];\n  s2 -> \"context \" [style=dashed];\n}"),
            "{dot}"
        );
    }

    #[test]
    fn mermaid_labels_hold_no_markup() {
        let mermaid = render(&sample(), Format::Mermaid);
        assert!(mermaid.contains("s2[[\"[1/1] COPY #60;x#62; #35;#59;\"]]"), "{mermaid}");
        assert!(mermaid.contains("s1[\"[a 2/2] COPY #34;q#92;#34; /#92;u{1b}[0m\"]"), "{mermaid}");
        assert!(mermaid.contains("s1 -.-> c0\n  s1 -.-> c1\n"), "{mermaid}");
    }

    #[test]
    fn json_has_every_step_with_its_operation() {
        let json: serde_json::Value = serde_json::from_str(&render(&sample(), Format::Json)).expect("a document");
        assert_eq!(json["targets"][0], 2);
        assert_eq!(json["steps"][0]["op"], serde_json::json!({ "op": "scratch" }));
        assert_eq!(json["steps"][2]["op"]["sources"][0]["Step"]["step"], 1);
    }
}
