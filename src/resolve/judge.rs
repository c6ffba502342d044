//! Slots into actions: measurements and their comparison.

use std::rc::Rc;
use std::time::Duration;

use super::build::{as_time, text};
use super::cells;
use super::expand::Expander;
use super::kind::Kind;
use super::scope::{Open, Ref, Target, origin, place};
use super::table::{DEVICES, DTYPES, OPTIMIZATIONS};
use super::value;
use crate::diag::{At, Diagnostic, choices, list, nearest};
use crate::pipeline::metric::{self, Metric, Unit};
use crate::pipeline::{
    Cell, CellPattern, Class, Compare, Device, Dtype, Expect, Input, Measure, Optimization, Place, Published, Sampling,
    Spanned, StepId, Value, WarmUp, Workload,
};
use crate::syntax::{Entry, Node};

/// Axis, value, and the places of both.
pub type Pairs = Vec<(String, String, At, At)>;

/// What is compared, and so what patterns can mean.
pub struct Compared {
    matrix: Option<usize>,
    cells: Vec<Rc<Cell>>,
}

impl<'d> Expander<'d, '_> {
    /// A `measure` node.
    pub fn measure(&mut self, slot: usize, open: &Open<'d>) -> Option<Measure> {
        let engine = self.needed_input(slot, open, "engine");
        let program = self.needed_text(open, "program");
        let model = self.needed_input(slot, open, "model");
        let cuda_libraries = match open.fields.setting("cuda-libraries") {
            Some(entry) => self.input(slot, &open.site, entry, Kind::Step, "`cuda-libraries`"),
            None => None,
        };
        let place = self.place(slot, open);
        let device = self.needed_text(open, "device");
        let device =
            device.and_then(|name| self.named(open, "device", name, DEVICES, |name| name.parse::<Device>().ok()));
        let dtype = match self.setting(open, "dtype", Kind::Text) {
            Some(name) => self.named(open, "dtype", text(name), DTYPES, |name| name.parse().ok()),
            None => Some(Spanned { value: Dtype::Fp32, origin: origin(open.node.header()) }),
        };
        let threads = self.positive(open, "threads");
        let reduced_precision = match self.setting(open, "reduced-precision", Kind::Bool) {
            Some(Spanned { value: Value::Bool(value), origin }) => Spanned { value, origin },
            _ => Spanned { value: false, origin: origin(open.node.header()) },
        };
        let optimization = match self.setting(open, "optimization", Kind::Text) {
            Some(name) => self.named(open, "optimization", text(name), OPTIMIZATIONS, |name| name.parse().ok()),
            None => Some(Spanned { value: Optimization::All, origin: origin(open.node.header()) }),
        };
        let workload = self.workload(slot, open);
        let warm_up = self.warm_up(open);
        let sampling = self.sampling(open);
        let memory_budget = self.size(open, "memory-budget");
        Some(Measure {
            engine: engine?,
            program: program?,
            model: model?,
            cuda_libraries,
            place: place?,
            device: device?,
            dtype: dtype?,
            threads: threads?,
            reduced_precision,
            optimization: optimization?,
            workload: workload?,
            warm_up,
            sampling,
            memory_budget,
        })
    }

    /// Sequences of tokens, or inferences over inputs: the one or the other.
    fn workload(&mut self, slot: usize, open: &Open<'d>) -> Option<Workload> {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| open.fields.setting(name).map(|entry| (*name, entry.at)))
        };
        match (first(&["tokens", "prompt-tokens", "new-tokens"]), first(&["inputs", "items"])) {
            (Some(sequence), Some(inference)) => {
                let fault = Diagnostic::error("pipe::two-workloads", "this measures both sequences and inferences");
                let fault = fault
                    .at(sequence.1, format!("`{}` belongs to sequences of a language model", sequence.0))
                    .at(inference.1, format!("`{}` belongs to inferences of any model", inference.0));
                let help = "keep `tokens`, `prompt-tokens` and `new-tokens`, or keep `inputs`";
                self.report(open.site.scope, fault.help(help));
                None
            }
            (None, None) => {
                let fault = Diagnostic::error("pipe::no-workload", "this says not what the model shall do");
                let fault = fault.at(open.node.header(), "it has neither `inputs` nor `tokens`");
                let help = "write `inputs=(step)\"inputs\"`, a folder with a `.npy` file for each input of the model; \
                            for a language model `tokens`, `prompt-tokens` and `new-tokens`";
                self.report(open.site.scope, fault.help(help));
                None
            }
            (Some(_), None) => {
                let tokens = self.needed_input(slot, open, "tokens");
                let (prompt, new) = (self.positive(open, "prompt-tokens"), self.positive(open, "new-tokens"));
                Some(Workload::Sequence { tokens: tokens?, prompt_tokens: prompt?, new_tokens: new? })
            }
            (None, Some(_)) => {
                let inputs = self.needed_input(slot, open, "inputs");
                let items = match open.fields.setting("items") {
                    Some(_) => Some(self.positive(open, "items")?),
                    None => None,
                };
                Some(Workload::Inference { inputs: inputs?, items })
            }
        }
    }

    fn needed_input(&mut self, slot: usize, open: &Open<'d>, name: &str) -> Option<Spanned<Input>> {
        let Some(entry) = open.fields.setting(name) else {
            self.missing(open, name, Kind::Step);
            return None;
        };
        let input = self.input(slot, &open.site, entry, Kind::Input, &format!("`{name}`"))?;
        match open.fields.setting_node(name) {
            Some(node) => self.filtered(&open.site, node, input),
            None => Some(input),
        }
    }

    /// A whole number from 1 on that must be there.
    fn positive(&mut self, open: &Open<'d>, name: &str) -> Option<Spanned<u32>> {
        if open.fields.setting(name).is_none() {
            self.missing(open, name, Kind::Int);
        }
        let value = self.count(open, name)?;
        if value.value == 0 {
            let at = place(&value.origin).unwrap_or_else(|| open.node.header());
            let fault = Diagnostic::error("pipe::out-of-range", format!("`{name}` cannot be 0"));
            self.report(open.site.scope, fault.at(at, "here").help("write a whole number from 1 on"));
            return None;
        }
        Some(value)
    }

    /// A name out of a few.
    pub fn named<T>(
        &mut self,
        open: &Open<'d>,
        what: &str,
        name: Spanned<String>,
        known: &[&str],
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Spanned<T>> {
        if let Some(value) = read(&name.value) {
            return Some(Spanned { value, origin: name.origin });
        }
        let at = place(&name.origin).unwrap_or_else(|| open.node.header());
        let fault =
            Diagnostic::error("pipe::not-a-choice", format!("`{what}` cannot be `{}`", name.value)).at(at, "here");
        self.report(open.site.scope, fault.help(choices(&name.value, known)));
        None
    }

    fn place(&mut self, slot: usize, open: &Open<'d>) -> Option<Place> {
        let Some(node) = open.fields.nodes("container").next() else {
            return Some(Place::Native);
        };
        let inner = self.inner(open, node);
        let image = self.input(slot, &open.site, inner.fields.values.first()?, Kind::Step, "the image");
        let cpus = self.positive(&inner, "cpus");
        if inner.fields.setting("memory").is_none() {
            self.missing(&inner, "memory", Kind::Size);
        }
        let memory = self.size(&inner, "memory");
        Some(Place::Container { image: image?, cpus: cpus?, memory: memory? })
    }

    fn warm_up(&mut self, open: &Open<'d>) -> WarmUp {
        let mut warm_up = WarmUp { min: 2, max: 10 };
        if let Some(node) = open.fields.nodes("warm-up").next() {
            let inner = self.inner(open, node);
            warm_up.min = self.count(&inner, "min").map_or(warm_up.min, |n| n.value);
            warm_up.max = self.count(&inner, "max").map_or(warm_up.max.max(warm_up.min), |n| n.value);
            if warm_up.max < warm_up.min {
                let fault = Diagnostic::error(
                    "pipe::min-above-max",
                    format!("at most {} is less than at least {}", warm_up.max, warm_up.min),
                );
                self.report(open.site.scope, fault.at(node.header(), "here").help("make `max` at least `min`"));
            }
        }
        warm_up
    }

    fn sampling(&mut self, open: &Open<'d>) -> Sampling {
        let mut sampling = Sampling {
            min_samples: 10,
            min_time: Duration::from_secs(5),
            target: 0.02,
            max_time: Duration::from_secs(60),
            max_samples: 2000,
        };
        let Some(node) = open.fields.nodes("samples").next() else {
            return sampling;
        };
        let inner = self.inner(open, node);
        sampling.max_samples = self.positive_or_none(&inner, "max").unwrap_or(sampling.max_samples);
        let least = self.positive_or_none(&inner, "min");
        sampling.min_samples = least.unwrap_or(sampling.min_samples.min(sampling.max_samples));
        if sampling.max_samples < sampling.min_samples {
            let (most, least) = (sampling.max_samples, sampling.min_samples);
            let fault =
                Diagnostic::error("pipe::out-of-range", format!("at most {most} is less than at least {least}"));
            self.report(open.site.scope, fault.at(node.header(), "here").help("make `max` at least `min`"));
        }
        let mut time = |name: &str| self.setting(&inner, name, Kind::Time).and_then(|v| as_time(&v.value));
        let (least, most) = (time("time"), time("max-time"));
        sampling.min_time = least.unwrap_or(sampling.min_time);
        sampling.max_time = most.unwrap_or(sampling.max_time);
        if let Some(Spanned { value: Value::Float(target), .. }) = self.setting(&inner, "target", Kind::Percent) {
            sampling.target = target;
        }
        sampling
    }

    fn positive_or_none(&mut self, open: &Open<'d>, name: &str) -> Option<u32> {
        open.fields.setting(name)?;
        self.positive(open, name).map(|n| n.value)
    }

    /// A `compare` node: all cells of one measurement.
    pub fn compare(&mut self, slot: usize, open: &Open<'d>) -> Option<Compare> {
        let Some(entry) = open.fields.setting("of") else {
            self.missing(open, "of", Kind::Step);
            return None;
        };
        let named = match cells::read(entry.text().unwrap_or_default(), entry.at) {
            Ok(named) => named,
            Err(fault) => {
                self.report(open.site.scope, fault);
                return None;
            }
        };
        let name = named.name;
        let Some(entity) = self.scopes[open.site.scope].names.get(name).cloned() else {
            self.report(open.site.scope, super::eval::absent_step(name, entry.at));
            return None;
        };
        if entity.matrix.is_some_and(|matrix| self.matrices[matrix].points.is_empty()) {
            // What is wrong with the matrix has been told.
            return None;
        }
        if !named.path.is_empty() {
            let fault = Diagnostic::error("pipe::bad-path", "a comparison looks at measurements, not at paths in them");
            self.report(open.site.scope, fault.at(entry.at, "here").help(format!("write `(step)\"{name}\"`")));
            return None;
        }
        let some = entry.annotated() == Some("cells") || named.pattern.is_some();
        let places = match some {
            true => self.compared(open, entry, name, named.pattern)?,
            false => (0..entity.targets.len()).collect(),
        };
        let chosen: Vec<&(Option<Rc<Cell>>, Target)> = places.iter().map(|place| &entity.targets[*place]).collect();
        let of: Vec<StepId> = chosen.iter().filter_map(|(_, target)| target.map(StepId)).collect();
        let compared =
            Compared { matrix: entity.matrix, cells: chosen.iter().filter_map(|(cell, _)| cell.clone()).collect() };
        if let Some(other) = of.iter().find(|id| !self.is_measure(id.0)) {
            let fault = Diagnostic::error("pipe::not-a-measurement", format!("`{name}` measures nothing"));
            let at = self.slots[other.0].at;
            let fault = fault.at(entry.at, "a measurement is wanted").at(at, "this step makes files");
            self.report(open.site.scope, fault.help("name a step that `bench-llm` or `measure` makes"));
            return None;
        }
        self.slots[slot].reads = of.iter().map(|id| (id.0, entry.at)).collect();
        let baseline = match open.fields.nodes("baseline").next() {
            Some(node) => self.baseline(open, node, &compared),
            None => None,
        };
        let parity = match open.fields.nodes("parity").next() {
            Some(node) => self.parity(slot, open, node, &compared),
            None => None,
        };
        let nodes: Vec<&Node> = open.fields.nodes("expect").collect();
        let expects = nodes.into_iter().filter_map(|node| self.expect(open, node, &compared)).collect();
        let nodes: Vec<&Node> = open.fields.nodes("published").collect();
        let published = nodes.into_iter().filter_map(|node| self.published(open, node)).collect();
        let matrix = compared.matrix.map(|m| self.matrices[m].plain());
        let group = of.first().map_or_else(|| name.to_owned(), |id| self.slots[id.0].group.clone());
        // A cell that could not be made has been reported; the comparison would be of less than was asked for.
        (of.len() == places.len()).then_some(Compare { of, group, matrix, baseline, parity, expects, published })
    }

    /// The cells that `of` chooses.
    fn compared(
        &mut self,
        open: &Open<'d>,
        entry: &'d Entry,
        name: &str,
        chosen: Option<CellPattern>,
    ) -> Option<Vec<usize>> {
        let wanted = Ref {
            scope: open.site.scope,
            name: name.to_owned(),
            path: String::new(),
            cell: open.site.cell.clone(),
            of: open.site.of,
            chosen,
            at: entry.at,
        };
        let places = self.fitting(&open.site, &wanted)?;
        if places.is_empty() {
            let fault = self.no_cell(&wanted, &self.scopes[wanted.scope].names[name]);
            self.report(open.site.scope, fault);
            return None;
        }
        Some(places)
    }

    fn is_measure(&self, slot: usize) -> bool {
        self.slots[slot].class == Class::Measure
    }

    fn baseline(&mut self, open: &Open<'d>, node: &'d Node, compared: &Compared) -> Option<Spanned<CellPattern>> {
        let mut pairs = Vec::new();
        for entry in &node.entries {
            let Some(key) = &entry.key else { continue };
            if let Some(value) = self.value(&open.site, entry, Kind::Plain, &format!("axis `{}`", key.text)) {
                pairs.push((key.text.clone(), value.value.to_string(), key.at, entry.at));
            }
        }
        self.one_cell(open, node.header(), "baseline", pairs, compared)
    }

    /// A pattern that must mean exactly one cell.
    pub fn one_cell(
        &mut self,
        open: &Open<'d>,
        at: At,
        what: &str,
        pairs: Pairs,
        compared: &Compared,
    ) -> Option<Spanned<CellPattern>> {
        let pattern = self.pattern(open, at, pairs, compared)?;
        let matrix = &self.matrices[compared.matrix?];
        let matching: Vec<String> =
            compared.cells.iter().filter(|cell| pattern.value.matches(cell)).map(|cell| cell.to_string()).collect();
        if matching.len() == 1 {
            return Some(pattern);
        }
        let fault = if let [first, ..] = matching.as_slice() {
            let fault = Diagnostic::error(
                "pipe::not-one-cell",
                format!("the {what} is one cell, and this fits {}", matching.len()),
            );
            fault.at(at, "name more axes").help(format!("for example `{first}`; it fits {}", list(&matching)))
        } else {
            let cells: Vec<String> = matrix.cells.iter().map(|cell| format!("{cell}")).collect();
            let left = matrix.cells.iter().any(|cell| pattern.value.matches(cell));
            let excluded = matrix.why_excluded(|cell| pattern.value.matches(cell));
            let why = match excluded {
                _ if left => Some("`of` leaves it out".to_owned()),
                reason => reason.map(|reason| format!("the matrix excludes it: {reason}")),
            };
            let fault = Diagnostic::error("pipe::no-such-cell", format!("no cell fits this {what}"));
            fault
                .at(at, why.unwrap_or_else(|| "no cell has all these values".to_owned()))
                .help(format!("the cells are {}", list(&cells)))
        };
        self.report(open.site.scope, fault);
        None
    }

    /// Pairs as a pattern, with every axis and value known.
    fn pattern(&mut self, open: &Open<'d>, at: At, pairs: Pairs, compared: &Compared) -> Option<Spanned<CellPattern>> {
        let Some(matrix) = compared.matrix.map(|m| &self.matrices[m]) else {
            if pairs.is_empty() {
                return Some(Spanned { value: CellPattern(Vec::new()), origin: origin(at) });
            }
            let fault =
                Diagnostic::error("pipe::no-cells", "what is compared has no cells").at(at, "these axes are not there");
            self.report(open.site.scope, fault.help("give the measurement a `for-each`, or take this away"));
            return None;
        };
        let mut sound = true;
        for (axis, value, axis_at, value_at) in &pairs {
            let axis = axis.trim_start_matches('!');
            let wild = value.contains('*') && matrix.axis(axis).is_some();
            if let Some(fault) = (!wild).then(|| matrix.known(axis, *axis_at, value, *value_at).err()).flatten() {
                self.report(open.site.scope, fault);
                sound = false;
            }
        }
        let pattern = CellPattern(pairs.into_iter().map(|(axis, value, _, _)| (axis, value)).collect());
        sound.then(|| Spanned { value: pattern, origin: origin(at) })
    }

    /// A pattern written as one text: `engine=torch place=*`.
    pub fn written(&mut self, open: &Open<'d>, entry: &'d Entry, what: &str) -> Option<(At, Pairs)> {
        let value = self.value(&open.site, entry, Kind::Text, what)?;
        let at = place(&value.origin).unwrap_or(entry.at);
        match CellPattern::parse(&value.value.to_string()) {
            Some(pattern) => Some((at, pattern.0.into_iter().map(|(axis, value)| (axis, value, at, at)).collect())),
            None => {
                let fault = Diagnostic::error("pipe::bad-pattern", format!("{what} is no pattern of cells"));
                let help = "write `axis=value` pairs with spaces between them: `engine=onnx place=*`";
                self.report(open.site.scope, fault.at(at, "here").help(help));
                None
            }
        }
    }

    fn expect(&mut self, open: &Open<'d>, node: &'d Node, compared: &Compared) -> Option<Expect> {
        let inner = self.inner(open, node);
        let metric = self.value(&open.site, inner.fields.values.first()?, Kind::Text, "the metric").map(text)?;
        let metric = self.named(open, "metric", metric, &metric::EXPECTED, |name| {
            metric::EXPECTED.contains(&name).then(|| name.to_owned())
        })?;
        if metric.value == metric::SPEED_UP && open.fields.nodes("baseline").next().is_none() {
            let fault =
                Diagnostic::error("pipe::no-baseline", "a speed-up is told against a baseline, and none is named");
            let fault = fault.at(node.header(), "against what?");
            self.report(open.site.scope, fault.help("write `baseline AXIS=\"VALUE\"` in `compare`"));
        }
        let kind = kind_of_expected(&metric.value);
        let (at, pairs) = match inner.fields.setting("cell") {
            Some(entry) => self.written(&inner, entry, "`cell`")?,
            None => (node.header(), Vec::new()),
        };
        let cell = self.pattern(open, at, pairs, compared);
        let mut bound = |name: &str| {
            let value = self.setting(&inner, name, kind)?;
            let number = amount(&value.value)?;
            if number < 0.0 {
                let at = place(&value.origin).unwrap_or_else(|| node.header());
                let fault = Diagnostic::error("pipe::negative-quantity", format!("`{name}` is below zero"));
                self.report(open.site.scope, fault.at(at, "here").help("write a number that is not negative"));
            }
            Some(number)
        };
        let (min, max) = (bound("min"), bound("max"));
        if let (Some(low), Some(high)) = (min, max)
            && low > high
        {
            let fault = Diagnostic::error("pipe::min-above-max", "no value is at least `min` and at most `max`");
            let fault = fault.at(node.header(), "`min` is larger than `max`");
            self.report(open.site.scope, fault.help("exchange the two, or leave one out"));
        }
        if ["min", "max"].iter().all(|name| inner.fields.setting(name).is_none()) {
            let fault = Diagnostic::error("pipe::expect-without-limit", "`expect` does not say what is expected");
            let help = format!("write `min={0}`, `max={0}` or both", kind.example());
            self.report(open.site.scope, fault.at(node.header(), "here").help(help));
        }
        Some(Expect { metric, cell: cell?, min, max })
    }

    fn published(&mut self, open: &Open<'d>, node: &'d Node) -> Option<Published> {
        let label = self.value(&open.site, node.values().next()?, Kind::Text, "the label")?.value.to_string();
        let source = node.property("source").or_else(|| node.property_or_child("source"))?;
        let source = self.value(&open.site, source, Kind::Text, "`source`")?.value.to_string();
        let metric = |child: &Node| {
            let kind = kind_of_published(&child.name.text)?;
            let value = value::literal(child.values().next()?, kind, "").ok()?;
            Some((child.name.text.clone(), amount(&value)?))
        };
        let metrics = node.children().iter().filter(|child| child.name.text != "source").filter_map(metric).collect();
        Some(Published { label, source, metrics })
    }
}

