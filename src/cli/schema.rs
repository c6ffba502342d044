//! `pipe schema`: the whole language as JSON, from the table that the checker reads, or the JSON schema of the report.
//! `docs/schema.md` explains both.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::output::print;
use super::{exit, recipes};
use crate::resolve::Kind;
use crate::resolve::std_recipes;
use crate::resolve::table::{
    ANNOTATIONS, Body, FACTS, FILE_NODES, NodeSpec, RECIPE_NODES, STEP_NODES, STEP_SETTINGS, Setting, UNITS, ValueSpec,
    WHEN_NODE,
};

/// The version of the format; it grows when a key goes or changes its meaning.
const VERSION: u32 = 1;

/// The schema of the JSON report.
const REPORT: &str = include_str!("../../docs/report.schema.json");

/// The flags of `pipe schema`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Of what
    #[arg(value_enum, default_value_t = What::Language)]
    what: What,
}

/// What has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The language of pipelines
    Language,
    /// The JSON report
    Report,
}

/// Prints the language, or the schema of the report.
pub fn main(arguments: &Arguments) -> u8 {
    match arguments.what {
        What::Language => print(&format!("{:#}\n", schema())),
        What::Report => print(REPORT),
    }
    exit::DONE
}

fn schema() -> Value {
    let nodes = |specs: &[&'static NodeSpec]| specs.iter().map(|spec| node(spec)).collect::<Vec<_>>();
    json!({
        "format": "pipe-schema",
        "version": VERSION,
        "pipe": env!("CARGO_PKG_VERSION"),
        "kinds": Kind::ALL.iter().map(|kind| self::kind(*kind)).collect::<Vec<_>>(),
        "annotations": ANNOTATIONS.iter().map(|a| json!({
            "name": a.name, "doc": a.doc, "example": a.example,
        })).collect::<Vec<_>>(),
        "units": UNITS.iter().map(|unit| json!({
            "name": unit.name, "kind": unit.kind.name(), "factor": unit.factor, "doc": unit.doc,
        })).collect::<Vec<_>>(),
        "host_facts": FACTS.iter().map(|fact| json!({
            "name": fact.name, "doc": fact.doc, "values": fact.values,
        })).collect::<Vec<_>>(),
        "step_settings": STEP_SETTINGS.iter().map(setting).collect::<Vec<_>>(),
        "file_nodes": nodes(FILE_NODES),
        "step_nodes": nodes(STEP_NODES),
        "recipe_nodes": nodes(RECIPE_NODES),
        "when": node(&WHEN_NODE),
        "recipes": std_recipes().iter().map(recipes::as_json).collect::<Vec<_>>(),
    })
}

fn kind(kind: Kind) -> Value {
    json!({
        "name": kind.name(),
        "doc": kind.doc(),
        "example": kind.example(),
        "units": kind.units(),
        "parameter": Kind::PARAM_TYPES.contains(&kind.name()),
    })
}

fn node(spec: &NodeSpec) -> Value {
    let children: Vec<Value> = match spec.body {
        Body::Nodes(nodes) => nodes.iter().map(|child| node(child)).collect(),
        Body::Recipe | Body::Metrics | Body::Profile => Vec::new(),
    };
    json!({
        "name": spec.name,
        "doc": spec.doc,
        "values": spec.values.iter().map(value).collect::<Vec<_>>(),
        "rest": spec.rest.as_ref().map(value),
        "settings": spec.settings.iter().map(setting).collect::<Vec<_>>(),
        "any_setting": spec.open.map(Kind::name),
        "body": match spec.body {
            Body::Nodes(_) => "nodes",
            Body::Recipe => "recipe",
            Body::Metrics => "metrics",
            Body::Profile => "profile",
        },
        "nodes": children,
        "repeats": spec.repeats,
        "required": spec.required,
        "example": (!spec.example.is_empty()).then(|| format!("examples/{}", spec.example)),
    })
}

fn value(value: &ValueSpec) -> Value {
    json!({ "name": value.name, "doc": value.doc, "kind": value.kind.name(), "required": value.required })
}

fn setting(setting: &Setting) -> Value {
    json!({
        "name": setting.name,
        "doc": setting.doc,
        "kind": setting.kind.name(),
        "required": setting.required,
        "many": setting.many,
        "choices": setting.choices,
        "default": (!setting.default.is_empty()).then_some(setting.default),
    })
}
