//! The one layout of a text: the printer of `pipe fmt`.
//!
//! What a person decides stays: the order and the spelling of words, comments, one empty line between nodes, a
//! block on one line where it fits, lines continued with `\`. The rest is laid out in one way. A node is printed
//! from its tokens, never from its values, so that no spelling is lost.

use super::lex::{Kind, is_newline, is_space, lines_of};
use super::tree::{Block, Comment, Item, Piece, tree};

/// Blanks of one level.
const INDENT: usize = 4;

/// A block on one line is kept so where its line ends by this column.
const WIDTH: usize = 100;

/// The layout of a text that the parser accepts.
pub(super) fn print(text: &str) -> String {
    let items = tree(text.trim_start_matches('\u{feff}'));
    let mut printer = Printer { out: String::with_capacity(text.len() + text.len() / 8), column: 0 };
    printer.lines(&items.list, 0);
    printer.out
}

struct Printer {
    out: String,
    /// Characters on the line at hand.
    column: usize,
}

impl Printer {
    /// Adds text without a line end.
    fn push(&mut self, text: &str) {
        self.column += text.chars().count();
        self.out.push_str(text);
    }

    fn newline(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn indent(&mut self, depth: usize) {
        self.push(&" ".repeat(depth * INDENT));
    }

    /// True where nothing but blanks is on the line.
    fn line_is_blank(&self) -> bool {
        self.out.chars().rev().take(self.column).all(|c| c == ' ')
    }

    fn space(&mut self) {
        if !self.line_is_blank() {
            self.push(" ");
        }
    }

    /// Items on lines of their own.
    fn lines(&mut self, items: &[Item<'_>], depth: usize) {
        for (index, item) in items.iter().enumerate() {
            if item.blank && index > 0 {
                self.newline();
            }
            self.indent(depth);
            self.item(item, depth);
            self.newline();
        }
    }

    fn item(&mut self, item: &Item<'_>, depth: usize) {
        for comment in &item.lead {
            self.space();
            self.comment(comment, depth);
        }
        if !item.lead.is_empty() && !item.pieces.is_empty() {
            self.space();
        }
        for (index, piece) in item.pieces.iter().enumerate() {
            let before = index.checked_sub(1).map(|index| &item.pieces[index]);
            self.piece(before, piece, depth);
        }
        for comment in &item.trail {
            self.space();
            self.comment(comment, depth);
        }
    }

    fn piece(&mut self, before: Option<&Piece<'_>>, piece: &Piece<'_>, depth: usize) {
        if before.is_some_and(|before| parted(before, piece)) {
            self.space();
        }
        match piece {
            Piece::Token(token) if token.kind == Kind::Word => self.word(token.text, depth),
            Piece::Token(token) => self.push(token.text),
            Piece::Comment(comment) => self.comment(comment, depth + 1),
            Piece::LineComment(comment) => {
                self.space();
                self.comment(comment, depth + 1);
                self.newline();
                self.indent(depth + 1);
            }
            Piece::Break(comment) => {
                self.push("\\");
                if let Some(comment) = comment {
                    self.push(" ");
                    self.comment(comment, depth + 1);
                }
                self.newline();
                self.indent(depth + 1);
            }
            Piece::Block(block) => self.block(block, depth),
        }
    }

    fn block(&mut self, block: &Block<'_>, depth: usize) {
        if let Some(flat) = flat(block, WIDTH.saturating_sub(self.column)) {
            return self.push(&flat);
        }
        self.push("{");
        for comment in &block.items.open {
            self.push(" ");
            self.comment(comment, depth + 1);
        }
        self.newline();
        self.lines(&block.items.list, depth + 1);
        self.indent(depth);
        self.push("}");
    }

    /// A comment; its further lines move with the first, where that begins its line.
    fn comment(&mut self, comment: &Comment<'_>, depth: usize) {
        let moves = self.line_is_blank();
        let had = comment.column.unwrap_or(0);
        for (index, line) in lines_of(comment.text).enumerate() {
            let line = line.trim_end();
            if index == 0 {
                self.push(line);
                continue;
            }
            self.newline();
            if !moves {
                self.push(line);
            } else if !line.is_empty() {
                let blanks = line.chars().take(had).take_while(|&c| c == ' ' || c == '\t').count();
                self.indent(depth);
                self.push(&line[blanks..]);
            }
        }
    }

    /// A word as it is written; the lines of a string move with the node.
    fn word(&mut self, text: &str, depth: usize) {
        if !text.contains(is_newline) {
            return self.push(text);
        }
        let indent = " ".repeat((depth + 1) * INDENT);
        let lines = moved(text, &indent).unwrap_or_else(|| lines_of(text).map(str::to_owned).collect());
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                self.newline();
            }
            self.push(line);
        }
    }
}

