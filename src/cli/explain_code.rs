//! `pipe explain CODE`: what a mistake is, how one comes to make it, a wrong and a right example.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::output::{To, colour, note, print};
use super::{Global, exit, output};
use crate::diag::Diagnostics;
use crate::diag::catalogue::{self, Block, Page};

/// The flags of `pipe explain`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The code, as `pipe::unknown-node` or `unknown-node`; without one, all codes are listed
    code: Option<String>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Markdown,
    Json,
}

/// Prints a page, or the list of them.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    let paint = Paint { on: colour(global.color, To::Out) };
    let Some(code) = &arguments.code else {
        print(&match arguments.format {
            Format::Text => {
                // For a person one line each; for `grep`, all of it.
                let width = if output::terminal(To::Out) { output::width() } else { usize::MAX };
                list(&paint, width)
            }
            Format::Markdown => catalogue::pages().map(|page| format!("{}\n", page.text)).collect(),
            Format::Json => {
                let pages: Vec<_> = catalogue::pages().map(|page| as_json(&page)).collect();
                format!("{:#}\n", json!({ "format": "pipe-codes", "version": 1, "codes": pages }))
            }
        });
        return exit::DONE;
    };
    let Some(page) = catalogue::page(code) else {
        note(&format!("pipe: there is no code `{code}`"));
        note(&match catalogue::like(code) {
            Some(near) => format!("  help: did you mean `pipe explain {near}`?"),
            None => "  help: `pipe explain` lists all codes".to_owned(),
        });
        return exit::USAGE;
    };
    print(&match arguments.format {
        Format::Text => text(&page, &paint, output::width().min(100)),
        Format::Markdown => page.text.to_owned(),
        Format::Json => format!("{:#}\n", as_json(&page)),
    });
    exit::DONE
}

/// The line below a list of mistakes that tells where there is more about them.
pub fn more(diagnostics: &Diagnostics) -> Option<String> {
    let mut codes: Vec<&str> = Vec::new();
    for found in diagnostics.iter() {
        let name = found.code.trim_start_matches("pipe::");
        if !codes.contains(&name) {
            codes.push(name);
        }
    }
    match codes[..] {
        [] => None,
        [only] => Some(format!("`pipe explain {only}` says more")),
        [first, ..] => Some(format!("`pipe explain {first}` says more, and so for each code")),
    }
}

fn as_json(page: &Page) -> serde_json::Value {
    json!({ "code": format!("pipe::{}", page.name), "summary": page.summary(), "text": page.text })
}

fn list(paint: &Paint, width: usize) -> String {
    let mut out = String::from("Every code has a page: `pipe explain CODE`.\n");
    let widest = catalogue::pages().map(|page| page.name.len()).max().unwrap_or(0);
    for (title, pages) in catalogue::groups() {
        out += &format!("\n{}\n", paint.bold(title));
        for page in pages {
            let gap = " ".repeat(widest - page.name.len());
            out += &format!(
                "  {}{gap}  {}\n",
                paint.code(page.name),
                paint.inline(&cut(&page.summary(), width.saturating_sub(widest + 4).max(40)))
            );
        }
    }
    out
}

/// A text of at most so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// A page for a terminal.
fn text(page: &Page, paint: &Paint, width: usize) -> String {
    let mut out = String::new();
    for block in page.blocks() {
        match block {
            Block::Heading(heading) => out += &format!("{}\n\n", paint.bold(&heading)),
            Block::Paragraph(text) => out += &format!("{}\n\n", paint.inline(&wrap(&text, width).join("\n"))),
            Block::Code(info, code) => {
                out += &about_code(&info).map(|about| format!("{}\n\n", paint.inline(&about))).unwrap_or_default();
                code.lines().for_each(|line| match line {
                    "" => out.push('\n'),
                    line => out += &format!("    {line}\n"),
                });
                out.push('\n');
            }
        }
    }
    format!("{}\n", out.trim_end())
}

/// What a fence says of its code: a further file, or the flags that go with it.
fn about_code(info: &str) -> Option<String> {
    let part = |name: &str| Some(info.split_once(&format!("{name}="))?.1.to_owned());
    if let Some(flags) = part("flags") {
        return Some(format!("with the flags {}", flags.trim_matches('"')));
    }
    part("file").map(|file| format!("and `{}` beside it:", file.trim_matches('"')))
}

/// Lines of at most `width` characters, parted at spaces.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Colours, where they are on.
pub struct Paint {
    pub on: bool,
}

impl Paint {
    /// A heading.
    pub fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    /// A word of the language, or a code.
    pub fn code(&self, text: &str) -> String {
        self.with("36", text)
    }

    /// Text with what stands between backticks coloured; without colours the backticks stay.
    pub fn inline(&self, text: &str) -> String {
        if !self.on {
            return text.to_owned();
        }
        let parts = text.split('`').enumerate();
        parts.map(|(index, part)| if index % 2 == 1 { self.code(part) } else { part.to_owned() }).collect()
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
