//! The `parity` node of a comparison: the reference, and how far from it is too far.

use super::build::text;
use super::expand::Expander;
use super::judge::{Compared, float};
use super::kind::Kind;
use super::scope::{Open, place};
use crate::diag::Diagnostic;
use crate::pipeline::{Bound, Limit, OutputRule, Parity, Spanned, Value};
use crate::syntax::Node;

impl<'d> Expander<'d, '_> {
    /// A `parity` node.
    pub fn parity(&mut self, open: &Open<'d>, node: &'d Node, compared: &Compared) -> Option<Parity> {
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
        if !given(&inner) && outputs.iter().all(|rule| rule.limits.is_empty()) {
            let fault = Diagnostic::error("pipe::parity-without-limit", "`parity` does not say how far is too far");
            let fault = fault.at(node.header(), "here");
            self.report(open.site.scope, fault.help("write `max-abs=1e-3`, `max-rel=1e-2` or another limit"));
        }
        Some(Parity { reference: reference?, limits, top_k, outputs })
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
