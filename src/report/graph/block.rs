//! What stands in a node of a picture, and how much room it takes: its title, how it stands, and the rows of what
//! was folded into it.

use super::rows::{Row, fetched, rows, sentence};
use super::{Node, NodeState, class_name};
use crate::report::svg::CHARACTER;
use crate::report::units::{columns, cut};

/// Room left and right of the text.
pub const SIDE: f64 = 11.0;
/// Room of a sign before its text.
pub const SIGN: f64 = 16.0;
/// Height of a line of the title, of a note, and of a row.
pub const TITLE: f64 = 16.0;
pub const NOTE: f64 = 15.0;
pub const ROW: f64 = 18.0;
/// Width of a character in notes and times.
const SMALL: f64 = CHARACTER * 11.0 / 12.0;
const TOP: f64 = 7.0;
/// Longer titles are wrapped, longer rows cut.
const WRAP: usize = 26;
const LONGEST_ROW: usize = 44;
/// More rows than this are shown when somebody opens the block.
const OPEN: usize = 24;
/// More rows than this stand beside each other.
const COLUMN: usize = 16;

/// A line below the title.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// Whose sign stands before it.
    pub state: Option<NodeState>,
    pub text: String,
}

/// A node as it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Block<'a> {
    pub node: &'a Node,
    pub title: Vec<String>,
    /// `build`, `measure ×12`: beside a title of one line, else a note.
    pub kind: String,
    pub notes: Vec<Note>,
    pub rows: Vec<Row>,
    pub open: bool,
    rows_high: usize,
    row_width: f64,
}

impl<'a> Block<'a> {
    /// Lays out the text of a node. `open` shows its rows, if they are not too many.
    pub fn new(node: &'a Node, open: bool) -> Block<'a> {
        let rows = rows(node);
        let mut kind = class_name(node.class).to_owned();
        let fetched = fetched(node);
        let name = match (&fetched, node.count) {
            (_, 1) => node.title(),
            _ => node.group.clone(),
        };
        if node.count > 1 && fetched.is_none() {
            kind = format!("{kind} ×{}", node.count);
        }
        let title = wrapped(&name, WRAP);
        let mut notes = notes(node, fetched.is_some());
        notes.extend(fetched.map(|text| Note { state: None, text }));
        let beside = title.len() == 1 && columns(&title[0]) + 1 + columns(&kind) <= WRAP + 4;
        if !beside {
            notes.insert(0, Note { state: None, text: std::mem::take(&mut kind) });
        }
        let open = open && !rows.is_empty() && rows.len() <= OPEN;
        let row = |row: &Row| {
            let time = row.took.map_or(0.0, |took| (columns(&took.short()) + 1) as f64 * SMALL);
            SIGN + columns(&row_label(row)) as f64 * CHARACTER + time
        };
        let row_width = rows.iter().map(row).fold(0.0, f64::max) + 14.0;
        Block { node, title, kind, notes, open, rows_high: high(rows.len(), row_width), row_width, rows }
    }

    /// Height down to the rows.
    pub fn head(&self) -> f64 {
        TOP + self.title.len() as f64 * TITLE + self.notes.len() as f64 * NOTE + 6.0
    }

    /// Width and height.
    pub fn size(&self, open: bool) -> (f64, f64) {
        let title = self.title.iter().map(|line| columns(line)).max().unwrap_or(0) as f64 * CHARACTER;
        let kind = if self.kind.is_empty() { 0.0 } else { (columns(&self.kind) + 1) as f64 * SMALL };
        let note = |note: &Note| columns(&note.text) as f64 * SMALL + if note.state.is_some() { SIGN } else { 0.0 };
        let notes = self.notes.iter().map(note).fold(0.0, f64::max);
        // Room for the mark that opens a block.
        let mark = if self.rows.is_empty() { 0.0 } else { 18.0 };
        let head = (title + kind + mark).max(notes).max(58.0) + 2.0 * SIDE;
        if !open || self.rows.is_empty() {
            return (head, self.head());
        }
        let wide = self.rows.len().div_ceil(self.rows_high) as f64;
        (head.max(wide * self.row_width + SIDE), self.head() + self.rows_high as f64 * ROW + 8.0)
    }

    /// Left and top of a row inside of the open block, and its width.
    pub fn row(&self, at: usize) -> (f64, f64, f64) {
        let wide = self.rows.len().div_ceil(self.rows_high);
        let width = if wide == 1 { self.size(true).0 - SIDE } else { self.row_width };
        let (column, line) = (at / self.rows_high, at % self.rows_high);
        (column as f64 * self.row_width + SIDE / 2.0, self.head() + 3.0 + line as f64 * ROW, width)
    }

    /// All in a sentence: for whoever points at the node or hears it.
    pub fn sentence(&self) -> String {
        let state = match (&self.node.detail, self.node.count) {
            (Some(tally), 2..) => tally.clone(),
            _ => self.node.state.sentence(),
        };
        let time = self.node.past.took.map(|took| format!(", {}", took.text())).unwrap_or_default();
        sentence(&self.node.name, &state) + &time
    }
}

/// The label of a row as it is drawn.
pub fn row_label(row: &Row) -> String {
    cut(&row.label, LONGEST_ROW)
}

/// How many rows stand below each other: one column as long as that is readable, then about a square.
fn high(count: usize, width: f64) -> usize {
    if count <= COLUMN {
        return count.max(1);
    }
    let square = (count as f64 * width / ROW).sqrt() as usize;
    let high = square.clamp(COLUMN / 2, count);
    // Even columns: 17 rows are 9 and 8.
    count.div_ceil(count.div_ceil(high))
}

/// How a node stands, and how long it took. What only took in its fetches stands as one step does.
fn notes(node: &Node, single: bool) -> Vec<Note> {
    let took = node.past.took.map(super::Took::short);
    let state = |state: NodeState, text: String| Note { state: Some(state), text };
    if node.count == 1 || (single && node.detail.is_none()) {
        if node.state == NodeState::Plain {
            return Vec::new();
        }
        let words = [Some(node.state.name().to_owned()), took].into_iter().flatten().collect::<Vec<_>>().join(" · ");
        return vec![state(node.state.clone(), words)];
    }
    let count = |like: &NodeState| node.members.iter().filter(|member| member.state.name() == like.name()).count();
    let counts = super::palette::legend().into_iter().map(|(state, _)| (count(&state), state));
    let mut notes: Vec<Note> = counts
        .filter(|(count, _)| *count > 0)
        .map(|(count, like)| {
            let text = format!("{count} {}", like.name());
            state(like, text)
        })
        .collect();
    match (notes.as_mut_slice(), took) {
        ([only], Some(took)) => only.text = format!("{} · {took}", only.text),
        // The last line of a tally would claim the time for itself.
        (_, Some(took)) => notes.push(Note { state: None, text: took }),
        _ => {}
    }
    notes
}

/// Wraps at a place where a name can be broken; at most three lines.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let text = cut(text, usize::MAX);
    let mut lines = Vec::new();
    let mut rest = text.as_str();
    while columns(rest) > most && lines.len() < 2 {
        let fits =
            rest.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| columns(&rest[..*end]) <= most);
        let ends: Vec<usize> = fits.collect();
        let hard = ends.last().copied().unwrap_or_else(|| rest.chars().next().map_or(0, char::len_utf8));
        let soft = |end: &&usize| rest[..**end].ends_with(['/', '-', '_', ',', ' ', '.', ':', ']']);
        let end = ends.iter().rev().find(soft).filter(|end| **end * 3 > hard).copied().unwrap_or(hard);
        lines.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(cut(rest, most));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::fold::{Collapse, fold};
    use super::super::tests::example;
    use super::*;

