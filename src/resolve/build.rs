//! Slots into actions: processes, fetches, trees and images.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::beside::is_script;
use super::eval::{bad_path, not_below, quoted};
use super::expand::Expander;
use super::fields::Fields;
use super::kind::Kind;
use super::lock::is_sha256;
use super::scope::{Open, Site, Work, origin};
use crate::diag::{At, Diagnostic};
use crate::pipeline::{
    Action, Arg, Class, FetchFile, HostPackages, Image, Input, Limits, Origin, Put, PutWhat, Run, Spanned, TreeOf,
    Value, places,
};
use crate::syntax::{Entry, Node};

/// The longest time limit: what waits longer has been forgotten.
const MOST_TIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// More attempts than this don't help.
const MOST_RETRIES: u32 = 100;

impl<'d> Expander<'d, '_> {
    /// The action of every slot, `None` where it could not be made, which has been reported.
    pub fn build_all(&mut self) -> Vec<Option<Action>> {
        (0..self.slots.len()).map(|slot| self.build(slot)).collect()
    }

    fn build(&mut self, slot: usize) -> Option<Action> {
        let node = match &self.slots[slot].work {
            Work::Ready(action) => return Some((**action).clone()),
            Work::Node(node) => *node,
        };
        let site = self.slots[slot].site.clone();
        let fields = self.open(&site, node);
        let open = Open { node, fields, site };
        self.limits(slot, &open);
        match node.name.text.as_str() {
            "step" => self.run(slot, &open).map(Action::Run),
            "fetch" => self.fetch(&open).map(Action::FetchFile),
            "host-packages" => Some(Action::HostPackages(self.host_packages(&open))),
            "tree" => self.tree(slot, &open).map(Action::Tree),
            "image" => self.image(slot, &open).map(Action::Image),
            "measure" => self.measure(slot, &open).map(|m| Action::Measure(Box::new(m))),
            "compare" => self.compare(slot, &open).map(|c| Action::Compare(Box::new(c))),
            // `wheels` without a readable lock, which has been reported.
            _ => None,
        }
    }

    /// What a node says of its limits and of what it needs.
    pub fn limits(&mut self, slot: usize, open: &Open<'d>) {
        let timeout = self.timeout(open);
        let retries = self.count_up_to(open, "retry", 0, MOST_RETRIES).map(|n| n.value);
        self.slots[slot].limits = Limits { timeout, retries: retries.unwrap_or(0) };
        // What the expansion already knows, as the size of a wheel, stays.
        let mut needs = self.slots[slot].needs.clone();
        for node in open.fields.nodes("needs") {
            let inner = self.inner(open, node);
            if let Some(cpu) = self.count_up_to(&inner, "cpu", 1, u32::MAX) {
                needs.cpu = cpu.value;
            }
            if let Some(gpu) = self.count(&inner, "gpu") {
                needs.gpu = gpu.value;
            }
            needs.os = self.one_of(&inner, "os", &["linux", "macos"]).or(needs.os);
            needs.arch = self.one_of(&inner, "arch", &["x86_64", "aarch64"]).or(needs.arch);
            if let Some(memory) = self.size(&inner, "memory") {
                needs.memory = memory.value;
            }
            if let Some(download) = self.size(&inner, "download") {
                needs.download = download.value;
            }
            if let Some(disk) = self.size(&inner, "disk") {
                needs.disk = disk.value;
            }
        }
        self.slots[slot].needs = needs;
    }

    /// How long a step may take.
    fn timeout(&mut self, open: &Open<'d>) -> Option<Duration> {
        let value = self.setting(open, "timeout", Kind::Time)?;
        let timeout = as_time(&value.value)?;
        if !timeout.is_zero() && timeout <= MOST_TIME {
            return Some(timeout);
        }
        let at = super::scope::place(&value.origin).unwrap_or_else(|| open.node.header());
        let fault = Diagnostic::error("pipe::out-of-range", format!("`timeout` cannot be {} s", timeout.as_secs()));
        let help = "write a time of more than nothing and at most 30 days, or leave it out for none";
        self.report(open.site.scope, fault.at(at, "here").help(help));
        None
    }

    /// A text out of a few, where it is given.
    fn one_of(&mut self, open: &Open<'d>, name: &str, known: &[&str]) -> Option<String> {
        let value = self.setting(open, name, Kind::Text).map(text)?;
        self.named(open, name, value, known, |text| known.contains(&text).then(|| text.to_owned())).map(|n| n.value)
    }

    /// A child node opened: all its children are settings.
    pub fn inner(&self, open: &Open<'d>, node: &'d Node) -> Open<'d> {
        self.inner_with(open, node, &|_| true)
    }

    /// The same of a node of which only some children are settings.
    pub fn inner_with(&self, open: &Open<'d>, node: &'d Node, is_setting: &dyn Fn(&str) -> bool) -> Open<'d> {
        let fields = Fields::new(node, is_setting, &|when| self.holds(&open.site, when));
        Open { node, fields, site: open.site.clone() }
    }

    /// A setting that may be left out.
    pub fn setting(&mut self, open: &Open<'d>, name: &str, kind: Kind) -> Option<Spanned<Value>> {
        let entry = open.fields.setting(name)?;
        self.value(&open.site, entry, kind, &format!("`{name}`"))
    }

    /// Says that a setting is missing.
    pub fn missing(&mut self, open: &Open<'d>, name: &str, kind: Kind) {
        let node = &open.node.name.text;
        let fault = Diagnostic::error("pipe::missing-setting", format!("`{node}` needs `{name}`, {}", kind.describe()));
        let fault = fault.at(open.node.header(), format!("`{name}` is not given"));
        self.report(open.site.scope, fault.help(format!("write `{name}={}`", kind.example())));
    }

    /// A text that must be there.
    pub fn needed_text(&mut self, open: &Open<'d>, name: &str) -> Option<Spanned<String>> {
        if open.fields.setting(name).is_none() {
            self.missing(open, name, Kind::Text);
        }
        self.setting(open, name, Kind::Text).map(text)
    }

    /// A whole number from 0 on.
    pub fn count(&mut self, open: &Open<'d>, name: &str) -> Option<Spanned<u32>> {
        self.count_up_to(open, name, 0, u32::MAX)
    }

    /// A whole number within these.
    pub fn count_up_to(&mut self, open: &Open<'d>, name: &str, least: u32, most: u32) -> Option<Spanned<u32>> {
        let value = self.setting(open, name, Kind::Int)?;
        let Value::Integer(n) = value.value else {
            return None;
        };
        match u32::try_from(n) {
            Ok(n) if (least..=most).contains(&n) => Some(Spanned { value: n, origin: value.origin }),
            _ => {
                let at = super::scope::place(&value.origin).unwrap_or_else(|| open.node.header());
                let fault = Diagnostic::error("pipe::out-of-range", format!("`{name}` cannot be {n}"));
                self.report(
                    open.site.scope,
                    fault.at(at, "here").help(format!("write a whole number from {least} to {most}")),
                );
                None
            }
        }
    }

    /// A number of bytes.
    pub fn size(&mut self, open: &Open<'d>, name: &str) -> Option<Spanned<u64>> {
        let value = self.setting(open, name, Kind::Size)?;
        match value.value {
            Value::Bytes(n) => Some(Spanned { value: n, origin: value.origin }),
            _ => None,
        }
    }

    fn texts(&mut self, site: &Site, entries: &[&'d Entry], what: &str) -> Vec<Spanned<String>> {
        let values = entries.iter().flat_map(|entry| self.values(site, entry, Kind::Text, what));
        values.map(text).collect()
    }

    /// The value at `index`, as a text.
    fn text_at(&mut self, site: &Site, fields: &Fields<'d>, index: usize, what: &str) -> Option<Spanned<String>> {
        let entry = *fields.values.get(index)?;
        self.value(site, entry, Kind::Plain, what).map(text)
    }

    fn run(&mut self, slot: usize, open: &Open<'d>) -> Option<Run> {
        let site = &open.site;
        let Some(node) = open.fields.nodes("run").next() else {
            let fault = Diagnostic::error("pipe::no-run", "this step has no `run` here");
            let fault = fault.at(open.node.header(), "no `when` that has one holds");
            self.report(site.scope, fault.help("write a `run` for this case too, or put the step into the `when`"));
            return None;
        };
        let inner = Fields::new(node, &|_| false, &|when| self.holds(site, when));
        let said: Vec<Option<Vec<Spanned<Arg>>>> =
            inner.values.iter().map(|entry| self.args(slot, site, entry, "an argument")).collect();
        let sound = said.iter().all(Option::is_some);
        let mut words: Vec<Spanned<Arg>> = said.into_iter().flatten().flatten().collect();
        for arg in inner.nodes("arg") {
            words.extend(self.joined(slot, site, &arg.values().collect::<Vec<_>>()));
        }
        let mut inputs = Vec::new();
        let mut places = BTreeSet::new();
        for node in open.fields.nodes("input") {
            let fields = self.inner(open, node);
            let name = self.needed_text(&fields, "as");
            let given = self.inputs(slot, site, fields.fields.values.first()?, "an input");
            let (Some(name), Some(given)) = (name, given) else {
                continue;
            };
            let Some(given) = self.filtered_all(site, node, given) else { continue };
            match name.value.is_empty() || bad_path(&name.value) {
                true => {
                    let at = fields.fields.setting("as").map_or_else(|| node.header(), |entry| entry.at);
                    self.report(site.scope, not_below(&name.value, at, "`in`"));
                }
                false if !places.insert(name.value.clone()) => {
                    let at = fields.fields.setting("as").map_or_else(|| node.header(), |entry| entry.at);
                    let fault =
                        Diagnostic::error("pipe::duplicate-input", format!("two inputs lie at `in/{}`", name.value));
                    self.report(site.scope, fault.at(at, "the second").help("give one of them another `as`"));
                }
                false => inputs.extend(given.into_iter().map(|(cell, input)| (below(&name.value, cell), input))),
            }
        }
        let mut outputs = Vec::new();
        for node in open.fields.nodes("output") {
            for entry in node.values() {
                let Some(path) = self.value(site, entry, Kind::Text, "an output").map(text) else {
                    continue;
                };
                match path.value.is_empty() || bad_path(&path.value) {
                    true => self.report(site.scope, not_below(&path.value, entry.at, "`out`")),
                    false => outputs.push(path),
                }
            }
        }
        let tools: Vec<&Entry> = open.fields.nodes("tools").flat_map(|node| node.values()).collect();
        let tools = self.texts(site, &tools, "a tool");
        let program = words.first().filter(|word| matches!(&word.value, Arg::Value(_)));
        let program = program.map(|word| (self.plain_text(&word.value), word.origin.clone()));
        let named = tools.iter().map(|tool| (tool.value.clone(), tool.origin.clone()));
        for (tool, origin) in named.chain(program).collect::<Vec<_>>() {
            self.tool_name(site, &tool, &origin);
        }
        let env = self.env(slot, open);
        let fetch = self.slots[slot].class == Class::Fetch;
        let network = match self.setting(open, "network", Kind::Bool) {
            Some(Spanned { value: Value::Bool(value), origin }) => Spanned { value, origin },
            _ => Spanned { value: fetch, origin: origin(open.node.header()) },
        };
        if network.value && !fetch {
            let at = open.fields.setting("network").map_or_else(|| open.node.header(), |entry| entry.at);
            let fault = Diagnostic::error("pipe::network-in-build", "a `build` step cannot use the network");
            let help = "say `class=\"fetch\"` where a lock fixes what comes, or bring it with a `fetch` step";
            self.report(site.scope, fault.at(at, "its result would depend on what lies elsewhere").help(help));
        }
        let mut words = words.into_iter();
        let program = words.next().filter(|_| sound)?;
        let mut run = Run { program, args: words.collect(), env, inputs, outputs, tools, network };
        self.bring_modules(site, &mut run);
        self.one_place_each(open, &run);
        Some(run)
    }

    /// Puts the Python modules that scripts import from beside them where they lie beside them when they run.
    fn bring_modules(&mut self, site: &Site, run: &mut Run) {
        let named = places(run);
        if !named.iter().any(|(input, _)| is_script(input)) {
            return;
        }
        let mut brought: Vec<(String, Spanned<Input>)> = Vec::new();
        for (script, at) in named.iter().filter(|(input, _)| is_script(input)) {
            let folder = at.rsplit_once('/').map_or("", |(folder, _)| folder);
            for module in self.loader.beside(script).iter() {
                let place = format!("{folder}/{}", module.path);
                // What the step names itself comes first.
                let covered = |known: &str| {
                    place.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                if named.iter().any(|(_, known)| covered(known)) {
                    continue;
                }
                let Some(name) = place.strip_prefix("in/") else { continue };
                let input = Spanned { value: module.input.clone(), origin: origin(module.at) };
                if !brought.iter().any(|(known, other)| known == name && other.value == input.value) {
                    brought.push((name.to_owned(), input));
                }
            }
        }
        run.inputs.extend(brought);
        for fault in std::mem::take(&mut self.loader.late) {
            self.report(site.scope, fault);
        }
    }

    /// No two inputs of a process lie at one place.
    fn one_place_each(&mut self, open: &Open<'d>, run: &Run) {
        let all = places(run);
        let second =
            |last: &usize| all[..*last].iter().any(|(input, at)| *at == all[*last].1 && *input != all[*last].0);
        let Some((_, clash)) = (1..all.len()).find(second).map(|last| &all[last]) else { return };
        let here = |input: &Input| all.iter().any(|(other, at)| *other == input && at == clash);
        let words = std::iter::once(&run.program).chain(&run.args).chain(run.env.values());
        let words =
            words.filter(|word| matches!(&word.value, Arg::Input(input) if here(input))).map(|word| &word.origin);
        let inputs = run.inputs.iter().filter(|(_, input)| here(&input.value)).map(|(_, input)| &input.origin);
        let mut fault =
            Diagnostic::error("pipe::input-clash", format!("two inputs of this step would lie at `{clash}`"));
        let mut labels: Vec<At> = inputs.chain(words).filter_map(super::scope::place).collect();
        labels.dedup();
        if labels.is_empty() {
            labels.push(open.node.header());
        }
        for label in labels {
            fault = fault.at(label, "brings one of them");
        }
        let help = "rename one of the files, or give one another place: `input (file)\"…\" as=\"NAME\"`";
        self.report(open.site.scope, fault.help(help));
    }

    fn plain_text(&self, arg: &Arg) -> String {
        match arg {
            Arg::Value(value) => value.to_string(),
            _ => String::new(),
        }
    }

    /// A tool is the name of a program, which is looked for on the machine.
    fn tool_name(&mut self, site: &Site, tool: &str, origin: &Origin) {
        let help = match tool {
            _ if tool.trim().is_empty() => "name a program that the machine has, as `\"python3\"`",
            _ if tool.contains('/') => {
                "name a program by its name alone, as `\"python3\"`; one of your own is `(file)\"tool.sh\"`, one of a \
                 step `(step)\"NAME/bin/tool\"`"
            }
            _ if tool.starts_with('-') || tool.contains(char::is_whitespace) => {
                "each argument is a value of its own: `run \"tool\" \"argument\"`"
            }
            _ => return,
        };
        let fault = Diagnostic::error("pipe::bad-tool", format!("{} is no name of a tool", quoted(tool)));
        let fault = super::scope::place(origin).map_or(fault.clone(), |at| fault.at(at, "here"));
        self.report(site.scope, fault.help(help));
    }

    /// Several pieces as one argument.
    fn joined(&mut self, slot: usize, site: &Site, entries: &[&'d Entry]) -> Option<Spanned<Arg>> {
        let pieces: Vec<Spanned<Arg>> =
            entries.iter().filter_map(|entry| self.arg(slot, site, entry, "a piece of an argument")).collect();
        let first = pieces.first()?.origin.clone();
        match pieces.len() {
            1 => pieces.into_iter().next(),
            _ => Some(Spanned { value: Arg::Joined(pieces.into_iter().map(|p| p.value).collect()), origin: first }),
        }
    }

    fn env(&mut self, slot: usize, open: &Open<'d>) -> BTreeMap<String, Spanned<Arg>> {
        let mut env = BTreeMap::new();
        for node in open.fields.nodes("env") {
            for entry in &node.entries {
                if let Some(key) = &entry.key
                    && let Some(value) = self.arg(slot, &open.site, entry, &format!("`{}`", key.text))
                {
                    env.insert(key.text.clone(), value);
                }
            }
            let pieces: Vec<&Entry> = node.values().collect();
            if let Some((entry, pieces)) = pieces.split_first()
                && let Some(name) = entry.text()
                && let Some(value) = self.joined(slot, &open.site, pieces)
            {
                env.insert(name.to_owned(), value);
            }
        }
        env
    }

    fn fetch(&mut self, open: &Open<'d>) -> Option<FetchFile> {
        let url = self.needed_text(open, "url");
        let sha256 = self.needed_text(open, "sha256");
        let (url, sha256) = (url?, sha256?);
        let place = |name: &str| open.fields.setting(name).map_or_else(|| open.node.header(), |entry| entry.at);
        if !["https://", "http://", "file://"].iter().any(|scheme| url.value.starts_with(scheme)) {
            let fault =
                Diagnostic::error("pipe::bad-address", format!("`{}` is no address that can be fetched", url.value));
            self.report(
                open.site.scope,
                fault.at(place("url"), "here").help("write `https://…`, `http://…` or `file:///…`"),
            );
        }
        if has_login(&url.value) {
            // Whoever reads the message need not read the password.
            let fault = Diagnostic::error("pipe::bad-address", "the address holds a name or a password");
            let help = "leave out what stands before `@`: a step with `class=\"fetch\"` can be given a `(secret)`";
            self.report(open.site.scope, fault.at(place("url"), "here").help(help));
        }
        if !is_sha256(&sha256.value) {
            let fault = Diagnostic::error("pipe::bad-digest", "this is no SHA-256 digest");
            let fault = fault.at(place("sha256"), "64 digits 0 to 9 and a to f are wanted");
            self.report(open.site.scope, fault.help("`sha256sum FILE` prints the digest of a file that you have"));
        }
        let tail = url.value.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let name =
            self.setting(open, "file", Kind::Text).map_or_else(|| tail.to_owned(), |name| name.value.to_string());
        if name.is_empty() || name.contains('/') || bad_path(&name) {
            self.report(open.site.scope, not_below(&name, place("file"), "the step's output"));
            return None;
        }
        Some(FetchFile { url, sha256, name })
    }

    fn host_packages(&mut self, open: &Open<'d>) -> HostPackages {
        let names: Vec<&Entry> = open.fields.nodes("package").flat_map(|node| node.values()).collect();
        HostPackages { packages: self.texts(&open.site, &names, "a package") }
    }

    fn tree(&mut self, slot: usize, open: &Open<'d>) -> Option<TreeOf> {
        let site = &open.site;
        let mut puts = Vec::new();
        let mut host_libraries = Vec::new();
        let mut sound = true;
        for node in open.fields.all_nodes() {
            let fields = Fields::new(node, &|_| false, &|when| self.holds(site, when));
            if node.name.text == "host-library" {
                host_libraries.extend(self.texts(site, &fields.values, "a library"));
                continue;
            }
            let put = self.put(slot, site, node, &fields);
            sound &= put.is_some();
            puts.extend(put.into_iter().flatten());
        }
        sound.then_some(TreeOf { puts, host_libraries })
    }

    fn put(&mut self, slot: usize, site: &Site, node: &'d Node, fields: &Fields<'d>) -> Option<Vec<Put>> {
        let at = self.text_at(site, fields, 0, "a path")?;
        if bad_path(&at.value) || (at.value.is_empty() && node.name.text != "put") {
            self.report(site.scope, not_below(&at.value, fields.values.first()?.at, "the tree"));
            return None;
        }
        let second = *fields.values.get(1)?;
        let what = match node.name.text.as_str() {
            "put" => {
                let given = self.inputs(slot, site, second, "what is put")?;
                let given = self.filtered_all(site, node, given)?;
                let put = |(cell, input)| Put {
                    at: Spanned { value: below(&at.value, cell), origin: at.origin.clone() },
                    what: PutWhat::Input(input),
                };
                return Some(given.into_iter().map(put).collect());
            }
            "match" => PutWhat::Matching {
                folder: self.input(slot, site, second, Kind::Input, "the folder")?,
                pattern: self.text_at(site, fields, 2, "the pattern")?,
            },
            "link" => PutWhat::Link(self.text_at(site, fields, 1, "the target")?),
            _ => PutWhat::Text(self.text_at(site, fields, 1, "the content")?),
        };
        Some(vec![Put { at, what }])
    }

    fn image(&mut self, slot: usize, open: &Open<'d>) -> Option<Image> {
        let site = &open.site;
        let mut layers = Vec::new();
        for node in open.fields.nodes("layer") {
            let fields = Fields::new(node, &|_| false, &|_| false);
            let at = self.text_at(site, &fields, 0, "a path")?;
            if !at.value.starts_with('/') || bad_path(at.value.trim_start_matches('/')) {
                let fault = Diagnostic::error("pipe::not-absolute", format!("`{}` is no absolute path", at.value));
                self.report(
                    site.scope,
                    fault.at(fields.values.first()?.at, "here").help("write it from `/` on: `/model`"),
                );
            }
            let input: Option<Spanned<Input>> = self.input(slot, site, fields.values.get(1)?, Kind::Input, "a layer");
            layers.push((at, self.filtered(site, node, input?)?));
        }
        let words: Vec<&Entry> = open.fields.nodes("entrypoint").flat_map(|node| node.values()).collect();
        let entrypoint = self.texts(site, &words, "the entry point");
        let mut env = BTreeMap::new();
        for entry in open.fields.nodes("env").flat_map(|node| &node.entries) {
            if let Some(key) = &entry.key
                && let Some(value) = self.value(site, entry, Kind::Plain, &format!("`{}`", key.text))
            {
                env.insert(key.text.clone(), text(value));
            }
        }
        Some(Image { layers, entrypoint, env })
    }
}

/// The path of an entry in a folder; without an entry, the folder.
fn below(folder: &str, entry: Option<String>) -> String {
    match entry {
        Some(entry) if folder.is_empty() => entry,
        Some(entry) => format!("{folder}/{entry}"),
        None => folder.to_owned(),
    }
}

/// A value by its canonical spelling.
pub fn text(value: Spanned<Value>) -> Spanned<String> {
    Spanned { value: value.value.to_string(), origin: value.origin }
}

/// A value that is a time.
pub fn as_time(value: &Value) -> Option<Duration> {
    match value {
        Value::Time(time) => Some(*time),
        _ => None,
    }
}

/// True for an address with a login in it: `https://name:password@host/`.
fn has_login(url: &str) -> bool {
    let after = url.split_once("://").map_or("", |(_, rest)| rest);
    after.split(['/', '?', '#', '\\']).next().is_some_and(|authority| authority.contains('@'))
}