/// How the bounds of an `expect` are written.
fn kind_of_expected(name: &str) -> Kind {
    Metric::parse(name).map_or(Kind::Float, kind_of)
}

/// How a figure of a `published` result is written; `None` for a name that is no metric and no rate.
pub fn kind_of_published(name: &str) -> Option<Kind> {
    let other_rate = || {
        // What looks like one of ours with a slip in it is no rate of something else.
        let what = name.strip_suffix("-per-second").filter(|what| !what.is_empty())?;
        let ours = Metric::ALL.into_iter().filter_map(|metric| metric.name().strip_suffix("-per-second"));
        nearest(what, ours).is_none().then_some(Kind::Float)
    };
    Metric::parse(name).map(kind_of).or_else(other_rate)
}

fn kind_of(metric: Metric) -> Kind {
    match metric.unit() {
        Unit::Nanoseconds => Kind::Time,
        Unit::Bytes => Kind::Size,
        Unit::PerSecond => Kind::Float,
    }
}

/// A time in seconds, a size in bytes, or the number itself.
fn amount(value: &Value) -> Option<f64> {
    match value {
        Value::Time(time) => Some(time.as_secs_f64()),
        Value::Bytes(bytes) => Some(*bytes as f64),
        other => float(other),
    }
}

pub fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(x) => Some(*x),
        Value::Integer(n) => Some(*n as f64),
        _ => None,
    }
}
