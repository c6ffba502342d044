//! The `parity` node of a comparison: the reference, and how far from it is too far.

use super::build::text;
use super::expand::Expander;
use super::judge::{Compared, float};
use super::kind::Kind;
use super::scope::{Open, place};
use crate::diag::Diagnostic;
use crate::pipeline::parity::{TIMES, TOLERANCES};
use crate::pipeline::{Bound, Calibrated, Limit, OutputRule, Parity, Spanned, Value};
use crate::syntax::Node;

impl<'d> Expander<'d, '_> {
    /// A `parity` node.
    pub fn parity(&mut self, slot: usize, open: &Open<'d>, node: &'d Node, compared: &Compared) -> Option<Parity> {
        let inner = self.inner_with(open, node, &|name| name != "output");
        let Some(entry) = inner.fields.setting("reference") else {
            self.missing(&inner, "reference", Kind::Text);
            return None;
        };
        let (at, pairs) = self.written(&inner, entry, "`reference`")?;
        let reference = self.one_cell(open, at, "reference", pairs, compared);
        let limits = self.parity_limits(&inner);
        let top_k = self.count_up_to(&inner, "top-k", 1, u32::MAX);
        let nodes: Vec<&Node> = inner.fields.nodes("output").collect();
        let outputs: Vec<OutputRule> = nodes.into_iter().filter_map(|node| self.output_rule(open, node)).collect();
        let given = |inner: &Open<'d>| Bound::ALL.iter().any(|bound| inner.fields.setting(bound.name()).is_some());
        let calibrated = self.calibrated(slot, &inner);
        let tolerance = inner.fields.setting("tolerance").is_some();
        if !given(&inner) && !tolerance && outputs.iter().all(|rule| rule.limits.is_empty()) {
            let fault = Diagnostic::error("pipe::parity-without-limit", "`parity` does not say how far is too far");
            let fault = fault.at(node.header(), "here");
            self.report(open.site.scope, fault.help("write `max-abs=1e-3`, `max-rel=1e-2` or another limit"));
        }
        Some(Parity { reference: reference?, limits, top_k, outputs, calibrated })
    }

    /// `tolerance="calibrated" exact=(step)"exact" k=4`, where it is asked for.
    fn calibrated(&mut self, slot: usize, inner: &Open<'d>) -> Option<Calibrated> {
        let asked = self.setting(inner, "tolerance", Kind::Text).map(text);
        if asked.is_none() && ["exact", "k"].iter().any(|name| inner.fields.setting(name).is_some()) {
            let fault = Diagnostic::error("pipe::missing-setting", "`exact` and `k` belong to a calibrated tolerance");
            let fault = fault.at(inner.node.header(), "`tolerance` is not given");
            self.report(inner.site.scope, fault.help("write `tolerance=\"calibrated\"`, or take them away"));
        }
        let asked = asked?;
        let known = |name: &str| TOLERANCES.contains(&name).then_some(());
        self.named(inner, "tolerance", asked.clone(), TOLERANCES, known)?;
        let Some(entry) = inner.fields.setting("exact") else {
            self.missing(inner, "exact", Kind::Step);
            return None;
        };
        let exact = self.input(slot, &inner.site, entry, Kind::Input, "`exact`");
        let k = match self.setting(inner, "k", Kind::Float) {
            Some(value) => Spanned { value: float(&value.value)?, origin: value.origin },
            None => Spanned { value: TIMES, origin: asked.origin },
        };
        if !(k.value > 0.0 && k.value.is_finite()) {
            let at = place(&k.origin).unwrap_or_else(|| inner.node.header());
            let fault = Diagnostic::error("pipe::out-of-range", "`k` can't be that").at(at, "here");
            self.report(inner.site.scope, fault.help("write a number of more than 0: `k=4`"));
        }
        Some(Calibrated { exact: exact?, k })
    }

    /// `output "boxes" max-abs=0.5`.
    fn output_rule(&mut self, open: &Open<'d>, node: &'d Node) -> Option<OutputRule> {
        let inner = self.inner(open, node);
        let name = self.value(&open.site, inner.fields.values.first()?, Kind::Text, "the output").map(text)?;
        let ignore = match self.setting(&inner, "ignore", Kind::Bool) {
            Some(Spanned { value: Value::Bool(ignore), origin }) => Spanned { value: ignore, origin },
            _ => Spanned { value: false, origin: name.origin.clone() },
        };
        let limits = self.parity_limits(&inner);
        let silent = Bound::ALL.iter().all(|bound| inner.fields.setting(bound.name()).is_none());
        if silent && !ignore.value {
            let fault = Diagnostic::error("pipe::parity-without-limit", "`output` does not say how far is too far");
            let fault = fault.at(node.header(), "here");
            self.report(open.site.scope, fault.help("write `max-abs=1e-3` or another limit, or `ignore=#true`"));
        }
        Some(OutputRule { name, ignore, limits })
    }

    /// The limits that a node sets.
    fn parity_limits(&mut self, inner: &Open<'d>) -> Vec<Limit> {
        Bound::ALL.into_iter().filter_map(|bound| self.limit(inner, bound)).collect()
    }

    fn limit(&mut self, inner: &Open<'d>, bound: Bound) -> Option<Limit> {
        let kind = match bound {
            Bound::MinTopK => Kind::Percent,
            Bound::MinGreedyPrefix => Kind::Int,
            Bound::MaxAbs | Bound::MaxRel | Bound::MaxUlp | Bound::MinCosine => Kind::Float,
        };
        let value = self.setting(inner, bound.name(), kind)?;
        let limit = Spanned { value: float(&value.value)?, origin: value.origin };
        let (sound, range) = match bound {
            Bound::MinCosine => ((-1.0..=1.0).contains(&limit.value), "from -1 to 1"),
            Bound::MinTopK => ((0.0..=1.0).contains(&limit.value), "from 0 to 100 percent"),
            _ => (limit.value >= 0.0 && limit.value.is_finite(), "of 0 or more"),
        };
        if sound {
            return Some(Limit { bound, limit });
        }
        let at = place(&limit.origin).unwrap_or_else(|| inner.node.header());
        let fault = Diagnostic::error("pipe::out-of-range", format!("`{}` can't be that", bound.name()));
        self.report(inner.site.scope, fault.at(at, "here").help(format!("write a number {range}")));
        None
    }
}