/// True where a blank stands between two pieces.
fn parted(before: &Piece<'_>, piece: &Piece<'_>) -> bool {
    !before.binds_next() && !piece.binds_previous()
}

/// A block on one line, where it was written on one and has room.
fn flat(block: &Block<'_>, room: usize) -> Option<String> {
    if block.items.list.is_empty() && block.items.open.is_empty() {
        return Some("{}".to_owned());
    }
    if !block.one_line {
        return None;
    }
    let mut printer = Printer { out: "{ ".to_owned(), column: 2 };
    for (index, comment) in block.items.open.iter().enumerate() {
        printer.push(if index > 0 { " " } else { "" });
        printer.push(comment.text);
    }
    for (index, item) in block.items.list.iter().enumerate() {
        if index > 0 {
            printer.push("; ");
        }
        flat_item(&mut printer, item, room)?;
    }
    printer.push(" }");
    (printer.column <= room).then_some(printer.out)
}

fn flat_item(printer: &mut Printer, item: &Item<'_>, room: usize) -> Option<()> {
    let mut first = true;
    for comment in item.lead.iter() {
        if !std::mem::take(&mut first) {
            printer.push(" ");
        }
        printer.push(comment.text);
    }
    for (index, piece) in item.pieces.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| &item.pieces[index]);
        if !std::mem::take(&mut first) && before.is_none_or(|before| parted(before, piece)) {
            printer.push(" ");
        }
        match piece {
            Piece::Token(token) => printer.push(token.text),
            Piece::Comment(comment) => printer.push(comment.text),
            Piece::Block(block) => {
                let inner = flat(block, room.checked_sub(printer.column)?)?;
                printer.push(&inner);
            }
            // These end lines, and are in no block of one line.
            Piece::LineComment(_) | Piece::Break(_) => return None,
        }
        if printer.column > room {
            return None;
        }
    }
    for comment in &item.trail {
        printer.push(" ");
        printer.push(comment.text);
    }
    Some(())
}

/// The lines of a multi-line string behind another indentation; `None` where a line has not the indentation
/// of the last, as behind an escaped line end.
fn moved(text: &str, indent: &str) -> Option<Vec<String>> {
    let lines: Vec<&str> = lines_of(text).collect();
    let (first, rest) = lines.split_first()?;
    let (last, body) = rest.split_last()?;
    let (old, quotes) = last.split_at(last.find('"')?);
    let blank = |text: &str| text.chars().all(is_space);
    if !blank(old) || first.contains('\\') {
        return None;
    }
    let raw = text.starts_with('#');
    let mut moved = vec![(*first).to_owned()];
    for line in body {
        if blank(line) {
            moved.push(String::new());
            continue;
        }
        let content = line.strip_prefix(old)?;
        let mut chars = content.chars().peekable();
        let pairs = std::iter::from_fn(|| chars.next().map(|c| (c, chars.peek().copied())));
        let escapes = |(c, next): (char, Option<char>)| c == '\\' && next.is_none_or(is_space);
        if !raw && pairs.into_iter().any(escapes) {
            return None;
        }
        moved.push(format!("{indent}{content}"));
    }
    moved.push(format!("{indent}{quotes}"));
    Some(moved)
}
