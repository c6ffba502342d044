//! Tokens as a tree that keeps comments and blank lines where a person put them, for the printer.
//!
//! For text that the parser accepts. It knows where nodes, blocks and comments begin and end, and no values.

use super::lex::{Kind, Token, is_newline, is_space, tokens};

/// The lines of a file or of a block.
#[derive(Debug, Default)]
pub(super) struct Items<'a> {
    /// Comments on the line of the `{`.
    pub(super) open: Vec<Comment<'a>>,
    pub(super) list: Vec<Item<'a>>,
}

/// A node, or comments that have their line for themselves.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// True where an empty line is above it.
    pub(super) blank: bool,
    /// Before the node, on its line.
    pub(super) lead: Vec<Comment<'a>>,
    /// Empty where there are only comments.
    pub(super) pieces: Vec<Piece<'a>>,
    /// Behind the node, on its line.
    pub(super) trail: Vec<Comment<'a>>,
}

/// A part of a node's line.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// A word, or a sign of the grammar other than braces.
    Token(Token<'a>),
    Comment(Comment<'a>),
    /// A comment to the end of the line, behind `/-`.
    LineComment(Comment<'a>),
    /// A `\` at the end of a line.
    Break(Option<Comment<'a>>),
    Block(Block<'a>),
}

impl Piece<'_> {
    /// True where nothing parts it from the next.
    pub(super) fn binds_next(&self) -> bool {
        use Kind::{CloseParenthesis, Equals, OpenParenthesis, Slashdash};
        matches!(self, Piece::Token(token)
            if matches!(token.kind, Slashdash | OpenParenthesis | CloseParenthesis | Equals))
    }

    /// True where nothing parts it from the one before.
    pub(super) fn binds_previous(&self) -> bool {
        matches!(self, Piece::Token(token) if matches!(token.kind, Kind::CloseParenthesis | Kind::Equals))
    }
}

/// Adds a piece. A `\` goes where its line end says nothing: inside of what belongs together, before a block,
/// and beside another line end.
fn add<'a>(pieces: &mut Vec<Piece<'a>>, piece: Piece<'a>) {
    if let Piece::Break(None) = piece {
        let holds = |last: &Piece<'_>| last.binds_next() || matches!(last, Piece::Break(_) | Piece::LineComment(_));
        if pieces.last().is_some_and(holds) {
            return;
        }
    }
    let ends_it = piece.binds_previous() || matches!(piece, Piece::Block(_) | Piece::Break(_));
    if ends_it && matches!(pieces.last(), Some(Piece::Break(None))) {
        pieces.pop();
    }
    pieces.push(piece);
}

/// `{ … }`.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) items: Items<'a>,
    /// True where it is written on one line.
    pub(super) one_line: bool,
}

/// A comment of either kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comment<'a> {
    pub(super) text: &'a str,
    /// The blanks before it, where it begins its line.
    pub(super) column: Option<usize>,
}

/// The tree of a text.
pub(super) fn tree(text: &str) -> Items<'_> {
    let mut builder = Builder { text, tokens: tokens(text).collect(), next: 0 };
    let mut items = Items::default();
    while builder.peek().is_some() {
        let more = builder.items(true);
        items.list.extend(more.list);
        // A `}` that closes nothing; the guard has refused it before.
        builder.next += 1;
    }
    items
}

struct Builder<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    next: usize,
}

/// The lines read so far, and the comments of the line at hand.
struct Lines<'a> {
    items: Items<'a>,
    lead: Vec<Comment<'a>>,
    /// Line ends since the last node or comment.
    newlines: usize,
    /// `newlines`, at the first of `lead`.
    newlines_before_lead: usize,
}

impl<'a> Lines<'a> {
    fn comment(&mut self, comment: Comment<'a>) {
        if self.lead.is_empty() {
            self.newlines_before_lead = self.newlines;
        }
        self.newlines = 0;
        self.lead.push(comment);
    }

    /// Ends the line: its comments belong to what stands before them on it, or to nothing.
    fn end_line(&mut self) {
        if self.lead.is_empty() {
            return;
        }
        let lead = std::mem::take(&mut self.lead);
        // Behind a line that was continued the node may have a comment to the end of the line already.
        let ended = |item: &Item<'_>| item.trail.last().is_some_and(|comment| comment.text.starts_with("//"));
        if self.newlines_before_lead > 0 || self.items.list.last().is_some_and(ended) {
            let blank = self.newlines_before_lead > 1;
            self.items.list.push(Item { blank, lead, pieces: Vec::new(), trail: Vec::new() });
        } else if let Some(last) = self.items.list.last_mut() {
            last.trail.extend(lead);
        } else {
            self.items.open.extend(lead);
        }
    }