    #[test]
    fn long_names_are_wrapped_where_a_name_can_be_broken() {
        assert_eq!(wrapped("env", 10), ["env"]);
        assert_eq!(wrapped("engine/libtorch-to-build", 16), ["engine/libtorch-", "to-build"]);
        assert_eq!(wrapped("abcdefghijklmnopqrstuvwxyz0123456789", 10), ["abcdefghij", "klmnopqrst", "uvwxyz012…"]);
        assert_eq!(wrapped("模型模型模型", 5), ["模型", "模型", "模型"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("模模", 1), ["模", "模"]);
    }

    #[test]
    fn rows_stay_inside_their_block_and_apart() {
        let mut view = example();
        let last = view.nodes.iter().rposition(|node| node.cell.is_some()).unwrap();
        for i in 0..90 {
            let mut node = view.nodes[last].clone();
            node.name = format!("{}{i}", node.name);
            view.nodes.push(node);
        }
        let folded = fold(&view, Collapse::Cells);
        for node in &folded.nodes {
            let block = Block::new(node, true);
            let (width, height) = block.size(true);
            let places: Vec<(f64, f64, f64)> = (0..block.rows.len()).map(|at| block.row(at)).collect();
            for (i, &(x, y, w)) in places.iter().enumerate() {
                assert!(x >= 0.0 && x + w <= width && y >= block.head() && y + ROW <= height, "{} {i}", node.name);
                let touches = |&(a, b, v): &(f64, f64, f64)| a < x + w && x < a + v && (b - y).abs() < ROW;
                assert_eq!(places.iter().filter(|other| touches(other)).count(), 1, "{} {i}", node.name);
            }
            assert_eq!(block.open, (1..=OPEN).contains(&block.rows.len()), "{}", node.name);
        }
    }

    #[test]
    fn a_matrix_says_how_many_stand_how() {
        let folded = fold(&example(), Collapse::Cells);
        let decode = folded.nodes.iter().find(|node| node.name.starts_with("decode")).unwrap();
        let block = Block::new(decode, true);
        let notes: Vec<&str> = block.notes.iter().map(|note| note.text.as_str()).collect();
        assert_eq!(notes, ["2 cached", "2 depends", "6 unavailable", "2 excluded"]);
        assert_eq!((block.title[0].as_str(), block.kind.as_str()), ("decode", "measure ×12"));
        let env = Block::new(&folded.nodes[0], true);
        let notes: Vec<&str> = env.notes.iter().map(|note| note.text.as_str()).collect();
        assert_eq!((env.title[0].as_str(), env.kind.as_str(), notes), ("env", "build", vec!["cached", "38 fetched"]));
    }
}