    /// Adds a node behind the comments of its line.
    fn node(&mut self, pieces: Vec<Piece<'a>>, trail: Vec<Comment<'a>>) {
        let newlines = if self.lead.is_empty() { self.newlines } else { self.newlines_before_lead };
        let lead = std::mem::take(&mut self.lead);
        self.items.list.push(Item { blank: newlines > 1, lead, pieces, trail });
        self.newlines = 0;
    }
}

impl<'a> Builder<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.next).copied()
    }

    fn comment_of(&self, token: Token<'a>) -> Comment<'a> {
        let before = &self.text[..token.start];
        let blanks = before.len() - before.trim_end_matches(is_space).len();
        let begins = before.trim_end_matches(is_space).chars().next_back().is_none_or(is_newline);
        Comment { text: token.text, column: begins.then(|| before[before.len() - blanks..].chars().count()) }
    }

    /// The lines up to a `}`, which is left, or to the end.
    fn items(&mut self, file: bool) -> Items<'a> {
        let mut lines =
            Lines { items: Items::default(), lead: Vec::new(), newlines: usize::from(file), newlines_before_lead: 0 };
        while let Some(token) = self.peek() {
            match token.kind {
                Kind::CloseBlock => break,
                // Between nodes a `\` does no more than the line end behind it.
                Kind::Space | Kind::Semicolon | Kind::Backslash => self.next += 1,
                Kind::Newline => {
                    lines.end_line();
                    lines.newlines += 1;
                    self.next += 1;
                }
                Kind::LineComment | Kind::BlockComment => {
                    lines.comment(self.comment_of(token));
                    self.next += 1;
                }
                _ => {
                    let (pieces, trail) = self.node();
                    lines.node(pieces, trail);
                }
            }
        }
        lines.end_line();
        lines.items
    }

    /// The pieces of one node, and the comment behind it.
    fn node(&mut self) -> (Vec<Piece<'a>>, Vec<Comment<'a>>) {
        let mut pieces = Vec::new();
        let mut trail = Vec::new();
        while let Some(token) = self.peek() {
            match token.kind {
                Kind::Newline | Kind::CloseBlock => break,
                Kind::Semicolon => {
                    self.next += 1;
                    break;
                }
                Kind::LineComment => {
                    trail.push(self.comment_of(token));
                    self.next += 1;
                    break;
                }
                Kind::Space => self.next += 1,
                Kind::BlockComment => {
                    add(&mut pieces, Piece::Comment(self.comment_of(token)));
                    self.next += 1;
                }
                Kind::Backslash => self.line_break(&mut pieces),
                Kind::Slashdash => self.slashdash(&mut pieces),
                Kind::OpenBlock => {
                    let block = self.block();
                    add(&mut pieces, Piece::Block(block));
                }
                _ => {
                    add(&mut pieces, Piece::Token(token));
                    self.next += 1;
                }
            }
        }
        // A `\` at the end of a node continues nothing; the comment behind it remains.
        while let Some(Piece::Break(comment)) = pieces.last() {
            match comment {
                None => {}
                Some(comment) if trail.is_empty() => trail.push(*comment),
                Some(_) => break,
            }
            pieces.pop();
        }
        (pieces, trail)
    }

    /// `\`, then comments, then the line end.
    fn line_break(&mut self, pieces: &mut Vec<Piece<'a>>) {
        self.next += 1;
        let mut comment = None;
        while let Some(token) = self.peek() {
            match token.kind {
                Kind::Space => {}
                Kind::BlockComment => add(pieces, Piece::Comment(self.comment_of(token))),
                Kind::LineComment => comment = Some(self.comment_of(token)),
                Kind::Newline => {
                    self.next += 1;
                    break;
                }
                _ => break,
            }
            self.next += 1;
        }
        add(pieces, Piece::Break(comment));
    }

    /// `/-`, and the comments and line ends between it and what it comments out.
    fn slashdash(&mut self, pieces: &mut Vec<Piece<'a>>) {
        if let Some(token) = self.peek() {
            add(pieces, Piece::Token(token));
            self.next += 1;
        }
        while let Some(token) = self.peek() {
            match token.kind {
                Kind::Space | Kind::Newline | Kind::Backslash => {}
                Kind::BlockComment => add(pieces, Piece::Comment(self.comment_of(token))),
                Kind::LineComment => add(pieces, Piece::LineComment(self.comment_of(token))),
                _ => return,
            }
            self.next += 1;
        }
    }

    fn block(&mut self) -> Block<'a> {
        let start = self.peek().map_or(self.text.len(), |token| token.start);
        self.next += 1;
        let items = self.items(false);
        let end = self.peek().map_or(self.text.len(), |token| token.start);
        self.next += 1;
        Block { items, one_line: !self.text[start..end].contains(is_newline) }
    }
}
